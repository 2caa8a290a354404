//! What `rollback` promises.

use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::Code;

use super::fake::{What, lock};
use super::world::{NAMES, Witness, World, names};
use crate::error::RunError;
use crate::journal::{Change, Journal, RunId, Verb};
use crate::run::{
    Parts, Summary, Undone, names_of_runs, recover, rollback, rollback_each, run_to_undo,
    runs_since, standing_before,
};
use crate::stop::{Stop, StopSignal, stop_pair};
use crate::survey::Source;
use crate::two_phase::{Reason, Side};

fn parse(names: &[&str]) -> Vec<MailboxName> {
    let name = |n: &&str| MailboxName::parse(n).unwrap();
    names.iter().map(name).collect()
}

impl World {
    fn set_version(&self, name: &str, versions: [u32; 2]) {
        for (host, version) in self.hosts.iter().zip(versions) {
            lock(host).mailboxes.get_mut(name).unwrap().version = version;
        }
    }

    fn to_undo(&self, run: Option<i64>) -> Parts {
        let undone = run_to_undo(self.journal.as_ref(), run).unwrap();
        let mut parts = self.parts();
        parts.settings.verb = Verb::Rollback;
        parts.settings.to = 0;
        parts.settings.undoes = Some(undone.id);
        parts
    }

    pub(super) async fn roll_back(
        &self,
        run: Option<i64>,
        names: &[&str],
    ) -> Result<Summary, RunError> {
        let control = self.control(2);
        rollback(self.to_undo(run), &parse(names), &control).await
    }

    pub(super) async fn roll_back_all(&self, names: &[&str]) -> Result<Summary, RunError> {
        let control = self.control(2);
        let mut parts = self.parts();
        parts.settings.verb = Verb::Rollback;
        parts.settings.to = 0;
        parts.settings.undoes = None;
        rollback(parts, &parse(names), &control).await
    }

    pub(super) fn said(&self) -> String {
        self.witness.said.lock().unwrap().join("\n")
    }
}

#[tokio::test]
async fn each_mailbox_comes_back_to_the_version_it_had_and_what_was_not_changed_is_left() {
    let world = World::new();
    world.set_version("user.a", [8, 8]);
    world.set_version("user.b", [9, 10]);
    world.set_version("ex.com!user.c", [10, 9]);
    world.set_version("user.b.&AOk-", [10, 10]);
    assert_eq!(world.run(&[Source::Master]).await.upgraded, 4);
    lock(&world.hosts[0]).log.clear();
    let summary = world.roll_back(None, &[]).await.unwrap();
    // The two of which one host alone was changed are not made different.
    assert_eq!(
        (summary.mailboxes, summary.upgraded, summary.rolled_back),
        (4, 2, 2)
    );
    assert_eq!((summary.left_alone, summary.exit()), (0, Exit::RolledBack));
    let row = world.row("user.b");
    assert_eq!(
        (row.reason, row.side),
        (Some(Reason::OneSided), Some(Side::Master))
    );
    assert!(row.detail.contains("the replica has version 10"), "{row:?}");
    for (name, versions) in [
        ("user.a", [8, 8]),
        ("user.b", [10, 10]),
        ("ex.com!user.c", [10, 10]),
        ("user.a.Sent Items", [9, 9]),
        ("user.b.&AOk-", [10, 10]),
    ] {
        assert_eq!(world.versions(name), versions, "{name}");
    }
    let asked = lock(&world.hosts[0]).log.join("\n");
    assert!(!asked.contains("AOk"), "{asked}");
    // The run undone is as it was in the journal, and the rollback is the last.
    let last = world.journal.last_run().unwrap().unwrap();
    assert_eq!(
        (last.spec.verb, last.spec.undoes),
        (Verb::Rollback, Some(RunId(1)))
    );
    assert!(last.finished_ms.is_some());
    assert_eq!(world.journal.totals(RunId(1)).unwrap().upgraded, 4);
}

