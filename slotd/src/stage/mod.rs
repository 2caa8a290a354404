//! Staging: complete new files beside the live ones, in the end under Cyrus's own scratch name
//! `.NEW`, while the locks are held.
//!
//! What is promised: the live files are read and never written; a GUID comes from a cache entry
//! that still describes the message file, or from the bytes of that file, or the whole mailbox is
//! refused; a failure, a full disk included, leaves nothing behind. The new files are complete at
//! first, then synced (while the intent is on its way to stable storage too), and get their names
//! ([`Stage::give_names`]) when both are done: before that a crash leaves nothing, afterwards
//! `.NEW` files that recovery finds by the intent. On a file system that cannot make a file
//! without a name (`O_TMPFILE`) a durable note comes first instead.

mod by_uid;
mod carries;
mod carry_over;
mod catch_up;
pub mod cutover;
mod digest;
mod found_guids;
mod identities;
mod keep;
mod ledger;
mod listing;
mod live;
mod mark;
mod old;
mod old_uuid;
mod patch;
mod prepare;
mod recheck;
mod rehash;
mod resolve;
mod rows;
pub mod sources;
mod watch;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use indexfile::{CopyError, CopyReport, FileKind, Guid, IndexFile, IoContext, IoError, StreamCopy};

use crate::blocking_task::BlockingTask;
use crate::fileops::{self, Change, FileOp, Needs, Role, Step, execute, name};
use crate::fs::{Dir, FileId, Made, NewFile, Unsynced, sync_new};
use crate::lock::{LockedFile, MailboxLocks};
use crate::protocol::{Code, FileState, Rehash, Upgrade, Upgraded};
use crate::refusal::Refusal;
use crate::store::Place;

pub use carries::{carries, guid_like};
pub use digest::{Digester, digest_of};
pub use found_guids::{FoundGuid, FoundGuids};
pub use identities::{Identities, Identity};
pub use ledger::{FILE_NAME as LEDGER_NAME, NEW_NAME as LEDGER_NEW_NAME};
pub use listing::Listing;
pub use live::{FileStats, LiveFiles};
pub use old::{OldUuids, old_name, previous_name};
pub use prepare::{PrepareOptions, Prepared, WORTH_WRITING, prepare, prepared_name, remove_stale};
pub use resolve::{Resolved, Until, Want, resolve, spool};
pub use sources::{Budget, Caches, Expected, Incarnation, Sources};

/// The lowest and highest version that is written.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 6..=10;

/// From this version on records have GUIDs, which must be SHA-1s.
pub const GUID_VERSION: u32 = 10;

/// Notes in the intent log that a file under a scratch name is about to be made, and returns when
/// that is on stable storage. Called only where a file cannot be made without a name.
pub type Note<'a> = &'a dyn Fn() -> Result<(), Refusal>;

/// One staged file: complete, locked, synced, and under [`new_name`], from
/// [`Stage::give_names`] on.
#[derive(Debug)]
pub struct StagedFile {
    /// Which of the two.
    pub kind: FileKind,
    /// The file; its name is [`new_name`].
    pub made: Made,
    /// What of it is not on stable storage yet.
    pub unsynced: Option<Unsynced>,
    /// The live file that it replaces; `None` if there is none.
    pub from: Option<FileId>,
}

/// What `UPGRADE` has made ready.
#[derive(Debug)]
pub struct Stage {
    /// The staged files; none if the mailbox is as it should be.
    pub files: Vec<StagedFile>,
    /// The cyrus.expunge that gets no successor: the new index has its messages.
    pub removed: Option<FileId>,
    /// What `UPGRADE` answers.
    pub report: Upgraded,
    /// All records as they are after the upgrade, once they were asked for.
    listing: OnceLock<Box<Listing>>,
    /// That list is of what the messages are.
    by_content: bool,
    /// Identifiers came from `.OLD`, at version 10 too.
    pub uuids_old: bool,
    /// GUIDs that are no old-style ones are compared, replaced, or come back.
    pub rehash: Option<Rehash>,
    /// With `rehash=report`: what the records would have. The list is of that.
    planned: Option<Arc<Identities>>,
    /// Handles of files whose last name was removed: with them goes what they hold, which takes
    /// longer than a name.
    pub unlinked: Vec<File>,
    /// What it was made from and is of no more use, but takes time to let go.
    prepared: Option<Box<Prepared>>,
    /// The same of the live files.
    live: Option<Box<LiveFiles>>,
}

