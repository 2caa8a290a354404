//! What an upgrade replaced is there until `CLEAN`, whatever comes after it: new messages, a second
//! upgrade, a crash.

mod common;

use std::fs;

use common::{Store, append_with_null_guid, lock, named, sha1_of};
use indexfile::{Guid, RecordGuid, Uuid};
use slotd::client::Client;
use slotd::protocol::{Clean, Commit, Prepare, Upgrade, Upgraded, UuidSource};

const MAILBOX: &str = "user.alice.expunged";

async fn to(client: &mut Client, version: u32, uuids: UuidSource, run: u64) -> Upgraded {
    client.lock(lock(MAILBOX)).await.unwrap();
    let want = Upgrade {
        version,
        uuids,
        run,
        ..Upgrade::default()
    };
    let up = client.upgrade(want).await.unwrap();
    client.commit(Commit::default()).await.unwrap();
    up
}

/// UID and identifier of all records, index and expunge file.
fn identifiers(store: &Store) -> Vec<(u32, RecordGuid)> {
    let expunge = store.expunge(MAILBOX).unwrap();
    let index = store.index(MAILBOX);
    let mut all: Vec<_> = index
        .records()
        .chain(expunge.records())
        .map(|r| r.map(|r| (r.uid(), r.guid())).unwrap())
        .collect();
    all.sort_by_key(|(uid, _)| *uid);
    all
}

fn true_guid(store: &Store, uid: u32) -> RecordGuid {
    RecordGuid::Guid(sha1_of(&store.spool(MAILBOX).join(format!("{uid}."))))
}

async fn prepare(client: &mut Client, version: u32, run: u64) {
    let upgrade = Upgrade {
        version,
        run,
        ..Upgrade::default()
    };
    let of = named(MAILBOX);
    let prepared = client
        .prepare(Prepare {
            of,
            upgrade,
            write: slotd::protocol::Write::Always,
            epoch: None,
        })
        .await
        .unwrap();
    assert!(prepared.prepared);
}

#[tokio::test]
async fn a_second_upgrade_does_not_destroy_the_only_copy_of_the_uuids() {
    second_and_third(false).await;
}

#[tokio::test]
async fn nor_does_one_that_was_prepared() {
    second_and_third(true).await;
}

async fn second_and_third(prepared: bool) {
    let store = Store::small(&[MAILBOX]);
    let first = identifiers(&store);
    let served = store.serve().await;
    let mut client = served.client().await;
    to(&mut client, 10, UuidSource::Auto, 1).await;
    let mut new = append_with_null_guid(&store, MAILBOX);
    if prepared {
        prepare(&mut client, 10, 2).await;
        // A message that PREPARE does not know.
        new = append_with_null_guid(&store, MAILBOX);
    }
    to(&mut client, 10, UuidSource::Auto, 2).await;
    for (uid, guid) in identifiers(&store) {
        assert_eq!(guid, true_guid(&store, uid));
    }
    // And once more, so that .OLD says nothing of the first time any more.
    let newer = append_with_null_guid(&store, MAILBOX);
    if prepared {
        prepare(&mut client, 10, 3).await;
        // Another connection is faster, and what was made ready is not true any more.
        let mut other = served.client().await;
        to(&mut other, 10, UuidSource::Auto, 4).await;
        append_with_null_guid(&store, MAILBOX);
    }
    to(&mut client, 10, UuidSource::Auto, 3).await;
    let down = to(&mut client, 9, UuidSource::Auto, 4).await;
    assert_eq!((down.restored, down.cut), (down.messages, 0));
    let null = RecordGuid::Uuid(Uuid::NULL);
    let mut expected = first;
    expected.extend([(new, null), (newer, null)]);
    if prepared {
        expected.extend([(new - 1, null), (newer + 1, null)]);
    }
    expected.sort_by_key(|(uid, _)| *uid);
    assert_eq!(identifiers(&store), expected);
}

