//! What surrounds a change-over: prepared again and again, refused days before, and called complete
//! only where everything is proven.

use indexfile::exit::Exit;
use slotd::protocol::Code;

use super::fake::{Fault, Mailbox, What, lock};
use super::over_world::{asked, completed, prepared, proven, world};
use super::world::{World, names};
use crate::cutover::{Work, verify};
use crate::journal::Journal;
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;

#[tokio::test]
async fn what_is_prepared_once_is_unchanged_the_next_time_and_nothing_is_locked() {
    let world = world();
    for host in &world.hosts {
        // 2.3 serves.
        lock(host).fence = Some("a server runs");
    }
    let (first, failed) = prepared(&world, vec![Source::Master]).await;
    assert_eq!(failed, [""; 0]);
    assert_eq!(
        (
            first.mailboxes,
            first.prepared,
            first.unchanged,
            first.refused,
            first.exit()
        ),
        (5, 5, 0, 0, Exit::Ok)
    );
    lock(&world.hosts[1])
        .mailboxes
        .get_mut("user.a")
        .unwrap()
        .over
        .prepared = false;
    let (second, _) = prepared(&world, vec![Source::Master]).await;
    assert_eq!((second.prepared, second.unchanged), (1, 4));
    assert_eq!((asked(&world, "LOCK"), asked(&world, "UPGRADE")), (0, 0));
    assert!(world.journal.last_run().unwrap().is_none());
}

#[tokio::test]
async fn what_cannot_be_changed_over_is_refused_days_before_with_what_comes_first() {
    let world = world();
    {
        let mut replica = lock(&world.hosts[1]);
        replica.mailboxes.get_mut("user.a").unwrap().over.old = 2;
        let twin = replica.mailboxes["user.b"].clone();
        replica.mailboxes.insert("user.zz".to_owned(), twin);
        replica.mailboxes.get_mut("user.b").unwrap().over.expunge = Some(9);
        let mut master = lock(&world.hosts[0]);
        master.mailboxes.get_mut("ex.com!user.c").unwrap().version = 9;
        master.mailboxes.get_mut("user.b.&AOk-").unwrap().uniqueid =
            Some("id of user.b".to_owned());
    }
    let (found, failed) = prepared(&world, vec![Source::Master]).await;
    assert_eq!(
        (found.mailboxes, found.refused, found.exit()),
        (6, 5, Exit::RolledBack)
    );
    let says = [
        "ex.com!user.c: master: it has version 9: `controller upgrade` it to 10 first",
        "user.a: replica: 2 of its records have old-style GUIDs",
        "user.zz: master: no mailbox user.zz (no_mailbox)",
    ];
    for text in says {
        assert!(
            failed.iter().any(|line| line.starts_with(text)),
            "{text}: {failed:?}"
        );
    }
    assert!(
        failed.iter().any(|l| l.contains("cyrus.expunge version 9")),
        "{failed:?}"
    );
    assert!(
        failed
            .iter()
            .any(|l| l.contains("it has the unique id of user.b")),
        "{failed:?}"
    );
}

#[tokio::test]
async fn an_empty_store_is_never_prepared_or_complete() {
    let world = world();
    for host in &world.hosts {
        lock(host).mailboxes.clear();
    }
    let error = proven(&world, vec![Source::Master]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Data, "{error}");
    assert_eq!(completed(&world), [None, None]);
}

