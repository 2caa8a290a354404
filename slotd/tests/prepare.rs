//! `PREPARE` changes when the work is done, and nothing else: not one byte of the result.

mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{Store, lock, name, named};
use indexfile::FileKind;
use slotd::client::Client;
use slotd::protocol::{Commit, GuidEntry, Named, Prepare, Upgrade, Upgraded, Write};

const MAILBOX: &str = "user.alice.expunged";

fn want(version: u32) -> Upgrade {
    Upgrade {
        version,
        ..Upgrade::default()
    }
}

async fn prepare(client: &mut Client, mailbox: &str, version: u32) -> slotd::protocol::Prepared {
    let of = Named {
        mailbox: name(mailbox),
        partition: None,
    };
    client
        .prepare(Prepare {
            of,
            upgrade: want(version),
            write: Write::Always,
            epoch: None,
        })
        .await
        .unwrap()
}

/// When the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Under the locks.
    Plain,
    /// Ahead; what changes after it under the locks.
    Prepared,
    /// Ahead; what changes after it just before the locks.
    CaughtUp,
    /// Ahead, and ahead again.
    PreparedTwice,
}

/// Files and answers of an upgrade of a store that changes after `PREPARE`, if there is one.
async fn outcome(
    way: Way,
    version: u32,
    change: &dyn Fn(&Store),
) -> (Vec<(String, Vec<u8>)>, Upgraded, Vec<GuidEntry>) {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    if version < 10 {
        // From where an upgrade leaves it, `.OLD` included.
        client.lock(lock(MAILBOX)).await.unwrap();
        client.upgrade(want(10)).await.unwrap();
        client.commit(Commit::default()).await.unwrap();
    }
    let prepared = way != Way::Plain;
    if prepared {
        assert!(prepare(&mut client, MAILBOX, version).await.prepared);
    }
    change(&store);
    if way == Way::PreparedTwice {
        assert!(prepare(&mut client, MAILBOX, version).await.prepared);
    }
    let now = way != Way::CaughtUp;
    let lock = slotd::protocol::Lock {
        now,
        ..lock(MAILBOX)
    };
    client.lock(lock).await.unwrap();
    let up = client.upgrade(want(version)).await.unwrap();
    assert_eq!(up.prepared, prepared);
    assert!(store.meta(MAILBOX).join("cyrus.index.NEW").exists());
    let list = client.all_guids().await.unwrap();
    client.commit(Commit::default()).await.unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(store.meta(MAILBOX)).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if path.ends_with("cyrus.uuids") {
            // It names the very file that was replaced: only what it keeps is the same.
            bytes.drain(..bytes.len() - 41 * usize::try_from(up.messages).unwrap());
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.push((name, bytes));
    }
    files.sort();
    (
        files,
        Upgraded {
            prepared: false,
            cached: 0,
            hashed: 0,
            ..up
        },
        list,
    )
}

async fn same(version: u32, change: &dyn Fn(&Store)) {
    let without = outcome(Way::Plain, version, change).await;
    for way in [Way::Prepared, Way::CaughtUp, Way::PreparedTwice] {
        let with = outcome(way, version, change).await;
        assert_eq!(with.1, without.1, "{way:?}");
        assert_eq!(with.2, without.2, "{way:?}");
        for (with, without) in with.0.iter().zip(&without.0) {
            assert!(with == without, "{way:?}: {} differs", with.0);
        }
        assert_eq!(with.0.len(), without.0.len(), "{way:?}");
    }
}

