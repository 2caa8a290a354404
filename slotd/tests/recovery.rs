//! What recovery owes to a live server: new files are locked before they go live, and an intent
//! whose mailbox cannot be looked at is not forgotten.

mod common;

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::died::{Died, die};
use common::{Store, attempt, lengthen, lock, named, recover, sha1_of};
use slotd::failpoint;
use slotd::host::{Host, Options};
use slotd::intent::{Direction, Intent, Kind, recovery};
use slotd::lock::{Patience, wait};
use slotd::protocol::{Code, Lock, Upgrade};

const SOON: Duration = Duration::from_millis(500);
const MAILBOX: &str = "user.alice.expunged";

fn upgrade(version: u32) -> Upgrade {
    Upgrade {
        version,
        ..Upgrade::default()
    }
}

/// A slotd that died in the commit of an upgrade to version 10.
fn die_in_commit(host: &Host, partition: &str, when: Died, direction: Direction) {
    die(host, (MAILBOX, partition), upgrade(10), when, direction);
}

/// Whether another process could lock a file that newly lies under `path` soon after it came there.
/// `work` makes sure that the sync takes much longer than that.
fn could_be_locked(path: &Path, work: impl FnOnce()) -> bool {
    let ino = |path: &Path| path.metadata().map(|m| m.ino()).ok();
    let before = ino(path);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let (mut got, mut seen) = (false, None);
            while !over.load(Ordering::Relaxed) {
                let open = std::fs::File::options().read(true).write(true).open(path);
                let file = open.unwrap();
                if Some(file.metadata().unwrap().ino()) != before && ino(path) != before {
                    let seen = seen.get_or_insert_with(Instant::now).elapsed();
                    got |= wait::try_lock(&file).unwrap() && seen < SOON;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            got
        });
        work();
        over.store(true, Ordering::Relaxed);
        other.join().unwrap()
    })
}

/// Runs recovery and makes the moment between the last rename and its sync a long one.
fn recover_slowly(host: &Host, over: &str) -> recovery::Report {
    failpoint::with(over, || recover(host))
}

#[test]
fn a_finished_commit_is_on_stable_storage_before_anybody_can_lock_the_new_index() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::HalfWay, Direction::Commit);
    let index = store.meta(MAILBOX).join("cyrus.index");
    // Both directories are synced once at the start, then one after each rename.
    let mut report = None;
    let lockable = could_be_locked(&index, || {
        report = Some(recover_slowly(&host, "fs.sync_dir=4:sleep-2000"));
        // Recovery lets go only when all is done.
        assert!(host.log.open_intents().is_empty());
    });
    let settled = report.unwrap().settled;
    assert_eq!(settled, [(MAILBOX.to_owned(), recovery::Settled::Finished)]);
    assert!(
        !lockable,
        "Cyrus could have changed an index that a power cut would take back"
    );
    assert_eq!(store.index(MAILBOX).minor_version(), 10);
}

#[test]
fn a_commit_that_is_put_back_is_on_stable_storage_before_anybody_can_lock_the_old_index() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::Renamed, Direction::PutBack);
    let index = store.meta(MAILBOX).join("cyrus.index");
    let mut report = None;
    let lockable = could_be_locked(&index, || {
        report = Some(recover_slowly(&host, "fs.sync_dir=3:sleep-2000"));
    });
    let settled = report.unwrap().settled;
    assert_eq!(settled, [(MAILBOX.to_owned(), recovery::Settled::Undone)]);
    assert!(
        !lockable,
        "Cyrus could have changed an index that a power cut would take back"
    );
    assert_eq!(store.index(MAILBOX).minor_version(), 9);
}

#[test]
fn an_intent_on_a_partition_that_the_configuration_lost_stays_open() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "lost", Died::Staged, Direction::Commit);
    let report = recover(&host);
    assert_eq!(report.settled, []);
    assert_eq!(report.failed.len(), 1);
    assert_eq!(host.log.open_intents().len(), 1);
}

