//! Odd states of a mailbox, a peer that knows more, a controller that stalls, a partition that is
//! gone.

mod common;

use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use common::{Store, attempt, lock, named, sha1_of};
use indexfile::mailbox::HeaderFile;
use indexfile::sha1s::{Entry, encode};
use indexfile::{IndexFile, RecordGuid};
use slotd::client::Client;
use slotd::failpoint;
use slotd::host::Options;
use slotd::intent::recovery;
use slotd::protocol::{Clean, Code, Command, Commit, FileState, Repair, Reply, Upgrade, Verify};
use slotd::session::Session;

const MAILBOX: &str = "user.alice.expunged";

async fn upgraded(client: &mut Client) {
    client.lock(lock(MAILBOX)).await.unwrap();
    client.upgrade(Upgrade::default()).await.unwrap();
    client.commit(Commit::default()).await.unwrap();
}

fn restore_old(store: &Store, file: &str) {
    let meta = store.meta(MAILBOX);
    std::fs::rename(meta.join(format!("{file}.OLD")), meta.join(file)).unwrap();
}

fn all_guids_right(store: &Store, file: &IndexFile) {
    for record in file.records().map(Result::unwrap) {
        let message = store.spool(MAILBOX).join(format!("{}.", record.uid()));
        assert_eq!(record.guid(), RecordGuid::Guid(sha1_of(&message)));
    }
}

#[tokio::test]
async fn an_index_newer_than_its_expunge_file_is_refused_by_name_and_repaired_when_asked() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    upgraded(&mut client).await;
    restore_old(&store, "cyrus.expunge");
    let before = store.meta_files();
    client.lock(lock(MAILBOX)).await.unwrap();
    let error = client.upgrade(Upgrade::default()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Damaged));
    assert!(
        error.to_string().contains("index-newer-than-expunge"),
        "{error}"
    );
    assert_eq!(store.meta_files(), before);
    let repair = Upgrade {
        repair: Some(Repair::Expunge),
        ..Upgrade::default()
    };
    let up = client.upgrade(repair).await.unwrap();
    assert_eq!(
        (up.index, up.expunge),
        (FileState::Unchanged, FileState::Staged)
    );
    client.commit(Commit::default()).await.unwrap();
    let expunge = store.expunge(MAILBOX).unwrap();
    assert_eq!((expunge.minor_version(), expunge.num_records()), (10, 12));
    all_guids_right(&store, &expunge);
}

#[tokio::test]
async fn an_expunge_file_newer_than_its_index_is_legal_input() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    upgraded(&mut client).await;
    restore_old(&store, "cyrus.index");
    client.lock(lock(MAILBOX)).await.unwrap();
    let up = client.upgrade(Upgrade::default()).await.unwrap();
    assert_eq!(
        (up.index, up.expunge),
        (FileState::Staged, FileState::Unchanged)
    );
    client.commit(Commit::default()).await.unwrap();
    all_guids_right(&store, &store.index(MAILBOX));
}

