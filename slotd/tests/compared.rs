//! What a coordinator asks before it decides, over the wire: does the transaction stand, where do
//! two lists differ, and is each UID one message?

mod common;

use std::fs;
use std::time::Duration;

use common::{Store, lock, named};
use slotd::host::Options;
use slotd::protocol::{Code, Commit, DigestRange, Prepare, Standing, Upgrade};
use slotd::stage::digest_of;

const MAILBOX: &str = "user.alice.expunged";

#[tokio::test]
async fn digests_of_ranges_are_those_of_the_list_in_these_ranges() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let mut client = served.client().await;
    client.lock(lock(MAILBOX)).await.unwrap();
    let error = client.digests(DigestRange::default()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::State));
    let upgraded = client.upgrade(Upgrade::default()).await.unwrap();
    let all = client.all_guids().await.unwrap();
    let whole = DigestRange {
        parts: 1,
        ..DigestRange::default()
    };
    let one = client.digests(whole).await.unwrap().parts;
    assert_eq!(
        (one.len(), one[0].count as usize, one[0].digest),
        (1, all.len(), upgraded.digest)
    );
    for (from, to, parts) in [(1, u32::MAX, 512), (1, 64, 5), (7, 7, 512), (30, 43, 2)] {
        let range = DigestRange { from, to, parts };
        let found = client.digests(range).await.unwrap().parts;
        let pieces: Vec<_> = range.pieces().collect();
        assert_eq!(found.len(), pieces.len(), "{range:?}");
        for (part, (from, to)) in found.iter().zip(pieces) {
            let within = all.iter().filter(|e| (from..=to).contains(&e.uid));
            let within: Vec<_> = within.copied().collect();
            assert_eq!(part.count as usize, within.len(), "{from} to {to}");
            assert!(within.is_empty() || part.digest == digest_of(&within));
        }
    }
    drop(client);
    served.stop().await;
}

#[tokio::test]
async fn confirm_says_how_the_transaction_stands_and_that_it_has_ended() {
    let store = Store::cyrus_2_3_9();
    let options = Options {
        max_lock: Duration::from_millis(400),
        ..Options::default()
    };
    let served = store.serve_with(options).await;
    let mut client = served.client().await;
    let none = client.confirm().await.unwrap_err();
    assert_eq!(none.code(), Some(Code::State));
    client.lock(lock(MAILBOX)).await.unwrap();
    assert_eq!(client.confirm().await.unwrap().state, Standing::Locked);
    let upgraded = client.upgrade(Upgrade::default()).await.unwrap();
    // For longer than `--max-lock`, as it is asked.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let confirmed = client.confirm().await.unwrap();
        assert_eq!(
            (confirmed.state, confirmed.digest),
            (Standing::Staged, Some(upgraded.digest))
        );
    }
    // And no longer, as it is not.
    let mut ended = client.confirm().await;
    while ended.is_ok() {
        tokio::time::sleep(Duration::from_millis(800)).await;
        ended = client.confirm().await;
    }
    assert_eq!(ended.unwrap_err().code(), Some(Code::Expired));
    assert_eq!(store.index(MAILBOX).minor_version(), 9);
    served.stop().await;
}

#[tokio::test]
async fn a_commit_after_a_refused_upgrade_is_refused_and_nothing_is_changed() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let before = store.meta_files();
    fs::remove_file(store.spool(MAILBOX).join("1.")).unwrap();
    let mut client = served.client().await;
    for hold in [false, true] {
        client.lock(lock(MAILBOX)).await.unwrap();
        let refused = client.upgrade(Upgrade::default()).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::NoMessage), "{refused}");
        assert_eq!(client.confirm().await.unwrap().state, Standing::Refused);
        let commit = Commit {
            hold,
            drop_old: false,
        };
        let error = client.commit(commit).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::State), "{error}");
        client.rollback().await.unwrap();
    }
    assert_eq!(store.meta_files(), before);
    served.stop().await;
}

#[tokio::test]
async fn a_uid_that_is_live_and_expunged_refuses_the_mailbox_as_check_does() {
    let store = Store::cyrus_2_3_9();
    let path = store.meta(MAILBOX).join("cyrus.expunge");
    // As a server leaves it that is killed between its two steps of an expunge: the record is in
    // both files.
    let mut expunge = fs::read(&path).unwrap();
    let index = fs::read(store.meta(MAILBOX).join("cyrus.index")).unwrap();
    let word = |b: &[u8], at: usize| u32::from_be_bytes(b[at..at + 4].try_into().unwrap()) as usize;
    let (first, size) = (word(&index, 12), word(&index, 16));
    let record = &index[first + 3 * size..first + 4 * size];
    let live = word(record, 0);
    expunge[first..first + size].copy_from_slice(record);
    fs::write(&path, &expunge).unwrap();
    let before = store.meta_files();
    let served = store.serve().await;
    let mut client = served.client().await;
    let status = client.status(named(MAILBOX)).await.unwrap();
    let found = |f: &String| f == "cyrus.expunge:duplicate-uid";
    assert!(status.findings.iter().any(found), "{:?}", status.findings);
    let prepare = Prepare {
        of: named(MAILBOX),
        write: slotd::protocol::Write::Always,
        upgrade: Upgrade::default(),
        epoch: None,
    };
    let prepared = client.prepare(prepare).await.unwrap_err();
    for prepared in [Some(prepared), None] {
        client.lock(lock(MAILBOX)).await.unwrap();
        let refused = client.upgrade(Upgrade::default()).await.unwrap_err();
        for error in prepared.into_iter().chain([refused]) {
            assert_eq!(error.code(), Some(Code::Damaged), "{error}");
            let named = format!("duplicate-uid: UID {live} is in {}", path.display());
            assert!(error.to_string().contains(&named), "{error}");
        }
        client.rollback().await.unwrap();
    }
    assert_eq!(store.meta_files(), before);
    served.stop().await;
}
