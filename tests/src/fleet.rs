//! Two hosts, their slotds, and a controller: the whole of a migration in a temporary directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stores::{Layout, StoreSpec, Variety};

use crate::process::{Ended, Guard, Slotd};
use crate::watch::Watch;
use stores::Host;
use stores::genuine::{copy_host, unpack_239};
use stores::judge::{Before, Report, When, alike};

/// The program `t-NAME` that was built together with this test.
///
/// # Panics
/// If it is not where cargo puts it.
#[must_use]
pub fn program(name: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let bin = test
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join(format!("t-{name}"));
    assert!(
        bin.exists(),
        "{} is not built; run `cargo build -p tests --bins`",
        bin.display()
    );
    bin.to_str().unwrap().to_owned()
}

/// A master and a replica with the same mail, and what they looked like at the start.
pub struct Fleet {
    /// Everything lies in here; the sockets do not.
    pub dir: tempfile::TempDir,
    /// The master's store.
    pub master: Host,
    /// The replica's store.
    pub replica: Host,
    before: [Before; 2],
    slotds: [Option<Slotd>; 2],
    watch: Option<Watch>,
    /// Whether both stores are looked at all the time from the first slotd's start on.
    watched: bool,
}

impl Fleet {
    /// The 2.3.9 store as master and a copy of it as replica.
    ///
    /// # Panics
    /// If the stores cannot be made.
    #[must_use]
    pub fn of_239() -> Self {
        Self::of(|_| {})
    }

    /// The same, with the master changed by `prepare` before it is copied.
    ///
    /// # Panics
    /// If the stores cannot be made.
    #[must_use]
    pub fn of(prepare: impl FnOnce(&Host)) -> Self {
        Self::of_in(&std::env::temp_dir(), prepare)
    }

