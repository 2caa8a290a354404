//! `rehash=`: at version 10 every GUID is compared with its message, wrong ones are reported or set
//! right, and the way back brings what was there.

mod common;

use std::os::unix::fs::FileExt;

use common::died::{Died, die};
use common::{Store, append_with_null_guid, lock, named, recover, sha1_of};
use indexfile::{FileKind, Guid};
use slotd::client::Client;
use slotd::host::{Host, Options};
use slotd::intent::{Direction, recovery};
use slotd::protocol::{
    Code, Commit, FileState, Prepare, Rehash, Rehashed, Upgrade, Upgraded, UuidSource, Write,
    WrongGuid,
};
use slotd::stage;

const MAILBOX: &str = "user.alice.expunged";
const KINDS: [FileKind; 2] = [FileKind::Index, FileKind::Expunge];
/// No message's SHA-1, and no old-style GUID.
const FALSE: [u8; 20] = [0xab; 20];

fn want(rehash: Rehash, run: u64) -> Upgrade {
    Upgrade {
        rehash: Some(rehash),
        run,
        ..Upgrade::default()
    }
}

fn back(run: u64) -> Upgrade {
    Upgrade {
        uuids: UuidSource::Old,
        run,
        ..Upgrade::default()
    }
}

fn live(store: &Store) -> [Vec<u8>; 2] {
    KINDS.map(|kind| std::fs::read(store.meta(MAILBOX).join(kind.file_name())).unwrap())
}

/// Overwrites bytes of a record of a live file, in place, as Cyrus does.
fn write(store: &Store, kind: FileKind, record: u64, at: u64, bytes: &[u8]) {
    let path = store.meta(MAILBOX).join(kind.file_name());
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, 96 + 88 * record + at).unwrap();
}

fn falsify(store: &Store, kind: FileKind, record: u64) {
    write(store, kind, record, 60, &FALSE);
}

fn uid(store: &Store, kind: FileKind, record: u32) -> u32 {
    let file = match kind {
        FileKind::Index => store.index(MAILBOX),
        FileKind::Expunge => store.expunge(MAILBOX).unwrap(),
    };
    file.record(record).unwrap().unwrap().uid()
}

async fn at_10(client: &mut Client) {
    client.lock(lock(MAILBOX)).await.unwrap();
    client.upgrade(Upgrade::default()).await.unwrap();
    client.commit(Commit::default()).await.unwrap();
}

/// A mailbox of version 10 that nothing of an upgrade is left of, with one wrong GUID in either
/// file; and how both files are when they are right.
async fn wrong_store() -> (Store, [Vec<u8>; 2]) {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    at_10(&mut served.client().await).await;
    served.stop().await;
    for kind in KINDS {
        std::fs::remove_file(store.meta(MAILBOX).join(stage::old_name(kind))).unwrap();
    }
    let right = live(&store);
    falsify(&store, FileKind::Index, 2);
    falsify(&store, FileKind::Expunge, 1);
    (store, right)
}

fn message(store: &Store, uid: u32) -> std::path::PathBuf {
    store.spool(MAILBOX).join(format!("{uid}."))
}

fn wrong_ones(store: &Store) -> Rehashed {
    let list = [(FileKind::Index, 2), (FileKind::Expunge, 1)].map(|(kind, record)| {
        let uid = uid(store, kind, record);
        WrongGuid {
            uid,
            has: Guid::from_bytes(FALSE),
            is: sha1_of(&message(store, uid)),
        }
    });
    Rehashed {
        wrong: 2,
        gone: 0,
        list: list.to_vec(),
    }
}

async fn prepare(client: &mut Client, upgrade: Upgrade, write: Write) {
    let of = named(MAILBOX);
    let prepare = Prepare {
        of,
        upgrade,
        write,
        epoch: None,
    };
    client.prepare(prepare).await.unwrap();
}

async fn commit(client: &mut Client, upgrade: Upgrade) -> Upgraded {
    client.lock(lock(MAILBOX)).await.unwrap();
    let up = client.upgrade(upgrade).await.unwrap();
    client.commit(Commit::default()).await.unwrap();
    up
}

/// How `UPGRADE` comes.
const WAYS: [Option<Write>; 3] = [None, Some(Write::Never), Some(Write::Always)];

