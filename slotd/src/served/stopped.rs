//! Whether a server that is said to be stopped is: nobody else may have a file of the store open or
//! locked.
//!
//! What the system lets us see: the descriptors of processes that we may look at (`/proc/PID/fd`),
//! and every lock (`/proc/locks`). A process that runs and has nothing open at this instant is not
//! seen.

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::proc::{Process, processes};

/// A process that has a file of the store open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// What it has open.
    pub path: PathBuf,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (process {}) has {} open",
            self.name,
            self.pid,
            self.path.display()
        )
    }
}

/// A process that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// The process.
    pub pid: u32,
    /// The users it may act as; empty if that is not known either.
    pub users: Vec<u32>,
}

/// What a look at all processes found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Who has something open.
    pub holders: Vec<Holder>,
    /// Processes that could not be looked at.
    pub unseen: Vec<Unseen>,
    /// Why no process could be looked at.
    pub failed: Option<String>,
}

/// Looks which other process has a file below one of these directories open. `proc`: where `/proc`
/// is.
pub(super) fn scan(proc: &Path, roots: &[PathBuf]) -> Scan {
    let roots: Vec<PathBuf> = roots
        .iter()
        .map(|root| root.canonicalize().unwrap_or_else(|_| root.clone()))
        .collect();
    let mut scan = Scan::default();
    let processes = match processes(proc) {
        Ok(processes) => processes,
        Err(error) => {
            scan.failed = Some(error.to_string());
            return scan;
        }
    };
    for process in processes {
        match open_below(&process, &roots) {
            Ok(Some(path)) => scan.holders.push(Holder {
                pid: process.pid,
                name: process.name(),
                path,
            }),
            Ok(None) => {}
            Err(NotPermitted) => {
                let (pid, users) = (process.pid, process.users());
                // It may have ended since.
                if process.dir.exists() {
                    scan.unseen.push(Unseen { pid, users });
                }
            }
        }
    }
    if scan.holders.is_empty() && !scan.unseen.is_empty() {
        scan.holders.extend(locked(proc, &roots));
    }
    scan
}

/// The system does not let us look at a process.
struct NotPermitted;

/// A file below one of these directories that a process has open.
fn open_below(process: &Process, roots: &[PathBuf]) -> Result<Option<PathBuf>, NotPermitted> {
    let ours = |path: &Path| {
        // What slotd itself keeps there is no sign of a server.
        let own = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("reguid."));
        !own && roots.iter().any(|root| path.starts_with(root))
    };
    let files = match std::fs::read_dir(process.dir.join("fd")) {
        Ok(files) => files,
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return Err(NotPermitted),
        // It has ended.
        Err(_) => return Ok(None),
    };
    for file in files.flatten() {
        match std::fs::read_link(file.path()) {
            // A process whose directory this is, or that lists one, is a shell.
            Ok(path) if ours(&path) && !path.is_dir() => return Ok(Some(path)),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => return Err(NotPermitted),
            _ => {}
        }
    }
    Ok(None)
}

/// A lock of a process that could not be looked at, on one of the files that every server locks.
fn locked(proc: &Path, roots: &[PathBuf]) -> Option<Holder> {
    let me = std::process::id();
    let text = super::proc::text(&proc.join("locks")).ok()?;
    let mut locks: HashMap<u64, u32> = HashMap::new();
    for line in text.lines() {
        // "1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 0 EOF"
        let mut words = line.split_whitespace().skip(4);
        let (Some(pid), Some(file)) = (words.next(), words.next()) else {
            continue;
        };
        let ino = file.rsplit(':').next().and_then(|n| n.parse().ok());
        if let (Ok(pid), Some(ino)) = (pid.parse::<u32>(), ino)
            && pid != me
        {
            locks.insert(ino, pid);
        }
    }
    if locks.is_empty() {
        return None;
    }
    roots.iter().find_map(|root| {
        let files = std::fs::read_dir(root).ok()?.flatten();
        files
            .filter(|f| f.file_type().is_ok_and(|t| t.is_file()))
            .find_map(|file| {
                let pid = *locks.get(&file.metadata().ok()?.ino())?;
                Some(Holder {
                    pid,
                    name: "a process".to_owned(),
                    path: file.path(),
                })
            })
    })
}
