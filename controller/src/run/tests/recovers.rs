//! What `recover` says of what it did, and who steers it.

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::Code;

use super::fake::{What, lock};
use super::world::{NAMES, World, names, spec_of};
use crate::control::Parallel;
use crate::journal::{Candidate, Change, Journal, MailboxId, State};
use crate::run::{recover, recover_controlled};

/// An earlier controller decided on these.
async fn decided(world: &World, names: &[&str]) {
    let run = world.journal.begin_run(&spec_of(world), 0).unwrap();
    let name = |name: &&str| Candidate::new(MailboxName::parse(name).unwrap(), true);
    let listed: Vec<Candidate> = names.iter().map(name).collect();
    world.journal.add(run, &listed).unwrap();
    for name in names {
        let mailbox = world.row(name).id;
        let before = [Some(9), Some(9)];
        world.submit(Change::Decide { mailbox, before }).await;
    }
}

/// The replica is committed, and a message of the master is not there any more.
async fn cannot_go_forward() -> World {
    let world = World::new();
    decided(&world, &["user.b"]).await;
    let replica = &world.hosts[1];
    lock(replica).mailboxes.get_mut("user.b").unwrap().version = 10;
    world.fault(0, "UPGRADE", "user.b", 99, What::Refuse(Code::NoMessage));
    world
}

#[tokio::test]
async fn what_recover_takes_back_is_named_with_the_reason_and_ends_with_75() {
    let world = cannot_go_forward().await;
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!(world.versions("user.b"), [9, 9]);
    assert_eq!(world.row("user.b").state, State::RolledBack);
    let counts = (recovered.settled, recovered.rolled_back);
    assert_eq!((counts, recovered.exit()), ((1, 1), Exit::RolledBack));
    let text = recovered.to_string();
    assert_eq!(
        text,
        "1 transaction(s) settled (1 of them rolled back), 0 in doubt"
    );
    let warned = world.witness.warned.lock().unwrap().join("\n");
    assert!(
        warned.starts_with("user.b was decided by run 1"),
        "{warned}"
    );
    assert!(warned.contains("as set"), "{warned}");
}

#[tokio::test]
async fn a_run_that_takes_back_what_another_one_decided_does_not_end_with_0() {
    let mut world = cannot_go_forward().await;
    world.settings.abandon = Some(world.journal.last_run().unwrap().unwrap().id);
    let summary = world.run(&[names(&["user.a"])]).await;
    assert_eq!((summary.upgraded, summary.taken_back), (1, 1));
    assert_eq!(summary.exit(), Exit::RolledBack);
}

#[tokio::test]
async fn recover_obeys_the_controls_that_it_is_given() {
    for at_once in [1, 3] {
        let mut world = World::new();
        world.settings.limits.parallel = Parallel::Fixed(3);
        decided(&world, &NAMES[..3]).await;
        lock(&world.hosts[0]).work = std::time::Duration::from_millis(5);
        let control = world.control(at_once);
        let recovered = recover_controlled(world.parts(), &control).await.unwrap();
        assert_eq!(recovered.settled, 3);
        let most = lock(&world.hosts[0]).most_locked;
        assert_eq!(most, at_once);
        let open = world.journal.open_transactions(MailboxId(0), 9).unwrap();
        assert_eq!(open.len(), 0);
    }
}
