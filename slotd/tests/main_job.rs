//! The main job on the store that a genuine Cyrus 2.3.9 wrote: lock, upgrade, commit, and the ways
//! back.

mod common;

use std::os::unix::fs::MetadataExt;

use common::{Store, lock, named, sha1_of};
use indexfile::RecordGuid;
use slotd::client::Client;
use slotd::protocol::{Code, Commit, FileState, ListRange, Upgrade, Upgraded};

const MAILBOXES: usize = 18;

async fn names(client: &mut Client) -> Vec<String> {
    let mut all = Vec::new();
    let mut range = ListRange {
        after: None,
        only: None,
        max: Some(7),
    };
    loop {
        let page = client.list(range.clone()).await.unwrap();
        all.extend(page.names.iter().map(ToString::to_string));
        match page.next {
            Some(next) => range.after = Some(next),
            None => return all,
        }
    }
}

async fn upgrade(client: &mut Client, mailbox: &str, version: u32) -> Upgraded {
    client.lock(lock(mailbox)).await.unwrap();
    client
        .upgrade(Upgrade {
            version,
            ..Upgrade::default()
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn a_list_in_pages_has_every_mailbox_once() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let mut client = served.client().await;
    let mut listed = names(&mut client).await;
    // A page continued on another connection, which keeps no walk, is the same.
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = served
            .client()
            .await
            .list(ListRange {
                after,
                only: None,
                max: Some(1),
            })
            .await
            .unwrap();
        pages.extend(page.names.iter().map(ToString::to_string));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, listed);
    listed.sort();
    let text = std::fs::read_to_string(store.root().join("mailboxes.txt")).unwrap();
    let mut expected: Vec<String> = text
        .lines()
        .map(|l| l.split('\t').next().unwrap().to_owned())
        .collect();
    expected.sort();
    assert_eq!(expected.len(), MAILBOXES);
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn every_mailbox_gets_the_sha1_of_its_files_and_loses_nothing_else() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let mut client = served.client().await;
    let mut guids = 0;
    for mailbox in names(&mut client).await {
        let meta = store.meta(&mailbox);
        let before = (store.index(&mailbox), store.expunge(&mailbox));
        let attributes = |file: &str| {
            let m = std::fs::metadata(meta.join(file)).unwrap();
            (m.uid(), m.gid(), m.mode())
        };
        let kept = |file: &str| {
            let m = std::fs::metadata(meta.join(file)).unwrap();
            (
                m.ino(),
                m.mtime_nsec(),
                std::fs::read(meta.join(file)).unwrap(),
            )
        };
        let (owner, header, cache) = (
            attributes("cyrus.index"),
            kept("cyrus.header"),
            kept("cyrus.cache"),
        );

        let facts = client.lock(lock(&mailbox)).await.unwrap();
        assert_eq!((facts.index, facts.exists), (9, before.0.num_records()));
        let up = client.upgrade(Upgrade::default()).await.unwrap();
        assert_eq!((up.index, up.from, up.to), (FileState::Staged, 9, 10));
        let list = client.all_guids().await.unwrap();
        assert_eq!(u32::try_from(list.len()), Ok(up.messages));
        client.commit(Commit::default()).await.unwrap();

        assert_eq!(
            (
                attributes("cyrus.index"),
                kept("cyrus.header"),
                kept("cyrus.cache")
            ),
            (owner, header, cache)
        );
        assert!(!meta.join("cyrus.index.NEW").exists());
        assert_eq!(
            std::fs::read(meta.join("cyrus.index.OLD")).unwrap(),
            before.0.to_bytes().unwrap()
        );
        let after = (store.index(&mailbox), store.expunge(&mailbox));
        let pairs = [(Some(before.0), Some(after.0)), (before.1, after.1)];
        for (old, new) in pairs.into_iter().filter_map(|(o, n)| Some((o?, n?))) {
            assert_eq!(old.num_records(), new.num_records());
            let (o, n) = (old.header().bytes(), new.header().bytes());
            assert_eq!((&o[..8], &o[20..]), (&n[..8], &n[20..]));
            assert_eq!((new.minor_version(), new.header().record_size()), (10, 88));
            for (old, new) in old
                .records()
                .map(Result::unwrap)
                .zip(new.records().map(Result::unwrap))
            {
                assert_eq!(old.bytes()[..60], new.bytes()[..60]);
                assert_eq!(old.bytes()[72..], new.bytes()[80..]);
                let file = store.spool(&mailbox).join(format!("{}.", new.uid()));
                assert_eq!(new.guid(), RecordGuid::Guid(sha1_of(&file)));
                assert!(
                    list.iter()
                        .any(|e| e.uid == new.uid() && e.guid == new.guid().padded())
                );
                guids += 1;
            }
        }
    }
    assert_eq!(guids, 395);
    assert!(served.host.log.open_intents().is_empty());
}

#[tokio::test]
async fn a_second_upgrade_finds_nothing_to_do_and_stages_nothing() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let mut client = served.client().await;
    let first = upgrade(&mut client, "user.alice.expunged", 10).await;
    client.commit(Commit::default()).await.unwrap();
    let before = store.meta_files();
    let second = upgrade(&mut client, "user.alice.expunged", 10).await;
    assert_eq!(
        (second.index, second.expunge),
        (FileState::Unchanged, FileState::Unchanged)
    );
    assert_eq!(
        (second.hashed, second.altered, second.digest),
        (0, 0, first.digest)
    );
    assert_eq!(store.meta_files(), before);
    client.rollback().await.unwrap();
    assert_eq!(store.meta_files(), before);
}

