//! A store that is used while a run goes over it: never a wrong SHA-1 in a cache.

mod common;

use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Store;
use serde_json::Value;

#[test]
fn messages_replaced_truncated_removed_or_delivered_meanwhile_never_get_a_wrong_sha1() {
    let store = Store::new();
    let mailboxes: Vec<String> = (0..8).map(|i| format!("user.u{i}")).collect();
    for name in &mailboxes {
        store.make(name, &(1..=200).collect::<Vec<_>>(), &[]);
    }
    // Old enough for the way that looks only once.
    std::thread::sleep(Duration::from_millis(2_300));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 1..=3u64 {
            let (store, mailboxes, over) = (&store, &mailboxes, &over);
            scope.spawn(move || meddle(store, mailboxes, seed, over));
        }
        for round in 0..12 {
            if round % 3 == 0 {
                store.forget();
            }
            let output = store.run("run", &["--json", "--quiet"]);
            let code = output.status.code();
            // Messages that never rest, or were removed without the index knowing, are findings.
            assert!(matches!(code, Some(0 | 65 | 75)), "{code:?}");
            let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(summary["mailboxes"], 8);
            // While others write: what is believed of a file at rest must be right. A file may be
            // changed between the look and the read here, so only the last round is exact.
        }
        over.store(true, Ordering::Release);
    });
    let believed = store.believed_and_right();
    assert!(believed > 0);
    store.run("run", &["--quiet"]);
    assert!(store.believed_and_right() >= believed);
}

/// Changes messages in every way there is, as fast as it can.
fn meddle(store: &Store, mailboxes: &[String], seed: u64, over: &AtomicBool) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut below = |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    while !over.load(Ordering::Acquire) {
        let name = &mailboxes[usize::try_from(below(mailboxes.len() as u64)).expect("small")];
        let path = store.mailbox(name).join(format!("{}.", 1 + below(200)));
        let bytes =
            vec![below(256).to_le_bytes()[0]; usize::try_from(below(90_000)).expect("small")];
        match below(6) {
            0 => {
                let new = path.with_extension(format!("new{seed}"));
                if fs::write(&new, bytes).is_ok() {
                    drop(fs::rename(&new, &path));
                }
            }
            1 => {
                if let Ok(file) = fs::OpenOptions::new().write(true).open(&path) {
                    drop(file.set_len(below(5_000)));
                }
            }
            2 => drop(fs::remove_file(&path)),
            3 => {
                // In place, same length, and the mtime put back as a restore would.
                if let Ok(mut file) = fs::OpenOptions::new().write(true).open(&path) {
                    let mtime = file.metadata().and_then(|m| m.modified());
                    drop(file.write_all(&bytes[..bytes.len().min(100)]));
                    if let Ok(mtime) = mtime {
                        drop(file.set_modified(mtime));
                    }
                }
            }
            4 => {
                if let Ok(mut file) = fs::OpenOptions::new().append(true).open(&path) {
                    drop(file.write_all(&bytes));
                }
            }
            _ => drop(fs::write(&path, bytes)),
        }
    }
}

#[test]
fn a_message_expunged_meanwhile_is_no_finding() {
    // The index that the run reads lists 1 to 5; by the time the message is missed, the index that
    // is there does not list it any more. Done with a named pipe in the place of nothing: the run
    // is paused by its rate limit while we expunge.
    let store = Store::new();
    store.make("user.slow", &(1..=60).collect::<Vec<_>>(), &[]);
    let mut run = std::process::Command::new(common::PRECOMPUTE);
    run.args([
        "run",
        "--json",
        "--jobs",
        "1",
        "--max-rate",
        "200K",
        "--imapd-conf",
    ])
    .arg(store.conf());
    let run = run
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("start");
    std::thread::sleep(std::time::Duration::from_millis(400));
    store.index("user.slow", &(1..=58).collect::<Vec<_>>(), &[]);
    fs::remove_file(store.mailbox("user.slow").join("59.")).expect("unlink");
    fs::remove_file(store.mailbox("user.slow").join("60.")).expect("unlink");
    let output = run.wait_with_output().expect("end");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (output.status.code(), &summary["errors"]),
        (Some(0), &0.into()),
        "{summary}"
    );
}