/// Changes go on: before it is caught up, and after.
#[tokio::test]
async fn what_changes_after_it_was_caught_up_is_carried_over_under_the_locks() {
    let result = |ways: [bool; 2]| async move {
        let store = Store::small(&[MAILBOX]);
        let served = store.serve().await;
        let mut client = served.client().await;
        let index = meta(&store, "cyrus.index");
        let [ahead, again] = ways;
        if ahead {
            prepare(&mut client, MAILBOX, 10).await;
        }
        edit(&index, 96 + 35, 2);
        append(&store, 90, b"one");
        if again {
            prepare(&mut client, MAILBOX, 10).await;
        }
        edit(&index, 96 + 35, 6);
        edit(&index, 96 + 80 + 35, 8);
        append(&store, 91, b"another");
        let now = slotd::protocol::Lock {
            now: true,
            ..lock(MAILBOX)
        };
        client.lock(now).await.unwrap();
        let up = client.upgrade(want(10)).await.unwrap();
        assert_eq!(up.prepared, ahead);
        client.commit(Commit::default()).await.unwrap();
        (std::fs::read(index).unwrap(), up.digest, up.altered)
    };
    let plain = result([false, false]).await;
    assert!(result([true, false]).await == plain);
    assert!(result([true, true]).await == plain);
}

/// Changes bytes in place, as a STORE does.
fn edit(path: &Path, at: usize, value: u8) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[value], at as u64).unwrap();
}

fn meta(store: &Store, file: &str) -> std::path::PathBuf {
    store.meta(MAILBOX).join(file)
}

/// The records of a live file, as a list that can be changed and written as Cyrus writes a new
/// file.
fn replace(store: &Store, kind: FileKind, change: impl Fn(&mut Vec<Vec<u8>>)) {
    let path = meta(store, kind.file_name());
    let file = indexfile::IndexFile::open(&path, kind).unwrap();
    let mut records: Vec<Vec<u8>> = file
        .records()
        .map(Result::unwrap)
        .map(|r| r.bytes().to_vec())
        .collect();
    change(&mut records);
    let mut bytes = file.header().bytes().to_vec();
    bytes[20..24].copy_from_slice(&u32::try_from(records.len()).unwrap().to_be_bytes());
    bytes.extend(records.concat());
    let new = path.with_extension("test");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// Appends in place, as a delivery does: the record first, then the header.
fn append(store: &Store, uid: u32, body: &[u8]) {
    let path = meta(store, "cyrus.index");
    let file = store.index(MAILBOX);
    let mut record = file
        .record(file.num_records() - 1)
        .unwrap()
        .unwrap()
        .bytes()
        .to_vec();
    record[0..4].copy_from_slice(&uid.to_be_bytes());
    record[12..16].copy_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    std::fs::write(store.spool(MAILBOX).join(format!("{uid}.")), body).unwrap();
    let mut bytes = file.to_bytes().unwrap();
    let exists = file.num_records() + 1;
    bytes.extend(record);
    bytes[20..24].copy_from_slice(&exists.to_be_bytes());
    bytes[28..32].copy_from_slice(&uid.to_be_bytes());
    std::fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(&bytes, 0)
        .unwrap();
}

#[tokio::test]
async fn nothing_changed() {
    for version in [10, 9, 8, 7, 6] {
        if version != 9 {
            same(version, &|_| {}).await;
        }
    }
    same(9, &|_| {}).await;
}

#[tokio::test]
async fn a_flag_set_in_place() {
    for (version, size) in [(10, 80), (9, 88)] {
        same(version, &|s| {
            edit(&meta(s, "cyrus.index"), 96 + 3 * size + 35, 7);
        })
        .await;
        same(version, &|s| {
            edit(&meta(s, "cyrus.index"), 96 + size - 1, 99);
        })
        .await;
    }
}

#[tokio::test]
async fn a_counter_of_the_header() {
    same(10, &|s| edit(&meta(s, "cyrus.index"), 59, 3)).await;
    same(10, &|s| edit(&meta(s, "cyrus.expunge"), 90, 3)).await;
}

#[tokio::test]
async fn messages_appended() {
    for version in [10, 9] {
        same(version, &|s| {
            let last = s.index(MAILBOX).header().last_uid();
            append(s, last + 1, b"From: a\r\n\r\nnew\r\n");
            append(s, last + 7, b"From: b\r\n\r\nnewer\r\n");
        })
        .await;
    }
}

#[tokio::test]
async fn messages_expunged() {
    for version in [10, 9] {
        same(version, &|s| {
            let moved = s
                .index(MAILBOX)
                .record(4)
                .unwrap()
                .unwrap()
                .bytes()
                .to_vec();
            replace(s, FileKind::Expunge, |records| records.push(moved.clone()));
            replace(s, FileKind::Index, |records| drop(records.remove(4)));
        })
        .await;
    }
}

#[tokio::test]
async fn all_expunged_messages_cleaned_up() {
    same(10, &|s| replace(s, FileKind::Expunge, Vec::clear)).await;
    same(10, &|s| {
        std::fs::remove_file(meta(s, "cyrus.expunge")).unwrap();
    })
    .await;
}

#[tokio::test]
async fn every_record_changed() {
    same(10, &|s| {
        replace(s, FileKind::Index, |records| {
            for record in records.iter_mut() {
                record[35] ^= 2;
            }
        });
    })
    .await;
}

#[tokio::test]
async fn a_message_that_was_replaced_under_its_uid_is_hashed_again() {
    same(10, &|s| {
        std::fs::write(
            s.spool(MAILBOX).join(format!(
                "{}.",
                s.index(MAILBOX).record(2).unwrap().unwrap().uid()
            )),
            b"shorter",
        )
        .unwrap();
        replace(s, FileKind::Index, |records| {
            records[2][12..16].copy_from_slice(&7_u32.to_be_bytes());
        });
    })
    .await;
}

#[tokio::test]
async fn a_prepared_mailbox_that_somebody_else_upgraded_is_left_alone() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let (mut a, mut b) = (served.client().await, served.client().await);
    prepare(&mut a, MAILBOX, 10).await;
    b.lock(lock(MAILBOX)).await.unwrap();
    b.upgrade(want(10)).await.unwrap();
    b.commit(Commit::default()).await.unwrap();
    let before = store.meta_files();
    a.lock(lock(MAILBOX)).await.unwrap();
    assert!(!a.upgrade(want(10)).await.unwrap().is_staged());
    a.rollback().await.unwrap();
    let after = store.meta_files();
    assert!(
        after
            .iter()
            .all(|(path, ..)| !path.to_str().unwrap().ends_with(".reguid"))
    );
    assert_eq!(after.len(), before.len());
}

