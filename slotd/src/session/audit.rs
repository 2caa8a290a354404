//! The audit: one line in the log for each command that locks, changes or gives back something,
//! with who gave it and what came of it; for each transaction that slotd itself ended; and for
//! each lock that was held for more than a second.
//!
//! A line is `key=value` words after its first one, `audit` or `longlock`; values are escaped as on
//! the wire, so no name can make a line of its own. Nothing secret is in any of them: a connection
//! has no password, and certificates are named by what they say in public. Nothing is kept here, so
//! a crash loses nothing but lines that were not written yet.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use crate::peer::Peer;
use crate::protocol::{Command, Committed, Reply, escape};

/// The target of these lines in the log: they are there unless only errors are asked for.
pub const TARGET: &str = "audit";

/// A lock that was held for longer than this has a line of its own.
const LONG: Duration = Duration::from_secs(1);

/// What a line is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About<'a> {
    pub(super) who: Peer,
    /// The coordinator's, if it gave one.
    pub(super) journal: Option<&'a str>,
    pub(super) mailbox: Option<&'a str>,
}

/// Whether a command has a line.
pub(super) fn has_line(command: &Command) -> bool {
    let asks = matches!(
        command,
        Command::Confirm | Command::Guids(_) | Command::Digests(_)
    );
    !asks && !command.only_looks()
}

/// A command, by its name and as the wire has it, and what came of it; `held`: the locks that it
/// gave back, and how long they were held.
pub(super) fn command(
    about: About<'_>,
    (what, text): (&str, &str),
    took: Duration,
    reply: &Reply,
    held: Option<Committed>,
) {
    let result = match reply {
        Reply::Ok(_) => "OK".to_owned(),
        Reply::No { code, .. } => format!("NO:{code}"),
        Reply::Bad(_) => "BAD".to_owned(),
    };
    let mut line = words(about, what);
    let args = text.strip_prefix(what).unwrap_or(text).trim_start();
    let mailbox = about.mailbox.map(|name| escape(name.as_bytes()));
    let args = mailbox
        .and_then(|name| args.strip_prefix(name.as_str()))
        .unwrap_or(args);
    if !args.is_empty() {
        add(&mut line, "args", args.trim_start());
    }
    plain(&mut line, "result", result);
    plain(&mut line, "took_us", took.as_micros());
    if let Some(held) = held {
        plain(&mut line, "held_us", held.held.as_micros());
    }
    tracing::info!(target: TARGET, "audit {line}");
}

/// A transaction that slotd ended itself: `why` its connection closed, its time was over, or
/// another coordinator took over.
pub(super) fn ended(about: About<'_>, (what, why): (&str, &str), held: Option<Committed>) {
    let mut line = words(about, what);
    plain(&mut line, "by", why);
    plain(&mut line, "result", "OK");
    if let Some(held) = held {
        plain(&mut line, "held_us", held.held.as_micros());
    }
    tracing::info!(target: TARGET, "audit {line}");
}

/// After locks were given back; `timings` says where the time went, as the answer to `COMMIT`
/// does.
pub(super) fn unlocked(about: About<'_>, held: Committed, timings: &str) {
    if held.held <= LONG {
        return;
    }
    let mut line = words(about, "");
    plain(&mut line, "held_us", held.held.as_micros());
    plain(&mut line, "waited_us", held.waited.as_micros());
    plain(&mut line, "hold", timings);
    tracing::warn!(target: TARGET, "longlock {line}");
}

fn words(about: About<'_>, what: &str) -> String {
    let mut line = String::new();
    plain(&mut line, "who", about.who);
    if let Some(journal) = about.journal {
        add(&mut line, "journal", journal);
    }
    if !what.is_empty() {
        plain(&mut line, "what", what);
    }
    if let Some(mailbox) = about.mailbox {
        add(&mut line, "mailbox", mailbox);
    }
    line
}

/// What came from outside.
fn add(line: &mut String, key: &str, value: &str) {
    plain(line, key, escape(value.as_bytes()));
}

/// What is one word anyway.
fn plain(line: &mut String, key: &str, value: impl Display) {
    let blank = if line.is_empty() { "" } else { " " };
    // Writing to a String cannot fail.
    let _ = write!(line, "{blank}{key}={value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_makes_a_line_or_a_word_of_its_own() {
        let about = About {
            mailbox: Some("user.joe\naudit who=uid:0 what=LOCK\u{1b}[2J"),
            journal: Some("a b"),
            ..About::default()
        };
        let line = words(about, "LOCK");
        assert_eq!(line.split(' ').count(), 4);
        assert!(
            line.bytes().all(|b| b.is_ascii_graphic() || b == b' '),
            "{line}"
        );
    }
}
