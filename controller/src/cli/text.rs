//! What people and scripts read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use indexfile::program::{is_packaged, spelled};

use super::{Fail, events, screen};
use crate::control::Steered;
use crate::journal::{Filter, Journal, Row, RunId, State, Verb, for_each_row};
use crate::report::{Standing, whole_words};
use crate::run::Summary;
use crate::two_phase::Reason;

/// How many failures a run names in a line each at its end.
const PRINTED: u64 = 100;

/// A line on standard error. If nobody reads it, nothing can be done about it.
pub(super) fn note(text: &str) {
    if events::are_json() {
        events::say("note", "", text);
    } else {
        let text = spelled(text);
        let terminal = std::io::stderr().is_terminal();
        let shown = fitted(&text, terminal.then(screen::columns));
        let _ = writeln!(std::io::stderr().lock(), "{shown}");
    }
}

/// Breaks lines between words where a terminal would break them within one. A line with a command
/// in it stays whole, to be copied as it is; elsewhere than on a terminal all lines do.
fn fitted(text: &str, columns: Option<u16>) -> Cow<'_, str> {
    let Some(columns) = columns.map(usize::from) else {
        return text.into();
    };
    let options = whole_words(columns);
    let lines = text.lines().map(|line| {
        if line.len() <= columns || line.contains('`') {
            line.into()
        } else {
            Cow::from(textwrap::fill(line, &options))
        }
    });
    lines.collect::<Vec<_>>().join("\n").into()
}

/// Why the command could not do its work.
pub(super) fn complain(text: &str) {
    if events::are_json() {
        events::say("error", "", text);
        return;
    }
    let name = if is_packaged() {
        "reguid"
    } else {
        "controller"
    };
    note(&format!("{name}: {text}"));
}

/// A moment in local time.
pub(super) fn local_time(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    let time = time.to_zoned(jiff::tz::TimeZone::system());
    time.strftime("%F %T").to_string()
}

/// A result on standard output.
pub(super) fn say(text: &str) -> Result<(), Fail> {
    writeln!(std::io::stdout().lock(), "{}", spelled(text))?;
    Ok(())
}

/// A result as JSON on standard output.
pub(super) fn json(value: &serde_json::Value) -> Result<(), Fail> {
    say(&value.to_string())
}

pub(super) use crate::survey::duration;

/// Failures by reason.
pub(super) type Failures = BTreeMap<Reason, u64>;

/// Counts what failed in a run and, if asked, prints a line each on standard error.
pub(super) fn failures(
    journal: &dyn Journal,
    run: RunId,
    verb: Verb,
    print: bool,
) -> Result<Failures, Fail> {
    let mut counts = Failures::new();
    let mut printed = 0;
    let failed = [
        State::Decided,
        State::Reversing,
        State::RolledBack,
        State::Pending,
    ];
    for state in failed {
        for_each_row(journal, run, Filter::In(state), |row| {
            let Some((standing, reason)) = Standing::of(row) else {
                return;
            };
            *counts.entry(reason).or_default() += 1;
            printed += 1;
            if print && printed <= PRINTED {
                note(&failure(row, standing, verb));
            }
        })?;
    }
    if print && printed > PRINTED {
        note(&format!(
            "and {} more; `controller report --failed` names them",
            printed - PRINTED
        ));
    }
    Ok(counts)
}

/// One line about a mailbox that failed.
fn failure(row: &Row, standing: Standing, verb: Verb) -> String {
    let what = standing.words(verb);
    let side = row.side.map(|s| format!("{s}: ")).unwrap_or_default();
    let reason = row.reason.map(|r| format!(" ({r})")).unwrap_or_default();
    format!("{}: {what}: {side}{}{reason}", row.name, row.detail)
}

/// The summary as JSON: the contract's keys, and failures by reason.
pub(super) fn summary_json(
    summary: &Summary,
    failures: &Failures,
) -> Result<serde_json::Value, Fail> {
    let mut value = serde_json::to_value(summary).map_err(std::io::Error::from)?;
    value["failures"] = failures
        .iter()
        .map(|(reason, n)| (reason.to_string(), serde_json::Value::from(*n)))
        .collect();
    Ok(value)
}

/// The summary for a person.
pub(super) fn summary(verb: Verb, s: &Summary) -> String {
    let mut text = s.totals.sentence(verb);
    // Writing to a String cannot fail.
    if s.left_alone > 0 {
        let _ = write!(text, ", {} left as they are", s.left_alone);
    }
    let _ = write!(
        text,
        "\n{} messages; GUIDs of both hosts: {} from cyrus.sha1s, {} computed; {:.1} s",
        s.messages, s.cached, s.hashed, s.seconds
    );
    if s.lock_ms.max > 0.0 {
        let lock = s.lock_ms;
        let _ = write!(
            text,
            "\nlocks held: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
            lock.p50, lock.p99, lock.max
        );
    }
    if let Some(found) = s.steered.as_ref().and_then(Steered::found) {
        let _ = write!(text, "\nmailboxes at once, at the end: {found}");
    }
    if s.lag > 0 {
        let _ = write!(
            text,
            "\n{} message(s) were on one host only (replication lag)",
            s.lag
        );
    }
    for line in s.warnings.lines() {
        let _ = write!(text, "\n{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::Totals;

    fn of(totals: Totals) -> Summary {
        Summary {
            totals,
            ..Summary::default()
        }
    }

    #[test]
    fn a_terminal_breaks_no_word_and_a_command_stays_whole() {
        let text = "one two three four\ngive `controller retry` again";
        assert_eq!(fitted(text, None), text);
        assert_eq!(
            fitted(text, Some(10)),
            "one two\nthree four\ngive `controller retry` again"
        );
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m01s"),
            (3661, "1h01m"),
            (90_061, "1d01h"),
            (864_000, "10d00h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_summary_names_what_was_left() {
        let s = of(Totals {
            mailboxes: 9,
            upgraded: 5,
            pending: 3,
            gone: 1,
            lag: 2,
            ..Totals::default()
        });
        let text = summary(Verb::Upgrade, &s);
        assert!(
            text.contains("5 upgraded") && text.contains("3 not done") && text.contains("1 gone"),
            "{text}"
        );
        assert!(summary(Verb::Downgrade, &s).contains("5 downgraded"));
    }
}
