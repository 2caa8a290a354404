//! One mailbox onto the disk of one host.

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use indexfile::mailbox::{MailboxDirs, MetaFile, Partition};
use indexfile::{IoContext, IoError};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::content::{Content, Source};

/// Writes all files of a mailbox. `donor` is where the first mailbox of its group lies.
pub(super) fn mailbox(
    content: &Content,
    dirs: &MailboxDirs,
    donor: Option<&MailboxDirs>,
) -> Result<(), IoError> {
    let data = dirs.data().path();
    make_dir(&data)?;
    for (uid, source, mtime) in &content.messages {
        let path = message_path(&data, *uid);
        match source {
            Source::Own(message) => {
                let file = write(&path, &message.bytes)?;
                let time = UNIX_EPOCH + Duration::from_secs(u64::from(*mtime));
                file.set_times(FileTimes::new().set_modified(time).set_accessed(time))
                    .io_context("set the time of", &path)?;
            }
            Source::Copy(from) => link(&message_path(&data, *from), &path)?,
            // Without a first mailbox nothing is ever lent.
            Source::Lent(from) => {
                if let Some(donor) = donor {
                    link(&message_path(&donor.data().path(), *from), &path)?;
                }
            }
        }
    }
    // The header last but one and the index last: what a walk takes for a mailbox is complete.
    let expunge = content.expunge.as_deref();
    let files = [
        (MetaFile::Cache, Some(content.cache.as_slice())),
        (MetaFile::Expunge, expunge),
        (MetaFile::Header, Some(content.header.as_slice())),
        (MetaFile::Index, Some(content.index.as_slice())),
    ];
    for (file, bytes) in files {
        if let Some(bytes) = bytes {
            make_dir(&dirs.file_dir(file).path())?;
            write(&dirs.file(file), bytes)?;
        }
    }
    Ok(())
}

/// Makes the roots of a partition, and asks the file system to place what lies below them apart.
///
/// Without that, a file system without a journal places all directories side by side and, for
/// minutes, looks again at every inode that an earlier store left there: making the third store in
/// a row was measured to take 28 s instead of 1.8 s. Where the wish is not understood it changes
/// nothing.
pub(super) fn roots(partition: &Partition, hashed: bool) -> Result<(), IoError> {
    for root in std::iter::once(&partition.root).chain(&partition.meta_root) {
        apart(root)?;
        if !hashed {
            apart(&root.join("user"))?;
        }
    }
    Ok(())
}

fn apart(dir: &Path) -> Result<(), IoError> {
    make_dir(dir)?;
    let dir = File::open(dir).io_context("open", dir)?;
    if let Ok(flags) = ioctl_getflags(&dir) {
        let _ = ioctl_setflags(&dir, flags | IFlags::TOPDIR);
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
