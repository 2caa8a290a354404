//! A mailbox opened for reading, without a lock: directories, index, expunge file, header.
//!
//! What is promised: the index is read before the expunge file, so that a message that is being
//! expunged meanwhile is seen in both rather than in neither. Large index files are read through a
//! window. Nothing is written.

use std::collections::BTreeSet;

use indexfile::dir::{Dir, OpenError, limit};
use indexfile::mailbox::{HeaderFile, MetaFile};
use indexfile::{FileKind, IndexFile, IoError, ReadError};

use crate::cache::{self, Entry, Found, Owner, StoreError};
use crate::message::Spool;
use crate::store::{Dirs, Target};
use indexfile::finding::{Code, Finding};

/// An open mailbox.
#[derive(Debug)]
pub struct Mailbox {
    /// Where it lies and what it is called.
    pub target: Target,
    /// Its message files.
    pub spool: Spool,
    /// `cyrus.index` as it was when it was opened.
    pub index: IndexFile,
    /// `cyrus.expunge`, if there is one and it is sound.
    pub expunge: Option<IndexFile>,
    /// From `cyrus.header`.
    pub uniqueid: String,
    /// Owner, group and mode of `cyrus.index`.
    pub owner: Owner,
    dirs: Dirs,
}

/// What [`Mailbox::open`] gives.
#[derive(Debug)]
pub enum Opened {
    /// The mailbox, and what is wrong with it although it can be worked on.
    Mailbox(Box<Mailbox>, Option<Finding>),
    /// It was removed since it was listed.
    Vanished,
}

impl Mailbox {
    /// Opens it.
    ///
    /// # Errors
    /// A finding that says why it cannot be worked on.
    pub fn open(target: Target) -> Result<Opened, Finding> {
        let dirs = match target.open() {
            Ok(dirs) => dirs,
            Err(OpenError::Missing { .. }) if target.has_vanished() => return Ok(Opened::Vanished),
            Err(error) => return Err(directory_finding(&target, &error)),
        };
        let index = match open_index(&target, &dirs, FileKind::Index)? {
            Ok(open) => open,
            Err(error) => return Err(index_finding(&target, Code::Index, &error)),
        };
        let Some((index, owner)) = index else {
            let path = target.index_path().join("cyrus.index");
            let why = format!(
                "{}: there is no such file, but a cyrus.header",
                path.display()
            );
            return Err(Finding::new(&target.mailbox, Code::Index, path, &why));
        };
        let (expunge, finding) = match open_index(&target, &dirs, FileKind::Expunge)? {
            Ok(open) => (open.map(|(file, _)| file), None),
            Err(error) => (None, Some(index_finding(&target, Code::Expunge, &error))),
        };
        let uniqueid = read_header(&target, &dirs)?.uniqueid;
        let data = dirs.data().map_err(|error| {
            let path = target.data_path();
            Finding::new(&target.mailbox, Code::Io, path, &error)
        })?;
        let spool = Spool::from_fd(data, target.data_path());
        let mailbox = Box::new(Self {
            target,
            spool,
            index,
            expunge,
            uniqueid,
            owner,
            dirs,
        });
        Ok(Opened::Mailbox(mailbox, finding))
    }

    /// The directory of `cyrus.index` and `cyrus.sha1s`.
    #[must_use]
    pub fn index_dir(&self) -> &Dir {
        self.dirs.at(self.target.dirs.file_dir(MetaFile::Index))
    }

    /// Opens its cache.
    ///
    /// # Errors
    /// As [`cache::find`].
    pub fn cache(&self) -> Result<Found, StoreError> {
        cache::find(self.index_dir(), self.uidvalidity(), &self.uniqueid)
    }

    /// Replaces its cache; `entries` is called twice, as the cache begins with their number.
    ///
    /// # Errors
    /// As [`cache::replace`].
    pub fn replace_cache<I>(&self, entries: impl Fn() -> I) -> Result<(), StoreError>
    where
        I: Iterator<Item = Result<Entry, IoError>>,
    {
        cache::replace(
            self.index_dir(),
            self.owner,
            (self.uidvalidity(), &self.uniqueid),
            u32::try_from(entries().count()).unwrap_or(u32::MAX),
            entries(),
        )
    }

    /// UIDVALIDITY.
    #[must_use]
    pub fn uidvalidity(&self) -> u32 {
        self.index.header().uidvalidity()
    }

