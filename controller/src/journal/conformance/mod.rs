//! One suite, two arms: what every journal has to promise, run against `SQLite` and memory.

mod changes;
mod rows;

use indexfile::mailbox::MailboxName;

use super::memory::MemoryJournal;
use super::model::{Attempt, Ended, Figures, Filter, Listed, MailboxId, RunId, RunSpec, Verb};
use super::{Journal, SqliteJournal};
use crate::two_phase::{Reason, Side};

/// How a suite gets a journal and crashes it.
trait Arm {
    fn journal(&self) -> &dyn Journal;
    /// What a restart finds after a crash at this point.
    fn crash(&self) -> Self;
}

struct Memory(MemoryJournal);

impl Arm for Memory {
    fn journal(&self) -> &dyn Journal {
        &self.0
    }
    fn crash(&self) -> Self {
        Self(self.0.after_crash())
    }
}

struct Sqlite {
    directory: tempfile::TempDir,
    journal: SqliteJournal,
}

impl Sqlite {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(&directory.path().join("state.db")).unwrap();
        Self { directory, journal }
    }
}

impl Arm for Sqlite {
    fn journal(&self) -> &dyn Journal {
        &self.journal
    }
    /// Takes the files as they are on disk at this moment, as a kill would leave them.
    fn crash(&self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for name in ["state.db", "state.db-wal"] {
            let _ = std::fs::copy(self.directory.path().join(name), copy.path().join(name));
        }
        let journal = SqliteJournal::open(&copy.path().join("state.db")).unwrap();
        Self {
            directory: copy,
            journal,
        }
    }
}

pub(super) fn spec() -> RunSpec {
    RunSpec {
        verb: Verb::Upgrade,
        to: 10,
        undoes: None,
        master: "unix:/m".to_owned(),
        replica: Some("unix:/r".to_owned()),
        master_id: "a".to_owned(),
        replica_id: "b".to_owned(),
        selection: "all".to_owned(),
        words: String::new(),
    }
}

fn listed(name: &str) -> Listed {
    Listed {
        name: MailboxName::parse(name).unwrap(),
        partition: Some("default".to_owned()),
        named: false,
        back: [None; 2],
    }
}

pub(super) fn attempt(ended: Ended, reason: Option<Reason>) -> Attempt {
    Attempt {
        started_ms: 1,
        finished_ms: 2,
        ended,
        reason,
        side: Some(Side::Replica),
        detail: "why".to_owned(),
        figures: Figures {
            messages: 7,
            altered: 6,
            cached: 4,
            hashed: 2,
            lag: 1,
            lock_us: [Some(9), None],
        },
    }
}

pub(super) fn begin(journal: &dyn Journal, names: &[&str]) -> (RunId, Vec<MailboxId>) {
    let run = journal.begin_run(&spec(), 5).unwrap();
    let mailboxes: Vec<_> = names.iter().map(|n| listed(n)).collect();
    assert_eq!(journal.add(run, &mailboxes).unwrap(), names.len() as u64);
    let rows = journal.page(run, Filter::All, MailboxId(0), 1000).unwrap();
    (run, rows.iter().map(|r| r.id).collect())
}

macro_rules! suites {
    ($($module:ident::$test:ident,)*) => {
        mod sqlite {
            use super::*;
            $(#[test]
            fn $test() {
                super::$module::$test(&Sqlite::new());
            })*
        }

        mod memory {
            use super::*;
            $(#[test]
            fn $test() {
                super::$module::$test(&Memory(MemoryJournal::new()));
            })*
        }
    };
}

suites! {
    changes::a_decision_with_its_receipt_survives_a_crash,
    changes::lazy_changes_never_overtake_and_are_never_overtaken,
    changes::a_transaction_is_open_until_it_is_finished,
    changes::only_what_was_rolled_back_or_gone_is_requeued,
    rows::pages_come_in_order_and_show_each_mailbox_once,
    rows::a_name_on_two_partitions_is_two_mailboxes,
    rows::totals_add_up,
    rows::what_a_run_changed_is_told_with_the_versions_before_and_the_later_runs,
    rows::a_rollback_knows_what_it_undoes_and_where_each_mailbox_goes,
    rows::a_run_is_found_again,
}