#[tokio::test]
async fn a_missing_cache_is_fetched_from_the_peer_and_compared() {
    let (peer, store) = (Store::small(&[MAILBOX]), Store::small(&[MAILBOX]));
    let index = peer.index(MAILBOX);
    let header = HeaderFile::open(&peer.meta(MAILBOX).join("cyrus.header")).unwrap();
    let spool = precompute::message::Spool::open(&peer.spool(MAILBOX)).unwrap();
    let entry = |uid: u32| {
        let stat = spool.stat(uid).unwrap();
        let guid = sha1_of(&peer.spool(MAILBOX).join(format!("{uid}.")));
        Entry {
            uid,
            size: stat.size,
            stamp: stat.stamp,
            guid,
        }
    };
    let entries: Vec<Entry> = index
        .records()
        .map(Result::unwrap)
        .map(|r| entry(r.uid()))
        .collect();
    let bytes = encode(index.header().uidvalidity(), &header.uniqueid, &entries).unwrap();
    std::fs::write(peer.meta(MAILBOX).join("cyrus.sha1s"), bytes).unwrap();
    let there = peer.serve().await;
    let here = store
        .serve_with(Options {
            sha1s_from: Some(there.addr.clone()),
            ..Options::default()
        })
        .await;
    let mut client = here.client().await;
    client.lock(lock(MAILBOX)).await.unwrap();
    let up = client.upgrade(Upgrade::default()).await.unwrap();
    // What the peer says is compared; the GUIDs are of the messages here.
    assert_eq!((up.cached, up.hashed), (0, 43));
    client.commit(Commit::default()).await.unwrap();
    all_guids_right(&store, &store.index(MAILBOX));

    // A peer that is gone costs nothing but the work.
    there.stop().await;
    let alone = Store::small(&[MAILBOX]);
    let here = alone
        .serve_with(Options {
            sha1s_from: Some(here.addr.clone()),
            ..Options::default()
        })
        .await;
    upgraded(&mut here.client().await).await;
    all_guids_right(&alone, &alone.index(MAILBOX));
}

#[tokio::test]
async fn a_controller_that_stalls_loses_its_locks_and_is_told() {
    let store = Store::small(&[MAILBOX]);
    let before = store.meta_files();
    let served = store
        .serve_with(Options {
            max_lock: Duration::from_millis(100),
            ..Options::default()
        })
        .await;
    let (mut slow, mut other) = (served.client().await, served.client().await);
    slow.lock(lock(MAILBOX)).await.unwrap();
    slow.upgrade(Upgrade::default()).await.unwrap();
    // Waits until the server has let go.
    other.lock(lock(MAILBOX)).await.unwrap();
    other.rollback().await.unwrap();
    let late = slow.commit(Commit::default()).await.unwrap_err();
    assert_eq!(late.code(), Some(Code::Expired));
    assert!(late.to_string().contains("--max-lock"), "{late}");
    assert_eq!(store.meta_files(), before);
    // After COMMIT hold it is released as committed.
    slow.lock(lock(MAILBOX)).await.unwrap();
    slow.upgrade(Upgrade::default()).await.unwrap();
    slow.commit(Commit {
        hold: true,
        drop_old: false,
    })
    .await
    .unwrap();
    other.lock(lock(MAILBOX)).await.unwrap();
    assert_eq!(
        slow.rollback().await.unwrap_err().code(),
        Some(Code::TooLate)
    );
    assert_eq!(store.index(MAILBOX).minor_version(), 10);
}

#[tokio::test]
async fn an_upgrade_that_takes_too_long_names_the_option_that_bounds_it() {
    let store = Store::small(&[MAILBOX]);
    let options = Options {
        max_stage: Duration::from_nanos(1),
        ..Options::default()
    };
    let served = store.serve_with(options).await;
    let mut client = served.client().await;
    client.lock(lock(MAILBOX)).await.unwrap();
    // It may be over before the clock is looked at.
    while client.upgrade(Upgrade::default()).await.is_ok() {
        client.rollback().await.unwrap();
        client.lock(lock(MAILBOX)).await.unwrap();
    }
    let late = client.commit(Commit::default()).await.unwrap_err();
    assert_eq!(late.code(), Some(Code::Expired));
    assert!(late.to_string().contains("--max-stage"), "{late}");
}

#[tokio::test]
async fn a_controller_that_talks_on_without_coming_to_an_end_loses_its_locks_too() {
    let store = Store::small(&[MAILBOX]);
    let served = store
        .serve_with(Options {
            max_lock: Duration::from_millis(50),
            ..Options::default()
        })
        .await;
    let (mut talker, mut other) = (served.client().await, served.client().await);
    talker.lock(lock(MAILBOX)).await.unwrap();
    talker.upgrade(Upgrade::default()).await.unwrap();
    let talk = async {
        loop {
            // Also what is refused is talk.
            assert!(talker.upgrade(Upgrade::default()).await.is_err());
            talker.hello().await.unwrap();
        }
    };
    tokio::select! {
        got = other.lock(lock(MAILBOX)) => drop(got.unwrap()),
        () = talk => {}
    }
}