    /// Which of `uids` the index or the expunge file list now, read afresh by their names.
    ///
    /// If they cannot be read now, all of them: better a report too many than one too few.
    #[must_use]
    pub fn still_listed(&self, uids: &BTreeSet<u32>) -> BTreeSet<u32> {
        let mut listed = BTreeSet::new();
        for kind in [FileKind::Index, FileKind::Expunge] {
            match open_index(&self.target, &self.dirs, kind) {
                Ok(Ok(Some((file, _)))) => {
                    for record in file.records() {
                        let Ok(record) = record else {
                            return uids.clone();
                        };
                        listed.extend(Some(record.uid()).filter(|uid| uids.contains(uid)));
                    }
                }
                // The mailbox is gone, or has no expunge file.
                Ok(Ok(None)) => {}
                _ => return uids.clone(),
            }
        }
        listed
    }
}

/// What is wrong with a directory of a mailbox.
#[must_use]
pub fn directory_finding(target: &Target, error: &OpenError) -> Finding {
    let (code, why) = match error {
        OpenError::Missing { .. } | OpenError::NotDirectory { .. } => (
            Code::NoSpool,
            "no such directory (is the spool mounted?)".to_owned(),
        ),
        OpenError::Link { .. } => (
            Code::Link,
            "a symbolic link leads out of the partition".to_owned(),
        ),
        OpenError::Denied(_) => (Code::Denied, "not permitted to open it".to_owned()),
        error => (Code::Io, error.to_string()),
    };
    let path = error.path().to_owned();
    let text = format!("{}: {why}", path.display());
    Finding::new(&target.mailbox, code, path, &text)
}

/// The finding about an index or expunge file that cannot be read.
#[must_use]
pub fn index_finding(target: &Target, code: Code, error: &ReadError) -> Finding {
    let code = match error {
        ReadError::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied => Code::Denied,
        ReadError::Io(_) => Code::Io,
        _ => code,
    };
    Finding::new(&target.mailbox, code, error.path().to_owned(), error)
}

/// The finding about a cache that cannot be read or written.
#[must_use]
pub fn cache_finding(target: &Target, error: &StoreError) -> Finding {
    let path = target.index_path().join(cache::FILE_NAME);
    Finding::new(&target.mailbox, error.code(), path, error)
}

fn file_finding(target: &Target, code: Code, error: &OpenError) -> Finding {
    let code = match error {
        OpenError::Denied(_) => Code::Denied,
        OpenError::Io(_) => Code::Io,
        _ => code,
    };
    Finding::new(&target.mailbox, code, error.path().to_owned(), error)
}

type Indexed = Option<(IndexFile, Owner)>;

/// Opens one of the two index files; `None` if it is not there.
fn open_index(
    target: &Target,
    dirs: &Dirs,
    kind: FileKind,
) -> Result<Result<Indexed, ReadError>, Finding> {
    let (file, code) = match kind {
        FileKind::Index => (MetaFile::Index, Code::Index),
        FileKind::Expunge => (MetaFile::Expunge, Code::Expunge),
    };
    let path = target.dirs.file(file);
    let dir = dirs.at(target.dirs.file_dir(file));
    let file = match dir.open_file(kind.file_name(), false) {
        Ok(file) => file,
        Err(OpenError::Missing { .. }) => return Ok(Ok(None)),
        Err(error) => return Err(file_finding(target, code, &error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| {
        let error = IoError::new("stat", &path, errno.into());
        file_finding(target, code, &error.into())
    })?;
    let index = IndexFile::from_file(&file, &path, kind);
    Ok(index.map(|index| Some((index, Owner::of_stat(&stat)))))
}

fn read_header(target: &Target, dirs: &Dirs) -> Result<HeaderFile, Finding> {
    let path = target.dirs.file(MetaFile::Header);
    let dir = dirs.at(target.dirs.file_dir(MetaFile::Header));
    let bytes = match dir.read("cyrus.header", limit::HEADER) {
        Ok(bytes) => bytes,
        Err(OpenError::Missing { .. }) => {
            let why = format!(
                "{}: there is no such file, but a cyrus.index",
                path.display()
            );
            return Err(Finding::new(&target.mailbox, Code::Header, path, &why));
        }
        Err(error) => return Err(file_finding(target, Code::Header, &error)),
    };
    HeaderFile::parse_at(&bytes, &path)
        .map_err(|error| Finding::new(&target.mailbox, Code::Header, path, &error))
}
