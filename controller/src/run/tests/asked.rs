//! A run is what it was asked for: its verb, its target and its mailboxes.

use std::path::PathBuf;
use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;

use super::fake::lock;
use super::world::{NAMES, Witness, World, names};
use crate::control::Parallel;
use crate::error::RunError;
use crate::journal::{Change, Journal, RunId, State, Verb};
use crate::run::{Retry, Summary, retry, rollback, run};
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;
use crate::two_phase::Reason;

/// Begins a run and stops it after one mailbox.
async fn stopped(world: &mut World, sources: &[Source]) -> Summary {
    let (handle, stop) = stop_pair();
    world.settings.limits.parallel = Parallel::Fixed(1);
    world.witness = Arc::new(Witness {
        stop_after: Some((1, handle, Stop::Finish)),
        ..Witness::default()
    });
    let summary = run(world.parts_with(stop), sources).await.unwrap();
    assert_eq!(summary.upgraded, 1, "{summary:?}");
    world.witness = Arc::default();
    summary
}

fn list(directory: &tempfile::TempDir, name: &str, text: &str) -> (PathBuf, Source) {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    (path.clone(), Source::File(path))
}

fn done(world: &World) -> usize {
    let host = lock(&world.hosts[0]);
    host.mailboxes.values().filter(|m| m.version == 10).count()
}

async fn refused(world: &World, sources: &[Source]) -> String {
    let error = run(world.parts(), sources).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Config, "{error}");
    let RunError::Other(other) = error else {
        panic!("{error}")
    };
    other.sentence("--master m --state s")
}

#[tokio::test]
async fn a_run_that_was_stopped_and_another_selection_is_refused_with_the_two_commands() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new();
    stopped(&mut world, &[Source::Master]).await;
    let (path, of_list) = list(&directory, "list", "user.b\n");
    for sources in [
        vec![names(&["user.b"])],
        vec![of_list.clone()],
        vec![Source::On("default".to_owned(), Box::new(Source::Master))],
    ] {
        let text = refused(&world, &sources).await;
        let go_on = "\n  controller upgrade --to 10 --master m --state s\n";
        assert!(
            text.contains(go_on) && text.ends_with("--abandon-run 1"),
            "{text}"
        );
        assert!(text.contains("every mailbox") && text.contains("4 mailbox(es) left"));
    }
    // Another verb and another target are another run as well.
    world.settings.verb = Verb::Downgrade;
    world.settings.to = 9;
    refused(&world, &[Source::Master]).await;
    assert_eq!(done(&world), 1);
    assert_eq!(world.journal.last_run().unwrap().unwrap().id, RunId(1));
    world.settings.verb = Verb::Upgrade;
    world.settings.to = 10;
    assert_eq!(world.run(&[Source::Master]).await.upgraded, 5);

    // A run of a list goes on without the list, which need not be there any more.
    let mut world = World::new();
    let (_, two) = list(&directory, "two", "user.a\nuser.b\n");
    stopped(&mut world, &[two]).await;
    let text = refused(&world, &[of_list, names(&["ex.com!user.c"])]).await;
    assert!(
        text.contains("\n  controller retry --master m --state s\n"),
        "{text}"
    );
    std::fs::remove_file(path).unwrap();
    let control = world.control(2);
    let summary = retry(world.parts(), &Retry::MayPass, &control)
        .await
        .unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (2, Exit::Ok));
}

#[tokio::test]
async fn a_list_is_known_again_by_what_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let dump = "# the first\nuser.a\t0 default a\tlrs\t\nuser.b\t0 default b\tlrs\t\n";
    let (_, first) = list(&directory, "first", dump);
    let begun = stopped(&mut world, &[first]).await;
    let (_, other) = list(&directory, "other", "user.a\t0 default a\tl\t\n");
    refused(&world, &[other]).await;
    // In another order, with another ACL, one line twice, and in another file.
    let again = "user.b\t0 default b\tl\t\nuser.a\t0 default a\tl\t\nuser.b\t0 default b\tl\t\n";
    let (_, again) = list(&directory, "again", again);
    let summary = world.run(&[again]).await;
    assert_eq!(
        (summary.run, summary.mailboxes, summary.upgraded),
        (begun.run, 2, 2)
    );
    // Once a run is over, the names given are the next run.
    let summary = world.run(&[names(&["ex.com!user.c"])]).await;
    assert_eq!((summary.run, summary.mailboxes), (begun.run + 1, 1));
}