#[tokio::test]
async fn a_way_back_that_a_crash_left_is_dropped_later_but_never_without_a_look_at_the_mailbox() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    upgraded(&mut client).await;
    let old = || {
        let names = ["cyrus.index.OLD", "cyrus.expunge.OLD"];
        names.map(|name| store.meta(MAILBOX).join(name).exists())
    };
    assert_eq!(old(), [true; 2]);
    for (look, left) in [(false, true), (true, false)] {
        client.lock(lock(MAILBOX)).await.unwrap();
        if look {
            client.upgrade(Upgrade::default()).await.unwrap();
        }
        let (hold, drop_old) = (true, false);
        client.commit(Commit { hold, drop_old }).await.unwrap();
        client.release(true).await.unwrap();
        assert_eq!(old(), [left; 2]);
    }
}

#[tokio::test]
async fn verify_finds_what_is_wrong_and_clean_removes_what_is_ours() {
    let store = Store::small(&[MAILBOX]);
    let original = store.meta_files();
    let served = store.serve().await;
    let mut client = served.client().await;
    upgraded(&mut client).await;
    let all = Verify {
        of: named(MAILBOX),
        sample: None,
    };
    let good = client.verify(all.clone()).await.unwrap();
    assert!(good.is_good(), "{good:?}");
    assert_eq!((good.messages, good.checked, good.old), (43, 43, 0));
    let some = client
        .verify(Verify {
            sample: Some(5),
            ..all.clone()
        })
        .await
        .unwrap();
    assert!((1..=5).contains(&some.checked), "{some:?}");
    let uids: Vec<u32> = store
        .index(MAILBOX)
        .records()
        .map(Result::unwrap)
        .map(|r| r.uid())
        .collect();
    let message = |uid: u32| store.spool(MAILBOX).join(format!("{uid}."));
    let mut bytes = std::fs::read(message(uids[3])).unwrap();
    bytes[0] ^= 1;
    std::fs::write(message(uids[3]), bytes).unwrap();
    std::fs::remove_file(message(uids[5])).unwrap();
    let bad = client.verify(all).await.unwrap();
    assert_eq!(
        bad.list,
        [format!("{}:guid", uids[3]), format!("{}:missing", uids[5])]
    );

    std::fs::write(store.meta(MAILBOX).join("cyrus.index.reguid"), b"stale").unwrap();
    let before = store.meta_files();
    let dry = client
        .clean(Clean {
            of: named(MAILBOX),
            dry_run: true,
        })
        .await
        .unwrap();
    assert_eq!(store.meta_files(), before);
    let done = client
        .clean(Clean {
            of: named(MAILBOX),
            dry_run: false,
        })
        .await
        .unwrap();
    assert_eq!(dry, done);
    assert_eq!(
        done.files,
        ["cyrus.index.OLD", "cyrus.index.reguid", "cyrus.expunge.OLD"]
    );
    assert_eq!(store.meta_files().len(), original.len());
}

#[tokio::test]
async fn clean_refuses_what_is_no_file_and_removes_nothing_of_that_mailbox() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    upgraded(&mut client).await;
    let odd = store.meta(MAILBOX).join("cyrus.sha1s");
    std::fs::create_dir(&odd).unwrap();
    let before = store.meta_files();
    let clean = Clean {
        of: named(MAILBOX),
        dry_run: false,
    };
    let error = client.clean(clean.clone()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Damaged));
    assert!(error.to_string().contains(odd.to_str().unwrap()), "{error}");
    assert_eq!(store.meta_files(), before);
    std::fs::remove_dir(&odd).unwrap();
    let done = client.clean(clean).await.unwrap();
    assert_eq!(done.files, ["cyrus.index.OLD", "cyrus.expunge.OLD"]);
}

