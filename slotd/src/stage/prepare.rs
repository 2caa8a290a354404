//! `PREPARE`: the work of `UPGRADE` without locks.
//!
//! The whole new files are written and synced without a name, which Cyrus can never use. Under the
//! locks (`carry_over`) each live record is compared with what was prepared, only what differs is
//! written, and the file gets the name `.NEW`. The result is byte for byte that of an `UPGRADE`
//! without `PREPARE`.
//!
//! A crash leaves nothing. Only where a file cannot be made without a name (`O_TMPFILE`) it is
//! called `cyrus.index.reguid`, after a durable note; then recovery, the next `PREPARE` of the
//! mailbox or `CLEAN` removes what a crash left.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use indexfile::sha1s::Cache;
use indexfile::{FileKind, IndexFile, IoContext, ReadError};
use precompute::nice;

use super::LiveStats;
use super::patch::{Origin, RecordCounts};
use super::recheck::MessageWatch;
use super::{
    Caches, Digester, Identities, Incarnation, Listing, LiveFiles, Note, check_version, keep,
    sources, write_copy,
};
use crate::fs::{CreatedFile, Dir, Identity, OpenError, Unsynced, sync_new};
use crate::lock::wait;
use crate::protocol::{self, Code, Upgrade, Write};
use crate::refusal::Refusal;
use crate::store::{Place, Store};

/// The name of a prepared file.
#[must_use]
pub const fn prepared_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Index => "cyrus.index.reguid",
        FileKind::Expunge => "cyrus.expunge.reguid",
    }
}

/// From this many messages on the new files are written before the locks if that is left to slotd.
/// Measured (`lock_hold`, docs/benchmarks.md): below it the locks are held for 1 to 3 ms either way
/// and a small mailbox takes up to twice as long in all; above it the hold without grows with the
/// mailbox.
pub const WORTH_WRITING: u32 = 1000;

/// How much is done ahead.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrepareOptions {
    /// What the `UPGRADE` that follows will ask for.
    pub want: Upgrade,
    /// Whether the new files are written too.
    pub write: Write,
    /// When reading messages has to stop.
    pub stop: Option<Instant>,
}

/// A mailbox whose messages are hashed, and whose new files, if they were written, are ready but
/// for what changes until it is locked. Dropping it removes them.
#[derive(Debug)]
pub struct Prepared {
    pub(super) place: Place,
    pub(super) want: Upgrade,
    pub(super) files: Vec<PreparedFile>,
    pub(super) identities: Identities,
    /// The digest over all records as they were, in order, ready to go on; how many, and the
    /// largest UID.
    pub(super) digester: Digester,
    pub(super) digested: u32,
    pub(super) last_uid: u32,
    pub(super) report: protocol::Prepared,
    /// What is kept of what the commit destroys.
    pub(super) ledger: Option<keep::PreparedLedger>,
    of: Incarnation,
    /// As they were then: what they say of a message is believed only while its file has the
    /// entry's stamp, or size.
    pub(super) caches: Caches,
    /// How the live files looked before they were opened.
    pub(super) stats: LiveStats,
    /// The directory of the messages since each of these was looked at last.
    pub(super) messages: MessageWatch,
}

/// One prepared file, with its lock, so that no other slotd takes it for a stray.
#[derive(Debug)]
pub(super) struct PreparedFile {
    pub(super) kind: FileKind,
    /// Its name, if it has to have one, is [`prepared_name`].
    pub(super) made: CreatedFile,
    pub(super) index: IndexFile,
    /// What it was made from, byte for byte, if that could be kept.
    pub(super) snapshot: Option<IndexFile>,
    /// What became of the records.
    pub(super) counts: RecordCounts,
    pub(super) dir: Arc<Dir>,
    /// It has been renamed and is no longer ours to remove.
    pub(super) taken: bool,
}

