//! A mailbox of version 10 whose GUIDs are padded UUIDs gets SHA-1s, and `uuids=old` takes that
//! back.

mod common;

use std::convert::Infallible;
use std::os::unix::fs::FileExt;

use common::{Store, lock};
use indexfile::{Decision, FileKind, StreamCopy};
use slotd::client::Client;
use slotd::protocol::{Commit, Upgrade, Upgraded, UuidSource};

const MAILBOX: &str = "user.alice.expunged";

/// Rewrites the mailbox as Cyrus upgrades it, with padded UUIDs, and gives both files.
fn pad(store: &Store) -> [Vec<u8>; 2] {
    let files = [
        (FileKind::Index, store.index(MAILBOX)),
        (FileKind::Expunge, store.expunge(MAILBOX).unwrap()),
    ];
    files.map(|(kind, file)| {
        let mut padded = Vec::new();
        StreamCopy::new(&file)
            .to_version(10)
            .write(&mut padded, |_| Ok::<_, Infallible>(Decision::Keep))
            .unwrap();
        std::fs::write(store.meta(MAILBOX).join(kind.file_name()), &padded).unwrap();
        padded
    })
}

fn live(store: &Store) -> [Vec<u8>; 2] {
    [FileKind::Index, FileKind::Expunge]
        .map(|kind| std::fs::read(store.meta(MAILBOX).join(kind.file_name())).unwrap())
}

async fn upgrade(client: &mut Client, uuids: UuidSource) -> Upgraded {
    client.lock(lock(MAILBOX)).await.unwrap();
    let up = client
        .upgrade(Upgrade {
            uuids,
            ..Upgrade::default()
        })
        .await
        .unwrap();
    client.commit(Commit::default()).await.unwrap();
    up
}

#[tokio::test]
async fn the_guids_that_a_rewrite_replaced_come_back_as_they_were_without_a_look_at_the_messages() {
    let store = Store::small(&[MAILBOX]);
    let padded = pad(&store);
    let served = store.serve().await;
    let mut client = served.client().await;
    let forth = upgrade(&mut client, UuidSource::Auto).await;
    assert_eq!((forth.from, forth.altered), (10, forth.messages));
    assert_ne!(live(&store), padded);
    for message in std::fs::read_dir(store.spool(MAILBOX)).unwrap() {
        std::fs::remove_file(message.unwrap().path()).unwrap();
    }
    let back = upgrade(&mut client, UuidSource::Old).await;
    assert!(back.is_staged());
    assert_eq!(
        (back.restored, back.hashed, back.cached),
        (back.messages, 0, 0)
    );
    assert_eq!(live(&store), padded);
    // Given twice it does nothing more, though .OLD has the SHA-1s now.
    assert!(!upgrade(&mut client, UuidSource::Old).await.is_staged());
    assert_eq!(live(&store), padded);
}

#[tokio::test]
async fn what_happened_since_the_rewrite_stays() {
    let store = Store::small(&[MAILBOX]);
    let mut expected = pad(&store);
    let served = store.serve().await;
    let mut client = served.client().await;
    upgrade(&mut client, UuidSource::Auto).await;
    // The flags of the third message.
    let at = 96 + 2 * 88 + 35;
    let index = std::fs::File::options()
        .write(true)
        .open(store.meta(MAILBOX).join("cyrus.index"))
        .unwrap();
    index.write_all_at(&[7], at as u64).unwrap();
    expected[0][at] = 7;
    upgrade(&mut client, UuidSource::Old).await;
    assert_eq!(live(&store), expected);
}

#[tokio::test]
async fn a_mailbox_that_was_not_rewritten_at_version_10_has_nothing_to_get_back() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    upgrade(&mut client, UuidSource::Auto).await;
    let before = live(&store);
    assert!(store.meta(MAILBOX).join("cyrus.index.OLD").exists());
    assert!(!upgrade(&mut client, UuidSource::Old).await.is_staged());
    assert_eq!(live(&store), before);
}
