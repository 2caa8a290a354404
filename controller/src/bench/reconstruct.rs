//! What an operator has without us: `reconstruct` of Cyrus 3.6 and later, as Debian installs it,
//! on a store of its own.
//!
//! It works on a copy of one host's mailboxes that no server serves, as the user that it insists
//! on: `reconstruct -V 10`, which makes every GUID from its message, then `reconstruct -G`, which
//! compares every GUID with its message. One process, one host, no word to the other one. Nothing
//! of it lies where another user's files do: the copy is in a directory of its own, which is gone
//! when this value is. What it cannot do here (no such program, no such user, a directory that the
//! user cannot reach) is a sentence, and no figure.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use indexfile::mailbox::HeaderFile;
use indexfile::{FileKind, Guid, IndexFile, IoContext as _, IoError, RecordGuid};
use nix::unistd::{Uid, User};
use precompute::hash::sha1_of;
use stores::{Dirs, Layout};
use tempfile::TempDir;

use super::document::{Better, Measure, Peer, Unit};
use super::{Bench, BenchError, peers};
use crate::demo::Host;

/// Where Debian has Cyrus's programs.
const BIN: &str = "/usr/lib/cyrus/bin";
/// The user that they insist on.
const USER: &str = "cyrus";
/// Its name among the peers.
const NAME: &str = "reconstruct";
/// The version of all indexes afterwards.
const VERSION: u32 = 10;

/// A copy of a store, and what `reconstruct` did on it.
pub(super) struct Reconstruct {
    dir: TempDir,
    user: User,
    /// What each mailbox is a copy of, and the copy.
    mailboxes: Vec<(Dirs, Dirs)>,
    /// Seconds of `-V 10`, and of `-G`.
    took: [Vec<f64>; 2],
    /// What it says of its version.
    pub peer: Peer,
}

/// It is not measured: why, as words that follow a colon.
type Absent = String;

impl Reconstruct {
    /// Copies the mailboxes of a host for it.
    pub fn find(bench: &Bench<'_>, host: &Host) -> Result<Result<Self, Absent>, BenchError> {
        let Some(version) = version() else {
            return Ok(Err(format!("no Cyrus in {BIN}")));
        };
        let Ok(Some(user)) = User::from_name(USER) else {
            return Ok(Err(format!("there is no user {USER}")));
        };
        if !Uid::effective().is_root() && Uid::effective() != user.uid {
            return Ok(Err(format!("this needs root, or user {USER}")));
        }
        // Not in the directory of the bench, which no other user may enter.
        let work = bench.work.path();
        let parent = work.parent().unwrap_or(work);
        let dir = tempfile::Builder::new()
            .prefix("reguid-demo-")
            .tempdir_in(parent)
            .io_context("create a directory in", parent)?;
        let copy =
            stores::Host::lay_out(dir.path(), Layout::HASHED).io_context("lay out", dir.path())?;
        stores::genuine::copy_into(&host.store, &copy).io_context("copy", &host.store.root)?;
        let mut mailboxes = Vec::new();
        let mut list = serde_json::Map::new();
        for (name, dirs) in host.store.mailboxes().io_context("walk", dir.path())? {
            list.insert(name.clone(), entry(&name, &dirs)?);
            mailboxes.push((dirs, copy.place(&name)));
        }
        let conf = format!(
            "configdirectory: {0}/conf\ndefaultpartition: default\n\
             partition-default: {0}/spool\nhashimapspool: yes\nservername: bench.test\n\
             mboxlist_db: twoskip\n",
            dir.path().display()
        );
        for sub in ["conf/db", "conf/proc", "conf/lock", "conf/socket"] {
            let sub = dir.path().join(sub);
            fs::create_dir_all(&sub).io_context("create directory", &sub)?;
        }
        fs::write(&copy.conf, conf).io_context("write", &copy.conf)?;
        let listed = dir.path().join("mailboxes.json");
        fs::write(&listed, one_a_line(&list)).io_context("write", &listed)?;
        let peer = Peer {
            name: NAME.into(),
            version,
        };
        let made = Self {
            dir,
            user,
            mailboxes,
            took: [Vec::new(), Vec::new()],
            peer,
        };
        made.give(made.dir.path())?;
        let reached = made.as_user("test").arg("-r").arg(&copy.conf).status();
        if !reached.is_ok_and(|status| status.success()) {
            return Ok(Err(format!(
                "user {USER} cannot read {}, so its store cannot lie in {}",
                copy.conf.display(),
                parent.display()
            )));
        }
        let list = File::open(&listed).io_context("open", &listed)?;
        made.run("ctl_mboxlist", &["-u"], list.into())?;
        Ok(Ok(made))
    }

    /// Lets it do both once, from the indexes that the host has now, which must be old ones;
    /// `counts`: the round is measured.
    pub fn round(&mut self, bench: &Bench<'_>, counts: bool) -> Result<(), BenchError> {
        for (from, to) in &self.mailboxes {
            for file in ["cyrus.index", "cyrus.cache", "cyrus.header"] {
                let (from, to) = (from.file(file), to.file(file));
                fs::copy(&from, &to).io_context("copy", &from)?;
                self.own(&to)?;
            }
        }
        rustix::fs::sync();
        for (which, args) in [&["-V", "10"][..], &["-G"]].into_iter().enumerate() {
            bench.signals.check()?;
            let start = Instant::now();
            self.run(NAME, args, Stdio::null())?;
            let seconds = start.elapsed().as_secs_f64();
            (bench.note)(&format!("{NAME} {}: {seconds:.2} s", args.join(" ")));
            if counts {
                self.took[which].push(seconds);
            }
            self.all_done()?;
        }
        Ok(())
    }

