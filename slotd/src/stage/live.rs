//! The live files of a mailbox, open and checked, and the states of them from which no upgrade is
//! safe.

use indexfile::{ByUid, FileKind, IndexFile, IoError, ReadError, Record};

use super::GUID_VERSION;
use crate::fs::{Dir, OpenError};
use crate::lock::MailboxLocks;
use crate::protocol::{Code, Repair};
use crate::refusal::Refusal;
use crate::store::{Place, Store};

/// The live files of a mailbox, open and checked.
#[derive(Debug)]
pub struct LiveFiles {
    /// cyrus.index
    pub index: IndexFile,
    /// cyrus.expunge
    pub expunge: Option<IndexFile>,
}

impl LiveFiles {
    /// Opens and checks the files of a locked mailbox.
    ///
    /// # Errors
    /// [`Code::Damaged`], with indexfile's code and words.
    pub fn of(locks: &MailboxLocks) -> Result<LiveFiles, Refusal> {
        let live = LiveFiles::unverified(locks)?;
        live.verify()?;
        Ok(live)
    }

    /// Checks the records, one by one.
    ///
    /// # Errors
    /// [`Code::Damaged`]
    pub fn verify(&self) -> Result<(), Refusal> {
        Ok(self.each().try_for_each(IndexFile::verify)?)
    }

    /// As [`LiveFiles::of`], with headers and lengths checked only.
    ///
    /// # Errors
    /// As [`LiveFiles::of`].
    pub fn unverified(locks: &MailboxLocks) -> Result<LiveFiles, Refusal> {
        let open = |kind: FileKind| -> Result<Option<IndexFile>, Refusal> {
            let Some(locked) = locks.file(kind) else {
                return Ok(None);
            };
            let path = locks.place.directory_of(kind).path_of(kind.file_name());
            let file = IndexFile::from_file_unverified(&locked.file, &path, kind)?;
            Ok(Some(file))
        };
        let index = open(FileKind::Index)?;
        let index =
            index.ok_or_else(|| Refusal::new(Code::NoMailbox, "the mailbox has no cyrus.index"))?;
        Ok(LiveFiles {
            index,
            expunge: open(FileKind::Expunge)?,
        })
    }

    /// As they are now, without locks: for looking only.
    ///
    /// # Errors
    /// [`Code::Damaged`], or the system's; without a cyrus.index, what has become of the mailbox.
    pub fn without_locks(store: &Store, place: &Place) -> Result<LiveFiles, Refusal> {
        let open = |kind: FileKind| -> Result<Option<IndexFile>, Refusal> {
            let dir = place.directory_of(kind);
            match dir.open_file(kind.file_name(), false) {
                Ok(file) => {
                    let path = dir.path_of(kind.file_name());
                    Ok(Some(IndexFile::from_file(&file, &path, kind)?))
                }
                Err(OpenError::Missing { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        let (index, expunge) = (open(FileKind::Index)?, open(FileKind::Expunge)?);
        let gone = || store.why_not_there(&place.mailbox, &place.partition);
        let index = index.ok_or_else(gone)?;
        Ok(LiveFiles { index, expunge })
    }

    /// Both, index first.
    pub fn each(&self) -> impl Iterator<Item = &IndexFile> {
        [Some(&self.index), self.expunge.as_ref()]
            .into_iter()
            .flatten()
    }

    /// The same, by value.
    pub fn into_each(self) -> impl Iterator<Item = IndexFile> {
        [Some(self.index), self.expunge].into_iter().flatten()
    }

    /// The records of both files.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'_>, ReadError>> {
        self.each().flat_map(IndexFile::records)
    }

    /// The records of both files, in ascending order of UID; of one UID that of the index first.
    ///
    /// # Errors
    /// The expunge file cannot be read.
    pub fn by_uid(&self) -> Result<ByUid<'_>, ReadError> {
        ByUid::new(&self.index, self.expunge.as_ref())
    }

    /// How many records both have.
    #[must_use]
    pub fn num_records(&self) -> u32 {
        self.each()
            .fold(0, |sum: u32, f| sum.saturating_add(f.num_records()))
    }

    /// Refuses states from which no upgrade is safe.
    ///
    /// # Errors
    /// [`Code::Unsupported`] for versions that Cyrus 2.3 does not have, [`Code::Damaged`] for an
    /// index newer than its expunge file, unless that is to be repaired and can be.
    pub fn check(&self, repair: Option<Repair>) -> Result<(), Refusal> {
        for file in self.each() {
            if file.minor_version() > GUID_VERSION {
                let (path, version) = (file.path().display(), file.minor_version());
                let text = format!(
                    "{path} has version {version}; slotd's locks protect only mailboxes of Cyrus \
                     2.3 and before"
                );
                return Err(Refusal::new(Code::Unsupported, text));
            }
        }
        let Some(expunge) = &self.expunge else {
            return Ok(());
        };
        let (index_version, expunge_version) =
            (self.index.minor_version(), expunge.minor_version());
        if expunge_version >= index_version {
            return Ok(());
        }
        let damaged =
            |what: String| Refusal::new(Code::Damaged, format!("index-newer-than-expunge: {what}"));
        let path = expunge.path().display();
        if repair != Some(Repair::Expunge) {
            return Err(damaged(format!(
                "{path} has version {expunge_version} beside an index of version {index_version}: \
                 Cyrus misreads it and \
                 may unlink live messages. UPGRADE {index_version} repair=expunge converts it"
            )));
        }
        if expunge.trailing_bytes() > 0 {
            return Err(damaged(format!(
                "{path} has {} bytes after its last record: a server may have appended records of \
                 another size, so it \
                 cannot be repaired",
                expunge.trailing_bytes()
            )));
        }
        let mut seen = std::collections::HashSet::new();
        for record in expunge.records() {
            let uid = record?.uid();
            let reason = match uid {
                _ if !seen.insert(uid) => "twice",
                _ if self.index.find_uid(uid)?.is_some() => "as the index has",
                _ if uid > self.index.header().last_uid() => "above last_uid of the index",
                _ => continue,
            };
            return Err(damaged(format!(
                "{path} has UID {uid} {reason}, so it cannot be repaired"
            )));
        }
        Ok(())
    }
}

/// What stat says of the live files: if that is unchanged the files most likely are too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveStats([Option<NameStat>; 2]);

/// What stat says of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameStat {
    ino: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl NameStat {
    /// `None` if there is nothing of that name.
    pub(super) fn of(dir: &Dir, name: &str) -> Result<Option<NameStat>, IoError> {
        Ok(dir.stat(name)?.map(|s| NameStat {
            ino: s.st_ino,
            size: s.st_size,
            modified: (s.st_mtime, s.st_mtime_nsec),
            changed: (s.st_ctime, s.st_ctime_nsec),
        }))
    }
}

impl LiveStats {
    /// To be taken before the files are opened: then what changes later looks different, within the
    /// grain of the kernel's clock.
    ///
    /// # Errors
    /// The system's.
    pub fn of(place: &Place) -> Result<LiveStats, IoError> {
        let stat = |kind: FileKind| NameStat::of(place.directory_of(kind), kind.file_name());
        Ok(LiveStats([
            stat(FileKind::Index)?,
            stat(FileKind::Expunge)?,
        ]))
    }
}
