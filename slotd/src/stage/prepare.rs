//! `PREPARE`: the work of `UPGRADE` without locks.
//!
//! The whole new files are written and synced without a name, which Cyrus can never use. Under the locks (`carry_over`) each live
//! record is compared with what was prepared, only what differs is written, and the file gets the name `.NEW`. The result is
//! byte for byte that of an `UPGRADE` without `PREPARE`.
//!
//! A crash leaves nothing. Only where a file cannot be made without a name (`O_TMPFILE`) it is called `cyrus.index.reguid`,
//! after a durable note; then recovery, the next `PREPARE` of the mailbox or `CLEAN` removes what a crash left.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indexfile::{FileKind, IndexFile, IoContext, ReadError};

use super::catch_up::Looks;
use super::patch::Origin;
use super::{Caches, Digester, Identities, LiveFiles, Note, check_version, write_copy};
use crate::fs::{Dir, Identity, Made, OpenError, Unsynced, sync_new};
use crate::lock::wait;
use crate::protocol::{self, Code, GuidEntry, Upgrade};
use crate::refusal::Refusal;
use crate::store::Place;

/// The name of a prepared file.
#[must_use]
pub const fn prepared_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Index => "cyrus.index.reguid",
        FileKind::Expunge => "cyrus.expunge.reguid",
    }
}

/// A mailbox whose new files are ready but for what changes until it is locked. Dropping it removes them.
#[derive(Debug)]
pub struct Prepared {
    pub(super) place: Place,
    pub(super) want: Upgrade,
    pub(super) files: Vec<PreparedFile>,
    pub(super) identities: Identities,
    /// All records as they were, in order, and the digest over them, ready to go on.
    pub(super) entries: Vec<GuidEntry>,
    pub(super) digester: Digester,
    pub(super) report: protocol::Prepared,
    of: Incarnation,
    /// As they were then: what they say of a message is believed only while its file has the entry's stamp, or size.
    pub(super) caches: Caches,
    /// How the live files looked before they were opened.
    pub(super) looks: Looks,
}

/// Which mailbox of that name: one that was deleted and made anew has other messages under the same UIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incarnation {
    /// From cyrus.header.
    pub uniqueid: String,
    /// From the index header.
    pub uidvalidity: u32,
}

/// One prepared file, with its lock, so that no other slotd takes it for a stray.
#[derive(Debug)]
pub(super) struct PreparedFile {
    pub(super) kind: FileKind,
    /// Its name, if it has to have one, is [`prepared_name`].
    pub(super) made: Made,
    pub(super) index: IndexFile,
    /// What it was made from, byte for byte, if that is not too large to be kept.
    pub(super) was: Option<IndexFile>,
    pub(super) altered: u32,
    pub(super) restored: u32,
    dir: Arc<Dir>,
    /// It has been renamed and is no longer ours to remove.
    pub(super) taken: bool,
}

impl PreparedFile {
    /// What live records are compared with.
    pub(super) fn origin(&self) -> Origin<'_> {
        Origin {
            prepared: &self.index,
            was: self.was.as_ref(),
            altered: self.altered,
            restored: self.restored,
        }
    }
}

impl Drop for PreparedFile {
    fn drop(&mut self) {
        let name = prepared_name(self.kind);
        let ours = self.made.named
            && !self.taken
            && self.dir.id(name).is_ok_and(|id| id == Some(self.made.id));
        if ours && let Err(error) = self.dir.unlink(name) {
            tracing::warn!("{error}");
        }
    }
}

