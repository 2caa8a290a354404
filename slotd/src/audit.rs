//! The audit: one line in the log for each command that locks, changes or gives back something,
//! with who gave it and what came of it; for each transaction that slotd itself ended; for each
//! lock that was held for more than a second; and for each refusal: of a command that its sender
//! may not send, of a user who may order nothing, of a certificate.
//!
//! A line is `key=value` words after its first one, `audit` or `longlock`; values are escaped as on
//! the wire, so no name can make a line of its own. Nothing secret is in any of them: a connection
//! has no password, and certificates are named by what they say in public. Nothing is kept here, so
//! a crash loses nothing but lines that were not written yet.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use crate::peer::Who;
use crate::protocol::{Code, Command, Committed, Precompute, Reply, escape};

/// The target of these lines in the log: they are there unless only errors are asked for.
pub const TARGET: &str = "audit";

/// A lock that was held for longer than this has a line of its own.
const LONG: Duration = Duration::from_secs(1);

/// What a line is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) who: &'a Who,
    /// The coordinator's, if it gave one.
    pub(crate) journal: Option<&'a str>,
    pub(crate) mailbox: Option<&'a str>,
}

impl<'a> About<'a> {
    /// What is known of a sender alone.
    fn of(who: &'a Who) -> Self {
        Self {
            who,
            journal: None,
            mailbox: None,
        }
    }
}

/// Whether a command has a line, however it ends. One that is added says so here.
pub(crate) fn has_line(command: &Command) -> bool {
    match command {
        Command::Lock(_)
        | Command::Upgrade(_)
        | Command::Commit(_)
        | Command::Release { .. }
        | Command::Rollback
        | Command::Precompute(Precompute::Start(_) | Precompute::Stop)
        | Command::Prepare(_)
        | Command::Clean(_)
        | Command::Register { .. }
        | Command::Leave
        | Command::Complete(_)
        | Command::Revoke
        | Command::Drain(_)
        | Command::Kick
        | Command::Undrain => true,
        Command::Hello
        | Command::Preflight
        | Command::Guids(_)
        | Command::Digests(_)
        | Command::Confirm
        | Command::Precompute(Precompute::Ask)
        | Command::List(_)
        | Command::Sha1s(_)
        | Command::Status(_)
        | Command::HostStatus
        | Command::Verify(_)
        | Command::Find(_)
        | Command::Host
        | Command::Quit => false,
    }
}

/// A command, by its name and as the wire has it, and what came of it; `held`: the locks that it
/// gave back, and how long they were held.
pub(crate) fn command(
    about: About<'_>,
    (what, text): (&str, &str),
    took: Duration,
    reply: &Reply,
    held: Option<Committed>,
) {
    let mut line = ordered(about, (what, text));
    plain(&mut line, "result", result(reply));
    plain(&mut line, "took_us", took.as_micros());
    if let Some(held) = held {
        plain(&mut line, "held_us", held.held.as_micros());
    }
    tracing::info!(target: TARGET, "audit {line}");
}

/// A command that was not looked at: its sender may not send it, or not now.
pub(crate) fn refused(who: &Who, command: &Command, reply: &Reply) {
    let mailbox = command.mailbox().map(ToString::to_string);
    let about = About {
        mailbox: mailbox.as_deref(),
        ..About::of(who)
    };
    let mut line = ordered(about, (command.name(), &command.to_string()));
    plain(&mut line, "result", result(reply));
    tracing::warn!(target: TARGET, "audit {line}");
}

/// A connection that was refused, or ended, because of who is at its other end; `why` is a
/// sentence.
pub(crate) fn turned_away(who: &Who, (what, why): (&str, &str)) {
    let mut line = words(About::of(who), what);
    plain(&mut line, "result", format!("NO:{}", Code::Denied));
    add(&mut line, "why", why);
    tracing::warn!(target: TARGET, "audit {line}");
}

fn result(reply: &Reply) -> String {
    match reply {
        Reply::Ok(_) => "OK".to_owned(),
        Reply::No { code, .. } => format!("NO:{code}"),
        Reply::Bad(_) => "BAD".to_owned(),
    }
}

fn ordered(about: About<'_>, (what, text): (&str, &str)) -> String {
    let mut line = words(about, what);
    let args = text.strip_prefix(what).unwrap_or(text).trim_start();
    let mailbox = about.mailbox.map(|name| escape(name.as_bytes()));
    let args = mailbox
        .and_then(|name| args.strip_prefix(name.as_str()))
        .unwrap_or(args);
    if !args.is_empty() {
        add(&mut line, "args", args.trim_start());
    }
    line
}

/// A transaction that slotd ended itself: `why` its connection closed, its time was over, or
/// another coordinator took over.
pub(crate) fn ended(about: About<'_>, (what, why): (&str, &str), held: Option<Committed>) {
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
pub(crate) fn unlocked(about: About<'_>, held: Committed, timings: &str) {
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
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::{Arc, LazyLock, Mutex};

    use tracing::Dispatch;

    use super::*;

    /// Of a single subscriber in a process tracing does not ask whether it wants the lines of a
    /// place in the code, but the thread that comes by there first, which may have none.
    static ANOTHER: LazyLock<Dispatch> =
        LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What work on this thread says in the log besides what it gives.
    pub(crate) fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
        LazyLock::force(&ANOTHER);
        let lines = Lines::default();
        let to = lines.clone();
        let log = tracing_subscriber::fmt().with_ansi(false);
        let log = log.with_writer(move || to.clone()).finish();
        let result = tracing::subscriber::with_default(log, work);
        let bytes = lines.0.lock().unwrap().clone();
        (result, String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn no_name_makes_a_line_or_a_word_of_its_own() {
        let about = About {
            who: &Who::Unknown,
            mailbox: Some("user.joe\naudit who=uid:0 what=LOCK\u{1b}[2J"),
            journal: Some("a b"),
        };
        let line = words(about, "LOCK");
        assert_eq!(line.split(' ').count(), 4);
        assert!(
            line.bytes().all(|b| b.is_ascii_graphic() || b == b' '),
            "{line}"
        );
    }
}
