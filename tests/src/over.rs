//! A change-over or its way back, cut at one point of a slotd, then healed: the body of its sweeps.
//!
//! The store is two mailboxes of the 2.3.9 store at version 10, one of them with a cyrus.expunge.
//! After the cut each mailbox is in one of the states that lose nothing: version 10 with its
//! cyrus.expunge, version 16 with or without it; and nothing is called complete where it lies
//! beside version 16. After both slotds were started again and a change-over or its way back was
//! run, all mailboxes of both hosts are new, or all are old.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cyrus36::before::message_files;
use crate::fleet::Fleet;
use crate::process::Ended;
use crate::sweep::{Plan, run_controller, start_with};
use stores::genuine::{copy_host, copy_mailboxes, unpack_239};
use stores::{Dirs, Host};

/// The mailboxes of the store.
pub const MAILBOXES: [&str; 2] = ["user.alice.expunged", "user.bob"];

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Prepared, changed over, proven.
    Over,
    /// Taken back.
    Back,
}

impl Way {
    /// The controller's commands.
    fn commands(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Over => &[
                &["cutover", "--to", "16", "--prepare"],
                &["cutover", "--to", "16"],
                &["cutover", "--to", "16", "--verify"],
            ],
            Self::Back => &[&["cutover", "--undo"]],
        }
    }
}

/// cyrus.index and cyrus.expunge of each mailbox.
type Files = BTreeMap<String, [Option<Vec<u8>>; 2]>;

/// The same store before and after a change-over, with `msg/shutdown`.
pub struct Template {
    at_10: Host,
    at_16: Host,
    old: Files,
    new: Files,
    messages: BTreeMap<String, String>,
}

/// What a mailbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Old,
    /// Version 16, and cyrus.expunge is still there: only where recovery knows of it.
    Half,
    New,
}

impl Template {
    /// Makes the store in `dir`.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn make(dir: &Path) -> Self {
        let all = unpack_239(&dir.join("all")).unwrap();
        let small = copy_mailboxes(&all, &dir.join("small"), &MAILBOXES).unwrap();
        let msg = small.root.join("conf/msg");
        fs::create_dir_all(&msg).unwrap();
        fs::write(msg.join("shutdown"), "we go over\n").unwrap();
        let mut fleet = Fleet::copies_of(&small, dir).unwatched();
        fleet.start();
        let _ = fleet.controller("upgrade", &[]).expect_code(0);
        let at_10 = copy_host(&fleet.master, &dir.join("at-10")).unwrap();
        for words in Way::Over.commands() {
            let _ = run_controller(&fleet, words, &Plan::default()).expect_code(0);
        }
        let at_16 = copy_host(&fleet.master, &dir.join("at-16")).unwrap();
        Self {
            old: files(&at_10),
            new: files(&at_16),
            messages: message_files(&at_10),
            at_10,
            at_16,
        }
    }

    /// Two hosts of their own below `parent`, before that way.
    #[must_use]
    pub fn fleet(&self, way: Way, parent: &Path) -> Fleet {
        let template = match way {
            Way::Over => &self.at_10,
            Way::Back => &self.at_16,
        };
        Fleet::copies_of(template, parent).unwatched()
    }

    fn state(&self, name: &str, now: &[Option<Vec<u8>>; 2]) -> Option<State> {
        let [old, new] = [&self.old, &self.new].map(|files| &files[name]);
        let [index, expunge] = now;
        let same = |a: &Option<Vec<u8>>, b: &Option<Vec<u8>>| {
            a.as_deref().map(records) == b.as_deref().map(records)
        };
        if now == old {
            Some(State::Old)
        } else if !same(index, &new[0]) {
            None
        } else if expunge.is_none() {
            Some(State::New)
        } else {
            (*expunge == old[1]).then_some(State::Half)
        }
    }

    fn states(&self, host: &Host) -> Result<Vec<State>, String> {
        let now = files(host);
        let state = |(name, now): (&String, &[Option<Vec<u8>>; 2])| {
            let version = now[0].as_ref().map(|index| index[11]);
            let beside = now[1].is_some();
            let what = format!("{name} has version {version:?}, an expunge file: {beside}");
            self.state(name, now).ok_or(what)
        };
        let states: Vec<State> = now.iter().map(state).collect::<Result<_, _>>()?;
        if now.len() != MAILBOXES.len() || message_files(host) != self.messages {
            return Err("a mailbox or a message file is lost".to_owned());
        }
        if complete(host).exists() && states != [State::New; MAILBOXES.len()] {
            return Err(format!("it is called complete, and is {states:?}"));
        }
        Ok(states)
    }

    /// What must hold at any instant, a cut included.
    ///
    /// # Panics
    /// If it does not.
    pub fn assert_whole(&self, fleet: &Fleet, what: &str) {
        for host in [&fleet.master, &fleet.replica] {
            let states = self.states(host);
            assert!(
                states.is_ok(),
                "{}: {states:?}\n{what}",
                host.root.display()
            );
        }
    }

    /// Starts what does not run, goes that way again, and wants all of both hosts there.
    ///
    /// # Panics
    /// If it does not come to that.
    pub fn heal(&self, fleet: &mut Fleet, way: Way, what: &str) {
        fleet.start();
        for words in way.commands() {
            let mut ended = run_controller(fleet, words, &Plan::default());
            // A run of the other way that was stopped is given up, as is asked for.
            let asked = ended.stderr.split("--abandon-run ").nth(1);
            if let Some(run) = asked.and_then(|rest| rest.split_whitespace().next()) {
                let words = [words, &["--abandon-run", run][..]].concat();
                ended = run_controller(fleet, &words, &Plan::default());
            }
            assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}\nafter {what}");
        }
        let (all, is_complete) = match way {
            Way::Over => (State::New, true),
            Way::Back => (State::Old, false),
        };
        for host in [&fleet.master, &fleet.replica] {
            let states = self.states(host);
            assert_eq!(states, Ok(vec![all; MAILBOXES.len()]), "{what}");
            assert_eq!(complete(host).exists(), is_complete, "{what}");
            let strays = strays(host);
            assert!(strays.is_empty(), "{strays:?}\n{what}");
        }
        let open = fleet.open_transactions();
        assert_eq!(open, Vec::<String>::new(), "{what}");
    }
}

