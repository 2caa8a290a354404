//! `/proc`: the other processes of this machine, and its tables.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use indexfile::dir::read_named;
use indexfile::{IoContext, IoError};

/// The most that is read of one file there, in bytes: a table of 400,000 sockets.
const LIMIT: u64 = 64 << 20;

/// A process other than this one.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Its directory below `/proc`.
    pub(crate) dir: PathBuf,
}

impl Process {
    pub(crate) fn of(proc: &Path, pid: u32) -> Process {
        let dir = proc.join(pid.to_string());
        Process { pid, dir }
    }

    /// Its name, at most 15 bytes; empty once it has ended.
    pub(crate) fn name(&self) -> String {
        let name = text(&self.dir.join("comm")).unwrap_or_default();
        name.trim_end().to_owned()
    }

    /// Its command line; none once it has ended, and of threads of the kernel.
    pub(crate) fn argv(&self) -> Vec<OsString> {
        let bytes = read_named(&self.dir.join("cmdline"), LIMIT).unwrap_or_default();
        let all = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if all.is_empty() {
            return Vec::new();
        }
        all.split(|b| *b == 0)
            .map(|argument| OsString::from_vec(argument.to_vec()))
            .collect()
    }

    /// The users it may act as: real, effective, saved, of the file system.
    pub(crate) fn users(&self) -> Vec<u32> {
        let status = text(&self.dir.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let words = line.unwrap_or_default().split_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    }
}

/// All other processes that `/proc` shows.
pub(crate) fn processes(proc: &Path) -> Result<Vec<Process>, IoError> {
    let me = std::process::id();
    let mut all = Vec::new();
    for entry in std::fs::read_dir(proc).io_context("list", proc)? {
        let name = entry.io_context("list", proc)?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        all.extend(
            pid.filter(|pid| *pid != me)
                .map(|pid| Process::of(proc, pid)),
        );
    }
    Ok(all)
}

/// What a file there says.
pub(crate) fn text(path: &Path) -> Result<String, IoError> {
    let bytes = read_named(path, LIMIT)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
