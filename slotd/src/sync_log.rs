//! What of a store has not been replicated yet: the sync logs that no `sync_client` has worked off.
//!
//! Cyrus writes each change into `CONFIGDIRECTORY/sync/log`, with channels into
//! `sync/CHANNEL/log`. A rolling `sync_client` renames it (`log-run`; in 2.3 `log-PID`), works it
//! off and removes it. So one that is old is a replica that lags: nobody works, or cannot.
//!
//! Looks only. A directory that cannot be read is an error and no store without logs.

use std::fs::{DirEntry, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use indexfile::{IoContext, IoError};

/// The most entries of a directory that are looked at.
const MOST: usize = 10_000;
/// How often it is looked again if a log got another name meanwhile.
const LOOKS: u32 = 3;

/// Why nobody knows what there is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncLogError {
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] IoError),
    /// This is no directory of sync logs.
    #[error("{} has more than {MOST} entries", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
    },
}

/// A sync log that is not worked off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncLog {
    /// Its path.
    pub path: PathBuf,
    /// When it was made, or written to last if that is earlier or all that is known: nothing in it
    /// has waited for longer.
    pub since: SystemTime,
}

/// The oldest sync log below a configdirectory; `None` if there is none.
///
/// # Errors
/// It could not be looked for.
pub fn oldest(configdirectory: &Path) -> Result<Option<SyncLog>, SyncLogError> {
    let mut look = 1;
    loop {
        let mut found = Found::default();
        // That it is there is seen first: below a directory that is missing nothing is absent.
        std::fs::read_dir(configdirectory).io_context("read", configdirectory)?;
        found.look_into(&configdirectory.join("sync"), true)?;
        if !found.moved || look >= LOOKS {
            return Ok(found.oldest);
        }
        look += 1;
    }
}

#[derive(Default)]
struct Found {
    oldest: Option<SyncLog>,
    /// Something was gone when it was looked at: perhaps it has another name now.
    moved: bool,
}

impl Found {
    /// Looks into the directory of all channels, or of one.
    fn look_into(&mut self, dir: &Path, of_all: bool) -> Result<(), SyncLogError> {
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.moved |= !of_all;
                return Ok(());
            }
            entries => entries.io_context("read", dir)?,
        };
        for (n, entry) in entries.enumerate() {
            let entry = entry.io_context("read", dir)?;
            if n >= MOST {
                let path = dir.to_path_buf();
                return Err(SyncLogError::TooMany { path });
            }
            let path = entry.path();
            let Some(what) = metadata(&entry).io_context("stat", &path)? else {
                self.moved = true;
                continue;
            };
            if what.is_dir() && of_all {
                self.look_into(&path, false)?;
            } else if what.is_file() && is_log(&entry) {
                let written = what.modified().io_context("stat", &path)?;
                // Not every file system knows when a file was made.
                let since = what.created().map_or(written, |made| made.min(written));
                if self.oldest.as_ref().is_none_or(|log| since < log.since) {
                    self.oldest = Some(SyncLog { path, since });
                }
            }
        }
        Ok(())
    }
}

/// What is behind the name; `None` if it is gone.
fn metadata(entry: &DirEntry) -> std::io::Result<Option<Metadata>> {
    match std::fs::metadata(entry.path()) {
        Ok(what) => Ok(Some(what)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_log(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.as_encoded_bytes();
    name == b"log" || name.starts_with(b"log-")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use super::*;

    fn log(dir: &Path, name: &str, age: u64) -> PathBuf {
        let path = dir.join("sync").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(&path).unwrap();
        let then = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(then).unwrap();
        path
    }

    fn found(dir: &Path) -> Option<PathBuf> {
        oldest(dir).unwrap().map(|log| log.path)
    }

    #[test]
    fn the_oldest_log_of_all_channels_and_names_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(found(dir), None, "a store that does not replicate");
        fs::create_dir(dir.join("sync")).unwrap();
        assert_eq!(found(dir), None, "all is worked off");
        fs::write(dir.join("sync/log.old"), "").unwrap();
        fs::create_dir_all(dir.join("sync/squatter/log")).unwrap();
        assert_eq!(found(dir), None, "neither is a log");
        let plain = log(dir, "log", 100);
        assert_eq!(found(dir), Some(plain));
        let run = log(dir, "log-run", 200);
        assert_eq!(found(dir), Some(run));
        let of_2_3 = log(dir, "log-4711", 300);
        assert_eq!(found(dir), Some(of_2_3));
        let channel = log(dir, "offsite/log", 400);
        assert_eq!(found(dir), Some(channel));
    }

    #[test]
    fn a_log_is_as_old_as_what_was_written_into_it_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = log(dir.path(), "log", 600);
        let age = |log: SyncLog| log.since.elapsed().unwrap().as_secs();
        let old = age(oldest(dir.path()).unwrap().unwrap());
        assert!((600..900).contains(&old), "{old}");
        // One that is written to all the time is not young for that.
        let made = fs::metadata(&path).unwrap().created();
        let ahead = SystemTime::now() + Duration::from_secs(3600);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(ahead)
            .unwrap();
        let log = oldest(dir.path()).unwrap().unwrap();
        assert_eq!(log.since, made.unwrap_or(ahead));
    }

    #[test]
    fn what_cannot_be_looked_for_is_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("unmounted");
        let error = oldest(&missing).unwrap_err().to_string();
        assert!(error.contains("unmounted"), "{error}");
        fs::write(dir.path().join("sync"), "").unwrap();
        let error = oldest(dir.path()).unwrap_err().to_string();
        assert!(error.contains("/sync"), "{error}");
        // A link that leads in a circle.
        fs::remove_file(dir.path().join("sync")).unwrap();
        fs::create_dir(dir.path().join("sync")).unwrap();
        std::os::unix::fs::symlink("log", dir.path().join("sync/log")).unwrap();
        let error = oldest(dir.path()).unwrap_err().to_string();
        assert!(error.contains("/sync/log"), "{error}");
    }
}
