//! Whether a server that is said to be stopped is: nobody else may have a file of the store open or
//! locked.
//!
//! What the system lets us see: the descriptors of processes that we may look at (`/proc/PID/fd`),
//! and every lock (`/proc/locks`). A process that runs and has nothing open at this instant is not
//! seen.

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
    let roots = real(roots);
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

/// Without links in them, as the system names open files.
fn real(roots: &[PathBuf]) -> Vec<PathBuf> {
    let real = |root: &PathBuf| root.canonicalize().unwrap_or_else(|_| root.clone());
    roots.iter().map(real).collect()
}

/// Whether a process has a file below one of these directories open; `None` where the system does
/// not let us look.
pub(super) fn has_open(process: &Process, roots: &[PathBuf]) -> Option<bool> {
    let open = open_below(process, &real(roots)).ok()?;
    Some(open.is_some())
}

/// The system does not let us look at a process.
struct NotPermitted;

/// A file below one of these directories that a process has open.
fn open_below(process: &Process, roots: &[PathBuf]) -> Result<Option<PathBuf>, NotPermitted> {
    let ours = |path: &Path| !is_own(path) && roots.iter().any(|root| path.starts_with(root));
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

/// What slotd itself keeps there is no sign of a server.
fn is_own(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with("reguid.")
}

/// A file as `/proc/locks` names it: device and inode number.
type FileKey = (u32, u32, u64);

/// A lock of a process that could not be looked at, on one of the files that every server locks.
fn locked(proc: &Path, roots: &[PathBuf]) -> Option<Holder> {
    let me = std::process::id();
    let text = super::proc::text(&proc.join("locks")).ok()?;
    let mut locks: Vec<(FileKey, u32)> = Vec::new();
    for line in text.lines() {
        // "1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 0 EOF"
        let mut words = line.split_whitespace().skip(4);
        let (Some(pid), Some(file)) = (words.next(), words.next()) else {
            continue;
        };
        if let (Ok(pid), Some(key)) = (pid.parse::<u32>(), key(file))
            && pid != me
        {
            locks.push((key, pid));
        }
    }
    if locks.is_empty() {
        return None;
    }
    roots.iter().find_map(|root| {
        let files = std::fs::read_dir(root).ok()?.flatten();
        files
            .filter(|f| f.file_type().is_ok_and(|t| t.is_file()) && !is_own(&f.path()))
            .find_map(|file| {
                let meta = file.metadata().ok()?;
                let mut locks = locks.iter();
                let (_, pid) = locks.find(|(key, _)| is_of(*key, meta.dev(), meta.ino()))?;
                Some(Holder {
                    pid: *pid,
                    name: "a process".to_owned(),
                    path: file.path(),
                })
            })
    })
}

fn key(text: &str) -> Option<FileKey> {
    let mut parts = text.split(':');
    let mut device = || u32::from_str_radix(parts.next()?, 16).ok();
    let (major, minor) = (device()?, device()?);
    Some((major, minor, parts.next()?.parse().ok()?))
}

/// Whether a lock may be of the file with this device and inode number. Other file systems use the
/// same numbers. One without a device of its own (btrfs, overlayfs) may name another there than
/// stat(2) does, and so counts by the number alone.
fn is_of((major, minor, number): FileKey, dev: u64, ino: u64) -> bool {
    let (dev_major, dev_minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    let same = (major, minor) == (dev_major, dev_minor);
    number == ino && (same || (major == 0 && dev_major == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_of_the_file_with_its_number_on_its_file_system_and_of_no_other() {
        let lock = key("fe:00:5678").unwrap();
        assert_eq!(lock, (0xfe, 0, 5678));
        let dev = rustix::fs::makedev;
        assert!(is_of(lock, dev(0xfe, 0), 5678));
        assert!(!is_of(lock, dev(0xfe, 0), 5679));
        assert!(!is_of(lock, dev(0xfe, 1), 5678));
        assert!(!is_of(lock, dev(0, 30), 5678));
        let lock = key("00:1e:5678").unwrap();
        assert!(is_of(lock, dev(0, 0x1f), 5678), "another number of btrfs");
        assert_eq!(key("<none>:5678"), None);
    }

    #[test]
    fn a_lock_of_a_process_that_cannot_be_looked_at_is_seen_but_on_a_file_of_our_own() {
        let tmp = tempfile::tempdir().unwrap();
        let locked_by_77 = |name: &str| {
            let file = tmp.path().join(name);
            std::fs::write(&file, "").unwrap();
            let meta = file.metadata().unwrap();
            let dev = meta.dev();
            let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
            let file = format!("{major:02x}:{minor:02x}:{}", meta.ino());
            let line = format!("1: POSIX  ADVISORY  WRITE 77 {file} 0 EOF\n");
            let proc = tempfile::tempdir().unwrap();
            std::fs::write(proc.path().join("locks"), line).unwrap();
            locked(proc.path(), &[tmp.path().to_path_buf()]).map(|holder| holder.pid)
        };
        assert_eq!(locked_by_77("mailboxes.db"), Some(77));
        assert_eq!(locked_by_77("reguid.lease"), None);
    }
}
