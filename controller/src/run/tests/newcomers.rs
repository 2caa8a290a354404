//! What comes to a pair while a run works elsewhere.

use std::sync::Arc;

use indexfile::mailbox::MailboxName;

use super::fake::lock;
use super::world::{Witness, World};
use crate::control::Parallel;
use crate::error::RunError;
use crate::journal::{Candidate, Journal, RunId, State};
use crate::run::{Summary, run, take_in};
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;
use crate::two_phase::Reason;

/// What hosts listed, in a file.
fn listed(names: &[&str]) -> (tempfile::NamedTempFile, Source) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines = names.iter().map(|name| format!("{name}\t0 default\t\n"));
    std::fs::write(file.path(), lines.collect::<String>()).unwrap();
    let source = Source::Listed(file.path().to_owned());
    (file, source)
}

fn candidate(name: &str) -> Candidate {
    Candidate {
        partition: Some("default".to_owned()),
        ..Candidate::new(MailboxName::parse(name).unwrap(), false)
    }
}

async fn came(world: &World, names: &[&str]) -> Result<Summary, RunError> {
    let newcomers: Vec<Candidate> = names.iter().map(|name| candidate(name)).collect();
    take_in(world.parts(), RunId(1), &newcomers, &world.control(2)).await
}

#[tokio::test]
async fn what_hosts_listed_and_is_gone_by_its_turn_is_no_failure() {
    let world = World::new();
    let (_file, source) = listed(&["user.a", "user.gone", "user.b"]);
    let summary = world.run(&[source]).await;
    assert_eq!(
        (summary.upgraded, summary.gone, summary.rolled_back),
        (2, 1, 0)
    );
    assert_eq!(summary.exit(), indexfile::exit::Exit::Ok);
}

#[tokio::test]
async fn a_stopped_run_of_what_hosts_listed_is_gone_on_with_though_they_list_another_one_now() {
    let mut world = World::new();
    world.settings.limits.parallel = Parallel::Fixed(1);
    let (handle, stop) = stop_pair();
    world.witness = Arc::new(Witness {
        stop_after: Some((1, handle, Stop::Finish)),
        ..Witness::default()
    });
    let (_file, source) = listed(&["user.a", "user.b"]);
    let stopped = run(world.parts_with(stop), &[source]).await.unwrap();
    assert_eq!((stopped.upgraded, stopped.pending), (1, 1));
    world.witness = Arc::default();
    let (_file, source) = listed(&["user.a", "user.b", "user.b.&AOk-"]);
    let again = world.run(&[source]).await;
    assert_eq!((again.run, again.mailboxes), (1, 2), "{again:?}");
}

#[tokio::test]
async fn what_came_to_a_pair_is_done_in_the_run_that_it_had_finished() {
    let world = World::new();
    let (_file, source) = listed(&["user.a", "user.a.Sent Items"]);
    assert_eq!(world.run(&[source]).await.upgraded, 2);
    let finished = || world.journal.last_run().unwrap().unwrap().finished_ms;
    assert!(finished().is_some());
    let summary = came(&world, &["user.b", "user.a"]).await.unwrap();
    assert_eq!(
        (summary.run, summary.upgraded, summary.mailboxes),
        (1, 3, 3)
    );
    assert_eq!(world.versions("user.b"), [10, 10]);
    assert!(finished().is_some());
    // It is not chased: what is gone from here too is known as gone.
    let summary = came(&world, &["user.nobody"]).await.unwrap();
    assert_eq!((summary.gone, summary.pending), (1, 0));
    assert_eq!(world.row("user.nobody").state, State::Gone);
    assert_eq!(world.row("user.nobody").reason, Some(Reason::NoMailbox));
}

#[tokio::test]
async fn what_came_is_pending_in_an_open_run_after_a_crash_and_the_same_command_goes_on() {
    let world = World::new();
    let (_file, source) = listed(&["user.a"]);
    world.run(&[source]).await;
    world.journal.add(RunId(1), &[candidate("user.b")]).unwrap();
    let (_file, source) = listed(&["user.a"]);
    let summary = world.run(&[source]).await;
    assert_eq!((summary.run, summary.upgraded), (1, 2));
}

#[tokio::test]
async fn a_run_that_is_not_the_last_takes_nothing_in() {
    let world = World::new();
    world.run(&[Source::Master]).await;
    world.run(&[Source::Master]).await;
    let error = came(&world, &["user.b"]).await.unwrap_err();
    assert!(matches!(error, RunError::Nothing(_)), "{error}");
    assert!(!lock(&world.hosts[0]).was_asked("LOCK", "user.nobody"));
}