#[tokio::test]
async fn what_was_prepared_goes_with_its_connection_and_two_do_not_mix() {
    let store = Store::cyrus_2_3_9();
    let before = store.meta_files();
    let served = store.serve().await;
    let (mut a, mut b) = (served.client().await, served.client().await);
    prepare(&mut a, MAILBOX, 10).await;
    let other = Prepare {
        of: named(MAILBOX),
        upgrade: want(10),
        write: Write::Always,
        epoch: None,
    };
    assert!(b.prepare(other.clone()).await.unwrap().prepared);
    // No lock is held meanwhile, and nothing has a name.
    assert_eq!(store.meta_files(), before);
    b.lock(lock(MAILBOX)).await.unwrap();
    b.rollback().await.unwrap();
    drop(a);
    while store.meta_files() != before {
        tokio::task::yield_now().await;
    }
    assert!(b.prepare(other).await.unwrap().prepared);
    drop(b);
    served.stop().await;
    assert_eq!(store.meta_files(), before);
}

/// Nothing was renamed and nothing has a name: whatever a crash leaves of it is closed by recovery.
#[test]
fn what_was_prepared_has_its_intent_from_the_lock_on_and_no_longer_than_the_locks() {
    use slotd::protocol::Command as C;
    let store = Store::small(&[MAILBOX]);
    let host = store.host(slotd::host::Options::default());
    let mut session = slotd::session::Session::new(std::sync::Arc::clone(&host));
    let mut ok = |command| {
        let reply = session.handle(command);
        assert!(matches!(reply, slotd::protocol::Reply::Ok(_)), "{reply:?}");
        host.log.open_intents()
    };
    let prepare = C::Prepare(Prepare {
        of: named(MAILBOX),
        upgrade: want(10),
        write: Write::Always,
        epoch: None,
    });
    let before = store.meta_files();
    assert!(ok(prepare.clone()).is_empty());
    let early = ok(C::Lock(lock(MAILBOX)));
    assert_eq!(early.len(), 1);
    assert_eq!(early[0].files.len(), 2);
    // To another version: it is about other files then.
    let other = ok(C::Upgrade(want(8)));
    assert_eq!(other.len(), 1);
    assert!(other[0].id != early[0].id && other[0].to == 8);
    assert!(ok(C::Rollback).is_empty());
    assert!(ok(prepare).is_empty());
    let early = ok(C::Lock(lock(MAILBOX)));
    assert_eq!(early.len(), 1);
    assert!(ok(C::Rollback).is_empty());
    assert_eq!(store.meta_files(), before);
    // What was not used is there to be used, and the intent that is begun is the one that is acted
    // upon.
    let early = ok(C::Lock(lock(MAILBOX)));
    assert_eq!(ok(C::Upgrade(want(10))), early);
    assert!(ok(C::Commit(Commit::default())).is_empty());
    drop(session);
    drop(host);
    let host = store.host(slotd::host::Options::default());
    assert!(host.log.open_intents().is_empty());
}

