//! What a run promises, from list to summary.

use std::sync::Arc;

use indexfile::exit::Exit;
use slotd::protocol::{Odd, OddKind};

use std::time::Duration;

use super::fake::{Net, What, lock};
use super::world::{NAMES, World, names};
use crate::control::Parallel;
use crate::journal::Journal;
use crate::run::run;
use crate::survey::Source;
use crate::two_phase::Reason;

#[tokio::test]
async fn every_mailbox_of_the_master_is_upgraded_on_both_hosts() {
    let world = World::new();
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.mailboxes, summary.upgraded, summary.exit()),
        (5, 5, Exit::Ok)
    );
    assert_eq!(
        (summary.messages, summary.hashed, summary.cached),
        (15, 20, 10)
    );
    assert!((summary.lock_ms.max - 1.5).abs() < 1e-9);
    for name in NAMES {
        assert_eq!(world.versions(name), [10, 10], "{name}");
    }
    // The partition that LIST named goes to the master and not to the replica.
    assert!(
        lock(&world.hosts[0])
            .log
            .iter()
            .any(|l| l.starts_with("LOCK user.a%20") || l.contains("partition=default"))
    );
    assert!(
        !lock(&world.hosts[1])
            .log
            .iter()
            .any(|l| l.contains("partition="))
    );
    // Again: nothing to do, and nothing is decided.
    let again = world.run(&[Source::Master]).await;
    assert_eq!(
        (again.unchanged, again.upgraded, again.run),
        (5, 0, summary.run + 1)
    );
}

#[tokio::test]
async fn what_the_master_does_not_list_is_told_and_the_run_ends_with_65_after_the_others() {
    let world = World::new();
    lock(&world.hosts[0]).odd = (0..30)
        .map(|n| Odd {
            kind: OddKind::Symlink,
            path: format!("/var/spool/imap/user/link{n}").into(),
        })
        .collect();
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Data));
    let sentence = summary.left_out.sentence().unwrap();
    assert!(
        sentence.contains("/user/link2 is") && sentence.ends_with("; 27 more"),
        "{sentence}"
    );
    assert_eq!((summary.odd.count, summary.odd.first.len()), (30, 20));
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["odd"]["count"], 30);
    assert_eq!(json["left_out"]["count"], 30);
    let said = world.witness.said.lock().unwrap();
    let at = said.iter().position(|l| {
        l == "WARNING: 30 place(s) on the master may be mailboxes and are NOT worked on:"
    });
    let lines = &said[at.unwrap() + 1..][..21];
    assert_eq!(
        lines[0],
        "  /var/spool/imap/user/link0 is a symbolic link, and what is behind it is not listed"
    );
    assert_eq!(lines[20], "  and 10 more");
}

