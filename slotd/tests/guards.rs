//! What is looked at again before anything is renamed: whether the file that is locked is still the
//! one under its name, and whether the mail is still mounted. Cyrus, an operator's `cp`, or a lost
//! mount may have changed that since.

mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use common::{Store, lock, named, sha1_of};
use indexfile::RecordGuid;
use indexfile::mailbox::HeaderFile;
use indexfile::sha1s::{Entry, encode};
use precompute::message::Spool;
use slotd::client::ClientError;
use slotd::failpoint;
use slotd::host::Options;
use slotd::lock::{Patience, wait};
use slotd::protocol::{Code, Commit, Lock, Upgrade};
use slotd::stage::{self, LiveFiles, Sources};

const MAILBOX: &str = "user.alice.expunged";
const FILES: [&str; 3] = ["cyrus.header", "cyrus.index", "cyrus.expunge"];
/// Where \Draft is in the first record of a version 9 or 10 file.
const FLAGS: usize = 96 + 35;
const DRAFT: u8 = 8;

/// The file as a server leaves it when it replaces it: a new inode under the name, with a flag more
/// if it has flags.
fn replaced(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    if !path.ends_with("cyrus.header") {
        bytes[FLAGS] |= DRAFT;
    }
    let new = path.with_extension("other");
    File::create(&new).unwrap().write_all(&bytes).unwrap();
    fs::rename(&new, path).unwrap();
    bytes
}

/// Waits until somebody waits in the kernel for the lock of this file.
fn until_waited_for(path: &Path) {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{}", path.metadata().unwrap().ino());
    let deadline = Instant::now() + Duration::from_secs(10);
    // `1: -> OFDLCK  ADVISORY  WRITE -1 fe:00:1234 0 EOF`
    let waits = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.contains(&"->") && words.iter().any(|w| w.ends_with(&inode))
    };
    while !fs::read_to_string("/proc/locks")
        .unwrap()
        .lines()
        .any(waits)
    {
        assert!(
            Instant::now() < deadline,
            "nobody waits for {}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn hold(path: &Path) -> File {
    let file = File::options().read(true).write(true).open(path).unwrap();
    assert!(wait::try_lock(&file).unwrap());
    file
}

/// `cyr_expire`, `reconstruct` or a STORE of another tool may replace one file under that file's
/// lock alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_replaced_while_its_lock_was_waited_for_is_the_one_that_is_upgraded() {
    for name in FILES {
        let store = Store::small(&[MAILBOX]);
        let path = store.meta(MAILBOX).join(name);
        let served = store.serve().await;
        let mut client = served.client().await;
        let held = hold(&path);
        let waiting = tokio::spawn(async move {
            let patient = Lock {
                wait: Some(Duration::from_secs(60)),
                ..lock(MAILBOX)
            };
            client.lock(patient).await.unwrap();
            client
        });
        let told = path.clone();
        let left = tokio::task::spawn_blocking(move || {
            until_waited_for(&told);
            // Twice: the second time it waits for the lock of the file of the first.
            let first = replaced(&told);
            let second = hold(&told);
            wait::unlock(&held).unwrap();
            until_waited_for(&told);
            let left = replaced(&told);
            assert_eq!(left, first);
            wait::unlock(&second).unwrap();
            left
        });
        let left = left.await.unwrap();
        let mut client = waiting.await.unwrap();
        client.upgrade(Upgrade::default()).await.unwrap();
        client.commit(Commit::default()).await.unwrap();
        if name == "cyrus.header" {
            assert_eq!(fs::read(&path).unwrap(), left);
        } else {
            let bytes = fs::read(&path).unwrap();
            assert_eq!(bytes[11], 10, "{name}");
            assert_eq!(bytes[FLAGS] & DRAFT, DRAFT, "{name}: a change was lost");
        }
        served.stop().await;
    }
}

fn bytes_of(paths: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    paths.iter().map(|path| fs::read(path).ok()).collect()
}

/// Locks and stages, does `between`, and wants COMMIT refused with `code` and nothing changed by
/// it.
async fn refused_after(store: &Store, mailbox: &str, code: Code, between: impl FnOnce()) {
    let served = store.serve().await;
    let mut client = served.client().await;
    client.lock(lock(mailbox)).await.unwrap();
    client.upgrade(Upgrade::default()).await.unwrap();
    between();
    let files = FILES.map(|name| store.meta(mailbox).join(name));
    let before = bytes_of(&files);
    let refused: ClientError = client.commit(Commit::default()).await.unwrap_err();
    assert_eq!(refused.code(), Some(code), "{refused}");
    assert_eq!(bytes_of(&files), before, "{refused}");
    served.stop().await;
}

#[tokio::test]
async fn a_file_that_was_replaced_in_spite_of_our_lock_is_left_and_its_mailbox_refused() {
    for name in FILES {
        let store = Store::small(&[MAILBOX]);
        let path = store.meta(MAILBOX).join(name);
        refused_after(&store, MAILBOX, Code::Damaged, || {
            replaced(&path);
        })
        .await;
        if name != "cyrus.header" {
            assert_eq!(fs::read(&path).unwrap()[FLAGS] & DRAFT, DRAFT, "{name}");
        }
    }
}