/// On a file system where every file has a name: two that prepare the same mailbox do not mix,
/// nothing is left, and the result is the same.
#[test]
#[cfg(debug_assertions)] // failpoints are not in a release build
fn where_every_file_must_have_a_name_it_has_one_that_cyrus_never_uses() {
    use slotd::protocol::Command as C;
    let store = Store::small(&[MAILBOX]);
    let without = Store::small(&[MAILBOX]);
    let host = store.host(slotd::host::Options::default());
    let session = || slotd::session::Session::new(std::sync::Arc::clone(&host));
    let (mut a, mut b) = (session(), session());
    let prepare = C::Prepare(Prepare {
        of: named(MAILBOX),
        upgrade: want(10),
        write: Write::Always,
        epoch: None,
    });
    let ok = |session: &mut slotd::session::Session, command| {
        let reply = session.handle(command);
        assert!(matches!(reply, slotd::protocol::Reply::Ok(_)), "{reply:?}");
    };
    slotd::failpoint::with("fs.nameless=0:enotsup", || {
        ok(&mut a, prepare.clone());
        assert!(meta(&store, "cyrus.index.reguid").exists());
        assert_eq!(host.log.touched().len(), 1);
        let refused = b.handle(prepare);
        let locked = slotd::protocol::Code::Locked;
        assert!(
            matches!(&refused, slotd::protocol::Reply::No { code, .. } if *code == locked),
            "{refused:?}"
        );
        ok(&mut a, C::Lock(lock(MAILBOX)));
        ok(&mut a, C::Upgrade(want(10)));
        assert!(meta(&store, "cyrus.index.NEW").exists());
        ok(&mut a, C::Commit(Commit::default()));
        ok(&mut b, C::Lock(lock(MAILBOX)));
        ok(&mut b, C::Upgrade(want(9)));
        ok(&mut b, C::Rollback);
    });
    assert!(host.log.touched().is_empty() && host.log.open_intents().is_empty());
    let mut c = slotd::session::Session::new(without.host(slotd::host::Options::default()));
    ok(&mut c, C::Lock(lock(MAILBOX)));
    ok(&mut c, C::Upgrade(want(10)));
    ok(&mut c, C::Commit(Commit::default()));
    let names = |store: &Store| -> Vec<_> {
        let dir = std::fs::read_dir(store.meta(MAILBOX)).unwrap();
        let mut names: Vec<_> = dir.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&store), names(&without));
    for name in names(&store) {
        let bytes = |store: &Store| std::fs::read(store.meta(MAILBOX).join(&name)).unwrap();
        assert!(bytes(&store) == bytes(&without), "{}", name.display());
    }
}
