//! A rehearsal finds out what a run would come to, and is none.

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::Code;

use super::fake::{What, lock};
use super::world::{NAMES, Witness, World, names};
use crate::error::RunError;
use crate::journal::{Change, Journal, RunId, State, Verb};
use crate::run::{Retry, Summary, retry, run};
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;
use crate::two_phase::Reason;

/// A world whose next run is a rehearsal.
fn rehearsing() -> World {
    let mut world = World::new();
    world.settings.verb = Verb::Rehearse;
    world
}

/// Whether a host was ever sent a command that begins with this.
fn was_sent(world: &World, word: &str) -> bool {
    world.hosts.iter().any(|host| {
        let host = lock(host);
        host.log.iter().any(|line| line.starts_with(word))
    })
}

#[tokio::test]
async fn every_mailbox_is_staged_on_both_hosts_and_rolled_back_and_its_locks_are_measured() {
    let world = rehearsing();
    let summary = world.run(&[Source::Master]).await;
    let found = (summary.mailboxes, summary.rehearsed, summary.upgraded);
    assert_eq!((found, summary.exit()), ((5, 5, 0), Exit::Ok));
    assert!((summary.lock_ms.max - 1.5).abs() < 1e-9, "{summary:?}");
    for name in NAMES {
        assert_eq!(world.versions(name), [9, 9], "{name}");
        assert_eq!(world.row(name).state, State::Rehearsed);
        assert_eq!(world.row(name).figures.altered, 6, "of both hosts: {name}");
    }
    assert!(was_sent(&world, "UPGRADE 10") && was_sent(&world, "ROLLBACK"));
    assert!(!was_sent(&world, "COMMIT"));
    let text = summary.totals.sentence(Verb::Rehearse);
    assert!(
        text.starts_with("5 mailboxes: 5 rehearsed, 0 unchanged, 0 would fail"),
        "{text}"
    );
}

#[tokio::test]
async fn what_would_fail_is_named_with_its_reason_and_left_for_no_retry() {
    let world = rehearsing();
    world.fault(1, "UPGRADE", "user.b", 9, What::Refuse(Code::Damaged));
    let summary = world.run(&[Source::Master]).await;
    let found = (summary.rehearsed, summary.rolled_back, summary.exit());
    assert_eq!(found, (4, 1, Exit::RolledBack));
    assert_eq!(world.row("user.b").reason, Some(Reason::Damaged));
    let mut parts = world.parts();
    parts.settings.verb = Verb::Upgrade;
    let again = retry(parts, &Retry::All, &world.control(2)).await;
    assert!(matches!(again, Err(RunError::Nothing(_))), "{again:?}");
}

/// A run that ends once one mailbox is done.
async fn stopped_after_one(world: &mut World) -> Summary {
    let (handle, stop) = stop_pair();
    world.witness = std::sync::Arc::new(Witness {
        stop_after: Some((1, handle, Stop::Finish)),
        ..Witness::default()
    });
    let stopped = run(world.parts_with(stop), &[Source::Master])
        .await
        .unwrap();
    world.witness = std::sync::Arc::default();
    stopped
}

#[tokio::test]
async fn a_run_that_was_stopped_goes_on_after_a_rehearsal() {
    let mut world = World::new();
    let stopped = stopped_after_one(&mut world).await;
    assert!(stopped.pending > 0 && stopped.upgraded > 0, "{stopped:?}");
    world.settings.verb = Verb::Rehearse;
    let rehearsed = world.run(&[Source::Master]).await;
    assert_eq!((rehearsed.run, rehearsed.unchanged), (2, stopped.upgraded));
    assert_eq!(rehearsed.rehearsed, stopped.pending);
    world.settings.verb = Verb::Upgrade;
    let done = world.run(&[Source::Master]).await;
    assert_eq!((done.run, done.upgraded, done.exit()), (1, 5, Exit::Ok));
    // The same rehearsal again is another one.
    world.settings.verb = Verb::Rehearse;
    let again = world.run(&[Source::Master]).await;
    assert_eq!((again.run, again.unchanged), (3, 5));
}

#[tokio::test]
async fn a_rehearsal_that_was_stopped_goes_on_by_the_same_command() {
    let mut world = rehearsing();
    let stopped = stopped_after_one(&mut world).await;
    assert!(stopped.pending > 0, "{stopped:?}");
    let done = world.run(&[Source::Master]).await;
    assert_eq!((done.run, done.rehearsed, done.exit()), (1, 5, Exit::Ok));
}

#[tokio::test]
async fn nothing_is_settled_by_a_rehearsal_and_nothing_rehearsed_while_something_is_open() {
    let mut world = World::new();
    world.run(&[names(&["user.a"])]).await;
    let name = MailboxName::parse("user.a").unwrap();
    let mailbox = world.journal.find(RunId(1), &name).unwrap().unwrap().id;
    let before = [Some(9), Some(9)];
    world.submit(Change::Decide { mailbox, before }).await;
    for host in &world.hosts {
        lock(host).log.clear();
    }
    world.settings.verb = Verb::Rehearse;
    let refused = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(refused.exit(), Exit::Config);
    let text = refused.to_string();
    assert!(
        text.contains("user.a is decided") && text.contains("recover"),
        "{text}"
    );
    assert!(!was_sent(&world, "LOCK") && !was_sent(&world, "COMMIT"));
    assert_eq!(world.row("user.a").state, State::Decided);
}
