//! `STATUS` without a mailbox says what the host is doing, and what nobody could find out.

mod common;

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use common::{Store, lock};
use indexfile::mailbox::ImapdConf;
use slotd::host::{Host, Options};
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

#[test]
fn two_slotds_that_see_one_spool_say_so_whatever_their_configuration_directory() {
    let (store, other) = (Store::small(&[MAILBOX]), Store::small(&[MAILBOX]));
    let host = store.host(Options::default());
    let own = |store: &Store| store.conf.config_directory().unwrap().display().to_string();
    let conf = fs::read_to_string(store.root().join("imapd.conf")).unwrap();
    assert!(conf.contains(&own(&store)), "{conf}");
    let conf = conf.replace(&own(&store), &own(&other));
    fs::write(other.root().join("second.conf"), conf).unwrap();
    let conf = ImapdConf::load(&other.root().join("second.conf")).unwrap();
    let second = Host::open(conf, &other.state(), Options::default()).unwrap();
    assert_ne!(second.host_id, host.host_id);
    let root = store.root().join("meta").display().to_string();
    assert_eq!(second.roots.shared_with(&host.roots), Some(root.as_str()));
    let apart = Store::small(&[MAILBOX]).host(Options::default());
    assert_eq!(apart.roots.shared_with(&host.roots), None);
}