#[tokio::test]
async fn the_replica_commits_first_and_is_held_until_the_master_has() {
    let world = World::new();
    world.run(&[names(&["user.a"])]).await;
    let verbs = |i: usize| -> Vec<String> {
        let host = lock(&world.hosts[i]);
        host.log
            .iter()
            .map(|l| l.split(' ').next().unwrap_or("").to_owned())
            .collect()
    };
    // One connection is registered for the whole run, and each of the others.
    let begins = [
        "HELLO",
        "REGISTER",
        "REGISTER",
        // The look before a run.
        "HELLO",
        "REGISTER",
        "PREFLIGHT",
        "STATUS",
        "REGISTER",
        "PREPARE",
        "LOCK",
        "UPGRADE",
        "CONFIRM",
        "COMMIT",
    ];
    assert_eq!(verbs(0), [&begins[..], &["LEAVE"]].concat());
    assert_eq!(verbs(1), [&begins[..], &["RELEASE", "LEAVE"]].concat());
    // Whether new files are written ahead is left to slotd, which knows how large the mailbox is.
    let first = |line: &&String| line.starts_with("PREPARE");
    let prepare = lock(&world.hosts[0]).log.iter().find(first).cloned();
    assert!(prepare.is_some_and(|line| line.ends_with(" write=auto")));
    assert!(lock(&world.hosts[1]).log.iter().any(|l| l == "COMMIT hold"));
    assert!(lock(&world.hosts[0]).log.iter().any(|l| l == "COMMIT"));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_waits_for_a_slow_one_is_kept_alive_and_both_are_asked_before_the_decision() {
    let world = World::new();
    lock(&world.hosts[0]).lease = Some(Duration::from_millis(200));
    lock(&world.hosts[1]).work = Duration::from_millis(900);
    let summary = world.run(&[names(&["user.a"])]).await;
    assert_eq!((summary.upgraded, summary.rolled_back), (1, 0));
    let host = lock(&world.hosts[0]);
    let count = |verb: &str| host.log.iter().filter(|l| l.starts_with(verb)).count();
    // Had its transaction ended, it would have been locked again, for a decision that it did not
    // hold.
    assert_eq!((count("LOCK"), count("COMMIT")), (1, 1));
    assert!(count("CONFIRM") > 5, "{:?}", host.log);
}

#[tokio::test]
async fn an_unknown_name_is_an_error_and_the_others_go_on() {
    let world = World::new();
    let summary = world.run(&[names(&["user.a", "user.nobody"])]).await;
    assert_eq!(
        (summary.upgraded, summary.unknown, summary.exit()),
        (1, 1, Exit::NoMailbox)
    );
    assert_eq!(world.versions("user.a"), [10, 10]);
    // On the replica alone it is a failure of that mailbox.
    lock(&world.hosts[1]).mailboxes.remove("user.b");
    let summary = world.run(&[names(&["user.b"])]).await;
    assert_eq!(
        (summary.rolled_back, summary.unknown, summary.exit()),
        (1, 0, Exit::RolledBack)
    );
    assert_eq!(lock(&world.hosts[0]).mailboxes["user.b"].version, 9);
}

#[tokio::test]
async fn no_slotd_is_said_before_anything_is_touched() {
    let world = World::new();
    lock(&world.hosts[1]).down = true;
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unavailable);
    assert!(error.to_string().starts_with("replica: "), "{error}");
    assert!(world.journal.last_run().unwrap().is_none());
}

#[tokio::test]
async fn a_differing_message_stops_its_mailbox_and_lag_does_not() {
    let world = World::new();
    lock(&world.hosts[1])
        .mailboxes
        .get_mut("user.a")
        .unwrap()
        .messages[1]
        .1 = 99;
    lock(&world.hosts[1])
        .mailboxes
        .get_mut("user.b")
        .unwrap()
        .messages
        .pop();
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.upgraded, summary.rolled_back, summary.lag),
        (4, 1, 1)
    );
    let row = world.row("user.a");
    assert_eq!((row.reason, row.side), (Some(Reason::Differs), None));
    assert!(row.detail.contains("UID 2 is 02"), "{}", row.detail);
    assert_eq!(world.versions("user.a"), [9, 9]);
}

#[tokio::test]
async fn master_and_replica_that_changed_places_are_refused() {
    let world = World::new();
    world.run(&[names(&["user.a"])]).await;
    // The same two hosts, the other way round: their ids go with the side in this imitation, so
    // the journal is told of a run in which they were swapped.
    let mut spec = world.journal.last_run().unwrap().unwrap().spec;
    (spec.master_id, spec.replica_id) = ("host-replica".to_owned(), "host-master".to_owned());
    world.journal.begin_run(&spec, 0).unwrap();
    let error = run(world.parts(), &[names(&["user.a"])]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    assert!(error.to_string().contains("changed places"), "{error}");
}

#[tokio::test]
async fn one_host_alone_is_upgraded_without_a_replica() {
    let world = World::new();
    let mut parts = world.parts();
    parts.connect = Arc::new(Net {
        hosts: [Some(Arc::clone(&world.hosts[0])), None],
    });
    let summary = run(parts, &[Source::Master]).await.unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
    assert_eq!(world.versions("user.a"), [10, 9]);
    assert!(lock(&world.hosts[1]).log.is_empty());
}

#[tokio::test]
async fn an_idle_connection_that_ended_is_made_again_at_once() {
    let mut world = World::new();
    world.settings.limits.parallel = Parallel::Fixed(1);
    world.settings.passes = 1;
    // The slotd restarts between two mailboxes: the second LOCK finds the connection closed.
    world.fault(1, "LOCK", "user.a.Sent Items", 1, What::CloseBefore);
    let summary = world
        .run(&[names(&["user.a", "user.a.Sent Items", "user.b"])])
        .await;
    assert_eq!((summary.upgraded, summary.exit()), (3, Exit::Ok));
}