#[test]
fn an_intent_of_a_mailbox_behind_a_link_stays_open() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::Staged, Direction::Commit);
    // An administrator moved it to a larger disk, and slotd does not follow.
    let (here, there) = (store.meta("user.alice"), store.tmp.path().join("elsewhere"));
    std::fs::rename(&here, &there).unwrap();
    symlink(&there, &here).unwrap();
    let report = recover(&host);
    assert_eq!((report.settled.len(), report.failed.len()), (0, 1));
    assert_eq!(host.log.open_intents().len(), 1);
}

/// Path, inode and bytes of everything below a directory.
fn all_below(dir: &Path) -> Vec<(std::path::PathBuf, u64, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let bytes = meta.is_file().then(|| std::fs::read(&path).unwrap());
        if meta.is_dir() {
            all.extend(all_below(&path));
        }
        all.push((path, meta.ino(), bytes));
    }
    all.sort();
    all
}

/// How directories of a mailbox get out of reach.
#[derive(Clone, Copy, Debug)]
enum Lost {
    /// The mailbox's own directory was moved away.
    Directory,
    /// The root of the partition is not there.
    Root,
    /// The root is there and empty, as one that is not mounted.
    Unmounted,
}

#[test]
fn an_intent_of_a_mailbox_with_a_directory_out_of_reach_stays_open_and_nothing_is_touched() {
    let all = ["meta", "spool"];
    for (lost, halves) in [
        (Lost::Directory, &all[..1]),
        (Lost::Directory, &all[1..]),
        (Lost::Root, &all[..1]),
        (Lost::Root, &all[1..]),
        (Lost::Root, &all[..]),
        (Lost::Unmounted, &all[..1]),
        (Lost::Unmounted, &all[1..]),
        (Lost::Unmounted, &all[..]),
    ] {
        let what = format!("{lost:?} of {halves:?}");
        let store = Store::cyrus_2_3_9();
        let host = store.host(Options::default());
        die_in_commit(&host, "default", Died::HalfWay, Direction::Commit);
        drop(host);
        let places = halves.iter().map(|half| {
            let root = store.root().join(half);
            let away = store.tmp.path().join(format!("away-{half}"));
            match lost {
                Lost::Directory => (root.join(MAILBOX.replace('.', "/")), away),
                Lost::Root | Lost::Unmounted => (root, away),
            }
        });
        let places: Vec<_> = places.collect();
        for (here, away) in &places {
            std::fs::rename(here, away).unwrap();
            if matches!(lost, Lost::Unmounted) {
                std::fs::create_dir(here).unwrap();
            }
        }
        let before = [store.root().join("meta"), store.root().join("spool")];
        let before = || -> Vec<_> {
            let there = before.iter().filter(|dir| dir.exists());
            let away = places.iter().map(|(_, away)| away);
            there.chain(away).map(|dir| all_below(dir)).collect()
        };
        let seen = before();
        // A slotd that was killed is started again.
        let host = store.host(Options::default());
        let report = recover(&host);
        assert_eq!(report.settled, [], "{what}");
        let [(mailbox, refusal)] = &report.failed[..] else {
            panic!("{what}: {:?}", report.failed);
        };
        assert_eq!(mailbox, MAILBOX, "{what}");
        let path = places[0].0.to_str().unwrap();
        assert!(refusal.text.contains(path), "{what}: {refusal}");
        assert_eq!(host.log.open_intents().len(), 1, "{what}");
        assert_eq!(before(), seen, "{what}");
        // And it can be settled once all is there again.
        for (here, away) in &places {
            let _ = std::fs::remove_dir(here);
            std::fs::rename(away, here).unwrap();
        }
        drop(host);
        let host = store.host(Options::default());
        let report = recover(&host);
        assert!(report.failed.is_empty(), "{what}: {:?}", report.failed);
        assert!(host.log.open_intents().is_empty(), "{what}");
        assert_eq!(store.index(MAILBOX).minor_version(), 10, "{what}");
    }
}