#[tokio::test]
async fn what_a_later_run_changed_again_is_told_and_left() {
    let mut world = World::new();
    world.run(&[Source::Master]).await;
    world.settings.verb = Verb::Downgrade;
    world.settings.to = 8;
    world.run(&[names(&["user.a"])]).await;
    let summary = world.roll_back(Some(1), &[]).await.unwrap();
    assert_eq!(
        (summary.upgraded, summary.left_alone, summary.exit()),
        (4, 1, Exit::RolledBack)
    );
    assert_eq!(world.versions("user.a"), [8, 8]);
    assert_eq!(world.versions("user.b"), [9, 9]);
    assert!(
        world
            .said()
            .contains("user.a: left as it is: run 2 changed it again")
    );
    // A second time there is nothing left to bring back, and `last` is still no rollback.
    let again = world.roll_back(Some(1), &[]).await.unwrap();
    assert_eq!((again.run, again.mailboxes, again.left_alone), (0, 0, 1));
    assert!(world.said().contains("nothing is left to bring back"));
    assert_eq!(
        run_to_undo(world.journal.as_ref(), None).unwrap().id,
        RunId(2)
    );
}

#[tokio::test]
async fn names_restrict_it_unknown_ones_are_an_error_and_unchanged_ones_are_told() {
    let world = World::new();
    world.set_version("user.b", [10, 10]);
    world.run(&[Source::Master]).await;
    let unknown = world.roll_back(None, &["user.nobody", "user.a"]).await;
    assert_eq!(unknown.unwrap_err().exit(), Exit::NoMailbox);
    assert_eq!(world.versions("user.a"), [10, 10]);
    let summary = world.roll_back(None, &["user.a", "user.b"]).await.unwrap();
    assert_eq!(
        (summary.mailboxes, summary.upgraded, summary.left_alone),
        (1, 1, 0)
    );
    assert!(
        world
            .said()
            .contains("user.b: left as it is: run 1 did not change it")
    );
    assert_eq!(world.versions("user.a"), [9, 9]);
    assert_eq!(world.versions("user.a.Sent Items"), [10, 10]);
}

#[tokio::test]
async fn different_versions_before_are_not_brought_back_in_one_transaction() {
    let world = World::new();
    world.set_version("user.a", [9, 8]);
    world.run(&[Source::Master]).await;
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.left_alone), (4, 1));
    assert_eq!(world.versions("user.a"), [10, 10]);
    assert!(
        world
            .said()
            .contains("version 9 on the master and 8 on the replica")
    );
}

#[tokio::test]
async fn a_rollback_that_was_stopped_goes_on_with_the_same_command() {
    let mut world = World::new();
    world.run(&[Source::Master]).await;
    let (handle, stop) = stop_pair();
    world.witness = Arc::new(Witness {
        stop_after: Some((2, handle, Stop::Finish)),
        ..Witness::default()
    });
    let mut parts = world.to_undo(None);
    parts.stop = stop;
    let control = world.control(1);
    let stopped = rollback(parts, &[], &control).await.unwrap();
    assert!(
        stopped.pending > 0 && stopped.exit() == Exit::RolledBack,
        "{stopped:?}"
    );
    world.witness = Arc::default();
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!(
        (summary.run, summary.upgraded, summary.left_alone),
        (stopped.run, 5, 0)
    );
    assert!(NAMES.iter().all(|name| world.versions(name) == [9, 9]));
}

#[tokio::test]
async fn an_open_transaction_of_a_rollback_is_settled_at_its_own_version() {
    let world = World::new();
    world.set_version("user.a", [8, 8]);
    world.run(&[Source::Master]).await;
    // The decision is durable, and then nobody hears of the replica's COMMIT again.
    world.fault(1, "COMMIT", "user.a", 99, What::CloseBefore);
    let summary = world.roll_back(None, &["user.a"]).await.unwrap();
    assert_eq!(summary.exit(), Exit::InDoubt);
    lock(&world.hosts[1]).faults.clear();
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    assert_eq!(world.versions("user.a"), [8, 8]);
}

