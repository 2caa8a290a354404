//! What is done to a mailbox is the run's: whatever takes it up does the same on both hosts,
//! whatever it was itself started with.

use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::Code;

use super::fake::{Net, What, lock};
use super::world::{World, names, spec_of};
use crate::journal::{Candidate, Change, Journal, RunSpec, Verb};
use crate::run::{Retry, recover, retry, run};
use crate::survey::Source;

const DOWN: Verb = Verb::Downgrade;

/// All is at version 10, and is to be at 9.
fn going_down() -> World {
    let mut world = World::new();
    (world.settings.verb, world.settings.to) = (DOWN, 9);
    for host in &world.hosts {
        for mailbox in lock(host).mailboxes.values_mut() {
            mailbox.version = 10;
        }
    }
    world
}

/// Of the words, how often a host was sent a command with it.
fn asked(world: &World, side: usize, command: &str, word: &str) -> usize {
    let host = lock(&world.hosts[side]);
    let is = |l: &&String| l.starts_with(command) && l.split(' ').any(|w| w == word);
    host.log.iter().filter(is).count()
}

/// An earlier controller decided on user.b and committed its replica.
async fn half_done(world: &World, selection: &str) {
    let spec = RunSpec {
        selection: selection.to_owned(),
        ..spec_of(world)
    };
    let run = world.journal.begin_run(&spec, 0).unwrap();
    let name = MailboxName::parse("user.b").unwrap();
    let listed = [Candidate::new(name, true)];
    world.journal.add(run, &listed).unwrap();
    let mailbox = world.row("user.b").id;
    let before = [Some(10), Some(10)];
    world.submit(Change::Decide { mailbox, before }).await;
    let mut replica = lock(&world.hosts[1]);
    replica.mailboxes.get_mut("user.b").unwrap().version = 9;
}

#[tokio::test]
async fn recover_cuts_where_the_run_did_and_not_where_it_did_not() {
    for (selection, own) in [("1 0123 --uuids cut", false), ("1 0123", true)] {
        let mut world = going_down();
        half_done(&world, selection).await;
        // Recover has an option of that name too, as all commands do.
        world.settings.cut = own;
        let recovered = recover(world.parts()).await.unwrap();
        assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
        let cut = asked(&world, 0, "UPGRADE", "uuids=cut");
        assert_eq!(cut, usize::from(!own), "{selection}");
        assert_eq!(world.versions("user.b"), [9, 9]);
    }
}

#[tokio::test]
async fn a_start_that_settles_another_run_does_what_that_one_did() {
    let mut world = going_down();
    half_done(&world, "1 0123 --uuids cut").await;
    world.settings.abandon = Some(world.journal.last_run().unwrap().unwrap().id);
    let summary = world.run(&[names(&["user.a"])]).await;
    assert_eq!((summary.recovered, summary.exit()), (1, Exit::Ok));
    let log = lock(&world.hosts[0]).log.join("\n");
    assert_eq!(log.matches("uuids=cut").count(), 1, "{log}");
}

#[tokio::test]
async fn retry_does_what_the_run_does() {
    let mut world = going_down();
    (world.settings.cut, world.settings.drop_old) = (true, true);
    world.fault(1, "LOCK", "user.b", 3, What::Refuse(Code::Locked));
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.rolled_back, summary.exit()), (1, Exit::RolledBack));
    (world.settings.cut, world.settings.drop_old) = (false, false);
    for host in &world.hosts {
        lock(host).log.clear();
    }
    let control = world.control(1);
    let again = retry(world.parts(), &Retry::MayPass, &control).await;
    assert_eq!(again.unwrap().exit(), Exit::Ok);
    assert_eq!(world.versions("user.b"), [9, 9]);
    for side in [0, 1] {
        assert_eq!(asked(&world, side, "UPGRADE", "uuids=cut"), 1);
    }
    let log = lock(&world.hosts[1]).log.join("\n");
    assert!(log.contains("drop_old=1"), "{log}");
}

/// What could not be brought forward on the master comes back on the replica as it was.
#[tokio::test]
async fn nothing_is_cut_on_the_way_back_of_a_transaction() {
    let mut world = World::new();
    (world.settings.to, world.settings.cut) = (9, true);
    for host in &world.hosts {
        lock(host).mailboxes.get_mut("user.a").unwrap().version = 8;
    }
    world.fault(0, "COMMIT", "user.a", 9, What::Refuse(Code::Damaged));
    world.fault(1, "COMMIT", "user.a", 1, What::CloseAfter);
    world.fault(0, "UPGRADE", "user.a", 9, What::Refuse(Code::Damaged));
    lock(&world.hosts[0]).faults[1].after = 1;
    let summary = world.run(&[names(&["user.a"])]).await;
    assert_eq!(world.versions("user.a"), [8, 8], "{summary:?}");
    assert_eq!(asked(&world, 1, "UPGRADE", "8"), 1);
    let log = lock(&world.hosts[1]).log.join("\n");
    let back = log.lines().find(|l| l.starts_with("UPGRADE 8")).unwrap();
    assert!(back.contains("uuids=old"), "{back}");
}

#[tokio::test]
async fn retry_works_on_as_many_hosts_as_the_run() {
    let world = World::new();
    world.fault(1, "LOCK", "user.b", 3, What::Refuse(Code::Locked));
    world.run(&[Source::Master]).await;
    let mut parts = world.parts();
    parts.connect = Arc::new(Net {
        hosts: [Some(Arc::clone(&world.hosts[0])), None],
    });
    let control = world.control(1);
    let refused = retry(parts, &Retry::All, &control).await.unwrap_err();
    assert_eq!(refused.exit(), Exit::Config);
    assert!(refused.to_string().contains("give --replica"), "{refused}");
    assert_eq!(world.versions("user.b"), [9, 9]);
}

#[tokio::test]
async fn a_run_on_the_master_alone_is_not_begun_in_the_journal_of_a_pair() {
    let world = World::new();
    world.run(&[names(&["user.a"])]).await;
    let mut parts = world.parts();
    parts.connect = Arc::new(Net {
        hosts: [Some(Arc::clone(&world.hosts[0])), None],
    });
    let refused = run(parts, &[Source::Master]).await.unwrap_err();
    assert_eq!(refused.exit(), Exit::Config);
    let text = refused.to_string();
    assert!(
        text.contains("whose replica is host-replica: give --replica (it was replica)"),
        "{text}"
    );
    assert_eq!(world.versions("user.b"), [9, 9]);
    assert_eq!(world.journal.last_run().unwrap().unwrap().id.0, 1);
}

#[tokio::test]
async fn without_old_files_it_is_another_run() {
    let mut world = World::new();
    world.journal.begin_run(&spec_of(&world), 0).unwrap();
    world.settings.drop_old = true;
    let refused = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(refused.exit(), Exit::Config, "{refused}");
}