#[tokio::test]
async fn nothing_is_complete_while_a_single_mailbox_is_not_proven() {
    type Harm = fn(&World);
    fn of<'a>(world: &'a World, side: usize, harm: impl Fn(&mut Mailbox) + 'a) {
        harm(
            lock(&world.hosts[side])
                .mailboxes
                .get_mut("user.b")
                .unwrap(),
        );
    }
    let harms: [(&str, Harm); 9] = [
        ("it has version 10, not 16", |w| {
            of(w, 0, |m| m.version = 10);
        }),
        ("there is a cyrus.expunge", |w| {
            of(w, 1, |m| m.over.expunge = Some(10));
        }),
        ("cyrus.index:record-crc", |w| {
            of(w, 0, |m| {
                m.over.findings = vec!["cyrus.index:record-crc".to_owned()];
            });
        }),
        ("other messages, GUIDs", |w| {
            of(w, 1, |m| m.messages[0].1 = 99);
        }),
        ("flags, seen state or dates", |w| {
            of(w, 1, |m| m.over.flags = 5);
        }),
        ("2 records have old-style GUIDs", |w| {
            of(w, 1, |m| m.over.old = 2);
        }),
        ("master: no mailbox user.replica", |w| {
            let mut replica = lock(&w.hosts[1]);
            let one = replica.mailboxes["user.a"].clone();
            replica.mailboxes.insert("user.replica".to_owned(), one);
        }),
        ("the unique id of user.a", |w| {
            of(w, 0, |m| m.uniqueid = Some("id of user.a".to_owned()));
        }),
        ("as set", |w| {
            w.fault(0, "VERIFY", "user.b", 9, What::Refuse(Code::Io));
        }),
    ];
    for (says, harm) in harms {
        let world = world();
        world.run(&[Source::Master]).await;
        harm(&world);
        let (proof, failed) = proven(&world, vec![Source::Master]).await.unwrap();
        assert!(
            failed.iter().any(|line| line.contains(says)),
            "{says}: {failed:?}"
        );
        assert_eq!(
            (proof.bad, proof.complete, proof.exit()),
            (1, false, Exit::Data),
            "{says}"
        );
        assert_eq!(completed(&world), [None, None], "{says}");
        assert_eq!(asked(&world, "COMPLETE"), 0, "{says}");
    }
}

#[tokio::test]
async fn a_part_of_the_store_is_verified_and_never_complete() {
    let world = world();
    world.run(&[Source::Master]).await;
    let (proof, _) = proven(&world, vec![names(&["user.a"])]).await.unwrap();
    assert_eq!((proof.good, proof.bad, proof.complete), (1, 0, false));
    assert_eq!(proof.exit(), Exit::Data);
    assert!(proof.why.unwrap().contains("not every mailbox"));
    let on = Source::On("default".to_owned(), Box::new(Source::Master));
    let (proof, _) = proven(&world, vec![on]).await.unwrap();
    assert_eq!((proof.good, proof.complete), (5, false));
    assert_eq!(completed(&world), [None, None]);
    let (proof, _) = proven(&world, vec![names(&["user.nobody"])]).await.unwrap();
    assert_eq!(proof.exit(), Exit::NoMailbox);
}

#[tokio::test]
async fn a_proof_that_was_stopped_proves_nothing() {
    let world = world();
    world.run(&[Source::Master]).await;
    let parts = world.parts();
    let (handle, stop) = stop_pair();
    let work = Work {
        connect: &parts.connect,
        journal: world.journal.as_ref(),
        observer: world.witness.as_ref(),
        stop: &stop,
        parallel: 1,
        to: 16,
    };
    lock(&world.hosts[0]).delay = std::time::Duration::from_millis(30);
    let proof = verify(&work, vec![Source::Master], Some(1), |_, _| {});
    let stopping = async {
        while asked(&world, "VERIFY") == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        handle.stop(Stop::Finish);
    };
    let (proof, ()) = tokio::join!(proof, stopping);
    let proof = proof.unwrap();
    assert!(!proof.complete && proof.bad == 0, "{proof:?}");
    assert_eq!(asked(&world, "COMPLETE"), 0);
    assert_eq!(completed(&world), [None, None]);
}

#[tokio::test]
async fn no_host_is_called_complete_while_one_of_them_would_refuse() {
    for side in [0, 1] {
        let world = world();
        world.run(&[Source::Master]).await;
        world.fault(side, "COMPLETE dry_run", "", 1, What::Refuse(Code::State));
        let (proof, _) = proven(&world, vec![Source::Master]).await.unwrap();
        assert_eq!(
            (proof.bad, proof.complete, proof.exit()),
            (0, false, Exit::Data)
        );
        let why = proof.why.unwrap();
        let host = ["the master's slotd", "the replica's slotd"][side];
        assert!(
            why.contains(host) && why.contains("no host is called complete"),
            "{why}"
        );
        assert_eq!(completed(&world), [None, None]);
        for host in &world.hosts {
            let log = &lock(host).log;
            let dry = |line: &&String| line.starts_with("COMPLETE");
            assert!(log.iter().filter(dry).all(|l| l.contains("dry_run=1")));
        }
    }
}