    /// What it did; beside the measure with that id.
    pub fn measures(self, beside: &str) -> [Measure; 2] {
        let [upgrade, compare] = self.took;
        let measure = |id: &str, what: &str, took: Vec<f64>| {
            let name = format!("Cyrus's reconstruct {what}, one host alone");
            Measure::new(id, name, Unit::Seconds, Better::Neither)
                .with(took)
                .by(NAME)
                .beside(beside)
        };
        [
            measure("reconstruct_v10", "-V 10", upgrade),
            measure("reconstruct_g", "-G", compare),
        ]
    }

    /// It says nothing and ends with 0 about a mailbox that it could not open: so each one is
    /// looked at, and one GUID in each.
    fn all_done(&self) -> Result<(), BenchError> {
        for (_, dirs) in &self.mailboxes {
            let path = dirs.file("cyrus.index");
            let index = read(&path)?;
            let first = index.record(0).map_err(std::io::Error::other);
            let first = first.io_context("read", &path)?;
            let first = first.map(|record| (record.uid(), record.guid()));
            let done = index.minor_version() == VERSION
                && first.is_none_or(|(uid, guid)| {
                    let message = fs::read(dirs.data.join(format!("{uid}.")));
                    let is = |bytes: Vec<u8>| Guid::from_bytes(sha1_of(&bytes));
                    message.is_ok_and(|bytes| guid == RecordGuid::Guid(is(bytes)))
                });
            if !done {
                let why = format!("left {} as no index of version {VERSION}", path.display());
                return Err(BenchError::Peer { name: NAME, why });
            }
        }
        Ok(())
    }

    fn run(&self, tool: &str, args: &[&str], input: Stdio) -> Result<(), BenchError> {
        let tool = format!("{BIN}/{tool}");
        let mut command = self.as_user(&tool);
        command.arg("-C").arg(self.dir.path().join("imapd.conf"));
        command.args(args).current_dir(self.dir.path());
        let output = command.stdin(input).output();
        let output = output.io_context("run", Path::new(&tool))?;
        if output.status.success() {
            return Ok(());
        }
        let why = format!("failed ({}): {}", output.status, said(&output));
        Err(BenchError::Peer { name: NAME, why })
    }

    /// A program, run by the user; by setpriv if we are root.
    fn as_user(&self, program: &str) -> Command {
        if Uid::effective() == self.user.uid {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", self.user.uid));
        command.arg(format!("--regid={}", self.user.gid));
        command.args(["--clear-groups", program]);
        command
    }

    fn own(&self, path: &Path) -> Result<(), IoError> {
        if !Uid::effective().is_root() {
            return Ok(());
        }
        let (uid, gid) = (self.user.uid.as_raw(), self.user.gid.as_raw());
        chown(path, Some(uid), Some(gid)).io_context("change owner of", path)
    }

    /// Gives a directory and all in it to the user.
    fn give(&self, root: &Path) -> Result<(), IoError> {
        let mut todo = vec![root.to_owned()];
        while let Some(path) = todo.pop() {
            self.own(&path)?;
            if path.is_dir() {
                for entry in fs::read_dir(&path).io_context("read directory", &path)? {
                    todo.push(entry.io_context("read directory", &path)?.path());
                }
            }
        }
        Ok(())
    }
}

/// What Cyrus says of its version; `None`: it is not there.
fn version() -> Option<String> {
    for tool in [NAME, "ctl_mboxlist"] {
        Path::new(BIN).join(tool).is_file().then_some(())?;
    }
    peers::version(&format!("{BIN}/master"), "-V")
}

/// The last line that a program said.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

/// A mailbox in the form of `ctl_mboxlist` of 3.6, which alone carries the unique id; `el` says
/// that it lies where its name says.
fn entry(name: &str, dirs: &Dirs) -> Result<serde_json::Value, BenchError> {
    let path = dirs.file("cyrus.header");
    let header = HeaderFile::open(&path).map_err(std::io::Error::other);
    let header = header.io_context("read", &path)?;
    let index = read(&dirs.file("cyrus.index"))?;
    Ok(serde_json::json!({
        "name": name, "mtime": "1", "uidvalidity": index.header().uidvalidity().to_string(),
        "createdmodseq": "1", "foldermodseq": "1", "mbtype": "el", "partition": "default",
        "acl": {"anyone": "lrs"}, "uniqueid": header.uniqueid, "name_history": [],
    }))
}

/// JSON that has each mailbox in a line of its own, as `ctl_mboxlist` wants it.
fn one_a_line(list: &serde_json::Map<String, serde_json::Value>) -> String {
    let line = |(name, entry): (&String, &serde_json::Value)| {
        format!("{}: {entry}", serde_json::Value::from(name.as_str()))
    };
    let lines: Vec<String> = list.iter().map(line).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

fn read(path: &Path) -> Result<IndexFile, IoError> {
    let index = IndexFile::open(path, FileKind::Index).map_err(std::io::Error::other);
    index.io_context("read", path)
}