fn locked(host: &Host, mailbox: &str) -> Result<(), slotd::refusal::Refusal> {
    let place = host.store.find(&named(mailbox)).unwrap();
    let patience = Patience {
        deadline: Instant::now() + Duration::from_secs(5),
        cancel: &AtomicBool::new(false),
    };
    host.lock(place, patience).map(drop)
}

#[test]
fn a_mailbox_that_a_damaged_record_may_be_about_is_refused_until_the_operator_has_looked() {
    // In the mailbox's name, so that it names another one, and elsewhere; alone in the log, and
    // before another record.
    for (damage, behind) in [
        (MAILBOX, false),
        (MAILBOX, true),
        ("partition", false),
        ("partition", true),
    ] {
        let what = format!("{damage}, {behind}");
        let store = Store::cyrus_2_3_9();
        let host = store.host(Options::default());
        die_in_commit(&host, "default", Died::HalfWay, Direction::Commit);
        drop(host);
        let log = store.state().join("intents.log");
        let mut text = std::fs::read_to_string(&log).unwrap();
        let at = text.find(damage).unwrap() + damage.len() - 1;
        let flipped = char::from(text.as_bytes()[at] ^ 1);
        text.replace_range(at..=at, &flipped.to_string());
        if behind {
            let json = r#"{"end":{"id":99}}"#;
            let crc = crc32fast::hash(json.as_bytes());
            text = format!("{}\n{crc:08x} {json}\n", text.trim_end());
        }
        std::fs::write(&log, text).unwrap();
        let before = all_below(&store.root().join("meta"));
        let copy = store.state().join("intents.log.damaged-1");
        for round in 0..2 {
            let host = store.host(Options::default());
            let report = recover(&host);
            assert_eq!((report.settled.len(), report.failed.len()), (0, 0));
            let refusal = locked(&host, MAILBOX).expect_err(&what);
            assert_eq!(refusal.code, slotd::protocol::Code::Damaged, "{what}");
            let names = format!("{} line 1", copy.display());
            assert!(refusal.text.contains(&names), "{what}, {round}: {refusal}");
            // Nothing of that was open.
            locked(&host, "user.bob").unwrap();
        }
        assert_eq!(all_below(&store.root().join("meta")), before, "{what}");
        let host = store.host(Options::default());
        std::fs::rename(&copy, store.tmp.path().join("seen")).unwrap();
        locked(&host, MAILBOX).unwrap();
    }
}

#[test]
fn a_damaged_record_that_names_a_mailbox_refuses_it_also_where_nothing_looks_open() {
    // All was renamed: only the name in the record says that it is about this mailbox.
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::Renamed, Direction::Commit);
    drop(host);
    for leftover in [
        "cyrus.index.OLD.reguid-prev",
        "cyrus.expunge.OLD.reguid-prev",
    ] {
        assert!(!store.meta(MAILBOX).join(leftover).exists());
    }
    let log = store.state().join("intents.log");
    let text = std::fs::read_to_string(&log).unwrap();
    let damaged = text.replacen("\"partition\"", "\"partitiom\"", 1);
    assert_ne!(damaged, text);
    std::fs::write(&log, damaged).unwrap();
    let before = store.meta_files();
    let host = store.host(Options::default());
    let refusal = locked(&host, MAILBOX).unwrap_err();
    assert_eq!(refusal.code, Code::Damaged);
    assert!(refusal.text.contains(MAILBOX), "{refusal}");
    locked(&host, "user.bob").unwrap();
    assert_eq!(store.meta_files(), before);
}

#[test]
fn an_intent_of_a_mailbox_that_was_deleted_is_settled() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::HalfWay, Direction::Commit);
    for dir in [store.meta(MAILBOX), store.spool(MAILBOX)] {
        std::fs::remove_dir_all(dir).unwrap();
    }
    let report = recover(&host);
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(host.log.open_intents().is_empty());
}