#[tokio::test]
async fn a_mailbox_rewritten_at_version_10_gets_its_old_identifiers_from_dot_old() {
    let world = World::new();
    world.run(&[names(&["user.a"])]).await;
    let mailbox = world.row("user.a").id;
    let before = [Some(10), Some(10)];
    world.submit(Change::Decide { mailbox, before }).await;
    let attempt = crate::journal::Attempt {
        started_ms: 1,
        finished_ms: 2,
        ended: crate::journal::Ended::Upgraded,
        reason: None,
        side: None,
        detail: String::new(),
        figures: crate::journal::Figures::default(),
    };
    world.submit(Change::Finish { mailbox, attempt }).await;
    for host in &world.hosts {
        lock(host).log.clear();
    }
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.rolled_back, summary.exit()), (0, Exit::Ok));
    for host in &world.hosts {
        let log = lock(host).log.clone();
        let asked = |l: &String| l.starts_with("UPGRADE 10 uuids=old run=");
        assert!(log.iter().any(asked), "{log:?}");
    }
}

#[tokio::test]
async fn what_one_host_alone_was_changed_of_goes_back_where_that_makes_both_alike() {
    let world = World::new();
    world.set_version("user.a", [9, 10]);
    world.run(&[names(&["user.a"])]).await;
    // Somebody has brought the replica down since.
    world.set_version("user.a", [10, 9]);
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (1, Exit::Ok));
    assert_eq!(world.versions("user.a"), [9, 9]);
    for host in &world.hosts {
        assert!(lock(host).was_asked("LOCK", "user.a"));
    }
}

#[tokio::test]
async fn the_decision_of_a_one_sided_way_back_is_carried_out_on_that_side_alone() {
    let world = World::new();
    world.set_version("user.a", [9, 10]);
    world.run(&[names(&["user.a"])]).await;
    world.set_version("user.a", [10, 9]);
    world.fault(0, "COMMIT", "user.a", 99, What::CloseBefore);
    let summary = world.roll_back(None, &[]).await.unwrap();
    assert_eq!(summary.exit(), Exit::InDoubt);
    lock(&world.hosts[0]).faults.clear();
    // The other host goes on its way: what is decided is none of its business.
    world.set_version("user.a", [10, 10]);
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    assert_eq!(world.versions("user.a"), [9, 10]);
}

#[tokio::test]
async fn runs_are_taken_back_one_after_the_other_from_the_last_to_the_first() {
    let mut world = World::new();
    world.run(&[Source::Master]).await;
    world.settings.verb = Verb::Downgrade;
    world.settings.to = 8;
    world.run(&[names(&["user.a", "user.b"])]).await;
    let last = world.roll_back(Some(2), &[]).await.unwrap();
    assert_eq!((last.upgraded, last.exit()), (2, Exit::Ok));
    assert_eq!(world.versions("user.a"), [10, 10]);
    // A downgrade is taken back by SHA-1s, not by the identifiers that an upgrade replaced.
    let log = lock(&world.hosts[0]).log.join("\n");
    assert!(!log.contains("UPGRADE 10 uuids=old"), "{log}");
    let first = world.roll_back(Some(1), &[]).await.unwrap();
    assert_eq!(
        (first.upgraded, first.left_alone, first.exit()),
        (5, 0, Exit::Ok)
    );
    assert!(NAMES.iter().all(|name| world.versions(name) == [9, 9]));
}

#[tokio::test]
async fn all_runs_are_taken_back_at_once_to_what_was_before_the_first() {
    let mut world = World::new();
    world.set_version("user.a", [8, 8]);
    world.run(&[names(&["user.a"])]).await;
    world.run(&[Source::Master]).await;
    world.settings.verb = Verb::Downgrade;
    world.settings.to = 9;
    world.run(&[names(&["user.a", "user.b"])]).await;
    world.settings.verb = Verb::Upgrade;
    world.settings.to = 10;
    world.run(&[names(&["user.a", "user.b"])]).await;
    let summary = world.roll_back_all(&[]).await.unwrap();
    assert_eq!(
        (summary.mailboxes, summary.upgraded, summary.left_alone),
        (5, 5, 0)
    );
    for name in NAMES {
        let was = if name == "user.a" { [8, 8] } else { [9, 9] };
        assert_eq!(world.versions(name), was, "{name}");
    }
    assert_eq!(summary.exit(), Exit::Ok);
    // And then there is nothing any more, whichever run is meant.
    let again = world.roll_back_all(&[]).await.unwrap();
    assert_eq!(
        (again.run, again.left_alone, again.exit()),
        (0, 0, Exit::Ok)
    );
    let again = world.roll_back(Some(1), &[]).await.unwrap();
    assert_eq!(
        (again.run, again.left_alone, again.exit()),
        (0, 0, Exit::Ok)
    );
    let unknown = world.roll_back_all(&["user.nobody"]).await;
    assert_eq!(unknown.unwrap_err().exit(), Exit::NoMailbox);
}

