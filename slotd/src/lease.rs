//! One slotd a store, and the store's name.
//!
//! Two slotds with state directories of their own would each settle what the other has under way.
//! So the lease lies where every slotd of the store sees it: `reguid.lease` in `configdirectory`,
//! locked while slotd lives, with the holder's process and state directory in it for a slotd that
//! comes second.
//!
//! Beside it `reguid.store` has the store's identity, the host id: by it a controller tells the
//! right host from a wrong one, whatever address or state directory it is reached by. The file says
//! which file it is itself and on which machine it was made. A copy of the store does not fit that
//! description, and gets an identity of its own.
//!
//! A crash leaves the lock free, and an identity that is whole or not there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use indexfile::dir::{OpenError, read_named};
use indexfile::mailbox::ImapdConf;
use indexfile::{IoContext, IoError};
use serde::{Deserialize, Serialize};

use crate::fs::{Identity, open_own, rewrite};
use crate::lock::wait;

const LEASE: &str = "reguid.lease";
const STORE: &str = "reguid.store";
/// In the state directory: the store that it belongs to.
const BINDING: &str = "store";
/// In the state directory of a release that kept the host id there.
const OLD_HOST_ID: &str = "host_id";
/// More than any of these files has.
const LIMIT: u64 = 64 << 10;

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// `imapd.conf` does not say where the configuration directory is.
    #[error(
        "imapd.conf names no configdirectory: slotd keeps the store's identity there, and sees \
         there who serves the store"
    )]
    NoDirectory,
    /// It cannot be used.
    #[error(
        "the configdirectory {} cannot be used ({source}): slotd keeps the store's identity and \
         its lease there",
        path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another slotd serves the store.
    #[error("another slotd serves this store: {holder} (its lease is {})", path.display())]
    Held {
        /// The lease.
        path: PathBuf,
        /// Its process and state directory.
        holder: String,
    },
    /// What is there is no identity.
    #[error("{} is no store identity that this release reads: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The state directory has intents of another store.
    #[error(
        "the state directory {} has unsettled intents of another store ({other}); this store is \
         {this}: give it the state \
         directory that belongs to it",
        path.display()
    )]
    OtherStore {
        /// The state directory.
        path: PathBuf,
        /// The store that it belongs to.
        other: String,
        /// The store that is served.
        this: String,
    },
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// The lease on one store; let go when dropped, or when the process ends.
#[derive(Debug)]
pub struct Lease {
    /// The store's name.
    pub host_id: String,
    /// What it was called before it was found to be a copy.
    was: Option<String>,
    /// Whether the identity was made just now, from nothing.
    fresh: bool,
    _lock: File,
}

/// What `reguid.store` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Store {
    host_id: String,
    /// The file itself.
    file: Identity,
    /// Where it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
    /// The identity that this one was copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copy_of: Option<String>,
}

impl Lease {
    /// Takes the lease of a store for the slotd with this state directory.
    ///
    /// # Errors
    /// [`LeaseError`]
    pub fn take(conf: &ImapdConf, state_dir: &Path) -> Result<Lease, LeaseError> {
        let dir = conf.config_directory().ok_or(LeaseError::NoDirectory)?;
        let owner = dir.metadata().and_then(|meta| {
            let not_one = io::ErrorKind::NotADirectory;
            if meta.is_dir() {
                Ok(meta)
            } else {
                Err(not_one.into())
            }
        });
        let unusable = |source| LeaseError::Directory {
            path: dir.to_path_buf(),
            source,
        };
        let owner = Owner::of(&owner.map_err(unusable)?);
        let path = dir.join(LEASE);
        let mut lock = open_own(&path, true).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::ReadOnlyFilesystem => unusable(source),
            _ => LeaseError::Io(IoError::new("open", &path, source)),
        })?;
        if !wait::try_lock(&lock).io_context("lock", &path)? {
            return Err(LeaseError::Held {
                holder: text(&mut lock).unwrap_or_default().replace('\n', " "),
                path,
            });
        }
        owner.give(&lock);
        describe(&mut lock, state_dir).io_context("write", &path)?;
        let (store, fresh) = identity(&dir.join(STORE), state_dir, owner)?;
        Ok(Lease {
            host_id: store.host_id,
            was: store.copy_of,
            fresh,
            _lock: lock,
        })
    }

    /// Binds a state directory to this store; `unsettled`: it has intents that are not.
    ///
    /// # Errors
    /// They are another store's.
    pub fn bind(&self, state_dir: &Path, unsettled: bool) -> Result<(), LeaseError> {
        let path = state_dir.join(BINDING);
        let bound = match read_named(&path, LIMIT) {
            Ok(text) => Some(word(&text)).filter(|t| !t.is_empty()),
            Err(OpenError::Missing { .. }) => None,
            Err(error) => return Err(IoError::from(error).into()),
        };
        match bound {
            Some(bound) if bound == self.host_id => return Ok(()),
            Some(bound) if unsettled && !self.fresh && self.was.as_ref() != Some(&bound) => {
                return Err(LeaseError::OtherStore {
                    path: state_dir.to_path_buf(),
                    other: bound,
                    this: self.host_id.clone(),
                });
            }
            _ => {}
        }
        rewrite(&path, |file| writeln!(file, "{}", self.host_id))?;
        // Its id is the store's by now, or never was this store's.
        match std::fs::remove_file(state_dir.join(OLD_HOST_ID)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(IoError::new("remove", &state_dir.join(OLD_HOST_ID), e).into())
            }
            _ => Ok(()),
        }
    }
}