#[tokio::test]
async fn one_run_is_taken_back_at_version_10_and_the_runs_before_it_are_not() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    to(&mut client, 10, UuidSource::Auto, 1).await;
    let second = append_with_null_guid(&store, MAILBOX);
    to(&mut client, 10, UuidSource::Auto, 2).await;
    let third = append_with_null_guid(&store, MAILBOX);
    to(&mut client, 10, UuidSource::Auto, 3).await;
    let now = || identifiers(&store).into_iter();
    let are_null = || -> Vec<u32> {
        now()
            .filter(|(_, guid)| *guid == RecordGuid::Guid(Guid::NULL))
            .map(|(uid, _)| uid)
            .collect()
    };
    assert_eq!(to(&mut client, 10, UuidSource::Old, 3).await.restored, 1);
    assert_eq!(are_null(), [third]);
    // Given twice it does nothing more.
    assert!(!to(&mut client, 10, UuidSource::Old, 3).await.is_staged());
    assert_eq!(are_null(), [third]);
    assert_eq!(to(&mut client, 10, UuidSource::Old, 2).await.restored, 1);
    assert_eq!(are_null(), [second, third]);
    for (uid, guid) in now().filter(|(uid, _)| *uid < second) {
        assert_eq!(guid, true_guid(&store, uid));
    }
}

#[tokio::test]
async fn what_a_lost_state_directory_left_aside_is_read() {
    let store = Store::small(&[MAILBOX]);
    let first = identifiers(&store);
    let served = store.serve().await;
    let mut client = served.client().await;
    to(&mut client, 10, UuidSource::Auto, 1).await;
    served.stop().await;
    // A power cut in a later commit, and a slotd that knows of no intent: the UUIDs are aside.
    let meta = store.meta(MAILBOX);
    for file in ["cyrus.index", "cyrus.expunge"] {
        let old = meta.join(format!("{file}.OLD"));
        fs::rename(&old, meta.join(format!("{file}.OLD.reguid-prev"))).unwrap();
        fs::hard_link(meta.join(file), old).unwrap();
    }
    fs::remove_dir_all(store.state()).unwrap();
    let served = store.serve().await;
    let mut client = served.client().await;
    let down = to(&mut client, 9, UuidSource::Auto, 2).await;
    assert_eq!((down.restored, down.cut), (down.messages, 0));
    assert_eq!(identifiers(&store), first);
}

/// The next commit removes it, and it may be the only file that has the UUIDs.
#[tokio::test]
async fn an_old_file_that_cannot_be_opened_stops_what_would_remove_it() {
    for suffix in ["OLD", "OLD.reguid-prev"] {
        for version in [9, 10] {
            let store = Store::small(&[MAILBOX]);
            let served = store.serve().await;
            let mut client = served.client().await;
            to(&mut client, 10, UuidSource::Auto, 1).await;
            append_with_null_guid(&store, MAILBOX);
            let old = store.meta(MAILBOX).join("cyrus.index.OLD");
            let elsewhere = store.tmp.path().join("elsewhere");
            fs::rename(&old, &elsewhere).unwrap();
            let old = old.with_extension(suffix);
            std::os::unix::fs::symlink(&elsewhere, &old).unwrap();
            client.lock(lock(MAILBOX)).await.unwrap();
            let want = Upgrade {
                version,
                ..Upgrade::default()
            };
            let error = client.upgrade(want).await.unwrap_err();
            assert!(error.to_string().contains(old.to_str().unwrap()), "{error}");
            let _ = client.rollback().await;
            assert!(old.is_symlink());
            // Who asks for cut UUIDs needs none.
            let down = to(&mut client, 9, UuidSource::Cut, 2).await;
            assert_eq!(down.restored, 0);
        }
    }
}

#[tokio::test]
async fn what_is_kept_goes_with_clean_and_a_damaged_one_stops_what_would_need_it() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    to(&mut client, 10, UuidSource::Auto, 1).await;
    append_with_null_guid(&store, MAILBOX);
    to(&mut client, 10, UuidSource::Auto, 2).await;
    let kept = store.meta(MAILBOX).join("cyrus.uuids");
    let whole = fs::read(&kept).unwrap();
    for at in [0, 40, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&kept, damaged).unwrap();
        client.lock(lock(MAILBOX)).await.unwrap();
        let down = Upgrade {
            version: 9,
            ..Upgrade::default()
        };
        let error = client.upgrade(down).await.unwrap_err();
        assert!(error.to_string().contains("cyrus.uuids"), "{error}");
        let _ = client.rollback().await;
    }
    // Who asks for cut UUIDs needs none.
    let down = to(&mut client, 9, UuidSource::Cut, 3).await;
    assert_eq!((down.restored, down.cut), (0, down.messages));
    let clean = Clean {
        of: named(MAILBOX),
        dry_run: false,
    };
    let cleaned = client.clean(clean).await.unwrap();
    assert!(cleaned.files.iter().any(|f| f == "cyrus.uuids"));
    assert!(!kept.exists());
}
