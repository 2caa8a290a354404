//! One suite: what every journal has to promise. It runs against `SQLite` and memory, on the only
//! pair of a store and on one pair of a fleet while another one is at work.

mod arms;
mod changes;
mod pairs;
mod rows;

use indexfile::mailbox::MailboxName;

use super::model::{Attempt, Ended, Figures, Filter, Listed, MailboxId};
use super::runs::{RunId, RunSpec, Verb};
use super::{Journal, JournalStore};
use crate::two_phase::{Reason, Side};
use arms::{InFleet, Memory, Only, Sqlite};

/// How a suite gets a store and crashes it.
trait Stores: Sized {
    fn new() -> Self;
    fn store(&self) -> &dyn JournalStore;
    /// What a restart finds after a crash at this point.
    fn crash(&self) -> Self;
}

/// How a suite gets the journal of one pair and crashes it.
trait Arm {
    fn journal(&self) -> &dyn Journal;
    /// What a restart finds after a crash at this point.
    fn crash(&self) -> Self;
    /// A run that may begin on it.
    fn spec(&self) -> RunSpec;
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
        pairs: String::new(),
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

/// Begins a run without a fleet.
pub(super) fn begin_only(journal: &dyn Journal, names: &[&str]) -> (RunId, Vec<MailboxId>) {
    begin_with(journal, &spec(), names)
}

fn begin(arm: &impl Arm, names: &[&str]) -> (RunId, Vec<MailboxId>) {
    begin_with(arm.journal(), &arm.spec(), names)
}

fn begin_with(journal: &dyn Journal, spec: &RunSpec, names: &[&str]) -> (RunId, Vec<MailboxId>) {
    let run = journal.begin_run(spec, 5).unwrap();
    let mailboxes: Vec<_> = names.iter().map(|n| listed(n)).collect();
    assert_eq!(journal.add(run, &mailboxes).unwrap(), names.len() as u64);
    let rows = journal.page(run, Filter::All, MailboxId(0), 1000).unwrap();
    (run, rows.iter().map(|r| r.id).collect())
}

macro_rules! suites {
    ($($module:ident::$test:ident,)*) => {
        suites! { only_sqlite: Only<Sqlite>; $($module::$test,)* }
        suites! { only_memory: Only<Memory>; $($module::$test,)* }
        suites! { in_fleet_sqlite: InFleet<Sqlite>; $($module::$test,)* }
        suites! { in_fleet_memory: InFleet<Memory>; $($module::$test,)* }
    };
    ($arm:ident: $make:ty; $($module:ident::$test:ident,)*) => {
        mod $arm {
            use super::*;
            $(#[test]
            fn $test() {
                super::$module::$test(&<$make>::new());
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

macro_rules! stores {
    ($($test:ident,)*) => {
        suites! { store_sqlite: Sqlite; $(pairs::$test,)* }
        suites! { store_memory: Memory; $(pairs::$test,)* }
    };
}

stores! {
    a_run_over_pairs_has_one_number_and_is_finished_when_all_of_them_are,
    a_run_is_joined_once_by_each_pair_and_only_while_it_is_the_same,
    a_pair_sees_its_own_and_nothing_else,
    a_run_that_is_given_up_is_finished_for_all_its_pairs,
    a_store_has_the_only_pair_or_pairs_with_names,
    a_run_begins_only_on_its_own_pairs,
}
