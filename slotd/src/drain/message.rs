//! `msg/shutdown` and `msg/motd`: made and removed as one step each, and distinguished from those
//! that somebody else wrote.
//!
//! A file of ours is complete and synced before it has its name, and takes that name from no other
//! file. It is ours if it says, byte for byte, what the record demands. It is made and removed in
//! `msg` beneath the configdirectory alone: where `msg` is a link out of it nothing is changed. A
//! crash leaves the file or not, and perhaps a new one under a name that nobody reads.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use indexfile::dir::{OpenError, limit, read_named};
use indexfile::{IoContext, IoError};
use nix::fcntl::{RenameFlags, renameat2};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;

use super::record::Record;
use crate::failpoint;
use crate::fs::Dir;
use crate::protocol::{Code, Whose};
use crate::refusal::Refusal;

/// Everybody may read it: a file that the service cannot open stops nobody.
const MODE: u32 = 0o644;
/// Of `msg`, if it is made.
const DIRECTORY_MODE: u32 = 0o755;
/// The directory of both, in the configdirectory.
const MSG: &str = "msg";

/// One of the two files.
#[derive(Debug)]
pub(super) struct Message {
    path: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Motd,
    Shutdown,
}

/// What lies there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) whose: Whose,
    /// Of one that is not ours: whose it may be, in words.
    pub(super) of: Option<String>,
}

impl Message {
    pub(super) fn shutdown(config: &Path) -> Message {
        Message {
            path: config.join("msg/shutdown"),
            kind: Kind::Shutdown,
        }
    }

    pub(super) fn motd(config: &Path) -> Message {
        Message {
            path: config.join("msg/motd"),
            kind: Kind::Motd,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_shutdown(&self) -> bool {
        self.kind == Kind::Shutdown
    }

    /// Its text in the record.
    pub(super) fn text_of<'a>(&self, record: &'a mut Record) -> &'a mut Option<String> {
        match self.kind {
            Kind::Motd => &mut record.announce,
            Kind::Shutdown => &mut record.shutdown,
        }
    }

    /// What it must say to be ours.
    fn contents(&self, record: &Record) -> Option<String> {
        let text = match self.kind {
            Kind::Motd => &record.announce,
            Kind::Shutdown => &record.shutdown,
        };
        text.as_ref().map(|text| record.contents(text))
    }

    /// What lies there now.
    pub(super) fn look(&self, record: Option<&Record>) -> Result<Found, Refusal> {
        let none = Found {
            whose: Whose::None,
            of: None,
        };
        let meta = match self.path.symlink_metadata() {
            Ok(meta) => meta,
            Err(error) if is_absence(&error) => return Ok(none),
            Err(error) => return Err(IoError::new("stat", &self.path, error).into()),
        };
        let ours = record.and_then(|record| self.contents(record));
        let says = if meta.is_file() {
            match read_named(&self.path, limit::CONF) {
                Ok(says) => says,
                Err(OpenError::Missing { .. }) => return Ok(none),
                Err(error) => return Err(error.into()),
            }
        } else {
            Vec::new()
        };
        if meta.is_file() && ours.is_some_and(|ours| ours.as_bytes() == says) {
            return Ok(Found {
                whose: Whose::Ours,
                of: None,
            });
        }
        Ok(Found {
            whose: Whose::Foreign,
            of: Some(whose_it_may_be(&meta, &says)),
        })
    }

    /// Makes it as the record says.
    pub(super) fn put(&self, record: &Record) -> Result<(), Refusal> {
        let Some(contents) = self.contents(record) else {
            return Ok(());
        };
        let config = self.config()?;
        let stat = config.stat_self()?;
        let owner = (stat.st_uid, stat.st_gid);
        let path = config.path_of(MSG);
        let made = rustix::fs::mkdirat(&config, MSG, Mode::from_raw_mode(DIRECTORY_MODE));
        let dir = match made {
            Ok(()) => {
                let dir = config.open_beneath(Path::new(MSG))?;
                give(&dir, owner, DIRECTORY_MODE).io_context("give", &path)?;
                config.sync()?;
                dir
            }
            Err(Errno::EXIST) => config.open_beneath(Path::new(MSG))?,
            Err(errno) => return Err(IoError::new("create", &path, errno.into()).into()),
        };
        let new = self.new_name();
        let _ = dir.unlink(new)?;
        let write = || {
            failpoint::hit("drain.write")?;
            let mut file = dir.create_new(new).map_err(|error| error.source)?;
            file.write_all(contents.as_bytes())?;
            give(&file, owner, MODE)?;
            file.sync_all()
        };
        write().io_context("write", &dir.path_of(new))?;
        let place = || {
            failpoint::hit("drain.rename")?;
            name(&dir, new, self.name())?;
            failpoint::hit("drain.sync_dir")
        };
        match place() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let _ = dir.unlink(new);
                let text = format!("{} was made by somebody else now", self.path.display());
                return Err(Refusal::new(Code::State, text));
            }
            placed => placed.io_context("rename", &dir.path_of(new))?,
        }
        Ok(dir.sync()?)
    }

    /// Removes it if it is ours; whether it was.
    pub(super) fn remove(&self, record: &Record) -> Result<bool, Refusal> {
        let dir = match self.config()?.open_beneath(Path::new(MSG)) {
            Err(OpenError::Missing { .. }) => return Ok(false),
            dir => dir?,
        };
        let _ = dir.unlink(self.new_name());
        if self.look(Some(record))?.whose != Whose::Ours {
            return Ok(false);
        }
        failpoint::hit("drain.remove").io_context("remove", &self.path)?;
        let _ = dir.unlink(self.name())?;
        dir.sync()?;
        Ok(true)
    }

    fn config(&self) -> Result<Dir, OpenError> {
        let path = self.path.parent().and_then(Path::parent);
        Dir::open_root(path.unwrap_or(&self.path))
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Motd => "motd",
            Kind::Shutdown => "shutdown",
        }
    }

    /// Under which it is made.
    fn new_name(&self) -> &'static str {
        match self.kind {
            Kind::Motd => "reguid.motd",
            Kind::Shutdown => "reguid.shutdown",
        }
    }
}

/// Gives a file its name, and takes that from no other file.
fn name(dir: &Dir, new: &str, name: &str) -> io::Result<()> {
    match renameat2(dir, new, dir, name, RenameFlags::RENAME_NOREPLACE) {
        // A file system that cannot: a second name does the same.
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS) => {
            let error = |error: IoError| error.source;
            dir.link(new, name).map_err(error)?;
            dir.unlink(new).map(drop).map_err(error)
        }
        named => Ok(named?),
    }
}

/// Makes owner and mode those that the services of the store need.
fn give(file: impl AsFd, (user, group): (u32, u32), mode: u32) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        rustix::fs::fchown(&file, Some(user), Some(group))?;
    }
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Its owner, its age and what it says.
fn whose_it_may_be(meta: &std::fs::Metadata, says: &[u8]) -> String {
    let user = nix::unistd::User::from_uid(meta.uid().into());
    let user = match user {
        Ok(Some(user)) => format!("user {}", user.name),
        _ => format!("user {}", meta.uid()),
    };
    let age = meta.modified().ok().and_then(|at| at.elapsed().ok());
    let age = age.map_or_else(String::new, |age| {
        format!(", {} minutes old", age.as_secs() / 60)
    });
    let line = says.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let line: String = line.chars().filter(|c| !c.is_control()).take(100).collect();
    if meta.is_file() {
        format!("{user}{age}, and says \"{line}\"")
    } else {
        format!("{user}{age}, and is no regular file")
    }
}