/// Run 1 has all mailboxes and run 2 one; then both are undone, the last first, until `stop`.
async fn undo_two_runs(world: &World, stop: StopSignal) -> Result<(Undone, usize), RunError> {
    let journal = world.journal.as_ref();
    let undos = names_of_runs(journal, &runs_since(journal, 0)?, &[])?;
    let mut parts = world.to_undo(None);
    parts.stop = stop;
    let control = world.control(1);
    let mut between = 0;
    let undone = rollback_each(parts, undos, &control, |_| between += 1).await?;
    Ok((undone, between))
}

async fn two_runs() -> World {
    let mut world = World::new();
    world.run(&[Source::Master]).await;
    world.settings.verb = Verb::Downgrade;
    world.settings.to = 8;
    world.run(&[names(&["user.a"])]).await;
    world
}

#[tokio::test]
async fn a_stop_after_one_of_several_rollbacks_begins_no_other() {
    let mut world = two_runs().await;
    let (handle, stop) = stop_pair();
    // It comes when run 2 is taken back whole.
    world.witness = Arc::new(Witness {
        stop_after: Some((1, handle, Stop::Finish)),
        ..Witness::default()
    });
    let (undone, between) = undo_two_runs(&world, stop).await.unwrap();
    assert_eq!(world.versions("user.a"), [10, 10]);
    let next = undone.next.as_ref().and_then(|next| next.run);
    assert_eq!((undone.undo.run, next), (Some(RunId(2)), Some(RunId(1))));
    assert_eq!((between, undone.exit()), (0, Exit::RolledBack));
    assert_eq!(world.versions("user.b"), [10, 10], "run 1 stands");
    // The same command goes on with what is left.
    world.witness = Arc::default();
    let (undone, between) = undo_two_runs(&world, stop_pair().1).await.unwrap();
    assert_eq!((between, undone.exit()), (1, Exit::Ok));
    assert!(NAMES.iter().all(|name| world.versions(name) == [9, 9]));
}

#[tokio::test]
async fn a_rollback_that_is_stopped_before_it_has_searched_is_not_one_with_nothing_to_do() {
    let world = two_runs().await;
    let (handle, stop) = stop_pair();
    handle.stop(Stop::Finish);
    let stopped = undo_two_runs(&world, stop).await;
    assert_eq!(stopped.unwrap_err().exit(), Exit::RolledBack);
    assert!(
        !world.said().contains("nothing is left"),
        "{}",
        world.said()
    );
    assert_eq!(world.journal.last_run().unwrap().unwrap().id, RunId(2));
}

#[tokio::test]
async fn a_rollback_that_leaves_something_is_followed_by_no_other() {
    let world = two_runs().await;
    world.fault(1, "UPGRADE", "user.a", 99, What::Refuse(Code::Damaged));
    let (undone, between) = undo_two_runs(&world, stop_pair().1).await.unwrap();
    assert_eq!((undone.undo.run, between), (Some(RunId(2)), 0));
    assert_eq!(undone.exit(), Exit::RolledBack);
    assert_eq!(world.versions("user.b"), [10, 10], "run 1 stands");
}

#[tokio::test]
async fn runs_of_which_something_stands_are_counted() {
    let world = two_runs().await;
    let count = |run| standing_before(world.journal.as_ref(), RunId(run)).unwrap();
    assert_eq!((count(1), count(2), count(3)), (0, 1, 2));
    world.roll_back(Some(2), &[]).await.unwrap();
    assert_eq!(count(4), 1);
    world.roll_back(Some(1), &[]).await.unwrap();
    assert_eq!(count(5), 0);
}
