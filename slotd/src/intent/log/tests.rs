//! What is durable, what is open after a restart, and what a failure leaves.

use super::*;
use crate::fs::Identity;
use crate::intent::{Direction, IntentFile, Kind};
use std::sync::Arc;

fn intent(mailbox: &str) -> Intent {
    let id = Identity {
        dev: 1,
        ino: 2,
        born: Some(3),
    };
    Intent {
        id: 0,
        mailbox: mailbox.to_owned(),
        partition: "default".to_owned(),
        from: 9,
        to: 10,
        direction: Direction::Commit,
        drop_old: false,
        uuids_old: false,
        rehash: false,
        run: 0,
        files: vec![IntentFile {
            kind: Kind::Index,
            old: Some(id),
            new: Some(Identity {
                dev: 1,
                ino: 3,
                born: None,
            }),
        }],
    }
}

#[test]
fn what_began_and_did_not_end_is_open_after_a_restart() {
    let tmp = tempfile::tempdir().unwrap();
    let log = IntentLog::open(tmp.path()).unwrap();
    let first = log.begin(intent("user.a")).unwrap();
    let second = log.begin(intent("user.b")).unwrap();
    log.end(first);
    log.flush().unwrap();
    drop(log);
    let log = IntentLog::open(tmp.path()).unwrap();
    let open = log.open_intents();
    assert_eq!(
        open.iter()
            .map(|i| (i.id, i.mailbox.as_str()))
            .collect::<Vec<_>>(),
        [(second, "user.b")]
    );
    assert!(log.begin(intent("user.c")).unwrap() > second);
}

#[test]
fn a_record_that_was_cut_anywhere_is_left_out_and_the_others_stay() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join(FILE_NAME);
    let log = IntentLog::open(tmp.path()).unwrap();
    log.begin(intent("user.a")).unwrap();
    let text = || {
        std::fs::read_to_string(&path)
            .unwrap()
            .trim_end()
            .to_owned()
            + "\n"
    };
    let one = text().len();
    log.begin(intent("user.b")).unwrap();
    let whole = text().into_bytes();
    drop(log);
    for cut in one..whole.len() - 1 {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let open = IntentLog::open(tmp.path()).unwrap().open_intents();
        assert_eq!(open.len(), 1, "cut at {cut}");
        assert_eq!(open[0].mailbox, "user.a");
    }
    for byte in one..whole.len() {
        let mut flipped = whole.clone();
        flipped[byte] ^= 0x10;
        std::fs::write(&path, &flipped).unwrap();
        let open = IntentLog::open(tmp.path()).unwrap().open_intents();
        assert_eq!(
            open.first().map(|i| i.mailbox.as_str()),
            Some("user.a"),
            "flipped at {byte}"
        );
        assert!(
            open.iter().skip(1).all(|i| i.mailbox == "user.b"),
            "flipped at {byte}"
        );
    }
}

#[test]
fn an_intent_that_was_settled_before_anybody_waited_for_it_is_not_open_after_a_restart() {
    let tmp = tempfile::tempdir().unwrap();
    let log = IntentLog::open(tmp.path()).unwrap();
    let pending = log.start(intent("user.a")).unwrap();
    assert_eq!(log.syncs(), 0);
    log.end(pending.id);
    let kept = log.start(intent("user.b")).unwrap();
    log.wait(kept).unwrap();
    // One sync was enough for all that was written by then.
    log.wait(pending).unwrap();
    assert_eq!(log.syncs(), 1);
    drop(log);
    let open = IntentLog::open(tmp.path()).unwrap().open_intents();
    assert_eq!(open.iter().map(|i| i.id).collect::<Vec<_>>(), [kept.id]);
}

#[test]
fn an_intent_that_cannot_be_written_or_synced_is_not_acted_upon() {
    for point in ["intent.write", "intent.sync"] {
        let tmp = tempfile::tempdir().unwrap();
        let log = IntentLog::open(tmp.path()).unwrap();
        failpoint::with(&format!("{point}=1:eio"), || {
            let pending = log.start(intent("user.a"));
            assert!(
                pending.and_then(|pending| log.wait(pending)).is_err(),
                "{point}"
            );
        });
        assert!(log.open_intents().is_empty(), "{point}");
        assert!(log.usable_now().is_err(), "{point}");
    }
}

#[test]
fn after_a_failed_sync_nothing_begins_any_more() {
    let tmp = tempfile::tempdir().unwrap();
    let log = IntentLog::open(tmp.path()).unwrap();
    failpoint::with("intent.sync=1:eio", || {
        assert!(log.begin(intent("user.a")).is_err());
    });
    assert!(matches!(
        log.begin(intent("user.b")),
        Err(LogError::Failed { .. })
    ));
    assert!(log.open_intents().is_empty());
}

#[test]
fn an_intent_that_cannot_be_turned_round_stays_open_as_it_was() {
    let tmp = tempfile::tempdir().unwrap();
    let log = IntentLog::open(tmp.path()).unwrap();
    let id = log.begin(intent("user.a")).unwrap();
    let back = Intent {
        id,
        direction: Direction::PutBack,
        ..intent("user.a")
    };
    failpoint::with("intent.sync=1:eio", || {
        assert!(log.begin(back).is_err());
    });
    let [open] = &log.open_of("user.a")[..] else {
        panic!("{:?}", log.open_intents());
    };
    assert_eq!((open.id, open.direction), (id, Direction::Commit));
}

#[test]
fn a_log_that_failed_is_written_anew_with_what_is_open_once_that_works() {
    let tmp = tempfile::tempdir().unwrap();
    let log = IntentLog::open(tmp.path()).unwrap();
    let open = log.begin(intent("user.open")).unwrap();
    let settled = log.begin(intent("user.settled")).unwrap();
    failpoint::with("intent.sync=1:eio", || {
        assert!(log.begin(intent("user.lost")).is_err());
    });
    // Settled while the log was of no use: in memory only.
    log.end(settled);
    let at = |pauses: u32| Instant::now() + PAUSE * pauses;
    log.lock().renew(&log.path, Instant::now());
    assert!(log.usable_now().is_err(), "not before its time");
    failpoint::with("intent.renew=1:enospc", || {
        log.lock().renew(&log.path, at(1));
    });
    log.lock().renew(&log.path, at(2));
    assert!(log.usable_now().is_err(), "it waits longer each time");
    log.lock().renew(&log.path, at(4));
    log.usable_now().unwrap();
    let new = log.begin(intent("user.new")).unwrap();
    drop(log);
    let found = IntentLog::open(tmp.path()).unwrap().open_intents();
    let ids: Vec<_> = found.iter().map(|i| i.id).collect();
    assert_eq!(ids, [open, new]);
}

#[test]
fn many_who_begin_at_once_share_syncs_and_all_are_durable() {
    let tmp = tempfile::tempdir().unwrap();
    let log = Arc::new(IntentLog::open(tmp.path()).unwrap());
    let threads: Vec<_> = (0..8)
        .map(|t| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for i in 0..25 {
                    log.begin(intent(&format!("user.t{t}.m{i}"))).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(log.syncs() <= 200);
    drop(log);
    assert_eq!(
        IntentLog::open(tmp.path()).unwrap().open_intents().len(),
        200
    );
}