    /// The same, everything of it (journal and slotds' state included) below `parent`.
    ///
    /// # Panics
    /// If the stores cannot be made.
    #[must_use]
    pub fn of_in(parent: &Path, prepare: impl FnOnce(&Host)) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let master = unpack_239(&dir.path().join("master")).unwrap();
        prepare(&master);
        Self::with_copy(dir, master)
    }

    /// Two copies of `template`, below `parent`.
    ///
    /// # Panics
    /// If they cannot be made.
    #[must_use]
    pub fn copies_of(template: &Host, parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let master = copy_host(template, &dir.path().join("master")).unwrap();
        Self::with_copy(dir, master)
    }

    /// This many mailboxes of a version 9 server, each with this many messages, the same on both
    /// hosts.
    ///
    /// # Panics
    /// If the stores cannot be made.
    #[must_use]
    pub fn plain(mailboxes: usize, messages: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hosts = ["master", "replica"]
            .map(|name| Host::lay_out(&dir.path().join(name), Layout::HASHED).unwrap());
        let spec = StoreSpec::new(mailboxes, messages).variety(Variety::Plain);
        let built = spec.build(&hosts.each_ref()).unwrap();
        assert_eq!(built.mailboxes, mailboxes as u64);
        let [master, replica] = hosts;
        Self::between(dir, master, replica)
    }

    fn with_copy(dir: tempfile::TempDir, master: Host) -> Self {
        let replica = copy_host(&master, &dir.path().join("replica")).unwrap();
        Self::between(dir, master, replica)
    }

    /// Two stores that are already there.
    ///
    /// # Panics
    /// If they cannot be read.
    #[must_use]
    pub fn between(dir: tempfile::TempDir, master: Host, replica: Host) -> Self {
        let before = [&master, &replica].map(|h| Before::remember(h).unwrap());
        Self {
            dir,
            master,
            replica,
            before,
            slotds: [None, None],
            watch: None,
            watched: true,
        }
    }

    /// Takes the present state as the one to compare with.
    ///
    /// # Panics
    /// If the stores cannot be read.
    pub fn remember(&mut self) {
        self.before = [&self.master, &self.replica].map(|h| Before::remember(h).unwrap());
    }

    /// Is not watched: a file system that is to be unmounted cannot be while a file is open; and a
    /// server of 2.3.10 and later has an instant of its own at which the index is newer.
    #[must_use]
    pub fn unwatched(mut self) -> Self {
        self.watched = false;
        self
    }

    fn watch(&mut self) {
        if self.watched && self.watch.is_none() {
            self.watch = Some(Watch::over(&[&self.master, &self.replica]));
        }
    }

    /// Starts both slotds (those that do not run).
    ///
    /// # Panics
    /// If one does not come up.
    pub fn start(&mut self) {
        self.watch();
        for (host, slotd) in [&self.master, &self.replica]
            .into_iter()
            .zip(&mut self.slotds)
        {
            if slotd.is_none() {
                *slotd = Some(Slotd::start(&program("slotd"), host, &[]));
            }
        }
    }

    /// The slotd of the master (0) or the replica (1), to kill or keep.
    pub fn take_slotd(&mut self, which: usize) -> Option<Slotd> {
        self.slotds[which].take()
    }

    /// Puts a slotd in place that was started elsewhere.
    pub fn put_slotd(&mut self, which: usize, slotd: Slotd) {
        self.watch();
        self.slotds[which] = Some(slotd);
    }

    /// Address of the master's (0) or the replica's (1) slotd.
    #[must_use]
    pub fn addr(&self, which: usize) -> String {
        if let Some(slotd) = &self.slotds[which]
            && slotd.addr.starts_with("tls://")
        {
            return slotd.addr.clone();
        }
        let host = [&self.master, &self.replica][which];
        format!("unix:{}", crate::process::socket_path(host).display())
    }

    /// The controller's journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// A controller command with `--master`, `--replica` and `--state` given.
    #[must_use]
    pub fn command(&self, verb: &str, extra: &[&str]) -> Command {
        let mut command = Command::new(program("controller"));
        command
            .arg(verb)
            .args(["--master", &self.addr(0), "--replica", &self.addr(1)]);
        command.arg("--state").arg(self.journal()).args(extra);
        // Most tests want to see what comes of a host that is away, not how long it is waited for.
        let works = [
            "upgrade",
            "downgrade",
            "retry",
            "rollback",
            "recover",
            "cutover",
        ]
        .contains(&verb);
        if works && !extra.contains(&"--host-wait") {
            command.args(["--host-wait", "0"]);
        }
        // No test has a genuine server that could die of it.
        let said = ["--servers-stopped", "--force-live"];
        if ["downgrade", "retry"].contains(&verb) && !extra.iter().any(|a| said.contains(a)) {
            command.arg("--force-live");
        }
        command
    }

    /// Runs a controller command to its end.
    ///
    /// # Panics
    /// If it is stuck.
    #[must_use]
    pub fn controller(&self, verb: &str, extra: &[&str]) -> Ended {
        Guard::spawn(&mut self.command(verb, extra)).finish()
    }

    /// Mailboxes whose transaction is open in the journal, by the view it offers to operators.
    ///
    /// # Panics
    /// If the journal cannot be read.
    #[must_use]
    pub fn open_transactions(&self) -> Vec<String> {
        let journal = rusqlite::Connection::open(self.journal()).unwrap();
        let mut query = journal
            .prepare("SELECT name FROM open_transaction")
            .unwrap();
        let names = query.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    }

    /// Judges both hosts and compares them.
    #[must_use]
    pub fn check(&self, when: When) -> [Report; 2] {
        // At the same time: with 20,000 mailboxes it is most of a test.
        let [mut master, mut replica] = std::thread::scope(|scope| {
            let both = self.before.each_ref();
            let both = both.map(|before| scope.spawn(move || before.check(when)));
            both.map(|check| check.join().unwrap())
        });
        for (side, report) in [("master: ", &mut master), ("replica: ", &mut replica)] {
            for line in &mut report.violations {
                line.insert_str(0, side);
            }
        }
        if when == When::Settled {
            let lines = alike(&master, &replica);
            master.violations.extend(lines);
        }
        [master, replica]
    }

    /// Judges both hosts after a run that ended and fails the test on any broken invariant.
    ///
    /// # Panics
    /// With the broken invariants.
    #[must_use]
    pub fn assert_settled(&self) -> [Report; 2] {
        let reports = self.check(When::Settled);
        let all: Vec<_> = reports.iter().flat_map(|r| r.violations.clone()).collect();
        assert!(all.is_empty(), "broken invariants:\n{}", all.join("\n"));
        reports
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.slotds = [None, None];
        for host in [&self.master, &self.replica] {
            let _ = fs::remove_file(crate::process::socket_path(host));
        }
        drop(self.watch.take());
    }
}
