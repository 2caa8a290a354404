//! The log of a run for machines: one line for each thing that happens, to syslog or journald, as
//! `key=<value>` in the manner of Cyrus. A value cannot end itself, so no mailbox's name forges a
//! key.

use std::fmt::Write as _;

pub use slotd::log_sink::{LogTo, Severity};
use slotd::log_sink::{Sink, bracketed};

/// The log of one run.
#[derive(Debug, Default)]
pub struct EventLog(Option<Sink>);

impl EventLog {
    /// One that goes there; to standard error, where all is said for people anyway, nothing more.
    ///
    /// # Errors
    /// No such daemon listens on this machine.
    pub fn open(to: LogTo) -> std::io::Result<Self> {
        Sink::open(to, "reguid").map(Self)
    }

    /// Writes a line with those of the keys that have a value. A line that the daemon does not take
    /// is lost: a run does not wait for its log.
    pub fn write(&self, severity: Severity, event: &str, keys: &[(&str, &str)]) {
        if let Some(sink) = &self.0 {
            let _ = sink.send(severity, &line(event, keys));
        }
    }
}

fn line(event: &str, keys: &[(&str, &str)]) -> String {
    let mut out = format!("event={}", bracketed(event));
    for (key, value) in keys.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a String cannot fail.
        let _ = write!(out, " {key}={}", bracketed(value));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_each_key_once_whatever_a_mailbox_is_called() {
        let keys = [
            ("pair", ""),
            ("mailbox", "user.x> reason=<none\nevent=<run-ended>"),
            ("reason", "damaged"),
        ];
        assert_eq!(
            line("mailbox-failed", &keys),
            "event=<mailbox-failed> mailbox=<user.x%3E reason=%3Cnone%0Aevent=%3Crun-ended%3E> \
             reason=<damaged>"
        );
    }
}