#[tokio::test]
async fn a_run_is_given_up_only_by_its_number_and_what_it_decided_is_settled_all_the_same() {
    let mut world = World::new();
    stopped(&mut world, &[Source::Master]).await;
    let mailbox = world.row("user.b").id;
    let before = [Some(9), Some(9)];
    world.submit(Change::Decide { mailbox, before }).await;
    for (number, exit) in [(7, Exit::Config), (2, Exit::Config)] {
        world.settings.abandon = Some(RunId(number));
        let error = run(world.parts(), &[names(&["ex.com!user.c"])]).await;
        assert_eq!(error.unwrap_err().exit(), exit, "{number}");
    }
    world.settings.abandon = Some(RunId(1));
    let one = [names(&["ex.com!user.c"])];
    let summary = world.run(&one).await;
    assert_eq!(
        (
            summary.run,
            summary.mailboxes,
            summary.recovered,
            summary.exit()
        ),
        (2, 1, 1, Exit::Ok)
    );
    // The mailbox of the new run, the one decided, and the one that was done before.
    assert_eq!(world.versions("user.b"), [10, 10]);
    assert_eq!(world.versions("ex.com!user.c"), [10, 10]);
    assert!(world.is_finished(1));
    let said = world.witness.said.lock().unwrap().join("\n");
    assert!(
        said.contains("run 1 is given up; 3 of its mailboxes are not done"),
        "{said}"
    );
    // The same command again finds nothing left to give up.
    assert_eq!(world.run(&one).await.run, 3);
}

#[tokio::test]
async fn mailboxes_of_a_run_that_was_stopped_are_taken_back_by_name_once_it_is_given_up() {
    let mut world = World::new();
    stopped(&mut world, &[Source::Master]).await;
    world.settings.verb = Verb::Rollback;
    world.settings.to = 0;
    world.settings.undoes = Some(RunId(1));
    let control = world.control(1);
    let names: Vec<MailboxName> = NAMES
        .iter()
        .map(|n| MailboxName::parse(n).unwrap())
        .collect();
    let error = rollback(world.parts(), &names, &control).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    assert_eq!(done(&world), 1);
    world.settings.abandon = Some(RunId(1));
    let summary = rollback(world.parts(), &names, &control).await.unwrap();
    assert_eq!((summary.upgraded, done(&world)), (1, 0));
}

#[tokio::test]
async fn nothing_to_do_is_an_error_and_no_run_is_made_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new();
    world.run(&[names(&["user.a"])]).await;
    let empty = list(&directory, "empty", "").1;
    let comments = list(&directory, "comments", "# none yet\n\n").1;
    let remote = "user.x\t1 be2!p1 x\tl\t\nuser.y\t3 be2!p1 y\tl\t\n";
    let remote = list(&directory, "remote", remote).1;
    let on = |source| Source::On("nowhere".to_owned(), Box::new(source));
    for (source, says) in [
        (empty, "empty has no mailbox"),
        (comments, "comments has no mailbox"),
        (remote, "every entry was skipped (2 remote)"),
        (
            on(Source::Master),
            "the master has no mailbox on partition nowhere",
        ),
    ] {
        let error = run(world.parts(), &[source]).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Data, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    lock(&world.hosts[0]).mailboxes.clear();
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Data, "{error}");
    assert!(error.to_string().contains("everything mounted?"), "{error}");
    // The last real run is still the last one.
    let last = world.journal.last_run().unwrap().unwrap();
    assert_eq!((last.id, last.finished_ms.is_some()), (RunId(1), true));
}

#[tokio::test]
async fn a_name_on_two_partitions_is_told_twice_and_touched_on_neither() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new();
    lock(&world.hosts[0]).partitions.insert("user.b", "two");
    let dump = "user.a\t0 default a\tl\t\nuser.a\t0 two a\tl\t\nuser.b\t0 two b\tl\t\n";
    let (_, both) = list(&directory, "both", dump);
    let summary = world.run(std::slice::from_ref(&both)).await;
    assert_eq!(
        (
            summary.mailboxes,
            summary.upgraded,
            summary.rolled_back,
            summary.exit()
        ),
        (3, 1, 2, Exit::RolledBack)
    );
    let name = MailboxName::parse("user.a").unwrap();
    let rows = world.journal.find_all(RunId(1), &name).unwrap();
    for (row, partition) in rows.iter().zip(["default", "two"]) {
        assert_eq!(row.partition.as_deref(), Some(partition));
        assert_eq!(
            (row.state, row.reason),
            (State::RolledBack, Some(Reason::TwoPlaces))
        );
        assert!(row.detail.contains("default and two"), "{}", row.detail);
    }
    assert_eq!(world.versions("user.a"), [9, 9]);
    assert!(!lock(&world.hosts[0]).was_asked("LOCK", "user.a"));
    // The host has the last word on what was listed twice: it is asked for the name alone.
    let control = world.control(1);
    let all = retry(world.parts(), &Retry::All, &control).await.unwrap();
    assert_eq!(all.rolled_back, 0);
    let log = lock(&world.hosts[0]).log.join("\n");
    assert!(log.contains("LOCK user.a wait_ms"), "{log}");
    // Of what the operator names, that one and no other.
    let world = World::new();
    for name in ["user.a", "user.b"] {
        lock(&world.hosts[0]).partitions.insert(name, "two");
    }
    let on = Source::On("two".to_owned(), Box::new(both));
    let summary = world.run(&[on]).await;
    assert_eq!((summary.mailboxes, summary.upgraded), (2, 2));
    let log = lock(&world.hosts[0]).log.join("\n");
    assert!(log.contains("LOCK user.a partition=two"), "{log}");
    assert!(
        NAMES
            .iter()
            .filter(|n| world.versions(n) == [10, 10])
            .count()
            == 2
    );
}