/// The name of a staged file: Cyrus's own, so used only while we hold the locks.
#[must_use]
pub const fn new_name(kind: FileKind) -> &'static str {
    name(kind, Role::New)
}

/// Writes and locks the new files of a locked mailbox. They have no names yet, where that can be
/// done, and are not synced.
///
/// # Errors
/// The mailbox is refused: nothing is changed and nothing is left.
pub fn stage(
    locks: &MailboxLocks,
    live: &LiveFiles,
    want: Upgrade,
    sources: &Sources<'_>,
    cancel: &AtomicBool,
    note: Note<'_>,
) -> Result<Stage, Refusal> {
    check_version(want.version)?;
    live.check(want.repair)?;
    remove_strays(locks)?;
    let identities = Identities::find(&locks.place, live, want, sources, cancel)?;
    let mut stage = Stage::empty(live, want.version);
    stage.report.cached = identities.cached;
    stage.report.hashed = identities.hashed;
    stage.uuids_old = identities.restoring;
    stage.by_content = want.by_content;
    stage.rehash = identities.touches_others();
    stage.report.rehash = identities.rehashed(live)?;
    let identities = Arc::new(identities);
    stage.planned = (want.rehash == Some(Rehash::Report)).then(|| Arc::clone(&identities));
    let written = live.each().try_for_each(|source| {
        if cancel.load(Ordering::Relaxed) {
            return Err(Refusal::new(Code::Expired, "UPGRADE was cut short"));
        }
        if identities.needs_rewrite(source)? {
            stage.write(locks, source, &identities, note)
        } else {
            stage.set_state(source.kind(), FileState::Unchanged);
            Ok(())
        }
    });
    let finished = written.and_then(|()| {
        stage.keep_old(locks, live, &identities, (want.run, None), note)?;
        stage.finish(locks)
    });
    if let Err(refusal) = finished {
        stage.remove(locks)?;
        return Err(refusal);
    }
    Ok(stage)
}

/// Refuses versions that are not written.
///
/// # Errors
/// [`Code::Unsupported`]
pub fn check_version(version: u32) -> Result<(), Refusal> {
    if VERSIONS.contains(&version) {
        return Ok(());
    }
    let (low, high) = VERSIONS.into_inner();
    Err(Refusal::new(
        Code::Unsupported,
        format!("version {version} is not written, only {low} to {high} are"),
    ))
}

/// What looks as if a rename of both files had not come to its end: a scratch name of ours, or two
/// versions.
///
/// # Errors
/// The system's.
pub fn sign_of_an_open_rename(locks: &MailboxLocks) -> Result<Option<String>, IoError> {
    for kind in [FileKind::Index, FileKind::Expunge] {
        let dir = locks.place.directory_of(kind);
        for name in [new_name(kind), old::previous_name(kind)] {
            if dir.stat(name)?.is_some() {
                return Ok(Some(format!("{} is there", dir.path_of(name).display())));
            }
        }
    }
    let version = |kind: FileKind| -> Result<Option<[u8; 4]>, IoError> {
        let Some(locked) = locks.file(kind) else {
            return Ok(None);
        };
        let mut word = [0; 4];
        let path = locks.place.directory_of(kind).path_of(kind.file_name());
        let read = locked.file.read_exact_at(&mut word, VERSION_AT);
        read.io_context("read", &path)?;
        Ok(Some(word))
    };
    let (index, expunge) = (version(FileKind::Index)?, version(FileKind::Expunge)?);
    let differ = expunge.is_some_and(|expunge| index != Some(expunge));
    Ok(differ.then(|| "cyrus.index and cyrus.expunge are of different versions".to_owned()))
}

/// Where the version is in the header of both files, in bytes.
const VERSION_AT: u64 = 8;

/// Removes `.NEW` files that an earlier crash, Cyrus's or ours, left, so that no power cut brings
/// them back when the intent that told of them is ended. We hold the locks, so nobody uses them.
///
/// # Errors
/// The system's.
pub fn remove_strays(locks: &MailboxLocks) -> Result<(), IoError> {
    for step in fileops::unstage(strays(&locks.place)?) {
        execute(locks, step, None)?;
        if let FileOp::Unlink(kind, role) = step.op {
            let name = name(kind, role);
            tracing::warn!(mailbox = %locks.place.mailbox, "removed {name}, which a crash had \
                left");
        }
    }
    locks.place.index.unlink(LEDGER_NEW_NAME)?;
    Ok(())
}

