//! What a comparison found, for people: first what makes it doubtful, then what got worse.

use std::fmt::Write as _;

use super::{BY_CHANCE, LEAST_EFFECT};
use super::{By, Compared, Comparison, Differs, Unknown, Verdict};
use crate::bench::document::{Better, Unit};
use crate::bench::text::put;
use crate::bench::unit::number;

impl Comparison {
    /// All of it, for a terminal; with `all`, also the measures that did not change.
    #[must_use]
    pub fn text(&self, all: bool) -> String {
        let mut out = String::new();
        let [was, is] = &self.began;
        put(
            &mut out,
            "",
            &format!("The bench of {was}, then that of {is}"),
        );
        for (heading, differs) in [
            ("They ran on different machines:", &self.machine),
            ("They were asked for different things:", &self.settings),
            ("Programs differ:", &self.programs),
        ] {
            differences(&mut out, heading, differs);
        }
        let kinds: [(&str, Verdict); 4] = [
            ("Worse, beyond the noise", Verdict::Worse),
            ("Better, beyond the noise", Verdict::Better),
            (
                "The machine, or another program, beyond the noise",
                Verdict::Changed,
            ),
            ("Alike", Verdict::Alike),
        ];
        for (heading, verdict) in kinds {
            if verdict == Verdict::Alike && !all {
                continue;
            }
            let rows = self.measures.iter().filter(|m| m.verdict == verdict);
            rows_under(&mut out, heading, rows);
        }
        self.unknown(&mut out, all);
        for (only, of) in self.only.iter().zip(["first", "second"]) {
            if !only.is_empty() {
                let text = format!("Only in the {of}: {}", only.join(", "));
                out.push('\n');
                put(&mut out, "", &text);
            }
        }
        out.push('\n');
        put(&mut out, "", &self.summary());
        out
    }

    fn unknown(&self, out: &mut String, all: bool) {
        for (why, sentence) in [
            (Unknown::TooFew, "measured too few times"),
            (Unknown::NotAboveZero, "with a value that is not above zero"),
        ] {
            let of = |m: &&Compared| m.verdict == Verdict::Unknown(why);
            let found: Vec<&Compared> = self.measures.iter().filter(of).collect();
            if found.is_empty() {
                continue;
            }
            if all {
                let heading = format!("Cannot be said: {sentence}");
                rows_under(out, &heading, found.into_iter());
                continue;
            }
            let mut rounds: Vec<[usize; 2]> = found.iter().map(|m| m.rounds).collect();
            rounds.sort_unstable();
            rounds.dedup();
            let rounds: Vec<String> = rounds.iter().map(|[a, b]| format!("{a} and {b}")).collect();
            let text = match why {
                Unknown::TooFew => format!(
                    "Cannot say of {} measures with {} rounds: it takes 5 of each",
                    found.len(),
                    rounds.join(", ")
                ),
                Unknown::NotAboveZero => {
                    format!("Cannot say of {} measures {sentence}", found.len())
                }
            };
            out.push('\n');
            put(out, "", &text);
        }
    }

    fn summary(&self) -> String {
        let of = |verdict| self.count(|v| v == verdict);
        format!(
            "{} measures: {} worse, {} better, {} of the machine or another program changed, {} \
             not seen to differ by {:.0} %, {} cannot be said. Of 100 that did not change noise \
             puts at most {:.0} among the worse or better.",
            self.measures.len(),
            of(Verdict::Worse),
            of(Verdict::Better),
            of(Verdict::Changed),
            of(Verdict::Alike),
            LEAST_EFFECT * 100.0,
            self.count(|v| matches!(v, Verdict::Unknown(_))),
            BY_CHANCE * 100.0
        )
    }
}

fn differences(out: &mut String, heading: &str, differs: &[Differs]) {
    if differs.is_empty() {
        return;
    }
    put(out, "", heading);
    for Differs { what, values } in differs {
        let [was, is] = values.each_ref().map(|value| {
            if value.is_empty() {
                "none"
            } else {
                value.as_str()
            }
        });
        put(out, "  ", &format!("{what}: {was}, then {is}"));
    }
}

fn rows_under<'a>(out: &mut String, heading: &str, rows: impl Iterator<Item = &'a Compared>) {
    let mut rows = rows.peekable();
    if rows.peek().is_some() {
        let _ = writeln!(out, "\n{heading}");
    }
    for row in rows {
        put(
            out,
            "  ",
            &format!("{}/{}: {}", row.section, row.id, row.name),
        );
        put(out, "      ", &row.words());
    }
}

impl Compared {
    /// What changed, in words.
    fn words(&self) -> String {
        let [was, is] = self.medians.map(|value| self.unit.show(value));
        let Some(found) = self.interval else {
            return format!("{was}, then {is}");
        };
        let of = match &self.by {
            By::Value => String::new(),
            By::MultipleOf(other) => format!(" as a multiple of {other},"),
        };
        format!(
            "{was}, then {is};{of} {} times ({} .. {}){}",
            number(found.ratio),
            number(found.low),
            number(found.high),
            self.adjective()
        )
    }

    /// What that means, where it means something.
    fn adjective(&self) -> &'static str {
        let speed = !matches!(self.unit, Unit::Bytes | Unit::Count | Unit::Ratio);
        match (self.verdict, self.better) {
            (Verdict::Worse, _) if speed => ": slower",
            (Verdict::Better, _) if speed => ": faster",
            (Verdict::Worse, Better::Lower) | (Verdict::Better, Better::Higher) => ": more",
            (Verdict::Worse | Verdict::Better, _) => ": less",
            _ => "",
        }
    }
}
