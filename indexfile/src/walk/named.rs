//! Where the mailbox of a name, or of a directory below a root, is: on which partition, and whether
//! it is there at all. Only looks.

use crate::dir::{Dir, OpenError};
use crate::mailbox::{ImapdConf, MailboxDirs, MailboxName, MetaFile, Partition};
use std::path::Path;

/// Whether a mailbox has a header or an index in these directories. Neither is there only if that
/// can be seen: beneath a root that is there, in directories that may be entered.
///
/// # Errors
/// One of the two cannot be looked for, and the other one was not found.
pub fn has_mailbox(dirs: &MailboxDirs) -> Result<bool, OpenError> {
    let mut unseen = None;
    for file in [MetaFile::Header, MetaFile::Index] {
        match has_file(dirs, file) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => drop(unseen.get_or_insert(error)),
        }
    }
    unseen.map_or(Ok(false), Err)
}

fn has_file(dirs: &MailboxDirs, file: MetaFile) -> Result<bool, OpenError> {
    let location = dirs.file_dir(file);
    let root = Dir::locate_root(&location.root)?;
    let dir = match root.locate_beneath(&location.sub) {
        Ok(dir) => dir,
        Err(OpenError::Missing { .. } | OpenError::NotDirectory { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    match dir.stat(file.file_name()) {
        Ok(found) => Ok(found.is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(OpenError::Denied(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// A directory as the file system knows it: its device and its inode. `None` if it is not there.
#[must_use]
pub fn directory_id(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::stat(path).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// Whether what is at `sub` below the roots of `partition` is a mailbox of another partition: both
/// have the directory of its index, on a metapartition that they share, and only the other one has
/// a directory of its messages.
#[must_use]
pub fn is_of_another(conf: &ImapdConf, partition: &Partition, sub: &Path) -> bool {
    let index = |dirs: &MailboxDirs| directory_id(&dirs.file_dir(MetaFile::Index).path());
    let here = conf.dirs_at(partition, sub);
    let others = conf.partitions().filter(|p| p.name != partition.name);
    let mut others = others.map(|other| conf.dirs_at(other, sub));
    let is_there = |dirs: &MailboxDirs| dirs.data().path().is_dir();
    // Beneath a root that is not there it may well be.
    let root = Dir::locate_root(&here.data().root);
    let absent = |root: Dir| {
        let data = root.locate_beneath(&here.data().sub);
        matches!(data, Err(OpenError::Missing { .. }))
    };
    if !root.is_ok_and(absent) {
        return false;
    }
    let shared = index(&here);
    shared.is_some() && others.any(|other| index(&other) == shared && is_there(&other))
}

/// Of `partitions` the others that have a `cyrus.header` or `cyrus.index` for a mailbox of this
/// name: which of them Cyrus uses stands in its mailboxes database, not on the disk.
#[must_use]
pub fn also_on(
    conf: &ImapdConf,
    partitions: &[String],
    mailbox: &MailboxName,
    partition: &str,
) -> Vec<String> {
    let others = partitions.iter().filter(|name| *name != partition);
    let there = |name: &&String| {
        let (Some(other), Ok(dirs)) = (conf.partition(name), conf.dirs(mailbox, name)) else {
            return false;
        };
        // What cannot be looked at there is reported by the walk of that partition.
        matches!(has_mailbox(&dirs), Ok(true)) && !is_of_another(conf, other, &dirs.data().sub)
    };
    others.filter(there).cloned().collect()
}