#[test]
fn a_log_that_failed_does_not_make_a_lock_wait_for_ever() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::Renamed, Direction::Commit);
    let intent = host.log.open_intents()[0].clone();
    failpoint::with("intent.write=1:enospc", || {
        assert!(host.log.begin(Intent { id: 0, ..intent }).is_err());
    });
    // Settled in this process as far as it can be; on disk the intent stays for the next.
    for settled in [&[recovery::Settled::Complete][..], &[]] {
        let find = || host.store.find(&named(MAILBOX)).map(Some);
        let settling = recovery::lock_settled(&host, find, attempt()).unwrap();
        assert_eq!(settling.settled, settled);
    }
    drop(host);
    assert_eq!(store.host(Options::default()).log.open_intents().len(), 1);
}

#[test]
fn a_staged_file_that_got_the_inode_of_the_one_an_intent_speaks_of_is_not_taken_for_it() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::HalfWay, Direction::Commit);
    // The intent was one that its session knew not to be durable: what it staged was
    // removed, and a later transaction, killed too, staged the same again under the same inode
    // number.
    let mut intent = host.log.open_of(MAILBOX).remove(0);
    for file in intent.files.iter_mut().filter(|f| f.kind == Kind::Index) {
        let new = file.new.as_mut().unwrap();
        new.born = new.born.map(|b| b - 1_000_000_000);
        if new.born.is_none() {
            return; // the file system keeps no birth times: docs/recovery.md
        }
    }
    host.log.end(intent.id);
    host.log.begin(Intent { id: 0, ..intent }).unwrap();
    let report = recover(&host);
    let settled: Vec<_> = report.settled.iter().map(|(_, how)| *how).collect();
    assert_eq!(settled, [recovery::Settled::Restaged]);
    assert_eq!(store.index(MAILBOX).minor_version(), 10);
    assert!(!store.meta(MAILBOX).join("cyrus.index.NEW").exists());
}

#[test]
fn what_stepped_aside_is_gone_after_a_recovery_that_a_power_cut_made_forget_it() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::Renamed, Direction::Commit);
    // The first recovery was complete, but for the removal of this name and the end of the intent;
    // and Cyrus has replaced the index since.
    let meta = store.meta(MAILBOX);
    let [index, aside] = ["cyrus.index", "cyrus.index.OLD.reguid-prev"].map(|n| meta.join(n));
    std::fs::copy(&index, &aside).unwrap();
    std::fs::copy(&index, meta.join("copy")).unwrap();
    std::fs::rename(meta.join("copy"), &index).unwrap();
    let report = recover(&host);
    assert!(report.failed.is_empty() && host.log.open_intents().is_empty());
    assert!(!aside.exists());
}

#[test]
fn what_the_start_could_not_settle_is_settled_when_it_can_be() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::Renamed, Direction::Commit);
    let first = failpoint::with("fs.sync_dir=1:eio", || recover(&host));
    let failed: Vec<String> = first.failed.into_iter().map(|(name, _)| name).collect();
    assert_eq!(failed, [MAILBOX]);
    let again = recovery::recover_again(&host, attempt());
    assert_eq!(again.settled.len(), 1);
    assert!(again.failed.is_empty() && host.log.open_intents().is_empty());
}

#[test]
fn a_staged_file_that_cannot_be_synced_is_not_used_and_not_synced_again() {
    let store = Store::cyrus_2_3_9();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::HalfWay, Direction::Commit);
    let report = failpoint::with("recovery.sync=1:eio", || recover(&host));
    assert_eq!(report.failed.len(), 1);
    let report = recover(&host);
    assert!(report.failed.is_empty() && host.log.open_intents().is_empty());
    assert_eq!(report.settled[0].1, recovery::Settled::Restaged);
    assert_eq!(store.index(MAILBOX).minor_version(), 10);
}