/// The kinds of which there is a `.NEW`.
///
/// # Errors
/// The system's.
pub fn strays(place: &Place) -> Result<Vec<FileKind>, IoError> {
    let mut strays = Vec::new();
    for kind in [FileKind::Index, FileKind::Expunge] {
        if place.directory_of(kind).stat(new_name(kind))?.is_some() {
            strays.push(kind);
        }
    }
    Ok(strays)
}

/// What a copy amounts to beside the stream copy's report.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// Old-style identifiers that came back.
    restored: u32,
    /// GUIDs that were no old-style ones and lost their last eight bytes.
    cut: u32,
}

/// Copies one file to a new one in another version, complete, not synced.
fn write_copy<'a>(
    dir: &'a Dir,
    name: &'static str,
    source: &IndexFile,
    like: &File,
    identities: &Identities,
    note: Note<'_>,
) -> Result<(NewFile<'a>, CopyReport, Written), Refusal> {
    let mut new = if let Some(new) = NewFile::nameless(dir, name)? {
        new
    } else {
        note()?;
        NewFile::create(dir, name)?
    };
    new.lock()?;
    let mut written = Written::default();
    let copy = StreamCopy::new(source)
        .to_version(identities.version)
        .lossy(true);
    let report = copy.write(&mut new, |record| {
        let identity = identities.decide(&record)?;
        written.restored += u32::from(identity.restored);
        written.cut += u32::from(identity.cuts(&record, identities.version));
        Ok::<_, Refusal>(identity.decision)
    });
    let report = report.map_err(|error| match error {
        CopyError::Decide(refusal) => refusal,
        CopyError::Convert(error) => error.into(),
        CopyError::Read(error) => error.into(),
        CopyError::Write(source) => IoError::new("write", &dir.path_of(name), source).into(),
        other => Refusal::new(Code::Io, other.to_string()),
    })?;
    new.finish(like)?;
    Ok((new, report, written))
}

impl Stage {
    fn empty(live: &LiveFiles, version: u32) -> Stage {
        let report = Upgraded {
            index: FileState::Unchanged,
            expunge: FileState::None,
            from: live.index.minor_version(),
            to: version,
            messages: live.num_records(),
            altered: 0,
            cached: 0,
            hashed: 0,
            restored: 0,
            cut: 0,
            prepared: false,
            lost_modseqs: 0,
            left_group: None,
            digest: Guid::NULL,
            rehash: None,
        };
        Stage {
            files: Vec::new(),
            removed: None,
            report,
            listing: OnceLock::new(),
            by_content: false,
            uuids_old: false,
            rehash: None,
            planned: None,
            unlinked: Vec::new(),
            prepared: None,
            live: None,
        }
    }

    /// Takes the live files along, to be let go when the locks are.
    pub fn keep_live(&mut self, live: LiveFiles) {
        self.live = Some(Box::new(live));
    }

    fn set_state(&mut self, kind: FileKind, state: FileState) {
        match kind {
            FileKind::Index => self.report.index = state,
            FileKind::Expunge => self.report.expunge = state,
        }
    }

    /// Writes and locks one file.
    fn write(
        &mut self,
        locks: &MailboxLocks,
        source: &IndexFile,
        identities: &Identities,
        note: Note<'_>,
    ) -> Result<(), Refusal> {
        let kind = source.kind();
        let dir = locks.place.directory_of(kind);
        let locked = locked(locks, kind)?;
        let (new, report, written) =
            write_copy(dir, new_name(kind), source, &locked.file, identities, note)?;
        let made = new.keep()?;
        self.files.push(StagedFile {
            kind,
            made,
            unsynced: Some(Unsynced::All),
            from: Some(locked.id),
        });
        self.report.altered += report.altered;
        self.report.lost_modseqs += report.lost_modseqs;
        self.report.restored += written.restored;
        self.report.cut += written.cut;
        self.set_state(kind, FileState::Staged);
        Ok(())
    }