#[tokio::test]
async fn a_report_tells_the_wrong_ones_and_writes_nothing() {
    for way in WAYS {
        let (store, _) = wrong_store().await;
        let before = store.meta_files();
        let served = store.serve().await;
        let mut client = served.client().await;
        if let Some(write) = way {
            prepare(&mut client, want(Rehash::Report, 1), write).await;
        }
        client.lock(lock(MAILBOX)).await.unwrap();
        let up = client.upgrade(want(Rehash::Report, 1)).await.unwrap();
        assert_eq!(up.rehash, Some(wrong_ones(&store)), "{way:?}");
        assert!(!up.is_staged() && up.altered == 0, "{way:?}");
        assert_eq!(up.hashed + up.cached, up.messages);
        // What two hosts compare is what would be: else a host with a wrong GUID would seem to have
        // another message.
        let guids = client.all_guids().await.unwrap();
        assert!(
            guids
                .iter()
                .all(|g| g.guid == sha1_of(&message(&store, g.uid)))
        );
        client.commit(Commit::default()).await.unwrap();
        assert_eq!(store.meta_files(), before, "{way:?}");
        client.lock(lock(MAILBOX)).await.unwrap();
        let fix = client.upgrade(want(Rehash::Fix, 1)).await.unwrap();
        assert_eq!(fix.digest, up.digest, "{way:?}");
    }
}

#[tokio::test]
async fn wrong_ones_are_set_right_all_else_stays_and_the_way_back_brings_them_again() {
    for way in WAYS {
        let (store, right) = wrong_store().await;
        let wrong = live(&store);
        let found = wrong_ones(&store);
        let messages = |store: &Store| {
            let all = std::fs::read_dir(store.spool(MAILBOX)).unwrap();
            let mut all: Vec<_> = all
                .map(|e| e.unwrap().path())
                .map(|p| {
                    (
                        p.metadata().unwrap().modified().unwrap(),
                        std::fs::read(&p).unwrap(),
                        p,
                    )
                })
                .collect();
            all.sort();
            all
        };
        let untouched = messages(&store);
        let served = store.serve().await;
        let mut client = served.client().await;
        // A normal upgrade believes them.
        assert!(!commit(&mut client, Upgrade::default()).await.is_staged());
        if let Some(write) = way {
            prepare(&mut client, want(Rehash::Fix, 7), write).await;
        }
        let up = commit(&mut client, want(Rehash::Fix, 7)).await;
        assert_eq!((up.from, up.to, up.altered), (10, 10, 2), "{way:?}");
        assert_eq!(up.prepared, way == Some(Write::Always));
        assert_eq!(up.rehash, Some(found), "{way:?}");
        assert_eq!(live(&store), right, "{way:?}");
        assert_eq!(messages(&store), untouched);
        // Again there is nothing to do.
        let again = commit(&mut client, want(Rehash::Fix, 7)).await;
        assert!(!again.is_staged() && again.rehash == Some(Rehashed::default()));
        // Another run replaced nothing.
        assert!(!commit(&mut client, back(8)).await.is_staged());
        let up = commit(&mut client, back(7)).await;
        assert_eq!((up.restored, up.hashed), (2, 0));
        assert_eq!(live(&store), wrong, "{way:?}");
        assert!(!commit(&mut client, back(7)).await.is_staged());
        // And forth once more.
        commit(&mut client, want(Rehash::Fix, 9)).await;
        assert_eq!(live(&store), right);
        assert!(commit(&mut client, back(9)).await.is_staged());
        assert_eq!(live(&store), wrong);
    }
}

#[tokio::test]
async fn the_way_back_is_there_when_old_says_nothing_of_it_and_what_came_first_comes_below_10() {
    let store = Store::small(&[MAILBOX]);
    let first = live(&store);
    let served = store.serve().await;
    let mut client = served.client().await;
    at_10(&mut client).await;
    falsify(&store, FileKind::Index, 2);
    let wrong = live(&store);
    commit(&mut client, want(Rehash::Fix, 2)).await;
    let new = append_with_null_guid(&store, MAILBOX);
    commit(
        &mut client,
        Upgrade {
            run: 3,
            ..Upgrade::default()
        },
    )
    .await;
    assert!(commit(&mut client, back(3)).await.is_staged());
    commit(&mut client, back(2)).await;
    let now = live(&store);
    assert_eq!(now[0][96..wrong[0].len()], wrong[0][96..]);
    assert_eq!(now[1], wrong[1]);
    // The UUID that it had at version 9, not the first bytes of a wrong GUID.
    commit(
        &mut client,
        Upgrade {
            version: 9,
            ..Upgrade::default()
        },
    )
    .await;
    let index = store.index(MAILBOX);
    assert_eq!(
        index
            .record(index.num_records() - 1)
            .unwrap()
            .unwrap()
            .uid(),
        new
    );
    assert_eq!(live(&store)[0][96..first[0].len()], first[0][96..]);
}

