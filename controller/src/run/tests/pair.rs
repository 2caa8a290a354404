//! A journal belongs to the two stores of its pair, and a decision to one mailbox, whatever it is
//! called.

use std::sync::Arc;
use std::time::Duration;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::Code;

use super::fake::{Net, What, id_of, lock};
use super::world::{NAMES, World, names, spec_of};
use crate::error::RunError;
use crate::hosts::Registration;
use crate::journal::{Candidate, Change, Journal, RunId, State, Verb};
use crate::run::{Retry, recover, retry, rollback, run};
use crate::survey::Source;

/// A world in which an earlier controller decided to upgrade user.a and died before the first
/// COMMIT.
async fn decided(uniqueids: [Option<String>; 2]) -> World {
    let world = World::new();
    let mut spec = spec_of(&world);
    (spec.master_id, spec.replica_id) = ("host-master".to_owned(), "host-replica".to_owned());
    let run = world.journal.begin_run(&spec, 0).unwrap();
    let name = MailboxName::parse("user.a").unwrap();
    world
        .journal
        .add(run, &[Candidate::new(name, true)])
        .unwrap();
    let mailbox = world.row("user.a").id;
    world.submit(Change::Identify { mailbox, uniqueids }).await;
    let before = [Some(9), Some(9)];
    world.submit(Change::Decide { mailbox, before }).await;
    world
}

fn known() -> [Option<String>; 2] {
    [Some(id_of("user.a")), Some(id_of("user.a"))]
}

fn swap(world: &World) {
    lock(&world.hosts[0]).id = Some("host-replica".to_owned());
    lock(&world.hosts[1]).id = Some("host-master".to_owned());
}

fn rename(world: &World, side: usize, from: &str, to: &str) {
    let mut host = lock(&world.hosts[side]);
    let mut mailbox = host.mailboxes.remove(from).unwrap();
    mailbox.uniqueid.get_or_insert_with(|| id_of(from));
    host.mailboxes.insert(to.to_owned(), mailbox);
}

/// Nothing was locked, and the decision is as open as before.
fn assert_untouched(world: &World, error: &RunError) {
    assert_eq!(error.exit(), Exit::Config, "{error}");
    for host in &world.hosts {
        assert!(!lock(host).log.iter().any(|l| l.starts_with("LOCK")));
    }
    assert_eq!(world.row("user.a").state, State::Decided);
}

#[tokio::test]
async fn another_pair_s_hosts_prove_nothing_and_are_refused() {
    let world = decided(known()).await;
    for host in &world.hosts {
        lock(host).mailboxes.clear();
    }
    lock(&world.hosts[0]).id = Some("another".to_owned());
    let error = recover(world.parts()).await.unwrap_err();
    assert!(
        error.to_string().contains("belongs to other stores"),
        "{error}"
    );
    assert_untouched(&world, &error);
}

#[tokio::test]
async fn every_verb_compares_the_hosts_before_it_settles_anything() {
    let world = decided(known()).await;
    swap(&world);
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_untouched(&world, &error);
    let control = world.control(1);
    let error = retry(world.parts(), &Retry::All, &control)
        .await
        .unwrap_err();
    assert_untouched(&world, &error);
    let mut parts = world.parts();
    parts.settings.verb = Verb::Rollback;
    parts.settings.undoes = Some(RunId(1));
    let error = rollback(parts, &[], &control).await.unwrap_err();
    assert!(error.to_string().contains("changed places"), "{error}");
    assert_untouched(&world, &error);
}

#[tokio::test]
async fn recover_finds_its_hosts_by_their_stores() {
    let world = decided(known()).await;
    // The master knows it under another name by now, so that the sides can be told apart.
    swap(&world);
    rename(&world, 1, "user.a", "user.z");
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    assert_eq!(lock(&world.hosts[0]).mailboxes["user.a"].version, 10);
    assert_eq!(lock(&world.hosts[1]).mailboxes["user.z"].version, 10);
}

#[tokio::test]
async fn one_store_at_both_addresses_is_told_as_such() {
    let world = World::new();
    lock(&world.hosts[1]).id = Some("host-master".to_owned());
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    assert!(error.to_string().contains("the same store"), "{error}");
}