/// Who owns the directory: what root makes in it must stay usable for Cyrus's own user.
#[derive(Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    fn of(meta: &std::fs::Metadata) -> Owner {
        Owner {
            uid: meta.uid(),
            gid: meta.gid(),
        }
    }

    fn give(self, file: impl AsFd) {
        if rustix::process::geteuid().is_root()
            && let Err(error) = std::os::unix::fs::fchown(file, Some(self.uid), Some(self.gid))
        {
            tracing::warn!("the owner of the store's lease could not be set: {error}");
        }
    }
}

fn text(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(LIMIT).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// The one word of a file.
fn word(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().to_owned()
}

/// For a slotd that comes second.
fn describe(lease: &mut File, state_dir: &Path) -> io::Result<()> {
    let state = state_dir.canonicalize();
    let state = state.unwrap_or_else(|_| state_dir.to_path_buf());
    lease.set_len(0)?;
    lease.seek(SeekFrom::Start(0))?;
    writeln!(
        lease,
        "process {} with the state directory {}",
        std::process::id(),
        state.display()
    )
}

/// The store's identity, made if there is none or if this one is another file's; and whether it is
/// new.
fn identity(path: &Path, state_dir: &Path, owner: Owner) -> Result<(Store, bool), LeaseError> {
    let mut file = match open_own(path, false) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let known = match read_named(&state_dir.join(OLD_HOST_ID), LIMIT) {
                Ok(known) => Some(word(&known)).filter(|id| !id.is_empty()),
                Err(OpenError::Missing { .. }) => None,
                // A new id would make this a store that nobody knows.
                Err(error) => return Err(IoError::from(error).into()),
            };
            return Ok((make(path, known.as_deref(), None, owner)?, true));
        }
        Err(e) => return Err(IoError::new("open", path, e).into()),
    };
    let damaged = |reason: String| LeaseError::Damaged {
        path: path.to_path_buf(),
        reason,
    };
    let text = text(&mut file).map_err(|e| damaged(e.to_string()))?;
    let store: Store = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
    let here = Identity::of(&file).io_context("stat", path)?;
    let same_machine = match (&store.machine, machine()) {
        (Some(made), Some(now)) => *made == now,
        _ => true,
    };
    if store.file.is(&here) && same_machine {
        return Ok((store, false));
    }
    let new = make(path, None, Some(&store.host_id), owner)?;
    tracing::warn!(
        "{} is a copy: this store gets an identity of its own, {} (it was copied from {})",
        path.display(),
        new.host_id,
        store.host_id
    );
    Ok((new, false))
}

fn make(
    path: &Path,
    known: Option<&str>,
    copy_of: Option<&str>,
    owner: Owner,
) -> Result<Store, IoError> {
    let mut made = None;
    rewrite(path, |file| {
        owner.give(&*file);
        let store = Store {
            host_id: known.map_or_else(new_id, str::to_owned),
            file: Identity::of(&*file)?,
            machine: machine(),
            copy_of: copy_of.map(str::to_owned),
        };
        let text = serde_json::to_string(&store)?;
        made = Some(store);
        writeln!(file, "{text}")
    })?;
    made.ok_or_else(|| IoError::new("write", path, io::ErrorKind::WriteZero.into()))
}

