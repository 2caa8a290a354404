//! What a power cut leaves is right at every instant of a transaction: each sync is made, of the
//! right file, in time.
//!
//! Seen by what libc is asked to do ([`recorder`]) and judged by what a file system promises
//! ([`ledger`]); needs no privilege. The same is shown with strace (`--test order`) and with real
//! power cuts (`tests/tests/power_cut.rs`), by root.

#[path = "../common/mod.rs"]
mod common;
mod ledger;
mod recorder;
mod recovered;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::{Store, lock, named};
use indexfile::mailbox::ImapdConf;
use ledger::Ledger;
use recorder::{Op, Recorder};
use slotd::failpoint;
use slotd::host::Options;
use slotd::protocol::{Command, Commit, Prepare, Reply, Upgrade};
use slotd::session::Session;

const MAILBOX: &str = "user.alice.expunged";

const COMMIT: Command = Command::Commit(Commit {
    hold: false,
    drop_old: false,
});
const HOLD: Command = Command::Commit(Commit {
    hold: true,
    drop_old: false,
});

fn upgrade(version: u32) -> Command {
    Command::Upgrade(Upgrade {
        version,
        ..Upgrade::default()
    })
}

fn prepare() -> Command {
    Command::Prepare(Prepare {
        write: slotd::protocol::Write::Always,
        of: named(MAILBOX),
        upgrade: Upgrade::default(),
        epoch: None,
    })
}

/// A store whose `cyrus.index` and `cyrus.expunge` lie where `metapartition_files` says.
fn store_with_meta(files: &str) -> Store {
    let mut store = Store::small(&[MAILBOX]);
    let path = store.root().join("imapd.conf");
    let text = fs::read_to_string(&path).unwrap();
    let line = format!("metapartition_files: {files}");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.retain(|l| !l.starts_with("metapartition_files"));
    lines.push(&line);
    let text = lines.join("\n") + "\n";
    fs::write(&path, text).unwrap();
    for file in ["header", "index", "cache", "expunge"] {
        if !files.split(' ').any(|f| f == file) {
            let name = format!("cyrus.{file}");
            fs::rename(
                store.meta(MAILBOX).join(&name),
                store.spool(MAILBOX).join(&name),
            )
            .unwrap();
        }
    }
    store.conf = ImapdConf::load(&path).unwrap();
    store
}

/// Where a file of the mailbox lies, on either root.
fn found(store: &Store, name: &str) -> PathBuf {
    let both = [store.meta(MAILBOX), store.spool(MAILBOX)].map(|d| d.join(name));
    both.into_iter().find(|p| p.exists()).unwrap()
}

fn version_of(path: &Path) -> u8 {
    fs::read(path).map_or(0, |bytes| bytes[11])
}

/// Watches a store: each call is judged when it was made, and at no instant may the index be newer
/// than the expunge file.
struct Watched {
    recorder: Recorder,
    ledger: Ledger,
    skew: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    fn of(store: &Store) -> Watched {
        let files = ["cyrus.index", "cyrus.expunge"].map(|name| found(store, name));
        let skew = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&skew);
        let recorder = Recorder::looking(store.tmp.path(), move |event| {
            let [index, expunge] = files.each_ref().map(|path| version_of(path));
            if index > expunge {
                let line = format!("index {index}, expunge {expunge} after {:?}", event.op);
                told.lock().unwrap().push(line);
            }
        });
        Watched {
            recorder,
            ledger: Ledger::default(),
            skew,
        }
    }

    /// Judges what was done since the last time.
    #[track_caller]
    fn judge(&mut self, when: &str) {
        self.ledger.add(&self.recorder.take());
        self.ledger.settled(when);
        self.ledger.assert_kept();
        assert_eq!(*self.skew.lock().unwrap(), Vec::<String>::new(), "{when}");
    }
}

/// Gives the commands one after the other. Each must succeed, and what it did must survive a power
/// cut as soon as it is answered; gives the live names that were replaced, in order.
#[track_caller]
fn course(store: &Store, always: &str, commands: &[Command]) -> Vec<String> {
    let host = store.host(Options::default());
    let mut watched = Watched::of(store);
    let mut session = Session::new(Arc::clone(&host));
    failpoint::with(always, || {
        for command in commands {
            let reply = session.handle(command.clone());
            assert!(matches!(reply, Reply::Ok(_)), "{command:?}: {reply:?}");
            if !matches!(command, Command::Upgrade(_) | Command::Lock(_)) {
                watched.judge(&format!("{command:?} is answered"));
            }
        }
    });
    drop(session);
    watched.judge("the connection is closed");
    watched.ledger.renamed
}

const UP: [&str; 2] = ["cyrus.expunge", "cyrus.index"];
const DOWN: [&str; 2] = ["cyrus.index", "cyrus.expunge"];

#[test]
fn whatever_a_power_cut_leaves_of_a_commit_is_right() {
    let store = Store::small(&[MAILBOX]);
    let up = [Command::Lock(lock(MAILBOX)), upgrade(10), COMMIT];
    assert_eq!(course(&store, "", &up), UP);
    let down = [Command::Lock(lock(MAILBOX)), upgrade(9), COMMIT];
    assert_eq!(course(&store, "", &down), DOWN);
}

#[test]
fn whatever_a_power_cut_leaves_of_a_commit_is_right_with_index_and_expunge_on_two_file_systems() {
    for files in [
        "header index cache",
        "expunge",
        "index",
        "header cache expunge",
    ] {
        let store = store_with_meta(files);
        let up = [Command::Lock(lock(MAILBOX)), upgrade(10), COMMIT];
        assert_eq!(course(&store, "", &up), UP, "{files}");
        let down = [Command::Lock(lock(MAILBOX)), upgrade(9), COMMIT];
        assert_eq!(course(&store, "", &down), DOWN, "{files}");
    }
}

