//! What `LIST` meets and does not list is in its answer: places that may hold mailboxes, and
//! partitions that are not there.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use common::Store;
use indexfile::mailbox::ImapdConf;
use slotd::client::Client;
use slotd::protocol::{Code, Command, Find, ListRange, Listed, Odd, OddKind, Reply};

const MAILBOXES: usize = 18;

/// All pages of a walk in one.
async fn all(client: &mut Client, mut range: ListRange) -> Listed {
    let mut all = Listed::default();
    loop {
        let page = client.list(range.clone()).await.unwrap();
        all.names.extend(page.names);
        all.odd += page.odd;
        all.odd_list.extend(page.odd_list);
        for (kind, n) in page.odd_kinds {
            *all.odd_kinds.entry(kind).or_default() += n;
        }
        range.after = page.next;
        if range.after.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn what_may_be_a_mailbox_and_is_not_listed_is_counted_and_named() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let before = all(&mut served.client().await, ListRange::default())
        .await
        .names;
    let meta = |name: &str| store.root().join("meta/user").join(name);
    // Moved to another disk, from a directory that has no subdirectory of its own any more.
    let elsewhere = store.tmp.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("Archive")).unwrap();
    fs::create_dir_all(meta("moved")).unwrap();
    symlink(elsewhere.join("Archive"), meta("moved/Archive")).unwrap();
    // Nobody misses what these point to.
    symlink("nowhere", meta("moved/dangling")).unwrap();
    fs::write(elsewhere.join("file"), b"x").unwrap();
    symlink(elsewhere.join("file"), meta("moved/file")).unwrap();
    for (dir, file) in [
        ("half", "cyrus.header"),
        ("other", "cyrus.index"),
        ("a.dot", "cyrus.header"),
    ] {
        fs::create_dir_all(meta(dir)).unwrap();
        fs::write(meta(dir).join(file), b"").unwrap();
    }
    fs::write(meta("a.dot/cyrus.index"), b"").unwrap();
    fs::create_dir_all(store.root().join("meta").join(OsStr::from_bytes(b"\xff"))).unwrap();

    let mut client = served.client().await;
    let range = ListRange {
        max: Some(3),
        ..ListRange::default()
    };
    let page = all(&mut client, range).await;
    let mut odd = page.odd_list;
    assert_eq!(page.names, before);
    odd.sort();
    let found = |kind, path| Odd { kind, path };
    let expected = [
        found(OddKind::Symlink, meta("moved/Archive")),
        found(OddKind::NoIndex, meta("half")),
        found(OddKind::NoHeader, meta("other")),
        found(OddKind::Name, meta("a.dot")),
        found(
            OddKind::Name,
            store.root().join("meta").join(OsStr::from_bytes(b"\xff")),
        ),
    ];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!((page.odd, odd), (5, expected));
}

#[tokio::test]
async fn more_odd_places_than_a_line_holds_are_counted_all_the_same() {
    let store = Store::cyrus_2_3_9();
    for n in 0..300 {
        symlink("/", store.root().join(format!("meta/user/link{n}"))).unwrap();
    }
    let served = store.serve().await;
    let page = all(&mut served.client().await, ListRange::default()).await;
    assert_eq!((page.odd, page.names.len()), (300, MAILBOXES));
    assert!((5..300).contains(&page.odd_list.len()));
}

#[tokio::test]
async fn a_partition_that_is_not_there_is_told_and_the_others_are_listed() {
    let mut store = Store::cyrus_2_3_9();
    let path = store.root().join("imapd.conf");
    let (file, gone) = (store.root().join("a-file"), store.root().join("gone"));
    fs::write(&file, b"x").unwrap();
    let more = format!(
        "\npartition-a: {}\npartition-gone: {}\n",
        file.display(),
        gone.display()
    );
    fs::write(&path, fs::read_to_string(&path).unwrap() + &more).unwrap();
    store.conf = ImapdConf::load(&path).unwrap();
    // What snapshots hold is no mailbox, whole or not.
    let hidden = store.root().join("meta/.snapshot/0/user/joe");
    fs::create_dir_all(&hidden).unwrap();
    fs::write(hidden.join("cyrus.index"), b"").unwrap();
    let served = store.serve().await;
    let mut client = served.client().await;
    for (only, mailboxes, kinds) in [
        (
            None,
            MAILBOXES,
            &[OddKind::Name, OddKind::Unmounted, OddKind::NotDirectory][..],
        ),
        (Some("DEFAULT"), MAILBOXES, &[OddKind::Name]),
        (Some("gone"), 0, &[OddKind::Unmounted]),
        (Some("unknown"), 0, &[]),
    ] {
        let only = only.map(str::to_owned);
        let range = ListRange {
            only,
            ..ListRange::default()
        };
        let page = all(&mut client, range).await;
        let kinds = kinds.iter().map(|kind| (*kind, 1)).collect();
        assert_eq!((page.names.len(), page.odd_kinds), (mailboxes, kinds));
    }
    // What is looked for may lie there.
    let find = Find {
        uniqueid: "0".repeat(16),
        after: None,
    };
    let reply = client.call(&Command::Find(find)).await.unwrap();
    assert!(
        matches!(
            &reply,
            Reply::No {
                code: Code::Damaged,
                ..
            }
        ),
        "{reply:?}"
    );
}
