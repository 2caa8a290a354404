//! The directories of a mailbox: where they are, below which roots, and how they are opened.
//! Only looks, so a crash leaves nothing.

use std::path::PathBuf;

use indexfile::IoContext as _;
use indexfile::mailbox::{Location, MailboxDirs, MetaFile};

use crate::fs::{Dir, Identity, OpenError};
use crate::protocol::Code;
use crate::refusal::Refusal;

/// The files of a mailbox without whose directories nobody can say what the mailbox is: a directory
/// that cannot be reached is not one without files.
pub(super) const NEEDED: [MetaFile; 5] = [
    MetaFile::Header,
    MetaFile::Index,
    MetaFile::Expunge,
    MetaFile::Cache,
    MetaFile::Sha1s,
];

/// The places of all the files of a mailbox.
pub(super) fn locations(dirs: &MailboxDirs) -> impl Iterator<Item = &Location> {
    NEEDED
        .into_iter()
        .map(|f| dirs.file_dir(f))
        .chain([dirs.data()])
}

pub(super) fn roots_of(dirs: &MailboxDirs) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = locations(dirs).map(|l| l.root.clone()).collect();
    roots.sort();
    roots.dedup();
    roots
}

/// Opens the root of a place.
fn open_root(location: &Location) -> Result<Dir, Refusal> {
    Dir::open_root(&location.root).map_err(|error| match error {
        OpenError::Missing { path } => Refusal::new(
            Code::Unmounted,
            format!("{} does not exist; is it mounted?", path.display()),
        ),
        error => error.into(),
    })
}

/// Which directory the root is below which a directory of a mailbox lies; `None` if that is not
/// there.
pub(super) fn root_of(location: &Location) -> Result<Option<Identity>, Refusal> {
    let root = open_root(location)?;
    if root.open_beneath(&location.sub).is_err() {
        return Ok(None);
    }
    Ok(Some(Identity::of(&root).io_context("stat", root.path())?))
}

/// Opens one directory of a mailbox; `None` if it does not exist.
pub(super) fn open_location(location: &Location) -> Result<Option<Dir>, Refusal> {
    let root = open_root(location)?;
    match root.open_beneath(&location.sub) {
        Ok(dir) => Ok(Some(dir)),
        Err(OpenError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a root has nothing in it but what every new file system has, and what Cyrus makes in an
/// empty one for deliveries.
pub(super) fn has_nothing(root: &Dir) -> bool {
    let Ok(entries) = rustix::fs::Dir::read_from(root) else {
        return false;
    };
    let mut names = entries.filter_map(Result::ok);
    names.all(|e| {
        matches!(
            e.file_name().to_bytes(),
            b"." | b".." | b"lost+found" | b"stage."
        )
    })
}
