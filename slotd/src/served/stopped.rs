//! Whether a server that is said to be stopped is: nobody else may have a file of the store open or
//! locked.
//!
//! What the system lets us see: the descriptors of processes that we may look at (`/proc/PID/fd`),
//! and every lock (`/proc/locks`). A process that runs and has nothing open at this instant is not
//! seen.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

/// What a look at all processes found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Who has something open.
    pub holders: Vec<Holder>,
    /// Processes that could not be looked at.
    pub unseen: usize,
}

/// Looks which other process has a file below one of these directories open.
pub fn scan(roots: &[PathBuf]) -> Scan {
    let roots: Vec<PathBuf> = roots
        .iter()
        .map(|root| root.canonicalize().unwrap_or_else(|_| root.clone()))
        .collect();
    let ours = |path: &Path| {
        // What slotd itself keeps there is no sign of a server.
        let own = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("reguid."));
        !own && roots.iter().any(|root| path.starts_with(root))
    };
    let me = std::process::id();
    let mut scan = Scan::default();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        scan.unseen = 1;
        return scan;
    };
    for entry in processes.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if pid == me {
            continue;
        }
        let files = match std::fs::read_dir(entry.path().join("fd")) {
            Ok(files) => files,
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                scan.unseen += 1;
                continue;
            }
            // It has ended.
            Err(_) => continue,
        };
        let open = files
            .flatten()
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            // A process whose directory this is, or that lists one, is a shell.
            .find(|path| ours(path) && !path.is_dir());
        if let Some(path) = open {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            scan.holders.push(Holder {
                pid,
                name: name.trim_end().to_owned(),
                path,
            });
        }
    }
    if scan.holders.is_empty() && scan.unseen > 0 {
        scan.holders.extend(locked(&roots, me));
    }
    scan
}

/// A lock of a process that could not be looked at, on one of the files that every server locks.
fn locked(roots: &[PathBuf], me: u32) -> Option<Holder> {
    let text = std::fs::read_to_string("/proc/locks").ok()?;
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