    /// All records as they are after the upgrade. Read once, in order, when it is first asked for.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn listing(&self, locks: &MailboxLocks) -> Result<&Listing, Refusal> {
        if self.listing.get().is_none() {
            let mut files = Vec::new();
            for kind in [FileKind::Index, FileKind::Expunge] {
                let dir = locks.place.directory_of(kind);
                // What messages are is what the live files have; what they will be called is in the
                // new ones.
                let staged = self.file(kind).filter(|_| !self.by_content);
                let removed = kind == FileKind::Expunge && self.removed.is_some();
                let live = locks.file(kind).filter(|_| !removed || self.by_content);
                let (file, path) = match (staged, live) {
                    (Some(staged), _) => (&staged.made.file, dir.path_of(new_name(kind))),
                    (None, Some(live)) => (&live.file, dir.path_of(kind.file_name())),
                    (None, None) => continue,
                };
                files.push(IndexFile::from_file_unverified(file, &path, kind)?);
            }
            let mut listing = Box::new(Listing::of(files)?);
            if self.by_content {
                *listing = listing.by_content();
            }
            if let Some(planned) = &self.planned {
                *listing = listing.planned(Arc::clone(planned));
            }
            return Ok(self.listing.get_or_init(|| listing));
        }
        let listing = self.listing.get();
        listing
            .map(Box::as_ref)
            .ok_or_else(|| Refusal::new(Code::State, "nothing is staged"))
    }

    /// Keeps what the commit would destroy.
    fn keep_old(
        &self,
        locks: &MailboxLocks,
        live: &LiveFiles,
        identities: &Identities,
        (run, ledger): (u64, Option<keep::PreparedLedger>),
        note: Note<'_>,
    ) -> Result<(), Refusal> {
        if self.files.is_empty() {
            return Ok(());
        }
        let replaces = self.changes().map(|(kind, _)| kind).collect();
        let work = keep::Work { run, replaces };
        keep::keep(locks, live, identities, &work, ledger, note)
    }

    /// Computes the digest of all records.
    fn finish(&mut self, locks: &MailboxLocks) -> Result<(), Refusal> {
        let summed = self.listing(locks)?.summed()?;
        if !self.files.is_empty() {
            let expunge = locks.place.directory_of(FileKind::Expunge);
            summed.each_once(&expunge.path_of(FileKind::Expunge.file_name()))?;
        }
        self.report.digest = summed.digester.finish();
        self.note_groups(locks)
    }

    /// Says in the report which group could not be kept.
    fn note_groups(&mut self, locks: &MailboxLocks) -> Result<(), Refusal> {
        let group = |file: &File, kind: FileKind| {
            let path = locks.place.directory_of(kind).path_of(kind.file_name());
            file.metadata().map(|m| m.gid()).io_context("stat", &path)
        };
        self.report.left_group = None;
        for staged in &self.files {
            let live = locks
                .file(staged.kind)
                .map(|live| group(&live.file, staged.kind));
            let live = live.transpose()?;
            if live.is_some_and(|_| live != group(&staged.made.file, staged.kind).ok()) {
                self.report.left_group = live;
            }
        }
        Ok(())
    }

    /// Brings the staged files and the intent that tells recovery of them to stable storage, all at
    /// once, and only then gives the files their names: so whatever a crash leaves is found.
    /// `intent` returns when it is there; none if an open one tells of them already.
    ///
    /// # Errors
    /// The system's, and final: the stage is to be removed.
    pub fn give_names(
        &mut self,
        locks: &MailboxLocks,
        intent: Option<&mut dyn FnMut() -> Result<(), Refusal>>,
    ) -> Result<(), Refusal> {
        let lies = |f: &StagedFile| {
            let role = if f.made.named {
                Role::New
            } else {
                Role::Unnamed
            };
            (f.kind, role)
        };
        let files: Vec<_> = self.files.iter().map(lies).collect();
        let steps = match intent {
            Some(_) => fileops::stage(&files),
            None => fileops::stage_again(&files),
        };
        let (at_once, then): (Vec<Step>, Vec<Step>) = steps
            .into_iter()
            .partition(|step| step.needs == Needs::default());
        let synced = self.sync(locks);
        locks.mark("sync");
        // Whatever became of the files: nothing is ended that is still under way.
        let durable = intent.map_or(Ok(()), |intent| intent());
        locks.mark("intent");
        synced?;
        durable?;
        for step in at_once {
            locks.durable().note(step.op);
        }
        for step in then {
            let staged = self
                .files
                .iter_mut()
                .find(|f| Some(f.kind) == step.op.kind());
            if let Some(staged) = staged {
                execute(locks, step, Some(&staged.made.file))?;
                staged.made.named = true;
            }
        }
        locks.mark("link");
        Ok(())
    }

    /// Brings the staged files to stable storage, both at once.
    fn sync(&mut self, locks: &MailboxLocks) -> Result<(), IoError> {
        let mut others = Vec::new();
        let mut here = None;
        for staged in &mut self.files {
            let Some(what) = staged.unsynced.take() else {
                continue;
            };
            let dir = locks.place.directory_of(staged.kind);
            let path = dir.path_of(new_name(staged.kind));
            if here.is_none() {
                here = Some((&staged.made.file, path, what));
                continue;
            }
            let file = staged
                .made
                .file
                .try_clone()
                .io_context("duplicate", &path)?;
            let lost = IoError::new("sync", &path, std::io::ErrorKind::Other.into());
            let job = move || sync_new(&file, &path, what);
            others.push((BlockingTask::begin(job), lost));
        }
        let first = here.map_or(Ok(()), |(file, path, what)| sync_new(file, &path, what));
        // All of them have ended before anybody goes on.
        let others = others
            .into_iter()
            .map(|(sync, lost)| sync.join().unwrap_or(Err(lost)));
        others.fold(first, Result::and)
    }

    /// Removes the staged files, so that no power cut brings their names back. What cannot be
    /// removed is logged: it is nobody's, and goes with the next lock; but an intent that tells of
    /// it must stay open until then.
    ///
    /// # Errors
    /// The last that was logged.
    pub fn remove(self, locks: &MailboxLocks) -> Result<(), IoError> {
        let mut result = Ok(());
        for staged in &self.files {
            let dir = locks.place.directory_of(staged.kind);
            if let Err(error) = remove_named(locks, dir, staged) {
                tracing::error!(mailbox = %locks.place.mailbox, "{error}");
                result = Err(error);
            }
        }
        result
    }

    /// What becomes of each live name that changes, first to change first.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = (FileKind, Change)> {
        let kinds = fileops::order(self.report.from, self.report.to);
        kinds
            .into_iter()
            .filter_map(|kind| Some((kind, self.change(kind)?)))
    }

    /// What becomes of a live name, if it changes.
    #[must_use]
    pub fn change(&self, kind: FileKind) -> Option<Change> {
        match self.file(kind) {
            Some(staged) if staged.from.is_some() => Some(Change::Replace),
            Some(_) => Some(Change::Add),
            None => self.replaced(kind).map(|_| Change::Remove),
        }
    }

    /// The file that a live name stood for before it changed.
    #[must_use]
    pub fn replaced(&self, kind: FileKind) -> Option<FileId> {
        match self.file(kind) {
            Some(staged) => staged.from,
            None => self.removed.filter(|_| kind == FileKind::Expunge),
        }
    }

    /// The staged file of a kind.
    #[must_use]
    pub fn file(&self, kind: FileKind) -> Option<&StagedFile> {
        self.files.iter().find(|f| f.kind == kind)
    }
}

/// Removes the name of a staged file, on stable storage.
fn remove_named(locks: &MailboxLocks, dir: &Dir, staged: &StagedFile) -> Result<(), IoError> {
    let name = new_name(staged.kind);
    match dir.id(name)? {
        // It may have got its name although that failed.
        Some(id) if id == staged.made.id => {}
        Some(_) if staged.made.named => {
            let foreign = std::io::ErrorKind::AlreadyExists.into();
            return Err(IoError::new("remove", &dir.path_of(name), foreign));
        }
        _ if !staged.made.named => return Ok(()),
        _ => {}
    }
    let steps = fileops::unstage([staged.kind]);
    steps
        .into_iter()
        .try_for_each(|step| execute(locks, step, None))
}

fn locked(locks: &MailboxLocks, kind: FileKind) -> Result<&LockedFile, Refusal> {
    locks
        .file(kind)
        .ok_or_else(|| Refusal::new(Code::State, format!("{kind} is not locked")))
}
