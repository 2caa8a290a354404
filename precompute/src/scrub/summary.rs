//! Counting what a scrub did and found.

use std::collections::BTreeMap;

use indexfile::exit::Exit;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

use indexfile::finding::Code;

/// What a scrub did and found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Mailboxes that were looked through.
    pub mailboxes: u64,
    /// Messages with a record and a file to be expected.
    pub messages: u64,
    /// Of those: how many had a SHA-1 in the record, and were read and compared with it.
    pub compared: u64,
    /// Of those: how many have no SHA-1 in the record (NULL, padded, UUID); only their size was
    /// compared.
    pub old_style: u64,
    /// Records whose file is meant to be gone (bit 30).
    pub unlinked: u64,
    /// What looked wrong at first and was Cyrus at work.
    pub races: u64,
    /// Fresh files beyond `last_uid`: deliveries that were not finished when the scrub ended.
    pub in_delivery: u64,
    /// Bytes read from message files.
    pub bytes: u64,
    /// Findings, in all and by code.
    pub findings: u64,
    /// How many there are of each code.
    pub by_code: BTreeMap<Code, u64>,
    /// The scrub was stopped before its end.
    pub stopped: bool,
    /// How long it took.
    pub seconds: f64,
}

impl Summary {
    /// The exit code: 65 for any damage, else what kept us from looking, else 0.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let not_looked = [Code::NoMailbox, Code::Unreadable, Code::Io];
        if self.by_code.keys().any(|code| !not_looked.contains(code)) {
            return Exit::Data;
        }
        let found = |code: &Code| self.by_code.contains_key(code);
        let reason = not_looked.into_iter().find(found);
        match reason {
            Some(code) => code.exit(),
            None if self.stopped => Exit::RolledBack,
            None => Exit::Ok,
        }
    }
}

/// The running counts, for a progress line and the summary.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Summary>);

impl Counters {
    /// What is counted so far, to be changed.
    pub(super) fn lock(&self) -> MutexGuard<'_, Summary> {
        self.0.lock()
    }

    pub(super) fn found(&self, code: Code) {
        let mut summary = self.lock();
        summary.findings += 1;
        *summary.by_code.entry(code).or_default() += 1;
    }

    /// The summary of what was counted.
    #[must_use]
    pub fn summary(&self, stopped: bool, seconds: f64) -> Summary {
        Summary {
            stopped,
            seconds,
            ..self.lock().clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(codes: &[Code], stopped: bool) -> Exit {
        let counters = Counters::default();
        for code in codes {
            counters.found(*code);
        }
        counters.summary(stopped, 0.0).exit()
    }

    #[test]
    fn damage_decides_the_exit_code_then_what_could_not_be_looked_at() {
        assert_eq!(exit(&[], false), Exit::Ok);
        assert_eq!(
            exit(&[], true),
            Exit::RolledBack,
            "an unfinished scrub is no clean bill"
        );
        assert_eq!(exit(&[Code::Io], false), Exit::Io);
        assert_eq!(exit(&[Code::Io, Code::Unreadable], false), Exit::Denied);
        assert_eq!(
            exit(&[Code::NoMailbox, Code::Unreadable], false),
            Exit::NoMailbox
        );
        assert_eq!(exit(&[Code::NoMailbox, Code::Truncated], false), Exit::Data);
        assert_eq!(exit(&[Code::BitRot], true), Exit::Data);
    }
}