#[tokio::test]
async fn an_expunge_file_that_came_in_spite_of_our_locks_is_left_and_its_mailbox_refused() {
    let store = Store::small(&["user.bob"]);
    let expunge = store.meta("user.bob").join("cyrus.expunge");
    assert!(!expunge.exists());
    let other = Store::small(&[MAILBOX]);
    let bytes = fs::read(other.meta(MAILBOX).join("cyrus.expunge")).unwrap();
    refused_after(&store, "user.bob", Code::Damaged, || {
        fs::write(&expunge, &bytes).unwrap();
    })
    .await;
    assert_eq!(fs::read(&expunge).unwrap(), bytes);
}

#[tokio::test]
async fn a_staged_file_that_is_not_ours_any_more_is_not_renamed() {
    for name in ["cyrus.index.NEW", "cyrus.expunge.NEW"] {
        let store = Store::small(&[MAILBOX]);
        let path = store.meta(MAILBOX).join(name);
        refused_after(&store, MAILBOX, Code::Io, || {
            replaced(&path);
        })
        .await;
    }
}

/// The messages may be gone between UPGRADE and COMMIT; the files of the index may lie elsewhere
/// and be there still.
#[tokio::test]
async fn a_partition_that_is_lost_between_upgrade_and_commit_is_noticed_at_commit() {
    let store = Store::small(&[MAILBOX]);
    let spool = store.root().join("spool");
    refused_after(&store, MAILBOX, Code::Unmounted, || {
        fs::rename(&spool, store.root().join("lost")).unwrap();
    })
    .await;
}

/// As a slotd of Cyrus's user that is no member of the files' group: the kernel lets it keep the
/// owner, not the group.
#[test]
fn a_group_that_is_not_ours_to_give_is_told_in_the_answer_or_refuses_the_mailbox() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let store = Store::small(&[MAILBOX]);
    let names = ["cyrus.index", "cyrus.expunge"];
    if chown(store.meta(MAILBOX).join(names[0]), None, Some(4242)).is_err() {
        eprintln!("not shown here: needs the right to give a file to another group");
        return;
    }
    let host = store.host(Options::default());
    for (mode, left) in [
        (0o644, true),
        (0o600, true),
        (0o640, false),
        (0o2644, false),
    ] {
        for name in names {
            let path = store.meta(MAILBOX).join(name);
            chown(&path, Some(rustix::process::geteuid().as_raw()), Some(4242)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let place = host.store.find(&named(MAILBOX)).unwrap();
        let never = AtomicBool::new(false);
        let patience = Patience {
            deadline: Instant::now() + Duration::from_secs(5),
            cancel: &never,
        };
        let locks = host.lock(place, patience).unwrap();
        let live = LiveFiles::of(&locks).unwrap();
        let (want, sources) = (Upgrade::default(), Sources::default());
        let work = || stage::stage(&locks, &live, want, &sources, &never, &|| Ok(()));
        let staged = failpoint::with("stage.give_group=0:eperm", work);
        if left {
            assert_eq!(staged.unwrap().report.left_group, Some(4242), "{mode:o}");
        } else {
            let refusal = staged.unwrap_err();
            assert_eq!(refusal.code, Code::Denied, "{mode:o}: {refusal}");
            assert!(refusal.text.contains("group 4242"), "{mode:o}: {refusal}");
        }
        // Where it can be given it is.
        let staged = work().unwrap();
        assert_eq!(staged.report.left_group, None, "{mode:o}");
    }
}

/// Same UID, same size, other bytes: written over, or another file under the name.
#[tokio::test]
async fn a_hash_of_the_cache_is_not_believed_of_a_message_that_has_changed_since() {
    let store = Store::small(&[MAILBOX]);
    let (index, meta) = (store.index(MAILBOX), store.meta(MAILBOX));
    let message = |uid: u32| store.spool(MAILBOX).join(format!("{uid}."));
    let uids: Vec<u32> = index.records().map(|r| r.unwrap().uid()).collect();
    let spool = Spool::open(&store.spool(MAILBOX)).unwrap();
    let entry = |uid: &u32| {
        let stat = spool.stat(*uid).unwrap();
        let guid = sha1_of(&message(*uid));
        Entry {
            uid: *uid,
            size: stat.size,
            stamp: stat.stamp,
            guid,
        }
    };
    let entries: Vec<Entry> = uids.iter().map(entry).collect();
    let uniqueid = HeaderFile::open(&meta.join("cyrus.header"))
        .unwrap()
        .uniqueid;
    let cache = encode(index.header().uidvalidity(), &uniqueid, &entries).unwrap();
    fs::write(meta.join("cyrus.sha1s"), cache).unwrap();
    let other =
        |path: &Path| -> Vec<u8> { fs::read(path).unwrap().iter().map(|b| b ^ 1).collect() };
    let [over, replaced] = [message(uids[1]), message(uids[2])];
    // Another tick of the clock than the one of the stamp.
    std::thread::sleep(Duration::from_millis(20));
    fs::write(&over, other(&over)).unwrap();
    let new = replaced.with_extension("new");
    fs::write(&new, other(&replaced)).unwrap();
    fs::rename(&new, &replaced).unwrap();

    let served = store.serve().await;
    let mut client = served.client().await;
    client.lock(lock(MAILBOX)).await.unwrap();
    let up = client.upgrade(Upgrade::default()).await.unwrap();
    client.commit(Commit::default()).await.unwrap();
    assert_eq!(up.cached as usize, uids.len() - 2);
    for record in store.index(MAILBOX).records().map(Result::unwrap) {
        let uid = record.uid();
        assert_eq!(
            record.guid(),
            RecordGuid::Guid(sha1_of(&message(uid))),
            "UID {uid}"
        );
    }
    served.stop().await;
}
