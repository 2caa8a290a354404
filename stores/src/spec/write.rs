//! One mailbox onto the disk of one host.

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use indexfile::{IoContext, IoError};

use super::content::{Content, Source};
use crate::host::{Dirs, Host, spread};

/// Writes all files of a mailbox. `donor` is where the first mailbox of its group lies.
pub(super) fn mailbox(content: &Content, dirs: &Dirs, donor: Option<&Dirs>) -> Result<(), IoError> {
    make_dir(&dirs.data)?;
    make_dir(&dirs.meta)?;
    for (uid, source, mtime) in &content.messages {
        let path = message_path(&dirs.data, *uid);
        match source {
            Source::Own(message) => {
                let file = write(&path, &message.bytes)?;
                let time = UNIX_EPOCH + Duration::from_secs(u64::from(*mtime));
                file.set_times(FileTimes::new().set_modified(time).set_accessed(time))
                    .io_context("set the time of", &path)?;
            }
            Source::Copy(from) => link(&message_path(&dirs.data, *from), &path)?,
            // Without a first mailbox nothing is ever lent.
            Source::Lent(from) => {
                if let Some(donor) = donor {
                    link(&message_path(&donor.data, *from), &path)?;
                }
            }
        }
    }
    // The header last but one and the index last: what a walk takes for a mailbox is complete.
    let files = [
        ("cyrus.cache", Some(&content.cache)),
        ("cyrus.expunge", content.expunge.as_ref()),
        ("cyrus.header", Some(&content.header)),
        ("cyrus.index", Some(&content.index)),
    ];
    for (name, bytes) in files {
        if let Some(bytes) = bytes {
            write(&dirs.file(name), bytes)?;
        }
    }
    Ok(())
}

/// Makes the roots of a partition, each with its mailboxes spread.
pub(super) fn roots(host: &Host) -> Result<(), IoError> {
    for root in [&host.data, &host.meta] {
        make_dir(root)?;
        spread(root);
        if !host.hashed {
            let users = root.join("user");
            make_dir(&users)?;
            spread(&users);
        }
    }
    Ok(())
}

fn message_path(dir: &Path, uid: u32) -> PathBuf {
    dir.join(format!("{uid}."))
}

fn make_dir(path: &Path) -> Result<(), IoError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .io_context("create directory", path)
}

fn write(path: &Path, bytes: &[u8]) -> Result<File, IoError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .io_context("create", path)?;
    file.write_all(bytes).io_context("write", path)?;
    Ok(file)
}

fn link(from: &Path, to: &Path) -> Result<(), IoError> {
    fs::hard_link(from, to).io_context("link", to)
}
