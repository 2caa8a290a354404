//! The file `cutover-complete` in the `configdirectory`: made, and removed, as one step each.
//!
//! Where it was removed it is gone for good: that is on stable storage before anybody relies on
//! it, and is made sure of once in the life of a process, because the one before may have died
//! between the removal and its sync. A crash leaves the file whole or not there.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use indexfile::mailbox::ImapdConf;
use indexfile::{IoContext as _, IoError};
use parking_lot::Mutex;

use crate::fs::rewrite;
use crate::protocol::Code;
use crate::refusal::Refusal;

/// The file's name.
pub const FILE_NAME: &str = "cutover-complete";

/// The file of one store.
#[derive(Debug)]
pub struct CompleteFile {
    path: Option<PathBuf>,
    /// Locked while the file is made or removed.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// That the file is not there is on stable storage.
    gone: bool,
    /// How often it was removed, there or not.
    removals: u64,
}

/// A moment since which the file was not removed, if it is to be made on the strength of what was
/// seen since then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(u64);

impl CompleteFile {
    /// That of the store with this `imapd.conf`; it is not looked at.
    #[must_use]
    pub fn of(conf: &ImapdConf) -> CompleteFile {
        let dir = conf.config_directory();
        CompleteFile {
            path: dir.map(|dir| dir.join(FILE_NAME)),
            state: Mutex::default(),
        }
    }

    /// Where it is.
    ///
    /// # Errors
    /// `imapd.conf` names no `configdirectory`.
    pub fn path(&self) -> Result<&Path, Refusal> {
        let none = || Refusal::new(Code::Unsupported, "imapd.conf names no configdirectory");
        self.path.as_deref().ok_or_else(none)
    }

    /// Now.
    #[must_use]
    pub fn since_now(&self) -> Since {
        Since(self.state.lock().removals)
    }

    /// Removes it, on stable storage; nothing that was seen before is enough to make it any more.
    /// Tells whether it was there.
    ///
    /// # Errors
    /// It cannot be removed, or the directory cannot be synced.
    pub fn remove(&self) -> Result<bool, Refusal> {
        let path = self.path()?;
        remove(path, &mut self.state.lock())
    }

    /// Makes it, with one line in it, which every user may read, unless it was removed since then.
    ///
    /// # Errors
    /// It was removed, and is left as it is now; or it cannot be written, and is not there.
    pub fn write(&self, since: Since, line: &str) -> Result<(), Refusal> {
        let path = self.path()?;
        let mut state = self.state.lock();
        if since != Since(state.removals) {
            let text = "a mailbox was changed since the store was looked at, or REVOKE came";
            return Err(Refusal::new(Code::State, text));
        }
        state.gone = false;
        let written = rewrite(path, |file| {
            file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
            writeln!(file, "{line}")
        });
        if let Err(error) = written {
            remove(path, &mut state)?;
            return Err(error.into());
        }
        Ok(())
    }
}

fn remove(path: &Path, state: &mut State) -> Result<bool, Refusal> {
    state.removals += 1;
    let was_gone = std::mem::take(&mut state.gone);
    let was_there = match std::fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(IoError::new("remove", path, error).into()),
    };
    if was_there || !was_gone {
        let dir = path.parent().unwrap_or(path);
        let sync = || std::fs::File::open(dir)?.sync_all();
        sync().io_context("sync directory", dir)?;
    }
    state.gone = true;
    Ok(was_there)
}
