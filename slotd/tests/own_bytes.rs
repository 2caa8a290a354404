//! A GUID is the SHA-1 of the bytes on this host's disk, looked at since they last could change.

mod common;

use std::os::unix::fs::FileExt;

use common::{Store, lengthen, lock, named, sha1_of};
use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::mailbox::HeaderFile;
use indexfile::sha1s::{Entry, encode};
use indexfile::{FileKind, Guid};
use precompute::message::Spool;
use slotd::client::{Client, ClientError};
use slotd::host::Options;
use slotd::protocol::{Code, Commit, Lock, Prepare, Upgrade, Upgraded, Write};

const MAILBOX: &str = "user.alice.expunged";

async fn prepare(client: &mut Client, write: Write) -> Result<bool, ClientError> {
    let of = named(MAILBOX);
    let upgrade = Upgrade::default();
    let prepared = client
        .prepare(Prepare {
            of,
            upgrade,
            write,
            epoch: None,
        })
        .await?;
    Ok(prepared.prepared)
}

fn now(ahead: bool) -> Lock {
    Lock {
        now: true,
        ahead,
        ..lock(MAILBOX)
    }
}

/// The UID of the record at a position of the index.
fn uid(store: &Store, at: u32) -> u32 {
    store.index(MAILBOX).record(at).unwrap().unwrap().uid()
}

/// Changes bytes of the record at a position in place.
fn edit(store: &Store, at: u64, offset: u64, bytes: &[u8]) {
    let path = store.meta(MAILBOX).join("cyrus.index");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, 96 + at * 80 + offset).unwrap();
}

/// Other bytes for a message, as many: under its name by rename, or written over it.
fn replace(store: &Store, uid: u32, in_place: bool) {
    let path = store.spool(MAILBOX).join(format!("{uid}."));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    if in_place {
        std::fs::write(&path, bytes).unwrap();
    } else {
        let new = store.spool(MAILBOX).join("new");
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(new, path).unwrap();
    }
}

