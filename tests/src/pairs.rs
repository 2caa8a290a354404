//! Several pairs of hosts and a fleet file that names them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use stores::{StoreSpec, Variety};

use crate::fleet::{Fleet, program};
use crate::process::{Ended, Guard};

/// Mailboxes of a user of [`Pairs::of_other_users`]: the inbox, and those below it.
pub const EACH: usize = 8;

/// Pairs, the fleet file, and the journal of a run over all of them.
pub struct Pairs {
    dir: tempfile::TempDir,
    /// `--state`, if it is not a file of ours.
    state: Option<String>,
    /// By name, in order.
    pub pairs: Vec<(String, Fleet)>,
}

impl Pairs {
    /// Pairs with these names, each with this many mailboxes of this many messages; their
    /// slotds run.
    ///
    /// # Panics
    /// If the stores cannot be made, or a slotd does not come up.
    #[must_use]
    pub fn plain(names: &[&str], mailboxes: usize, messages: u32) -> Self {
        let pair = |name: &&str| {
            (
                (*name).to_owned(),
                Fleet::plain(mailboxes, messages).unwatched(),
            )
        };
        Self::of(names.iter().map(pair).collect())
    }

    /// Pairs with these names as the backends of a Murder are: each has the mailboxes of this many
    /// users of its own, [`EACH`] of each user; their slotds run.
    ///
    /// # Panics
    /// If the stores cannot be made, or a slotd does not come up.
    #[must_use]
    pub fn of_other_users(names: &[&str], users: usize) -> Self {
        let own = users * EACH;
        let spec = StoreSpec::new(names.len() * own, 2).variety(Variety::Plain);
        let all: Vec<String> = spec.names().collect();
        let pair = |(at, name): (usize, &&str)| {
            let mut fleet = Fleet::plain(all.len(), 2).unwatched();
            for host in [&fleet.master, &fleet.replica] {
                for other in all.iter().step_by(EACH) {
                    let place = all.iter().position(|name| name == other);
                    if place.is_some_and(|place| place / own != at) {
                        fs::remove_dir_all(host.dirs(other).data).unwrap();
                    }
                }
            }
            fleet.remember();
            ((*name).to_owned(), fleet)
        };
        Self::of(names.iter().enumerate().map(pair).collect())
    }

    /// These pairs; their slotds are started.
    ///
    /// # Panics
    /// If a slotd does not come up.
    #[must_use]
    pub fn of(mut pairs: Vec<(String, Fleet)>) -> Self {
        for (_, pair) in &mut pairs {
            pair.start();
        }
        let all = Self {
            dir: tempfile::tempdir().unwrap(),
            state: None,
            pairs,
        };
        all.write("");
        all
    }

    /// Writes the fleet file, with this before the pairs.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, head: &str) {
        let mut text = head.to_owned();
        for (name, pair) in &self.pairs {
            let (master, replica) = (pair.addr(0), pair.addr(1));
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n[pairs.{name:?}]\nmaster = {master:?}\nreplica = {replica:?}\n"
            );
        }
        fs::write(self.file(), text).unwrap();
    }

    /// Uses another journal than a file.
    pub fn state(&mut self, url: &str) {
        self.state = Some(url.to_owned());
    }

    /// The fleet file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("fleet.toml")
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// The pair of that name.
    ///
    /// # Panics
    /// If there is none.
    pub fn pair(&mut self, name: &str) -> &mut Fleet {
        let found = self.pairs.iter_mut().find(|(pair, _)| pair == name);
        &mut found.unwrap().1
    }

    /// A controller command with `--fleet` and `--state` given.
    #[must_use]
    pub fn command(&self, verb: &[&str], extra: &[&str]) -> Command {
        let mut command = Command::new(program("controller"));
        command.args(verb).arg("--fleet").arg(self.file());
        if verb != ["fleet", "check"] {
            let state = self.state.clone();
            let state = state.map_or_else(|| self.journal(), PathBuf::from);
            command.arg("--state").arg(state);
        }
        // Where a controller's socket is, if its journal is on a server.
        command.current_dir(self.dir.path());
        command.args(extra);
        command
    }

    /// Runs a controller command to its end.
    ///
    /// # Panics
    /// If it is stuck.
    #[must_use]
    pub fn controller(&self, verb: &str, extra: &[&str]) -> Ended {
        let verb: Vec<&str> = verb.split(' ').collect();
        Guard::spawn(&mut self.command(&verb, extra)).finish()
    }

    /// The same with `--json`: what it printed.
    ///
    /// # Panics
    /// If it does not end with that code, or prints no JSON.
    #[must_use]
    pub fn json(&self, verb: &str, extra: &[&str], code: i32) -> Value {
        let ended = self.controller(verb, &[extra, &["--json"]].concat());
        let ended = ended.expect_code(code);
        ended.json()
    }
}