impl PreparedFile {
    /// What live records are compared with.
    pub(super) fn origin(&self) -> Origin<'_> {
        Origin {
            prepared: &self.index,
            snapshot: self.snapshot.as_ref(),
            counts: self.counts,
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

/// Stages the files of a mailbox that is not locked. `fetched` is what a peer has of its messages.
///
/// # Errors
/// The mailbox would be refused; or it was changed just while it was read, and it may work the next
/// time.
pub fn prepare(
    store: &Store,
    place: &Place,
    fetched: Option<Cache>,
    how: PrepareOptions,
    cancel: &AtomicBool,
    note: Note<'_>,
) -> Result<Prepared, Refusal> {
    let want = how.want;
    let stats = LiveStats::of(place)?;
    let live = &LiveFiles::without_locks(store, place)?;
    let of = Incarnation::of(place, &live.index)?;
    let caches = Caches {
        local: sources::open_local(place, &of),
        expected: fetched.and_then(|cache| sources::take_fetched(cache, &of)),
    };
    check_version(want.version)?;
    live.check(want.repair)?;
    remove_stale(place)?;
    let write = match how.write {
        Write::Always => true,
        Write::Auto => live.num_records() >= WORTH_WRITING,
        Write::Never => false,
    };
    let messages = MessageWatch::begin(place, live.num_records() as usize)?;
    let mut sources = caches.sources();
    sources.stop = how.stop;
    let identities = Identities::find(place, live, want, &sources, cancel)?;
    let report = protocol::Prepared {
        prepared: false,
        messages: live.num_records(),
        cached: identities.cached,
        hashed: identities.hashed,
        unchanged: false,
    };
    let mut prepared = Prepared {
        place: place.clone(),
        want,
        files: Vec::new(),
        identities,
        digester: Digester::default(),
        digested: 0,
        last_uid: 0,
        report,
        ledger: None,
        of,
        caches,
        stats,
        messages,
    };
    for source in live.each().filter(|_| write) {
        if prepared.identities.needs_rewrite(source)? {
            prepared.write(source, note)?;
        }
    }
    prepared.report.prepared = !prepared.files.is_empty();
    if prepared.report.prepared {
        prepared.list()?;
        let replaces = prepared.files.iter().map(|f| f.kind).collect();
        let run = want.run;
        let work = keep::Work { run, replaces };
        // Which GUIDs are wrong is known for sure under the locks only.
        if want.rehash.is_none() {
            prepared.ledger = keep::PreparedLedger::of(place, live, &prepared.identities, work)?;
        }
    }
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

    /// Whether new files were written: else it is known of the messages only what was looked up or
    /// read.
    #[must_use]
    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// The files that most likely replace the live ones, and whether their identifiers come from
    /// `.OLD`.
    ///
    /// # Errors
    /// statx failed.
    pub fn successors(&self) -> std::io::Result<(Vec<(FileKind, Identity)>, bool)> {
        let known = |f: &PreparedFile| Identity::of(&f.made.file).map(|id| (f.kind, id));
        let files = self.files.iter().map(known).collect::<Result<_, _>>()?;
        Ok((files, self.identities.restoring))
    }

    /// Takes the digest of what is prepared.
    pub(super) fn list(&mut self) -> Result<(), Refusal> {
        let files = self.files.iter().map(|f| {
            let path = f.index.path();
            IndexFile::from_file_unverified(&f.made.file, path, f.kind)
        });
        let listing = Listing::of(files.collect::<Result<Vec<_>, _>>()?)?;
        self.digested = listing.len();
        let summed = listing.summed()?;
        let expunge = self.place.directory_of(FileKind::Expunge);
        summed.each_once(&expunge.path_of(FileKind::Expunge.file_name()))?;
        (self.digester, self.last_uid) = (summed.digester, summed.last_uid);
        Ok(())
    }

    fn write(&mut self, live: &IndexFile, note: Note<'_>) -> Result<(), Refusal> {
        // It is converted from the copy: so a record that is like the copy's under the locks has
        // the right slot.
        let kind = live.kind();
        let dir = self.place.directory_of(kind);
        let snapshot = snapshot(live, dir)?;
        let source = snapshot.as_ref().unwrap_or(live);
        let like = dir.open_file(kind.file_name(), false)?;
        let name = prepared_name(kind);
        let (new, counts) = write_copy(dir, name, source, &like, &self.identities, note)?;
        sync_new(new.file(), &dir.path_of(name), Unsynced::All)?;
        let index = IndexFile::from_file(new.file(), &dir.path_of(name), kind)?;
        let made = new.keep()?;
        self.files.push(PreparedFile {
            kind,
            made,
            index,
            snapshot,
            counts,
            dir: Arc::clone(dir),
            taken: false,
        });
        Ok(())
    }
}

/// A copy of a live file to compare with: in memory, or of a large one in a file of our own in
/// `dir` that has no name. `None` if it cannot be kept.
pub(super) fn snapshot(live: &IndexFile, dir: &Dir) -> Result<Option<IndexFile>, ReadError> {
    const IN_MEMORY: u64 = 24 << 20;
    // It may be written while it is copied. What is wrong then is found, and what is torn is not
    // like the live record.
    if live.length() <= IN_MEMORY {
        let bytes = live.to_bytes()?;
        return Ok(IndexFile::from_bytes(bytes, live.path(), live.kind()).ok());
    }
    let Ok(Some(mut copy)) = dir.create_nameless() else {
        return Ok(None);
    };
    let mut written = copy.write_all(live.header().bytes());
    let mut blocks = live.blocks();
    while let Some(block) = blocks.read()? {
        nice::give_way();
        written = written.and_then(|()| copy.write_all(block.bytes()));
    }
    if let Err(error) = written {
        tracing::info!("no copy of {}: {error}", live.path().display());
        return Ok(None);
    }
    Ok(IndexFile::from_file(&copy, live.path(), live.kind()).ok())
}