fn complete(host: &Host) -> PathBuf {
    host.root.join("conf/cutover-complete")
}

fn files(host: &Host) -> Files {
    let bytes =
        |dirs: &Dirs| ["cyrus.index", "cyrus.expunge"].map(|name| fs::read(dirs.file(name)).ok());
    let all = host.mailboxes().unwrap().into_iter();
    all.map(|(name, dirs)| (name, bytes(&dirs))).collect()
}

/// The version, and the records from the start that the header states. Of the header two times are
/// those of the change-over; its counts and checksums are what `--verify` looks at.
fn records(index: &[u8]) -> (u8, &[u8]) {
    let start = u32::from_be_bytes(index[12..16].try_into().unwrap()) as usize;
    (index[11], &index[start..])
}

/// Staged files, which nothing leaves. (An older `.OLD` that cannot be removed stays aside: no
/// server knows its name.)
fn strays(host: &Host) -> Vec<PathBuf> {
    let all = host.mailboxes().unwrap().into_values();
    let staged = |dirs: Dirs| ["cyrus.index.NEW", "cyrus.expunge.NEW"].map(|name| dirs.file(name));
    all.flat_map(staged).filter(|path| path.exists()).collect()
}

/// Goes that way with an armed slotd on one side, until a command does not end with 0.
///
/// # Panics
/// If what must hold right after does not.
#[must_use]
pub fn cut(
    template: &Template,
    fleet: &mut Fleet,
    way: Way,
    armed: (usize, &[(String, String)]),
) -> Vec<Ended> {
    let (side, env) = armed;
    let host = [&fleet.master, &fleet.replica][side].clone();
    if let Some(slotd) = start_with(env, &host) {
        fleet.put_slotd(side, slotd);
    }
    let other = [&fleet.master, &fleet.replica][1 - side].clone();
    if let Some(slotd) = start_with(&[], &other) {
        fleet.put_slotd(1 - side, slotd);
    }
    let mut all = Vec::new();
    for words in way.commands() {
        let ended = run_controller(fleet, words, &Plan::default());
        let good = ended.code == Some(0);
        all.push(ended);
        if !good {
            break;
        }
    }
    for which in [0, 1] {
        if let Some(slotd) = fleet.take_slotd(which) {
            slotd.kill();
        }
    }
    template.assert_whole(fleet, &format!("right after the cut: {all:?}"));
    all
}