/// A real mount: needs the right to mount, and is left out without it.
#[tokio::test]
async fn a_partition_that_is_unmounted_refuses_its_mailboxes_and_never_looks_empty() {
    let store = Store::small(&[MAILBOX]);
    let spool = store.root().join("spool");
    let aside = store.root().join("aside");
    std::fs::rename(&spool, &aside).unwrap();
    std::fs::create_dir(&spool).unwrap();
    let run = |program: &str, args: &[&Path]| {
        process::Command::new(program)
            .args(args)
            .output()
            .unwrap()
            .status
            .success()
    };
    let mount = || run("mount", &[Path::new("--bind"), &aside, &spool]);
    if !mount() {
        eprintln!("not permitted to mount: not tested");
        return;
    }
    let served = store.serve().await;
    let mut client = served.client().await;
    client.lock(lock(MAILBOX)).await.unwrap();
    client.rollback().await.unwrap();
    assert!(run("umount", &[&spool]));
    let refused = [
        client.lock(lock(MAILBOX)).await.unwrap_err().code(),
        client.status(named(MAILBOX)).await.unwrap_err().code(),
        client.lock(lock("user.nobody")).await.unwrap_err().code(),
    ];
    // Mounted again it goes on, and an operator can say otherwise.
    assert!(mount());
    let again = client.lock(lock(MAILBOX)).await;
    let _ = client.rollback().await;
    assert!(run("umount", &[&spool]));
    assert_eq!(refused, [Some(Code::Unmounted); 3]);
    again.unwrap();
}

#[tokio::test]
async fn a_host_tells_its_room_its_limits_and_what_is_not_mounted() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    let facts = client.preflight().await.unwrap();
    assert_eq!(facts.version, env!("CARGO_PKG_VERSION"));
    assert!(facts.nofile > 0);
    assert_eq!(facts.chown, rustix::process::geteuid().is_root());
    let roots = |facts: &slotd::protocol::HostFacts| -> Vec<(String, bool, bool, Option<Code>)> {
        let roots = facts.roots.iter();
        let last = |path: &str| path.rsplit('/').next().unwrap().to_owned();
        roots
            .map(|r| (last(&r.path), r.free > 0, r.written, r.trouble))
            .collect()
    };
    let meta = ("meta".to_owned(), true, true, None);
    let spool = ("spool".to_owned(), true, false, None);
    assert_eq!(roots(&facts), [meta.clone(), spool]);
    let spool = store.root().join("spool");
    std::fs::rename(&spool, store.root().join("lost")).unwrap();
    let facts = client.preflight().await.unwrap();
    let lost = ("spool".to_owned(), false, false, Some(Code::Unmounted));
    assert_eq!(roots(&facts), [meta, lost]);
}

#[test]
fn what_a_session_can_neither_finish_nor_undo_is_counted_and_tried_again() {
    let store = Store::cyrus_2_3_9();
    let before = store.meta_files();
    let host = store.host(Options::default());
    let mut session = Session::new(Arc::clone(&host));
    let _ = session.handle(Command::Lock(lock(MAILBOX)));
    let _ = session.handle(Command::Upgrade(Upgrade::default()));
    let committed = failpoint::with("fs.rename=0:eperm,fs.unlink=0:eperm", || {
        session.handle(Command::Commit(Commit::default()))
    });
    assert!(matches!(committed, Reply::No { .. }), "{committed:?}");
    assert!(store.meta(MAILBOX).join("cyrus.index.NEW").exists());
    assert_eq!(host.unsettled.len(), 1);
    let again = recovery::recover_again(&host, attempt());
    assert!(again.failed.is_empty(), "{:?}", again.failed);
    assert!(host.unsettled.is_empty() && host.log.open_intents().is_empty());
    assert_eq!(store.meta_files(), before);
}