fn all_right(store: &Store) {
    let (index, expunge) = (store.index(MAILBOX), store.expunge(MAILBOX));
    let mut seen = 0;
    for file in [Some(&index), expunge.as_ref()].into_iter().flatten() {
        for record in file.records().map(Result::unwrap) {
            let message = store.spool(MAILBOX).join(format!("{}.", record.uid()));
            let uid = record.uid();
            assert_eq!(record.guid().padded(), sha1_of(&message), "UID {uid}");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

/// When something happens to the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    BeforeLock,
    Locked,
    /// Before `LOCK now=1`, which brings nothing up to date.
    BeforeLockNow,
}

async fn after(store: &Store, write: Write, when: When, change: &dyn Fn(&Store)) -> Upgraded {
    let served = store.serve().await;
    let mut client = served.client().await;
    let prepared = prepare(&mut client, write).await.unwrap();
    assert_eq!(prepared, write == Write::Always);
    if when != When::Locked {
        change(store);
    }
    let lock = match when {
        When::BeforeLockNow => now(true),
        _ => lock(MAILBOX),
    };
    client.lock(lock).await.unwrap();
    if when == When::Locked {
        change(store);
    }
    let up = client.upgrade(Upgrade::default()).await.unwrap();
    client.commit(Commit::default()).await.unwrap();
    up
}

const WHEN: [When; 3] = [When::BeforeLock, When::Locked, When::BeforeLockNow];

#[tokio::test]
async fn a_message_replaced_after_prepare_gets_the_sha1_of_what_is_there() {
    for write in [Write::Always, Write::Never] {
        for when in WHEN {
            for in_place in [false, true] {
                let store = Store::small(&[MAILBOX]);
                let victim = uid(&store, 2);
                let up = after(&store, write, when, &|s| replace(s, victim, in_place)).await;
                assert_eq!(up.hashed, up.messages + 1, "{write:?} {when:?} {in_place}");
                all_right(&store);
            }
        }
    }
}

#[tokio::test]
async fn a_record_that_became_another_message_is_looked_up_anew() {
    for write in [Write::Always, Write::Never] {
        // Under the locks nobody may write to the index, and that is noticed.
        for when in [When::BeforeLock, When::BeforeLockNow] {
            // UUID, internal date, and the message with them as sync_server does it.
            for (offset, bytes) in [(60, [9; 12].as_slice()), (4, &[0, 0, 0, 1])] {
                let store = Store::small(&[MAILBOX]);
                let up = after(&store, write, when, &|s| edit(s, 3, offset, bytes)).await;
                assert_eq!(up.hashed, up.messages + 1, "{write:?} {when:?} {offset}");
                all_right(&store);
            }
        }
    }
}

/// A mailbox of this many messages of 100 bytes.
fn large(store: &Store, messages: u32) {
    let mut builder = IndexBuilder::new(9, FileKind::Index);
    let spool = store.spool(MAILBOX);
    for uid in 1..=messages {
        std::fs::write(spool.join(format!("{uid}.")), format!("{uid:100}")).unwrap();
        builder = builder.record(BuildRecord {
            uid,
            size: 100,
            ..BuildRecord::default()
        });
    }
    let meta = store.meta(MAILBOX);
    std::fs::remove_file(meta.join("cyrus.expunge")).unwrap();
    std::fs::write(meta.join("cyrus.index"), builder.to_bytes().unwrap()).unwrap();
}

#[tokio::test]
async fn in_a_large_mailbox_a_message_that_changed_under_the_locks_is_looked_at_again() {
    let store = Store::small(&[MAILBOX]);
    large(&store, 2500);
    let up = after(&store, Write::Always, When::Locked, &|s| {
        replace(s, 1234, false);
    })
    .await;
    assert_eq!(up.hashed, 2501);
    all_right(&store);
    // One written over in place, before the locks and under them: no name in the directory changes.
    for when in [When::BeforeLock, When::Locked] {
        let store = Store::small(&[MAILBOX]);
        large(&store, 2500);
        let up = after(&store, Write::Always, when, &|s| replace(s, 7, true)).await;
        assert_eq!(up.hashed, 2501, "{when:?}");
        all_right(&store);
    }
}

#[tokio::test]
async fn left_to_slotd_the_new_files_are_written_before_the_locks_from_1000_messages_on() {
    for (messages, written) in [(999, false), (1000, true)] {
        let store = Store::small(&[MAILBOX]);
        large(&store, messages);
        let served = store.serve().await;
        let mut client = served.client().await;
        let prepared = prepare(&mut client, Write::Auto).await.unwrap();
        assert_eq!(prepared, written, "{messages}");
        client.lock(lock(MAILBOX)).await.unwrap();
        let up = client.upgrade(Upgrade::default()).await.unwrap();
        assert_eq!((up.prepared, up.altered), (written, messages));
        client.commit(Commit::default()).await.unwrap();
        all_right(&store);
    }
}

#[tokio::test]
async fn a_spool_that_is_moved_away_refuses_the_mailbox() {
    for write in [None, Some(Write::Always), Some(Write::Never)] {
        let store = Store::small(&[MAILBOX]);
        let before = store.meta_files();
        let served = store.serve().await;
        let mut client = served.client().await;
        if let Some(write) = write {
            prepare(&mut client, write).await.unwrap();
        }
        client.lock(lock(MAILBOX)).await.unwrap();
        let spool = store.spool(MAILBOX);
        std::fs::rename(&spool, spool.with_extension("away")).unwrap();
        let refused = client.upgrade(Upgrade::default()).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Incomplete), "{refused}");
        let spool = spool.to_str().unwrap();
        assert!(refused.to_string().contains(spool), "{refused}");
        // Another one in its place is not it either.
        std::fs::create_dir(spool).unwrap();
        client.rollback().await.unwrap();
        drop(client);
        assert_eq!(store.meta_files(), before);
    }
}