#[test]
fn whatever_a_power_cut_leaves_of_a_commit_is_right_where_a_file_must_have_a_name() {
    let store = Store::small(&[MAILBOX]);
    let commands = [Command::Lock(lock(MAILBOX)), upgrade(10), COMMIT];
    assert_eq!(course(&store, "fs.nameless=0:enotsup", &commands), UP);
}

#[test]
fn a_commit_that_is_held_and_taken_back_is_durable_both_ways() {
    for files in ["header index cache expunge", "index", "expunge"] {
        let store = store_with_meta(files);
        let start = [Command::Lock(lock(MAILBOX)), upgrade(10), HOLD];
        let release = [&start[..], &[Command::Release { drop_old: false }]].concat();
        let back = [&start[..], &[Command::Rollback]].concat();
        assert_eq!(course(&store, "", &back), [UP, DOWN].concat(), "{files}");
        assert_eq!(course(&store, "", &release), UP, "{files}");
    }
}

/// The removal of `.NEW` too: else a power cut brings it back when nothing tells recovery of it any
/// more.
#[test]
fn a_rollback_is_answered_when_no_power_cut_can_bring_a_staged_file_back() {
    let store = Store::small(&[MAILBOX]);
    let commands = [Command::Lock(lock(MAILBOX)), upgrade(10), Command::Rollback];
    for always in ["", "fs.nameless=0:enotsup"] {
        assert_eq!(course(&store, always, &commands), [""; 0]);
        assert_eq!(version_of(&found(&store, "cyrus.index")), 9);
    }
}

/// What changes after PREPARE is written under the locks, or, if there is time, just before them.
#[test]
fn what_was_prepared_and_changed_since_is_synced_again_before_it_gets_its_name() {
    for now in [true, false] {
        let store = Store::small(&[MAILBOX]);
        let host = store.host(Options::default());
        let mut watched = Watched::of(&store);
        let mut session = Session::new(Arc::clone(&host));
        let mut done = |command: Command| match session.handle(command.clone()) {
            Reply::Ok(fields) => fields,
            other => panic!("{command:?}: {other:?}"),
        };
        done(prepare());
        // \Draft on the second message, in place, as a STORE does.
        let index = found(&store, "cyrus.index");
        let mut bytes = fs::read(&index).unwrap();
        bytes[96 + 80 + 35] |= 8;
        fs::write(&index, bytes).unwrap();
        let lock = slotd::protocol::Lock {
            now,
            ..lock(MAILBOX)
        };
        done(Command::Lock(lock));
        let up = done(upgrade(10));
        assert_eq!(up.get::<u32>("prepared").unwrap(), 1);
        done(COMMIT);
        watched.judge("COMMIT is answered");
        assert_eq!(watched.ledger.renamed, UP);
        assert_eq!(fs::read(&index).unwrap()[96 + 88 + 35] & 8, 8);
    }
}

/// The second upgrade merges what the first one's `.OLD` tells into `cyrus.uuids`.
#[test]
fn the_identifiers_that_a_later_run_would_destroy_are_kept_durably_before_it_does() {
    let store = Store::small(&[MAILBOX]);
    let up = [Command::Lock(lock(MAILBOX)), upgrade(10), COMMIT];
    course(&store, "", &up);
    // An old-style GUID, as a 2.3.16 with guid_mode off appends it.
    let index = found(&store, "cyrus.index");
    let mut bytes = fs::read(&index).unwrap();
    bytes[96 + 72..96 + 80].fill(0);
    fs::write(&index, bytes).unwrap();
    assert_eq!(course(&store, "", &up), ["cyrus.index"]);
    assert!(found(&store, "cyrus.uuids").exists());
}

#[test]
fn a_rename_that_fails_is_undone_durably() {
    for files in ["header index cache expunge", "index", "expunge"] {
        // Before the second rename, and when both are done.
        for always in ["commit.rename=2:eio", "commit.done=1:eio"] {
            let store = store_with_meta(files);
            let host = store.host(Options::default());
            let mut watched = Watched::of(&store);
            let mut session = Session::new(Arc::clone(&host));
            failpoint::with(always, || {
                let _ = session.handle(Command::Lock(lock(MAILBOX)));
                let _ = session.handle(upgrade(10));
                let reply = session.handle(COMMIT);
                assert!(!matches!(reply, Reply::Ok(_)), "{reply:?}");
            });
            watched.judge(&format!("{always}, and COMMIT is refused"));
            assert_eq!(watched.ledger.renamed[0], "cyrus.expunge");
            assert_eq!(version_of(&found(&store, "cyrus.index")), 9);
        }
    }
}

/// What slotd keeps beside the mail: the intent log and the table of mounts.
#[test]
fn a_file_of_slotd_s_own_state_is_replaced_durably() {
    let store = Store::small(&[MAILBOX]);
    let recorder = Recorder::of(store.tmp.path());
    drop(store.host(Options::default()));
    let events = recorder.take();
    let replaced: Vec<_> = events.iter().filter(|e| e.op == Op::Rename).collect();
    for name in ["intents.log", "mounts.json"] {
        let seen = |e: &&&recorder::Event| e.to.as_ref().is_some_and(|to| to.ends_with(name));
        assert!(replaced.iter().any(|e| seen(&e)), "{name} was not seen");
    }
    let mut ledger = Ledger::default();
    ledger.add(&events);
    ledger.settled("slotd is open");
    ledger.assert_kept();
}
