//! `STATUS` without a mailbox says what the host is doing, and what nobody could find out.

mod common;

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use common::{Store, lock};
use slotd::protocol::{Code, Commit, Lock, SyncLogAge, Upgrade};

const MAILBOX: &str = "user.alice.expunged";

#[tokio::test]
async fn a_host_tells_its_load_its_lock_waits_and_what_is_not_replicated() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let mut client = served.client().await;
    let status = client.host_status().await.unwrap();
    assert!(!status.servername.is_empty());
    assert!(status.load.is_some_and(|load| load >= 0.0), "{status:?}");
    let counts_io = fs::exists("/proc/pressure/io").unwrap();
    let known = status.io.is_some() || status.io_error.is_some();
    assert_eq!(known, counts_io, "{status:?}");
    assert_eq!(status.lock_waits, 0);
    assert_eq!(
        (status.lock_wait_p99_ms, status.lock_wait_max_ms),
        (None, None)
    );
    assert_eq!(status.sync_log, Some(SyncLogAge::NoLog));

    let sync = store.conf.config_directory().unwrap().join("sync");
    fs::create_dir(&sync).unwrap();
    let log = sync.join("log-run");
    let then = SystemTime::now() - Duration::from_secs(731);
    File::create(&log).unwrap().set_modified(then).unwrap();
    let status = client.host_status().await.unwrap();
    let Some(SyncLogAge::Seconds(age)) = status.sync_log else {
        panic!("{status:?}")
    };
    assert!(age >= 731, "{age}");
    assert_eq!(status.sync_log_file.as_deref(), log.to_str());
    // What cannot be looked for is not absent.
    fs::remove_file(&log).unwrap();
    fs::remove_dir(&sync).unwrap();
    fs::write(&sync, "").unwrap();
    let status = client.host_status().await.unwrap();
    assert_eq!(status.sync_log, None);
    assert!(status.sync_log_error.unwrap().contains("/sync"));
}

#[tokio::test]
async fn each_wait_each_hold_and_each_end_of_a_transaction_is_counted() {
    let store = Store::small(&[MAILBOX]);
    let served = store.serve().await;
    let activity = &served.host.activity;
    let (mut one, mut two) = (served.client().await, served.client().await);
    one.lock(lock(MAILBOX)).await.unwrap();
    assert_eq!((activity.holds().0, activity.connections()), (1, 2));
    let wait = Duration::from_millis(60);
    let impatient = Lock {
        wait: Some(wait),
        ..lock(MAILBOX)
    };
    let refused = two.lock(impatient).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Locked));
    let status = two.host_status().await.unwrap();
    assert_eq!(status.lock_waits, 2, "one in vain, one at once");
    assert!(status.lock_wait_max_ms.unwrap() >= 60.0, "{status:?}");
    assert_eq!(status.lock_wait_p99_ms, status.lock_wait_max_ms);

    one.upgrade(Upgrade::default()).await.unwrap();
    one.rollback().await.unwrap();
    assert_eq!(activity.holds(), (0, Duration::ZERO));
    two.lock(lock(MAILBOX)).await.unwrap();
    two.upgrade(Upgrade::default()).await.unwrap();
    two.commit(Commit::default()).await.unwrap();
    assert_eq!((activity.committed(), activity.rolled_back()), (1, 1));
    assert_eq!((activity.unsettled(), activity.refused()), (0, 0));
}
