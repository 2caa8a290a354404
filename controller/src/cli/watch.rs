//! `status --watch`: on a terminal a picture that is drawn again each second in the same place;
//! else a line when something changes.
//!
//! A signal may end it at any moment: it hides nothing of the terminal and changes none of its
//! settings.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::screen::size;
use super::{Fail, live};
use crate::control::{local_clock, of_pair};

/// Between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// How often a line says how far it is, where nothing else changes.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// What watches.
pub(super) enum Watch {
    /// A terminal; whether something is drawn on it.
    Terminal { drawn: bool },
    /// Anything else: what was said last of each pair.
    Lines(BTreeMap<String, Said>),
}

/// The last line about a pair.
pub(super) struct Said {
    at: Instant,
    line: String,
    /// What a change of is said at once.
    urgent: String,
}

impl Watch {
    /// For standard output.
    pub(super) fn new() -> Self {
        if io::stdout().is_terminal() {
            Self::Terminal { drawn: false }
        } else {
            Self::Lines(BTreeMap::new())
        }
    }

    /// Shows what a controller says, under a line that says which run it is.
    pub(super) fn show(&mut self, run: &str, now: &Value) -> Result<(), Fail> {
        let text = match self {
            Self::Terminal { drawn } => {
                let first = !std::mem::replace(drawn, true);
                let all = format!("{run}\n{}", live::describe(now));
                picture(&all, size(io::stdout()), first)
            }
            Self::Lines(said) => changes(now, said, Instant::now()),
        };
        put(&text)
    }

    /// Clears the picture, if there is one, for what comes at the end.
    pub(super) fn end(&self) -> Result<(), Fail> {
        match self {
            Self::Terminal { drawn: true } => put("\x1b[H\x1b[2J"),
            _ => Ok(()),
        }
    }
}

fn put(text: &str) -> Result<(), Fail> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Lines from the top of a terminal of that size, over what was there: each is cleared behind, so
/// nothing flickers. One that is too wide goes on in the next, and what does not fit below is
/// counted.
fn picture(text: &str, (columns, rows): (u16, u16), first: bool) -> String {
    let wide = usize::from(columns.max(20)) - 1;
    let options = textwrap::Options::new(wide).subsequent_indent("  ");
    // Each for itself: it is the first of its paragraph.
    let lines = text.lines();
    let lines = lines.flat_map(|line| textwrap::wrap(line, &options));
    let lines: Vec<_> = lines.collect();
    let room = usize::from(rows.max(3)) - 1;
    let (shown, left) = if lines.len() > room {
        (room - 1, lines.len() - (room - 1))
    } else {
        (lines.len(), 0)
    };
    let mut out = if first { "\x1b[H\x1b[2J" } else { "\x1b[H" }.to_owned();
    let mut add = |line: &str| {
        out.push_str(line);
        out.push_str("\x1b[K\n");
    };
    lines.iter().take(shown).for_each(|line| add(line));
    if left > 0 {
        add(&format!("and {left} lines more"));
    }
    out.push_str("\x1b[J");
    out
}

/// A line for each pair of which something changed that a person wants to know at once, and for
/// each that has come further since its last line, if that was some seconds ago.
fn changes(now: &Value, said: &mut BTreeMap<String, Said>, at: Instant) -> String {
    let mut pairs: Vec<(&str, &Value)> = live::pairs(now)
        .map(|(name, pair)| (name.as_str(), pair))
        .collect();
    if pairs.is_empty() {
        pairs.push(("", now));
    }
    let mut out = Vec::new();
    for (name, pair) in pairs {
        let line = live::line(pair);
        let over = pair["done"] == pair["mailboxes"];
        let urgent = format!("{} {} {over}", pair["waiting"], pair["parked"]);
        let silent = said.get(name).is_some_and(|last| {
            let late = at.duration_since(last.at) >= PLAIN_EVERY;
            last.urgent == urgent && (last.line == line || !late)
        });
        if silent {
            continue;
        }
        out.push(format!(
            "{} {}\n",
            local_clock(),
            of_pair(name, line.trim_start())
        ));
        said.insert(name.to_owned(), Said { at, line, urgent });
    }
    out.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_fits_the_terminal_and_is_drawn_over_the_one_before() {
        let text = "run 7: upgrade\n".to_owned() + &"x".repeat(200) + "\nlast";
        let picture = super::picture(&text, (80, 24), false);
        assert!(
            picture.starts_with("\x1b[Hrun 7: upgrade\x1b[K\n"),
            "{picture:?}"
        );
        assert!(picture.ends_with("last\x1b[K\n\x1b[J"), "{picture:?}");
        let lines = picture.lines().map(|l| l.trim_end_matches("\x1b[K"));
        let long: Vec<&str> = lines.filter(|line| line.contains("xxx")).collect();
        assert!(long.iter().all(|line| line.len() <= 79), "{picture:?}");
        assert!(
            long.iter().skip(1).all(|line| line.starts_with("  x")),
            "{picture:?}"
        );
        assert_eq!(long.concat().matches('x').count(), 200, "nothing is lost");
        assert!(super::picture(&text, (80, 24), true).starts_with("\x1b[H\x1b[2J"));
        let many = "line\n".repeat(50);
        let picture = super::picture(&many, (80, 24), false);
        assert_eq!(picture.matches('\n').count(), 23);
        assert!(picture.contains("and 28 lines more"), "{picture:?}");
    }

    #[test]
    fn without_a_terminal_there_is_a_line_for_what_changes_and_else_one_now_and_then() {
        let mut said = BTreeMap::new();
        let begun = Instant::now();
        let mut lines = |done: u64, waiting: Option<&str>, seconds: u64| {
            let pair = serde_json::json!({ "done": done, "mailboxes": 10, "waiting": waiting });
            let now = serde_json::json!({ "pairs": { "be1": pair, "be2": { "done": 1 } } });
            let text = changes(&now, &mut said, begun + Duration::from_secs(seconds));
            text.lines().count()
        };
        assert_eq!(lines(0, None, 0), 2, "both pairs at first");
        assert_eq!(lines(1, None, 1), 0, "it goes on");
        assert_eq!(lines(1, Some("paused"), 2), 1, "it waits");
        assert_eq!(lines(1, Some("paused"), 60), 0, "it waits still");
        assert_eq!(lines(2, None, 61), 1, "it goes on again");
        assert_eq!(lines(3, None, 62), 0);
        assert_eq!(lines(4, None, 72), 1, "now and then");
        assert_eq!(lines(10, None, 73), 1, "it is done");
    }
}