#[test]
fn what_was_staged_and_never_ordered_is_undone_and_nothing_of_it_is_left() {
    let store = Store::cyrus_2_3_9();
    let before = store.meta_files();
    let host = store.host(Options::default());
    die_in_commit(&host, "default", Died::Staged, Direction::Commit);
    let report = recover(&host);
    assert_eq!(report.settled[0].1, recovery::Settled::Aborted);
    assert!(report.failed.is_empty() && host.log.open_intents().is_empty());
    assert_eq!(store.meta_files(), before);
}

/// A commit that a crash cut short, whose staged files are of no use, in a mailbox with a message
/// that is too large to be read under the locks.
fn half_way_with_much_to_read(store: &Store, host: &Host) {
    lengthen(store, MAILBOX, 1, 17 << 20);
    die_in_commit(host, "default", Died::HalfWay, Direction::Commit);
    let report = failpoint::with("recovery.sync=1:eio", || recover(host));
    assert_eq!(report.failed.len(), 1);
}

fn assert_upgraded(store: &Store) {
    let (index, expunge) = (store.index(MAILBOX), store.expunge(MAILBOX).unwrap());
    for file in [&index, &expunge] {
        assert_eq!(file.minor_version(), 10);
        for record in file.records().map(Result::unwrap) {
            let message = store.spool(MAILBOX).join(format!("{}.", record.uid()));
            assert_eq!(record.guid().padded(), sha1_of(&message));
        }
    }
}

#[tokio::test]
async fn what_recovery_has_to_read_is_read_before_the_locks() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    half_way_with_much_to_read(&store, &served.host);
    let before = store.meta_files();
    let mut client = served.client().await;
    let now = Lock {
        now: true,
        ..lock(MAILBOX)
    };
    let refused = client.lock(now).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Expired), "{refused}");
    assert!(refused.to_string().contains("stays open"), "{refused}");
    assert_eq!(store.meta_files(), before);
    assert_eq!(served.host.log.open_intents().len(), 1);
    // Nothing was said of another mailbox; and a plain LOCK has the time to read.
    let facts = client.lock(lock(MAILBOX)).await.unwrap();
    assert_eq!(facts.index, 10);
    assert!(served.host.log.open_intents().is_empty());
    client.rollback().await.unwrap();
    assert_upgraded(&store);
}

#[test]
fn what_there_is_no_time_to_read_at_once_is_read_in_the_background() {
    let store = Store::small(&[MAILBOX]);
    let host = store.host(Options::default());
    half_way_with_much_to_read(&store, &host);
    let soon = recovery::Attempt {
        read: Some(Duration::from_micros(1)),
        ..attempt()
    };
    for _ in 0..2 {
        let report = recovery::recover(&host, soon);
        assert_eq!(report.failed[0].1.code, Code::Expired);
        assert_eq!(host.log.open_intents().len(), 1);
    }
    let report = recovery::recover_again(&host, attempt());
    let settled = vec![(MAILBOX.to_owned(), recovery::Settled::Restaged)];
    assert_eq!(report.settled, settled, "{:?}", report.failed);
    assert_upgraded(&store);
}

#[test]
fn a_message_that_cannot_be_read_leaves_what_cyrus_reads_rightly() {
    let store = Store::small(&[MAILBOX]);
    let host = store.host(Options::default());
    half_way_with_much_to_read(&store, &host);
    let uid = store.index(MAILBOX).record(3).unwrap().unwrap().uid();
    std::fs::remove_file(store.spool(MAILBOX).join(format!("{uid}."))).unwrap();
    let report = recover(&host);
    assert_eq!(report.settled[0].1, recovery::Settled::Left);
    let versions = [store.index(MAILBOX), store.expunge(MAILBOX).unwrap()];
    assert_eq!(versions.map(|f| f.minor_version()), [9, 10]);
}