/// Stages the files of a mailbox that is not locked.
///
/// # Errors
/// The mailbox would be refused; or it was changed just while it was read, and it may work the next time.
pub fn prepare(
    place: &Place,
    live: &LiveFiles,
    want: Upgrade,
    of: Incarnation,
    caches: Caches,
    cancel: &AtomicBool,
    note: Note<'_>,
) -> Result<Prepared, Refusal> {
    check_version(want.version)?;
    live.check(want.repair)?;
    remove_stale(place)?;
    let identities = Identities::find(place, live, want, &caches.sources(), cancel)?;
    let report = protocol::Prepared {
        prepared: false,
        messages: live.num_records(),
        cached: identities.cached,
        hashed: identities.hashed,
    };
    let mut prepared = Prepared {
        place: place.clone(),
        want,
        files: Vec::new(),
        identities,
        entries: Vec::new(),
        digester: Digester::default(),
        report,
        of,
        caches,
        looks: Looks::default(),
    };
    for source in live.each() {
        if prepared.identities.needs_rewrite(source)? {
            prepared.write(source, note)?;
        }
    }
    prepared.report.prepared = !prepared.files.is_empty();
    prepared.entries.sort_by_key(|e| e.uid);
    prepared.digester.add(&prepared.entries);
    Ok(prepared)
}

/// Removes what an earlier `PREPARE` left that nobody has a lock on.
///
/// # Errors
/// [`Code::Locked`] if it belongs to one that is under way.
pub fn remove_stale(place: &Place) -> Result<(), Refusal> {
    for kind in [FileKind::Index, FileKind::Expunge] {
        let dir = place.directory_of(kind);
        let name = prepared_name(kind);
        let file = match dir.open_file(name, true) {
            Ok(file) => file,
            Err(OpenError::Missing { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let path = dir.path_of(name);
        if !wait::try_lock(&file).io_context("lock", &path)? {
            let text = format!(
                "{} belongs to another PREPARE that is under way",
                path.display()
            );
            return Err(Refusal::new(Code::Locked, text));
        }
        dir.unlink(name)?;
    }
    Ok(())
}

impl Prepared {
    /// What `PREPARE` answers.
    #[must_use]
    pub fn report(&self) -> protocol::Prepared {
        self.report
    }

    /// Whether it is for this mailbox and this `UPGRADE`.
    #[must_use]
    pub fn fits(&self, place: &Place, want: Upgrade, of: &Incarnation) -> bool {
        self.is_of(place, want) && self.of == *of
    }

    /// The files that most likely replace the live ones, and whether their identifiers come from `.OLD`.
    ///
    /// # Errors
    /// statx failed.
    pub fn successors(&self) -> std::io::Result<(Vec<(FileKind, Identity)>, bool)> {
        let known = |f: &PreparedFile| Identity::of(&f.made.file).map(|id| (f.kind, id));
        let files = self.files.iter().map(known).collect::<Result<_, _>>()?;
        Ok((files, self.identities.restoring))
    }

    fn write(&mut self, live: &IndexFile, note: Note<'_>) -> Result<(), Refusal> {
        // It is converted from the copy: so a record that is like the copy's under the locks has the right slot.
        let was = past(live)?;
        let source = was.as_ref().unwrap_or(live);
        let kind = source.kind();
        let dir = self.place.directory_of(kind);
        let like = dir.open_file(kind.file_name(), false)?;
        let name = prepared_name(kind);
        let (new, report, restored) = write_copy(
            dir,
            name,
            source,
            &like,
            &self.identities,
            &mut self.entries,
            note,
        )?;
        sync_new(new.file(), &dir.path_of(name), Unsynced::All)?;
        let index = IndexFile::from_file(new.file(), &dir.path_of(name), kind)?;
        let made = new.keep()?;
        self.files.push(PreparedFile {
            kind,
            made,
            index,
            was,
            altered: report.altered,
            restored,
            dir: Arc::clone(dir),
            taken: false,
        });
        Ok(())
    }
}

/// A copy of a live file in memory, to compare with.
pub(super) fn past(live: &IndexFile) -> Result<Option<IndexFile>, ReadError> {
    const LARGEST: u64 = 128 << 20;
    if live.length() > LARGEST {
        return Ok(None);
    }
    // It may be written while it is copied. What is wrong then is found, and what is torn is not like the live record.
    Ok(IndexFile::from_bytes(live.to_bytes()?, live.path(), live.kind()).ok())
}
