//! Nothing is done on a partition that is left out, whatever the journal has to do there.

use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::Code;

use super::fake::{What, lock};
use super::world::{Witness, World};
use crate::control::Parallel;
use crate::error::RunError;
use crate::journal::State;
use crate::run::{Retry, retry, run};
use crate::stop::{Stop, stop_pair};
use crate::survey::{Keep, LeaveOut, Source};
use crate::two_phase::Reason;

fn archive() -> LeaveOut {
    LeaveOut::new(&["Archive".to_owned()])
}

/// A world in which `user.b` is on another partition, and a list that says so.
fn world() -> (World, tempfile::NamedTempFile, Source) {
    let world = World::new();
    for host in &world.hosts {
        lock(host).partitions.insert("user.b", "archive");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "user.a\t0 default\t\nuser.b\t0 archive\t\n").unwrap();
    let source = Source::Listed(file.path().to_owned());
    (world, file, source)
}

#[tokio::test]
async fn a_row_of_the_journal_on_such_a_partition_is_not_begun_and_the_run_is_not_finished() {
    let (mut world, _file, source) = world();
    world.settings.leave_out = archive();
    let summary = world.run(&[source]).await;
    assert_eq!((summary.upgraded, summary.pending), (1, 1));
    assert_eq!(summary.exit(), Exit::RolledBack);
    assert_eq!(world.versions("user.b"), [9, 9]);
    let warned = world.witness.warned.lock().unwrap().join("\n");
    assert!(
        warned.contains("1 mailbox(es) of the run are on"),
        "{warned}"
    );
}

#[tokio::test]
async fn neither_retry_nor_rollback_touches_it_and_both_say_so() {
    let (mut world, _file, source) = world();
    world.settings.passes = 1;
    world.fault(0, "LOCK", "user.b", 1, What::Refuse(Code::Locked));
    assert_eq!(
        world.run(std::slice::from_ref(&source)).await.rolled_back,
        1
    );
    world.settings.leave_out = archive();
    let names = vec![MailboxName::parse("user.b").unwrap()];
    for what in [Retry::MayPass, Retry::All, Retry::Names(names)] {
        let again = retry(world.parts(), &what, &world.control(2)).await;
        let again = again.unwrap();
        assert_eq!((again.rolled_back, again.exit()), (1, Exit::RolledBack));
        assert_eq!(world.row("user.b").state, State::RolledBack);
    }
    world.settings.leave_out = LeaveOut::default();
    let all = retry(world.parts(), &Retry::All, &world.control(2)).await;
    assert_eq!(all.unwrap().upgraded, 2);
    world.settings.leave_out = archive();
    let back = world.roll_back(None, &[]).await.unwrap();
    assert_eq!((back.left_alone, back.exit()), (1, Exit::RolledBack));
    assert_eq!(world.versions("user.a"), [9, 9]);
    assert_eq!(world.versions("user.b"), [10, 10]);
}

#[tokio::test]
async fn a_mailbox_is_not_followed_to_such_a_partition() {
    let (mut world, file, source) = world();
    world.settings.leave_out = archive();
    world.settings.passes = 1;
    std::fs::write(file.path(), "user.b\t0 default\t\n").unwrap();
    let summary = world.run(&[source.without(&archive())]).await;
    assert_eq!(summary.rolled_back, 1);
    assert_eq!(world.row("user.b").reason, Some(Reason::Elsewhere));
    assert_eq!(world.versions("user.b"), [9, 9]);
}

#[tokio::test]
async fn a_run_that_left_out_others_is_another_run() {
    let (mut world, _file, source) = world();
    world.settings.limits.parallel = Parallel::Fixed(1);
    let (handle, stop) = stop_pair();
    world.witness = Arc::new(Witness {
        stop_after: Some((1, handle, Stop::Finish)),
        ..Witness::default()
    });
    let parts = world.parts_with(stop);
    let stopped = run(parts, std::slice::from_ref(&source)).await.unwrap();
    assert_eq!((stopped.upgraded, stopped.pending), (1, 1));
    world.settings.leave_out = archive();
    let other = run(world.parts(), &[source.clone().without(&archive())]).await;
    let error = other.unwrap_err();
    assert!(matches!(error, RunError::Other(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("leave-out in the fleet file was empty then"),
        "{text}"
    );
    assert_eq!(world.row("user.b").state, State::Pending);
    world.settings.leave_out = LeaveOut::default();
    assert_eq!(world.run(&[source]).await.upgraded, 2);
}

#[test]
fn canaries_are_taken_of_what_is_not_left_out() {
    let canaries = Source::Kept(Keep::Canary(1), Box::new(Source::Master));
    let without = Box::new(Source::Kept(
        Keep::NotOn(archive()),
        Box::new(Source::Master),
    ));
    let wanted = Source::Kept(Keep::Canary(1), without);
    assert_eq!(canaries.without(&archive()), wanted);
    assert_eq!(wanted.left_out(), Some(&archive()));
}