#[tokio::test]
async fn a_file_without_a_wrong_guid_is_left_alone() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    at_10(&mut client).await;
    let right = live(&store);
    falsify(&store, FileKind::Expunge, 0);
    let up = commit(&mut client, want(Rehash::Fix, 1)).await;
    assert_eq!(
        (up.index, up.expunge),
        (FileState::Unchanged, FileState::Staged)
    );
    assert_eq!(live(&store), right);
}

#[tokio::test]
async fn a_mailbox_below_10_has_no_guid_to_be_wrong_and_is_upgraded_by_a_fix_alone() {
    let store = Store::small(&[MAILBOX]);
    let before = store.meta_files();
    let served = store.serve().await;
    let mut client = served.client().await;
    let up = commit(&mut client, want(Rehash::Report, 1)).await;
    assert_eq!(up.rehash, Some(Rehashed::default()));
    assert!(!up.is_staged() && store.meta_files() == before);
    let up = commit(&mut client, want(Rehash::Fix, 1)).await;
    assert_eq!(
        (up.altered, store.index(MAILBOX).minor_version()),
        (up.messages, 10)
    );
}

#[tokio::test]
async fn without_its_message_a_live_record_refuses_the_mailbox_and_an_expunged_one_is_counted() {
    let (store, _) = wrong_store().await;
    let expunged = uid(&store, FileKind::Expunge, 0);
    std::fs::remove_file(message(&store, expunged)).unwrap();
    let served = store.serve().await;
    let mut client = served.client().await;
    let had = live(&store);
    let up = commit(&mut client, want(Rehash::Report, 1)).await;
    let found = up.rehash.unwrap();
    assert_eq!((found.wrong, found.gone), (2, 1));
    prepare(&mut client, want(Rehash::Fix, 1), Write::Always).await;
    let up = commit(&mut client, want(Rehash::Fix, 1)).await;
    assert_eq!((up.altered, up.rehash.unwrap().gone), (2, 1));
    // It has what it had.
    assert_eq!(live(&store)[1][96..184], had[1][96..184]);

    let gone = uid(&store, FileKind::Index, 0);
    std::fs::remove_file(message(&store, gone)).unwrap();
    let before = store.meta_files();
    for rehash in [Rehash::Report, Rehash::Fix] {
        client.lock(lock(MAILBOX)).await.unwrap();
        let refused = client.upgrade(want(rehash, 2)).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::NoMessage));
        assert!(
            refused.to_string().contains(&format!("UID {gone}:")),
            "{refused}"
        );
        client.rollback().await.unwrap();
    }
    assert_eq!(store.meta_files(), before);
}

#[tokio::test]
async fn what_comes_or_changes_after_prepare_is_compared_too() {
    for write in [Write::Never, Write::Always] {
        let (store, _) = wrong_store().await;
        let served = store.serve().await;
        let mut client = served.client().await;
        prepare(&mut client, want(Rehash::Fix, 1), write).await;
        let new = append_with_null_guid(&store, MAILBOX);
        let at = u64::from(store.index(MAILBOX).num_records()) - 1;
        falsify(&store, FileKind::Index, at);
        falsify(&store, FileKind::Index, 0);
        // Another message of the same size, under a record that says nothing else.
        let changed = uid(&store, FileKind::Index, 1);
        let mut bytes = std::fs::read(message(&store, changed)).unwrap();
        bytes[0] ^= 1;
        std::fs::remove_file(message(&store, changed)).unwrap();
        std::fs::write(message(&store, changed), bytes).unwrap();
        let up = commit(&mut client, want(Rehash::Fix, 1)).await;
        assert_eq!((up.altered, up.rehash.unwrap().wrong), (5, 5), "{write:?}");
        for record in store.index(MAILBOX).records() {
            let record = record.unwrap();
            let uid = record.uid();
            assert_eq!(
                record.guid().padded(),
                sha1_of(&message(&store, uid)),
                "{uid} {new}"
            );
        }
        let up = commit(&mut client, back(1)).await;
        assert_eq!(up.restored, 5, "{write:?}");
    }
}