#[tokio::test]
async fn rollback_leaves_every_file_as_it_was() {
    let store = Store::cyrus_2_3_9();
    let before = store.meta_files();
    let served = store.serve().await;
    let mut client = served.client().await;
    let up = upgrade(&mut client, "user.alice.expunged", 10).await;
    assert_eq!(
        (up.index, up.expunge),
        (FileState::Staged, FileState::Staged)
    );
    assert!(
        store
            .meta("user.alice.expunged")
            .join("cyrus.index.NEW")
            .exists()
    );
    client.rollback().await.unwrap();
    assert_eq!(store.meta_files(), before);
}

#[tokio::test]
async fn a_held_commit_puts_the_very_same_files_back() {
    let store = Store::cyrus_2_3_9();
    let before = store.meta_files();
    let served = store.serve().await;
    let mut client = served.client().await;
    upgrade(&mut client, "user.alice.expunged", 10).await;
    client
        .commit(Commit {
            hold: true,
            drop_old: false,
        })
        .await
        .unwrap();
    assert_eq!(store.index("user.alice.expunged").minor_version(), 10);
    assert!(
        store
            .meta("user.alice.expunged")
            .join("cyrus.index.OLD")
            .exists()
    );
    client.rollback().await.unwrap();
    assert_eq!(store.meta_files(), before);

    upgrade(&mut client, "user.alice.expunged", 10).await;
    client
        .commit(Commit {
            hold: true,
            drop_old: false,
        })
        .await
        .unwrap();
    client.release(false).await.unwrap();
    let error = client.rollback().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TooLate));
    // Repeating is safe.
    client.commit(Commit::default()).await.unwrap();
    client.release(false).await.unwrap();
}

#[tokio::test]
async fn a_closed_connection_rolls_back_what_is_not_committed_and_keeps_what_is() {
    let store = Store::cyrus_2_3_9();
    let before = store.meta_files();
    let served = store.serve().await;
    let mut client = served.client().await;
    upgrade(&mut client, "user.bob", 10).await;
    drop(client);
    let mut client = served.client().await;
    client.lock(lock("user.bob")).await.unwrap();
    assert_eq!(store.meta_files(), before);
    client.upgrade(Upgrade::default()).await.unwrap();
    client
        .commit(Commit {
            hold: true,
            drop_old: true,
        })
        .await
        .unwrap();
    drop(client);
    let mut client = served.client().await;
    let facts = client.lock(lock("user.bob")).await.unwrap();
    assert_eq!(facts.index, 10);
    assert!(!store.meta("user.bob").join("cyrus.index.OLD").exists());
}

#[tokio::test]
async fn up_and_down_and_up_again_gives_the_first_bytes_back() {
    let store = Store::cyrus_2_3_9();
    let before = store.meta_files();
    let served = store.serve().await;
    let mut client = served.client().await;
    let mailboxes = names(&mut client).await;
    for version in [10, 9, 10, 9] {
        for mailbox in &mailboxes {
            let up = upgrade(&mut client, mailbox, version).await;
            assert_eq!(up.to, version);
            client
                .commit(Commit {
                    hold: false,
                    drop_old: false,
                })
                .await
                .unwrap();
        }
    }
    for (path, _, bytes) in before {
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
}

#[tokio::test]
async fn a_missing_or_changed_message_refuses_the_mailbox_and_names_it() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let mut client = served.client().await;
    let message = store.spool("user.bob").join("1.");
    let bytes = std::fs::read(&message).unwrap();
    let before = store.meta_files();
    for change in [None, Some([&bytes[..], b"x"].concat())] {
        std::fs::remove_file(&message).unwrap();
        if let Some(bytes) = change {
            std::fs::write(&message, bytes).unwrap();
        } else {
            assert!(!message.exists());
        }
        client.lock(lock("user.bob")).await.unwrap();
        let error = client.upgrade(Upgrade::default()).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::NoMessage), "{error}");
        assert!(
            error.to_string().contains("UID 1") && error.to_string().contains("1."),
            "{error}"
        );
        client.rollback().await.unwrap();
        assert_eq!(store.meta_files(), before);
        std::fs::write(&message, &bytes).unwrap();
    }
}

#[tokio::test]
async fn who_has_no_lock_is_told_so_and_who_waits_is_told_who_holds_it() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let (mut a, mut b) = (served.client().await, served.client().await);
    assert_eq!(
        a.upgrade(Upgrade::default()).await.unwrap_err().code(),
        Some(Code::State)
    );
    assert_eq!(a.rollback().await.unwrap_err().code(), Some(Code::State));
    a.lock(lock("user.bob")).await.unwrap();
    assert_eq!(
        a.lock(lock("user.bob")).await.unwrap_err().code(),
        Some(Code::State)
    );
    let mut impatient = lock("user.bob");
    impatient.wait = Some(std::time::Duration::from_millis(30));
    let error = b.lock(impatient).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Locked));
    assert!(
        error
            .to_string()
            .contains("another connection to this slotd"),
        "{error}"
    );
    assert_eq!(
        b.lock(lock("user.nobody")).await.unwrap_err().code(),
        Some(Code::NoMailbox)
    );
}

#[tokio::test]
async fn status_tells_what_lock_would_find_and_touches_nothing() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let mut client = served.client().await;
    let before = store.meta_files();
    let status = client.status(named("user.alice.expunged")).await.unwrap();
    assert_eq!((status.facts.index, status.facts.expunge), (9, Some(9)));
    assert_eq!(
        (status.facts.exists, status.facts.expunged, status.facts.old),
        (31, 12, Some(43))
    );
    assert_eq!(status.findings, Vec::<String>::new());
    assert_eq!(store.meta_files(), before);
}
