//! Who holds a lock, in words: the process's name and number.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::wait;

/// Names the holder of a lock that could not be had, as well as the system lets us.
#[must_use]
pub fn describe(file: &File) -> String {
    match wait::holder(file) {
        Ok(Some(pid)) => process(pid),
        Ok(None) => file
            .metadata()
            .ok()
            .and_then(|m| by_fdinfo(m.ino()))
            .map_or_else(
                || "another process (it may be gone by now)".to_owned(),
                |pid| {
                    if pid == std::process::id() {
                        "another connection to this slotd".to_owned()
                    } else {
                        process(pid)
                    }
                },
            ),
        Err(error) => format!("an unknown process ({error})"),
    }
}

fn process(pid: impl std::fmt::Display) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} (process {pid})", name.trim_end()),
        Err(_) => format!("process {pid}"),
    }
}

/// Open-file-description locks have no process; but /proc shows the locks of each open file, as far
/// as we may look. Only done after a wait was in vain.
fn by_fdinfo(ino: u64) -> Option<u32> {
    let inode = format!(":{ino} ");
    let holds = |fdinfo: &Path| {
        let Ok(text) = std::fs::read_to_string(fdinfo) else {
            return false;
        };
        // "lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 EOF"; a waiter has "->" and holds
        // nothing.
        text.lines().any(|l| {
            l.starts_with("lock:")
                && l.contains("OFDLCK")
                && l.contains(&inode)
                && !l.contains("->")
        })
    };
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(entry.path().join("fdinfo")) else {
            continue;
        };
        if files.flatten().any(|f| holds(&f.path())) {
            return Some(pid);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_this_very_process_is_named() {
        let tmp = tempfile::NamedTempFile::new().unwrap();
        let open = || {
            File::options()
                .read(true)
                .write(true)
                .open(tmp.path())
                .unwrap()
        };
        let (a, b) = (open(), open());
        assert!(wait::try_lock(&a).unwrap());
        assert_eq!(describe(&b), "another connection to this slotd");
    }
}