#[tokio::test]
async fn a_report_knows_what_came_after_prepare_and_a_right_guid_that_came_is_no_work() {
    let (store, right) = wrong_store().await;
    let served = store.serve().await;
    let mut client = served.client().await;
    prepare(&mut client, want(Rehash::Report, 1), Write::Auto).await;
    falsify(&store, FileKind::Index, 0);
    let up = commit(&mut client, want(Rehash::Report, 1)).await;
    assert_eq!(up.rehash.unwrap().wrong, 3);

    for (kind, bytes) in KINDS.into_iter().zip(&right) {
        let path = store.meta(MAILBOX).join(kind.file_name());
        std::fs::write(path, bytes).unwrap();
    }
    prepare(&mut client, want(Rehash::Fix, 2), Write::Auto).await;
    let uid = append_with_null_guid(&store, MAILBOX);
    let at = u64::from(store.index(MAILBOX).num_records()) - 1;
    let guid = sha1_of(&message(&store, uid));
    write(&store, FileKind::Index, at, 60, guid.as_bytes());
    let up = commit(&mut client, want(Rehash::Fix, 2)).await;
    assert!(!up.is_staged() && up.rehash == Some(Rehashed::default()));
}

/// Messages that were hashed for an upgrade that compares only old-style GUIDs are not all
/// messages.
#[tokio::test]
async fn what_was_prepared_for_another_upgrade_is_not_taken_for_it() {
    let (store, right) = wrong_store().await;
    let served = store.serve().await;
    let mut client = served.client().await;
    prepare(&mut client, Upgrade::default(), Write::Never).await;
    commit(&mut client, want(Rehash::Fix, 1)).await;
    assert_eq!(live(&store), right);
}

fn settled(host: &Host) -> recovery::Settled {
    let report = recover(host);
    assert!(report.failed.is_empty() && host.log.open_intents().is_empty());
    report.settled[0].1
}

/// The flags of a record: a server worked on the mailbox after the crash.
fn set_flags(store: &Store, files: &mut [Vec<u8>; 2]) {
    write(store, FileKind::Index, 3, 35, &[4]);
    files[0][96 + 3 * 88 + 35] = 4;
}

#[tokio::test]
async fn version_10_says_nothing_of_whether_a_crash_came_before_or_after_a_rename() {
    use recovery::Settled::{Aborted, Complete, Finished, Restaged, Undone};
    for (when, direction, server, how, ends_right) in [
        (Died::Staged, Direction::Commit, false, Aborted, false),
        (Died::HalfWay, Direction::Commit, false, Finished, true),
        (Died::Renamed, Direction::Commit, false, Complete, true),
        (Died::HalfWay, Direction::Commit, true, Restaged, true),
        (Died::HalfWay, Direction::PutBack, false, Undone, false),
        (Died::Renamed, Direction::PutBack, false, Undone, false),
        (Died::Renamed, Direction::PutBack, true, Restaged, false),
    ] {
        let (store, mut right) = wrong_store().await;
        let mut wrong = live(&store);
        let host = store.host(Options::default());
        let fix = want(Rehash::Fix, 5);
        die(&host, (MAILBOX, "default"), fix, when, direction);
        if server {
            set_flags(&store, &mut right);
            set_flags(&store, &mut wrong);
        }
        assert_eq!(settled(&host), how, "{when:?} {direction:?} {server}");
        let expected = if ends_right { right } else { wrong };
        assert!(live(&store) == expected, "{when:?} {direction:?} {server}");
        assert!(!store.meta(MAILBOX).join("cyrus.index.NEW").exists());
    }
}

/// On the way back of a run what goes live is wrong; if that is taken back it is right again.
#[tokio::test]
async fn so_it_is_on_the_way_back_of_a_run() {
    use recovery::Settled::{Finished, Restaged, Undone};
    for (when, direction, server, how, ends_right) in [
        (Died::HalfWay, Direction::Commit, false, Finished, false),
        (Died::HalfWay, Direction::Commit, true, Restaged, false),
        (Died::Renamed, Direction::PutBack, false, Undone, true),
        (Died::Renamed, Direction::PutBack, true, Restaged, true),
    ] {
        let (store, mut right) = wrong_store().await;
        let mut wrong = live(&store);
        let served = store.serve().await;
        let mut client = served.client().await;
        commit(&mut client, want(Rehash::Fix, 5)).await;
        drop(client);
        served.stop().await;
        for kind in KINDS {
            std::fs::remove_file(store.meta(MAILBOX).join(stage::old_name(kind))).unwrap();
        }
        let host = store.host(Options::default());
        die(&host, (MAILBOX, "default"), back(5), when, direction);
        if server {
            set_flags(&store, &mut right);
            set_flags(&store, &mut wrong);
        }
        assert_eq!(settled(&host), how, "{when:?} {direction:?} {server}");
        let expected = if ends_right { right } else { wrong };
        assert!(live(&store) == expected, "{when:?} {direction:?} {server}");
    }
}
