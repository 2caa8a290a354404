//! One suite: what every journal has to promise. It runs against `SQLite`, memory and (in the
//! workspace's `tests`) `PostgreSQL`, on the only pair of a store and on one pair of a fleet while
//! another one is at work.

mod arms;
mod changes;
mod pairs;
mod rows;
#[cfg(test)]
mod tests;

use indexfile::mailbox::MailboxName;

use super::model::{Attempt, Candidate, Ended, Figures, Filter, MailboxId};
use super::runs::{RunId, RunSpec, Verb};
use super::{Journal, JournalStore};
use crate::two_phase::{Reason, Side};
use arms::{InFleet, Only};

/// How the suite gets an empty store and crashes it.
pub trait Stores: Sized {
    /// An empty one.
    fn new() -> Self;
    /// It.
    fn store(&self) -> &dyn JournalStore;
    /// What a restart finds after a crash at this point.
    #[must_use]
    fn crash(&self) -> Self;
}

/// How a suite gets the journal of one pair and crashes it.
trait Arm: Sized {
    fn new() -> Self;
    fn journal(&self) -> &dyn Journal;
    /// What a restart finds after a crash at this point.
    fn crash(&self) -> Self;
    /// A run that may begin on it.
    fn spec(&self) -> RunSpec;
}

/// A promise: of what, its name, and what panics if it is broken.
pub type Promise = (&'static str, &'static str, fn());

/// The whole suite for a kind of store.
#[must_use]
pub fn suite<S: Stores>() -> Vec<Promise> {
    [
        of_store::<S>(),
        of_pair::<Only<S>>("the only pair"),
        of_pair::<InFleet<S>>("a pair of a fleet"),
    ]
    .concat()
}

/// What a run is begun with.
#[must_use]
pub fn spec() -> RunSpec {
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

fn listed(name: &str) -> Candidate {
    Candidate {
        name: MailboxName::parse(name).unwrap(),
        partition: Some("default".to_owned()),
        named: false,
        back: [None; 2],
        uniqueids: [None, None],
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
#[cfg(test)]
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

fn of_pair<A: Arm>(kind: &'static str) -> Vec<Promise> {
    macro_rules! promises {
        ($($module:ident::$promise:ident,)*) => {
            vec![$((kind, stringify!($promise), || $module::$promise(&A::new())),)*]
        };
    }
    promises![
        changes::a_decision_with_its_receipt_survives_a_crash,
        changes::lazy_changes_never_overtake_and_are_never_overtaken,
        changes::a_transaction_is_open_until_it_is_finished,
        changes::only_what_was_rolled_back_or_gone_is_requeued,
        rows::pages_come_in_order_and_show_each_mailbox_once,
        rows::a_name_on_two_partitions_is_two_mailboxes,
        rows::totals_add_up,
        rows::what_a_run_changed_is_told_with_the_versions_before_and_the_later_runs,
        rows::a_rollback_knows_what_it_undoes_and_where_each_mailbox_goes,
        rows::what_was_changed_under_a_name_that_another_mailbox_has_now_is_told_apart,
        rows::a_run_is_found_again,
        rows::what_was_rehearsed_is_counted_and_is_no_change,
    ]
}

fn of_store<S: Stores>() -> Vec<Promise> {
    macro_rules! promises {
        ($($promise:ident,)*) => {
            vec![$(("a store", stringify!($promise), || pairs::$promise(&S::new())),)*]
        };
    }
    promises![
        a_run_over_pairs_has_one_number_and_is_finished_when_all_of_them_are,
        a_run_is_joined_once_by_each_pair_and_only_while_it_is_the_same,
        a_pair_sees_its_own_and_nothing_else,
        a_pair_that_is_paused_stays_so_until_it_is_resumed,
        how_many_at_once_the_last_start_found_is_kept_with_the_run_by_pair,
        a_rehearsal_and_other_runs_do_not_know_of_each_other,
        a_run_that_is_given_up_is_finished_for_all_its_pairs,
        a_run_that_gets_another_mailbox_on_a_pair_is_open_again_there,
        what_a_murders_list_disagrees_on_is_kept_with_the_run_as_last_seen,
        a_store_has_the_only_pair_or_pairs_with_names,
        a_run_begins_only_on_its_own_pairs,
    ]
}

/// Tries every promise.
///
/// # Panics
/// One is broken: all that are have been named.
pub fn hold<S: Stores>() {
    let broken = suite::<S>()
        .into_iter()
        .filter_map(|(kind, name, promise)| {
            let kept = std::panic::catch_unwind(promise).is_ok();
            (!kept).then(|| format!("{kind}: {name}"))
        });
    let broken: Vec<String> = broken.collect();
    assert!(broken.is_empty(), "broken: {broken:#?}");
}