#[tokio::test]
async fn a_host_that_is_not_complete_after_all_leaves_the_other_as_it_was() {
    // Refused; made and not answered; not made and not answered.
    let whats = [
        (
            What::Refuse(Code::State),
            "made on the replica, was removed",
        ),
        (What::CloseAfter, "made on the master, was removed again"),
        (What::CloseBefore, "is not there on the master"),
    ];
    for (what, says) in whats {
        let world = world();
        world.run(&[Source::Master]).await;
        world.fault(0, "COMPLETE", "", 1, what);
        let (proof, _) = proven(&world, vec![Source::Master]).await.unwrap();
        assert_eq!(
            (proof.bad, proof.complete, proof.exit()),
            (0, false, Exit::Data)
        );
        let why = proof.why.clone().unwrap();
        assert!(
            why.contains("the master's slotd") && why.contains(says),
            "{why}"
        );
        assert_eq!(completed(&world), [None, None]);
        assert!(proof.hosts.values().all(|host| host.file.is_none()));
        let (again, _) = proven(&world, vec![Source::Master]).await.unwrap();
        assert!(again.complete);
        assert_eq!(completed(&world), [Some((16, 5)); 2]);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_taken_away_again_is_named_with_its_host() {
    let world = world();
    world.run(&[Source::Master]).await;
    world.fault(0, "REVOKE", "", 1, What::Refuse(Code::Io));
    let error = proven(&world, vec![Source::Master]).await.unwrap_err();
    assert!(error.to_string().contains("REVOKE"), "{error}");
    assert_eq!(asked(&world, "COMPLETE"), 0);

    // The first REVOKE comes before anything is proven.
    lock(&world.hosts[1]).faults.push(Fault {
        command: "REVOKE",
        mailbox: "",
        times: 1,
        after: 1,
        what: What::Refuse(Code::Io),
    });
    world.fault(0, "COMPLETE", "", 1, What::GoDown);
    let (proof, _) = proven(&world, vec![Source::Master]).await.unwrap();
    assert!(!proof.complete);
    let why = proof.why.clone().unwrap();
    for says in [
        "was made on the replica and could not be removed again ([IO] as set)",
        "may be in the configdirectory of the master",
        "remove it before any server is started there",
    ] {
        assert!(why.contains(says), "{why}");
    }
    assert_eq!(completed(&world), [None, Some((16, 5))]);
    let files = ["master", "replica"].map(|side| proof.hosts[side].file.is_some());
    assert_eq!(files, [false, true]);
}

#[tokio::test]
async fn what_was_proven_before_counts_no_more_once_a_proof_has_begun() {
    let world = world();
    world.run(&[Source::Master]).await;
    assert!(
        proven(&world, vec![Source::Master])
            .await
            .unwrap()
            .0
            .complete
    );
    lock(&world.hosts[1])
        .mailboxes
        .get_mut("user.b")
        .unwrap()
        .over
        .expunge = Some(10);
    let (proof, _) = proven(&world, vec![Source::Master]).await.unwrap();
    assert_eq!((proof.bad, proof.complete), (1, false));
    assert_eq!(completed(&world), [None, None]);
}

#[tokio::test]
async fn what_replication_of_2_3_leaves_unlike_is_told_and_hinders_no_proof() {
    let world = world();
    world.run(&[Source::Master]).await;
    {
        let mut replica = lock(&world.hosts[1]);
        replica.mailboxes.get_mut("user.a").unwrap().over.sync_crc = 5;
        replica.mailboxes.get_mut("user.b").unwrap().over.expunged = 5;
    }
    let (proof, failed) = proven(&world, vec![Source::Master]).await.unwrap();
    assert_eq!(failed, [""; 0]);
    assert!(proof.complete);
    assert_eq!(proof.unlike_sync_crc.example, "user.a");
    assert_eq!(proof.unlike_expunged.example, "user.b");
}