#[tokio::test]
async fn what_a_peer_says_of_a_message_is_compared_before_any_lock_and_never_written() {
    let store = Store::small(&[MAILBOX]);
    let peer = Store::small(&[MAILBOX]);
    // One byte of the peer's message has flipped; the size is the same.
    let victim = uid(&peer, 5);
    replace(&peer, victim, true);
    let header = HeaderFile::open(&peer.meta(MAILBOX).join("cyrus.header")).unwrap();
    let index = peer.index(MAILBOX);
    let spool = Spool::open(&peer.spool(MAILBOX)).unwrap();
    let entry = |uid: u32| {
        let hashed = spool.hash(uid).unwrap();
        Entry {
            uid,
            size: hashed.size,
            stamp: hashed.stamp,
            guid: hashed.guid,
        }
    };
    let entries: Vec<Entry> = index.records().map(|r| entry(r.unwrap().uid())).collect();
    let bytes = encode(index.header().uidvalidity(), &header.uniqueid, &entries).unwrap();
    std::fs::write(peer.meta(MAILBOX).join("cyrus.sha1s"), bytes).unwrap();
    let there = peer.serve().await;
    let before = store.meta_files();
    let options = Options {
        sha1s_from: Some(there.addr.clone()),
        ..Options::default()
    };
    let here = store.serve_with(options).await;
    let mut client = here.client().await;
    let message = |s: &Store| sha1_of(&s.spool(MAILBOX).join(format!("{victim}.")));
    let told = |refused: &ClientError| {
        assert_eq!(refused.code(), Some(Code::Differs), "{refused}");
        let text = refused.to_string();
        let guids: [Guid; 2] = [message(&store), message(&peer)];
        assert!(
            guids.iter().all(|g| text.contains(&g.to_string())),
            "{text}"
        );
        assert!(text.contains(&format!("UID {victim}")), "{text}");
    };
    // Nothing is locked by either.
    told(&prepare(&mut client, Write::Always).await.unwrap_err());
    told(&prepare(&mut client, Write::Never).await.unwrap_err());
    told(&client.lock(lock(MAILBOX)).await.unwrap_err());
    let mut other = there.client().await;
    other.lock(lock(MAILBOX)).await.unwrap();
    assert_eq!(store.meta_files(), before);
}

#[tokio::test]
async fn a_message_of_another_size_is_refused_without_being_read() {
    let read = || {
        let io = std::fs::read_to_string("/proc/self/io").unwrap();
        let line = io.lines().find(|l| l.starts_with("rchar:")).unwrap();
        line[6..].trim().parse::<u64>().unwrap()
    };
    for write in [None, Some(Write::Always)] {
        let store = Store::small(&[MAILBOX]);
        let victim = uid(&store, 1);
        let path = store.spool(MAILBOX).join(format!("{victim}."));
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(20 << 30).unwrap();
        let served = store.serve().await;
        let mut client = served.client().await;
        let start = read();
        if let Some(write) = write {
            let refused = prepare(&mut client, write).await.unwrap_err();
            assert_eq!(refused.code(), Some(Code::NoMessage));
        }
        client.lock(lock(MAILBOX)).await.unwrap();
        let refused = client.upgrade(Upgrade::default()).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::NoMessage));
        let text = format!("UID {victim}");
        assert!(refused.to_string().contains(&text), "{refused}");
        // Other tests read a little meanwhile.
        assert!(read() - start < 1 << 30, "{} bytes", read() - start);
    }
}

#[tokio::test]
async fn what_takes_long_to_read_is_read_before_the_locks_or_not_at_all() {
    let store = Store::small(&[MAILBOX]);
    lengthen(&store, MAILBOX, 1, 17 << 20);
    let before = store.meta_files();
    let served = store.serve().await;
    let mut client = served.client().await;
    for lock in [
        now(true),
        now(false),
        Lock {
            ahead: false,
            ..lock(MAILBOX)
        },
    ] {
        client.lock(lock).await.unwrap();
        let refused = client.upgrade(Upgrade::default()).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Expired), "{refused}");
        client.rollback().await.unwrap();
        assert_eq!(store.meta_files(), before);
    }
    client.lock(lock(MAILBOX)).await.unwrap();
    let up = client.upgrade(Upgrade::default()).await.unwrap();
    assert_eq!((up.hashed, up.prepared), (up.messages, false));
    client.commit(Commit::default()).await.unwrap();
    all_right(&store);
}
