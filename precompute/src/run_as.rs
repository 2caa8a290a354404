//! Which user works on a mail store: never root, unless root is asked for.
//!
//! A process that root started goes on as the user to whom the store belongs, so that all it makes
//! is that user's: Cyrus's services do not run as root and could not use it. Promises: nothing is
//! opened before; the way back to root is closed; a store of several users is refused, not guessed
//! at. A store that root owns (a copy to look into) is worked on as root.

use std::ffi::CString;
use std::fmt::{self, Display};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use indexfile::exit::Exit;
use indexfile::mailbox::ImapdConf;
use indexfile::{IoContext, IoError};
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setgroups, setuid};

/// The user that a process has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Became {
    /// Its name, or its number if it has none.
    pub user: String,
    /// What of the store belongs to it.
    pub path: PathBuf,
}

/// Why a process cannot become a store's user.
#[derive(Debug, thiserror::Error)]
pub enum RunAsError {
    /// A directory of the store cannot be looked at.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Several users have a part of it.
    #[error(
        "{} belongs to {one} and {} to {other}: start this program as the user that is to work on \
         them, or give --allow-root",
        path.display(),
        beside.display()
    )]
    Several {
        /// A directory.
        path: PathBuf,
        /// Its user.
        one: String,
        /// Another directory.
        beside: PathBuf,
        /// The user of that.
        other: String,
    },
    /// The system does not let it.
    #[error("cannot become {user}, to whom the store belongs: {source}")]
    System {
        /// The user.
        user: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl RunAsError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io(io) => Exit::of_io(&io.source),
            Self::Several { .. } => Exit::Config,
            Self::System { .. } => Exit::Denied,
        }
    }
}

impl Display for Became {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, path) = (&self.user, self.path.display());
        write!(
            f,
            "goes on as {user}, to whom {path} belongs, and not as root"
        )
    }
}

/// The directories whose user is the store's: the configdirectory and the partitions.
#[must_use]
pub fn directories(conf: &ImapdConf) -> Vec<PathBuf> {
    let partitions = conf.partitions().map(|partition| partition.root.as_path());
    let all = conf.config_directory().into_iter().chain(partitions);
    all.map(Path::to_path_buf).collect()
}

/// Becomes the user to whom these directories belong; `None` if root did not start this process, or
/// none of those that are there belongs to anybody else. Must be called before any thread is
/// started.
///
/// # Errors
/// [`RunAsError`]; the process is then what it was, or of no use any more.
pub fn become_owner(directories: &[PathBuf]) -> Result<Option<Became>, RunAsError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let Some((path, uid, gid)) = owner(directories)? else {
        return Ok(None);
    };
    let account = User::from_uid(uid).ok().flatten();
    let user = name(uid, account.as_ref());
    let system = |errno: nix::Error| RunAsError::System {
        user: user.clone(),
        source: errno.into(),
    };
    let gid = account.as_ref().map_or(gid, |account| account.gid);
    let groups = account.and_then(|account| CString::new(account.name).ok());
    match groups {
        Some(name) => initgroups(&name, gid),
        None => setgroups(&[gid]),
    }
    .and_then(|()| setgid(gid))
    .and_then(|()| setuid(uid))
    .map_err(system)?;
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err(system(nix::Error::EPERM));
    }
    // Others of that user may look at this process: slotd asks what a process has open.
    let _ = nix::sys::prctl::set_dumpable(true);
    Ok(Some(Became { user, path }))
}

/// The one user other than root to whom any of them belongs, with that directory.
fn owner(directories: &[PathBuf]) -> Result<Option<(PathBuf, Uid, Gid)>, RunAsError> {
    let mut found: Option<(PathBuf, Uid, Gid)> = None;
    for path in directories {
        let meta = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            meta => meta.io_context("look at", path)?,
        };
        let (uid, gid) = (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid()));
        match &found {
            _ if uid.is_root() => {}
            None => found = Some((path.clone(), uid, gid)),
            Some((_, one, _)) if *one == uid => {}
            Some((first, one, _)) => {
                return Err(RunAsError::Several {
                    path: first.clone(),
                    one: name(*one, User::from_uid(*one).ok().flatten().as_ref()),
                    beside: path.clone(),
                    other: name(uid, User::from_uid(uid).ok().flatten().as_ref()),
                });
            }
        }
    }
    Ok(found)
}

fn name(uid: Uid, account: Option<&User>) -> String {
    account.map_or_else(|| format!("user {uid}"), |account| account.name.clone())
}
