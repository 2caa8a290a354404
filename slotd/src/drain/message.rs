//! `msg/shutdown` and `msg/motd`: made and removed as one step each, and distinguished from those
//! that somebody else wrote.
//!
//! A file of ours is complete and synced before it has its name, and takes that name from no other
//! file. It is ours if it says, byte for byte, what the record demands. A crash leaves the file or
//! not, and perhaps a new one under a name that nobody reads.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use indexfile::dir::{OpenError, limit, read_named};
use indexfile::{IoContext, IoError};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::record::Record;
use crate::failpoint;
use crate::protocol::{Code, Whose};
use crate::refusal::Refusal;

/// Everybody may read it: a file that the service cannot open stops nobody.
const MODE: u32 = 0o644;

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
        let dir = self.path.parent().unwrap_or(&self.path);
        let config = dir.parent().unwrap_or(dir);
        let owner = config.metadata().io_context("stat", config)?;
        let owner = (owner.uid(), owner.gid());
        if let Err(error) = std::fs::create_dir(dir) {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(IoError::new("create", dir, error).into());
            }
        } else {
            let made = || give(&File::open(dir)?, owner, 0o755);
            made().io_context("give", dir)?;
            sync_dir(config)?;
        }
        let new = self.new_path();
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(IoError::new("remove", &new, error).into());
            }
            _ => {}
        }
        let write = || {
            failpoint::hit("drain.write")?;
            let mut file = File::options().write(true).create_new(true).open(&new)?;
            file.write_all(contents.as_bytes())?;
            give(&file, owner, MODE)?;
            file.sync_all()
        };
        write().io_context("write", &new)?;
        let place = || {
            failpoint::hit("drain.rename")?;
            name(&new, &self.path)?;
            failpoint::hit("drain.sync_dir")
        };
        match place() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let _ = std::fs::remove_file(&new);
                let text = format!("{} was made by somebody else now", self.path.display());
                return Err(Refusal::new(Code::State, text));
            }
            placed => placed.io_context("rename", &new)?,
        }
        sync_dir(dir)
    }

    /// Removes it if it is ours; whether it was.
    pub(super) fn remove(&self, record: &Record) -> Result<bool, Refusal> {
        let dir = self.path.parent().unwrap_or(&self.path);
        let _ = std::fs::remove_file(self.new_path());
        if self.look(Some(record))?.whose != Whose::Ours {
            return Ok(false);
        }
        let remove = || {
            failpoint::hit("drain.remove")?;
            std::fs::remove_file(&self.path)
        };
        match remove() {
            Err(error) if is_absence(&error) => {}
            removed => removed.io_context("remove", &self.path)?,
        }
        sync_dir(dir)?;
        Ok(true)
    }

    /// Where it is made.
    fn new_path(&self) -> PathBuf {
        let name = match self.kind {
            Kind::Motd => "reguid.motd",
            Kind::Shutdown => "reguid.shutdown",
        };
        self.path.with_file_name(name)
    }
}

/// Gives a file its name, and takes that from no other file.
fn name(new: &Path, path: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, new, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE) {
        // A file system that cannot: a second name does the same.
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS) => {
            std::fs::hard_link(new, path)?;
            std::fs::remove_file(new)
        }
        named => Ok(named?),
    }
}

/// Makes owner and mode those that the services of the store need.
fn give(file: &File, (user, group): (u32, u32), mode: u32) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        fchown(file, Some(user), Some(group))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

fn sync_dir(dir: &Path) -> Result<(), Refusal> {
    let sync = || File::open(dir)?.sync_all();
    sync().io_context("sync directory", dir)?;
    Ok(())
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
