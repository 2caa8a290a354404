//! What a bench found, for a terminal of 80 columns.

use std::fmt::Write as _;
use std::time::Duration;

use super::document::{Document, Measure, Section};
use super::unit::number;
use super::{Stats, curve};
use crate::chart::visible;
use crate::report::whole_words;
use crate::survey::duration;

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Columns of a name; a longer one has a line of its own.
const NAME: usize = 34;
/// Columns of a value, which ends where the column does.
const VALUE: usize = 20;

/// What is known of a document besides its figures: names and their text.
pub(super) fn facts(document: &Document) -> Vec<(&'static str, String)> {
    let machine = &document.machine;
    let pairs = document
        .settings
        .iter()
        .map(|(name, value)| format!("{name} {value}"));
    let peers = document.peers.iter();
    let peers = peers.map(|peer| format!("{}: {}", peer.name, peer.version));
    let seconds = Duration::try_from_secs_f64(document.seconds).unwrap_or_default();
    let mut facts = vec![
        ("Made by", format!("reguid {}", document.reguid)),
        (
            "Began",
            format!("{}, took {}", document.began, duration(seconds)),
        ),
        (
            "Machine",
            format!(
                "{} processors, {}, {}, Linux {}, {}",
                machine.cores,
                machine.cpu,
                indicatif::BinaryBytes(machine.memory_bytes),
                machine.kernel,
                machine.file_system
            ),
        ),
        (
            "Load",
            format!(
                "{:.2} before, {:.2} at the end",
                machine.load_before, machine.load_after
            ),
        ),
        ("Settings", pairs.collect::<Vec<_>>().join(", ")),
        ("Beside", peers.collect::<Vec<_>>().join("; ")),
    ];
    facts.retain(|(_, text)| !text.is_empty());
    facts
}

/// Rounds of the measures of a section, if all have as many.
pub(super) fn rounds(section: &Section) -> Option<usize> {
    let mut counts = section.measures.iter().map(|measure| measure.values.len());
    let first = counts.next()?;
    counts.all(|count| count == first).then_some(first)
}

/// How many values are far from the others, if any is.
pub(super) fn far(stats: &Stats) -> Option<String> {
    (stats.outliers > 0).then(|| {
        format!(
            "{} of {} values far from the others: is the machine busy with something else?",
            stats.outliers, stats.runs
        )
    })
}

impl Document {
    /// All of it, for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, text) in facts(self) {
            put(&mut out, &format!("{name:10}"), &text);
        }
        for section in &self.sections {
            let heading = match rounds(section) {
                Some(1) => format!("{} (one round)", section.title),
                Some(n) if n > 1 => format!("{} ({n} rounds)", section.title),
                _ => section.title.clone(),
            };
            out.push('\n');
            put(&mut out, "", &heading);
            for note in &section.notes {
                put(&mut out, "  ", note);
            }
            for measure in &section.measures {
                row(&mut out, section, measure);
            }
        }
        if !self.not_measured.is_empty() {
            out += "\nNot measured\n";
            for why in &self.not_measured {
                put(&mut out, "  ", why);
            }
        }
        out
    }
}

/// Lines of a text behind some words; those after the first begin below it.
pub(super) fn put(out: &mut String, before: &str, text: &str) {
    let below = " ".repeat(before.len());
    let options = whole_words(WIDTH)
        .initial_indent(before)
        .subsequent_indent(&below);
    let _ = writeln!(out, "{}", textwrap::fill(&visible(text), options));
}

fn row(out: &mut String, section: &Section, measure: &Measure) {
    let stats = measure.stats();
    let mut name = visible(&measure.name).into_owned();
    if name.chars().count() > NAME {
        put(out, "  ", &name);
        name.clear();
    }
    if stats.runs == 0 {
        let _ = writeln!(out, "  {name:NAME$}{:>VALUE$}", "no value");
        return;
    }
    let value = measure.unit.show(stats.median);
    let mut line = format!("  {name:NAME$}{value:>VALUE$}");
    let range = (stats.runs > 1).then(|| measure.unit.range(stats.min, stats.max));
    let each = rounds(section).is_none().then(|| match stats.runs {
        1 => "one round".to_owned(),
        n => format!("{n} rounds"),
    });
    for part in range.into_iter().chain(each) {
        if line.chars().count() + 2 + part.len() > WIDTH {
            let _ = writeln!(out, "{line}");
            line = " ".repeat(4);
        }
        let _ = write!(line, "  {part}");
    }
    let _ = writeln!(out, "{line}");
    if let Some((ratio, other)) = curve::ratio(section, measure) {
        let text = format!(
            "{} times {} ({} .. {})",
            number(ratio.median),
            other.name,
            number(ratio.min),
            number(ratio.max)
        );
        put(out, "      ", &text);
    }
    if let Some(text) = far(&stats) {
        put(out, "      ", &text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Unit;
    use super::super::sample;
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal_and_all_that_is_known_is_there() {
        let text = sample::whole().text();
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        for part in [
            "Machine   2 processors, AMD EPYC, 24.00 GiB, Linux 6.1.0, ext4\n",
            "Settings  mailboxes 1000, quick true\n",
            "Beside    sha1sum: sha1sum (GNU coreutils) 9.1\n",
            "\nWhat fleet does (3 rounds)\n  Syncs limit it.\n",
            "  4 at once                              770 mailboxes/s  755 .. 793\n",
            "      0.558 times the bare way, 4 at once (0.558 .. 0.558)\n",
            "      1 of 5 values far from the others",
            "  Memory at its peak                           12.40 MiB  one round\n",
            "\nNot measured\n  openssl is not installed.\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_measure_without_a_value_says_so() {
        let none = sample::measure("none", "Nothing", Unit::Seconds, &[]);
        let text = sample::document(vec![sample::section("s", vec![none])]).text();
        assert!(text.contains("no value"), "{text}");
        assert!(!text.contains("NaN") && !text.contains("rounds"), "{text}");
    }
}