fn machine() -> Option<String> {
    let id = read_named(Path::new("/etc/machine-id"), LIMIT).ok()?;
    Some(word(&id)).filter(|id| !id.is_empty())
}

/// What no other store is called.
fn new_id() -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{:x}", now.as_nanos(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, ImapdConf) {
        let tmp = tempfile::tempdir().unwrap();
        for dir in ["conf", "one", "two"] {
            std::fs::create_dir(tmp.path().join(dir)).unwrap();
        }
        let conf = ImapdConf::parse(&format!(
            "configdirectory: {0}/conf\npartition-default: {0}/spool\n",
            tmp.path().display()
        ));
        (tmp, conf.unwrap())
    }

    /// As [`Lease::take`]: another test that starts a process keeps a copy of every descriptor for
    /// a moment.
    fn take(conf: &ImapdConf, state: &Path) -> Lease {
        for _ in 0..500 {
            match Lease::take(conf, state) {
                Err(LeaseError::Held { .. }) => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                lease => return lease.unwrap(),
            }
        }
        panic!("the lease stays held");
    }

    #[test]
    fn a_second_slotd_of_the_store_is_told_who_has_it() {
        let (tmp, conf) = store();
        let one = tmp.path().join("one");
        let first = take(&conf, &one);
        let error = Lease::take(&conf, &tmp.path().join("two")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("process {}", std::process::id())),
            "{text}"
        );
        assert!(text.contains(one.to_str().unwrap()), "{text}");
        let id = first.host_id.clone();
        drop(first);
        let second = take(&conf, &tmp.path().join("two"));
        assert_eq!(second.host_id, id, "the id is the store's");
    }

    #[test]
    fn the_id_of_an_earlier_release_is_kept() {
        let (tmp, conf) = store();
        let one = tmp.path().join("one");
        std::fs::write(one.join(OLD_HOST_ID), "17c0-5\n").unwrap();
        let lease = take(&conf, &one);
        assert_eq!(lease.host_id, "17c0-5");
        lease.bind(&one, true).unwrap();
        assert!(
            !one.join(OLD_HOST_ID).exists(),
            "no second store may take it"
        );
    }

    #[test]
    fn a_copy_of_the_store_is_another_store() {
        let (tmp, conf) = store();
        let one = tmp.path().join("one");
        let first = take(&conf, &one);
        first.bind(&one, false).unwrap();
        let id = first.host_id.clone();
        drop(first);
        let path = tmp.path().join("conf").join(STORE);
        std::fs::copy(&path, tmp.path().join("copy")).unwrap();
        std::fs::rename(tmp.path().join("copy"), &path).unwrap();
        let copy = take(&conf, &one);
        assert_ne!(copy.host_id, id);
        assert_eq!(copy.was, Some(id));
        copy.bind(&one, true).unwrap();
        let new = copy.host_id.clone();
        drop(copy);
        assert_eq!(take(&conf, &one).host_id, new, "and stays that one");
    }

    #[test]
    fn another_stores_unsettled_intents_are_not_settled_here() {
        let (tmp, conf) = store();
        let one = tmp.path().join("one");
        drop(take(&conf, &one));
        let lease = take(&conf, &one);
        std::fs::write(one.join(BINDING), "another\n").unwrap();
        let error = lease.bind(&one, true).unwrap_err();
        assert!(matches!(error, LeaseError::OtherStore { .. }), "{error}");
        lease.bind(&one, false).unwrap();
        lease.bind(&one, true).unwrap();
    }

    #[test]
    fn a_configuration_directory_that_is_not_there_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        for (text, why) in [
            ("partition-default: /x\n", "names no configdirectory"),
            (
                "configdirectory: /nowhere/at/all\npartition-default: /x\n",
                "/nowhere/at/all",
            ),
        ] {
            let conf = ImapdConf::parse(text).unwrap();
            let error = Lease::take(&conf, tmp.path()).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