#[tokio::test]
async fn a_mailbox_that_its_owner_renamed_after_the_decision_is_brought_forward_where_it_is() {
    let world = decided(known()).await;
    rename(&world, 0, "user.a", "user.moved");
    // And one of its old name was made since: it is another mailbox.
    rename(&world, 0, "user.b", "user.a");
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    let master = lock(&world.hosts[0]);
    assert_eq!(master.mailboxes["user.moved"].version, 10);
    assert_eq!(
        master.mailboxes["user.a"].version, 9,
        "it was not decided upon"
    );
    assert_eq!(lock(&world.hosts[1]).mailboxes["user.a"].version, 10);
    assert_eq!(
        (master.locked(), world.row("user.a").state),
        (0, State::Upgraded)
    );
}

#[tokio::test]
async fn a_decision_whose_mailbox_cannot_be_looked_for_stays_open() {
    let world = decided([None, None]).await;
    rename(&world, 0, "user.a", "user.moved");
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (0, 1));
    let row = world.row("user.a");
    assert_eq!((row.state, row.in_doubt), (State::Decided, true));
    assert!(
        row.detail.contains("may have been renamed"),
        "{}",
        row.detail
    );
    assert!(
        lock(&world.hosts[1]).mailboxes["user.a"].version == 9,
        "nor is the other side"
    );
}

#[tokio::test]
async fn a_mailbox_that_no_host_has_by_name_or_unique_id_is_gone() {
    let world = decided(known()).await;
    for host in &world.hosts {
        lock(host).mailboxes.remove("user.a");
    }
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    let asked = lock(&world.hosts[0]).log.clone();
    assert!(
        asked.iter().any(|l| l.starts_with("FIND uniqueid=")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn the_unique_ids_are_durable_with_the_decision() {
    let world = World::new();
    world.fault(0, "COMMIT", "user.a", 9, What::GoDown);
    let summary = world.run(&[names(&["user.a"])]).await;
    assert_eq!(summary.exit(), Exit::InDoubt);
    let after = world.journal.after_crash();
    let open = after
        .open_transactions(crate::journal::MailboxId(0), 9)
        .unwrap();
    assert_eq!(open[0].row.uniqueids, known());
}

#[tokio::test]
async fn a_host_that_works_for_another_coordinator_is_left_alone_and_it_is_named() {
    let world = World::new();
    world.fault(1, "REGISTER", "*", 9, What::Refuse(Code::Busy));
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unavailable);
    for host in &world.hosts {
        assert!(!lock(host).log.iter().any(|l| l.starts_with("LOCK")));
    }
    assert_eq!(world.versions(NAMES[0]), [9, 9]);
}

#[tokio::test]
async fn an_address_that_leads_to_another_store_in_the_middle_of_a_run_is_not_believed() {
    let world = World::new();
    // It goes down at the COMMIT, and another host has its address when it is back.
    world.fault(1, "COMMIT", "user.a", 1, What::CloseBefore);
    let other = Arc::clone(&world.hosts[1]);
    let task = tokio::spawn(async move {
        while !lock(&other).log.iter().any(|l| l.starts_with("COMMIT")) {
            tokio::time::sleep(std::time::Duration::from_micros(50)).await;
        }
        let mut host = lock(&other);
        host.id = Some("another".to_owned());
        host.mailboxes.clear();
    });
    let summary = world.run(&[names(&["user.a"])]).await;
    task.await.unwrap();
    assert_eq!((summary.in_doubt, summary.exit()), (1, Exit::InDoubt));
    assert_eq!(world.row("user.a").state, State::Decided);
}

#[tokio::test]
async fn an_open_transaction_with_a_replica_is_not_settled_without_it() {
    let world = decided(known()).await;
    let mut parts = world.parts();
    parts.connect = Arc::new(Net {
        hosts: [Some(Arc::clone(&world.hosts[0])), None],
    });
    let error = recover(parts).await.unwrap_err();
    assert!(error.to_string().contains("give --replica"), "{error}");
    assert_untouched(&world, &error);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_waits_for_hours_says_that_it_is_there() {
    let world = World::new();
    let parts = world.parts();
    let journal = parts.journal.as_ref();
    let observer = parts.observer.as_ref();
    let bound = Registration::engage(&parts.connect, journal, observer);
    let bound = bound.await.unwrap();
    let said = |side: usize| {
        let host = lock(&world.hosts[side]);
        host.log.iter().filter(|l| l.starts_with("HELLO")).count()
    };
    let before = [said(0), said(1)];
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let during = [said(0) - before[0], said(1) - before[1]];
    // A slotd takes one that is silent for an hour for gone.
    assert!(during.iter().all(|n| *n >= 3), "{during:?}");
    bound.leave(journal).await;
    drop(bound);
    let before = [said(0), said(1)];
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!([said(0), said(1)], before, "it has left");
}
