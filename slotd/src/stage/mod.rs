//! Staging: complete new files beside the live ones, under Cyrus's own scratch name `.NEW`, while the locks are held.
//!
//! What is promised: the live files are read and never written; a GUID comes from a cache entry that
//! still describes the message file, or from the bytes of that file, or the whole mailbox is refused; a failure,
//! a full disk included, leaves nothing behind. A crash leaves `.NEW` files that nobody uses: whoever
//! holds the locks next removes them.

mod carries;
mod digest;
pub mod old;
mod resolve;
pub mod sources;

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};

use indexfile::{
    CopyError, Decision, FileKind, Guid, IndexFile, IoError, Record, StreamCopy, Uuid,
};

use crate::fs::{FileId, NewFile};
use crate::lock::MailboxLocks;
use crate::protocol::{Code, FileState, GuidEntry, Repair, Upgrade, Upgraded, UuidSource};
use crate::refusal::Refusal;

pub use carries::{carries, guid_like};
pub use digest::digest_of;
pub use old::{OldUuids, old_name};
pub use resolve::{Resolved, Wanted, resolve};
pub use sources::Sources;

/// The lowest and highest version that is written.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 6..=10;

/// From this version on records have GUIDs, which must be SHA-1s.
pub const GUID_VERSION: u32 = 10;

/// One staged file: complete, synced, locked, under [`new_name`].
#[derive(Debug)]
pub struct StagedFile {
    /// Which of the two.
    pub kind: FileKind,
    /// Open, with its lock held by this handle.
    pub file: File,
    /// Which file it is.
    pub id: FileId,
    /// The live file it was made from.
    pub from: FileId,
    /// The version of that.
    pub from_version: u32,
}

/// What `UPGRADE` has made ready.
#[derive(Debug)]
pub struct Stage {
    /// The staged files; none if the mailbox is as it should be.
    pub files: Vec<StagedFile>,
    /// What `UPGRADE` answers.
    pub report: Upgraded,
    /// All records as they are after the upgrade, in ascending order of UIDs.
    pub entries: Vec<GuidEntry>,
}

/// The name of a staged file: Cyrus's own, so used only while we hold the locks.
#[must_use]
pub const fn new_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Index => "cyrus.index.NEW",
        FileKind::Expunge => "cyrus.expunge.NEW",
    }
}

/// The live files of a mailbox, open and checked.
#[derive(Debug)]
pub struct LiveFiles {
    /// cyrus.index
    pub index: IndexFile,
    /// cyrus.expunge
    pub expunge: Option<IndexFile>,
}

impl LiveFiles {
    /// Maps and checks the files of a locked mailbox.
    ///
    /// # Errors
    /// [`Code::Damaged`], with indexfile's code and words.
    pub fn of(locks: &MailboxLocks) -> Result<LiveFiles, Refusal> {
        let open = |kind: FileKind| -> Result<Option<IndexFile>, Refusal> {
            let Some(locked) = locks.file(kind) else {
                return Ok(None);
            };
            let path = locks.place.directory_of(kind).path_of(kind.file_name());
            Ok(Some(IndexFile::from_file(&locked.file, &path, kind)?))
        };
        let index = open(FileKind::Index)?;
        let index =
            index.ok_or_else(|| Refusal::new(Code::NoMailbox, "the mailbox has no cyrus.index"))?;
        Ok(LiveFiles {
            index,
            expunge: open(FileKind::Expunge)?,
        })
    }

    /// Both, index first.
    pub fn each(&self) -> impl Iterator<Item = &IndexFile> {
        [Some(&self.index), self.expunge.as_ref()]
            .into_iter()
            .flatten()
    }

    /// The records of both files.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.each().flat_map(IndexFile::records)
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
    /// [`Code::Unsupported`] for versions that Cyrus 2.3 does not have, [`Code::Damaged`] for an index newer than its
    /// expunge file, unless that is to be repaired and can be.
    pub fn check(&self, repair: Option<Repair>) -> Result<(), Refusal> {
        for file in self.each() {
            if file.minor_version() > GUID_VERSION {
                let (path, version) = (file.path().display(), file.minor_version());
                let text = format!(
                    "{path} has version {version}; slotd's locks protect only mailboxes of Cyrus 2.3 and before"
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
                "{path} has version {expunge_version} beside an index of version {index_version}: Cyrus misreads it and \
                 may unlink live messages. UPGRADE {index_version} repair=expunge converts it"
            )));
        }
        if expunge.trailing_bytes() > 0 {
            return Err(damaged(format!(
                "{path} has {} bytes after its last record: a server may have appended records of another size, so it \
                 cannot be repaired",
                expunge.trailing_bytes()
            )));
        }
        if let Some(record) = expunge
            .records()
            .find(|r| self.index.find_uid(r.uid()).is_some())
        {
            return Err(damaged(format!(
                "{path} and the index both have UID {}, so it cannot be repaired",
                record.uid()
            )));
        }
        Ok(())
    }
}

/// Whether one file needs a new one.
#[must_use]
pub fn needs_rewrite(file: &IndexFile, version: u32) -> bool {
    file.minor_version() != version
        || (version >= GUID_VERSION && file.records().any(|r| r.guid().is_old_style()))
}

/// Writes, syncs and locks the new files of a locked mailbox.
///
/// # Errors
/// The mailbox is refused: nothing is changed and nothing is left.
pub fn stage(
    locks: &MailboxLocks,
    live: &LiveFiles,
    want: Upgrade,
    sources: &Sources<'_>,
    cancel: &AtomicBool,
) -> Result<Stage, Refusal> {
    check_version(want.version)?;
    live.check(want.repair)?;
    remove_strays(locks)?;
    let resolved = if want.version >= GUID_VERSION {
        let wanted = Wanted::of(live.records().filter(|r| r.guid().is_old_style()));
        resolve(&locks.place, &wanted, sources, cancel)?
    } else {
        Resolved::default()
    };
    let uuids = match want.uuids {
        UuidSource::Old if want.version < GUID_VERSION => OldUuids::load(&locks.place, &live.index),
        _ => OldUuids::default(),
    };
    let mut stage = Stage {
        files: Vec::new(),
        report: empty_report(live, want.version),
        entries: Vec::new(),
    };
    stage.entries.reserve(live.num_records() as usize);
    stage.report.cached = resolved.cached;
    stage.report.hashed = resolved.hashed;
    for source in live.each() {
        if cancel.load(Ordering::Relaxed) {
            return Err(Refusal::new(Code::Expired, "UPGRADE was cut short"));
        }
        let state = if needs_rewrite(source, want.version) {
            stage.write(locks, source, want.version, &resolved.guids, &uuids)?;
            FileState::Staged
        } else {
            let kept = source.records().map(|r| entry(&r, r.guid().padded()));
            stage.entries.extend(kept);
            FileState::Unchanged
        };
        match source.kind() {
            FileKind::Index => stage.report.index = state,
            FileKind::Expunge => stage.report.expunge = state,
        }
    }
    // Stable: where both files have a UID, the index's record comes first.
    stage.entries.sort_by_key(|e| e.uid);
    stage.report.digest = digest_of(&stage.entries);
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

/// Removes `.NEW` files that an earlier crash, Cyrus's or ours, left. We hold the locks, so nobody uses them.
///
/// # Errors
/// The system's.
pub fn remove_strays(locks: &MailboxLocks) -> Result<(), IoError> {
    for kind in [FileKind::Index, FileKind::Expunge] {
        if locks.place.directory_of(kind).unlink(new_name(kind))? {
            tracing::warn!(mailbox = %locks.place.mailbox, "removed a stray {}", new_name(kind));
        }
    }
    Ok(())
}

fn empty_report(live: &LiveFiles, version: u32) -> Upgraded {
    Upgraded {
        index: FileState::Unchanged,
        expunge: FileState::None,
        from: live.index.minor_version(),
        to: version,
        messages: live.num_records(),
        altered: 0,
        cached: 0,
        hashed: 0,
        restored: 0,
        prepared: false,
        lost_modseqs: 0,
        digest: Guid::NULL,
    }
}

fn entry(record: &Record<'_>, guid: Guid) -> GuidEntry {
    GuidEntry {
        uid: record.uid(),
        guid,
        size: record.size(),
    }
}

/// What becomes of one record's identifier, and what it is afterwards as twenty bytes.
pub(crate) fn decide(
    record: &Record<'_>,
    version: u32,
    guids: &HashMap<u32, Guid>,
    uuids: &OldUuids,
) -> Result<(Decision, Guid, bool), Refusal> {
    if version >= GUID_VERSION {
        if !record.guid().is_old_style() {
            return Ok((Decision::Keep, record.guid().padded(), false));
        }
        let uid = record.uid();
        // Every old-style record was resolved or the mailbox refused: this is a check, not a path.
        let guid = guids.get(&uid).copied().ok_or_else(|| {
            Refusal::new(
                Code::NoMessage,
                format!("the GUID of UID {uid} is not known"),
            )
        })?;
        return Ok((Decision::Alter(guid), guid, false));
    }
    if version < 7 {
        return Ok((Decision::Keep, Guid::NULL, false));
    }
    if let Some(uuid) = uuids.get(record) {
        return Ok((Decision::AlterUuid(uuid), Guid::padded(uuid), true));
    }
    let cut: Uuid = record.guid().truncated();
    Ok((Decision::Keep, Guid::padded(cut), false))
}

impl Stage {
    /// Writes, syncs and locks one file, and takes its records into the list.
    fn write(
        &mut self,
        locks: &MailboxLocks,
        source: &IndexFile,
        version: u32,
        guids: &HashMap<u32, Guid>,
        uuids: &OldUuids,
    ) -> Result<(), Refusal> {
        let kind = source.kind();
        let dir = locks.place.directory_of(kind);
        let path = dir.path_of(new_name(kind));
        let Some(locked) = locks.file(kind) else {
            return Err(Refusal::new(Code::State, format!("{kind} is not locked")));
        };
        let mut new = NewFile::create(dir, new_name(kind))?;
        new.lock()?;
        let mut restored = 0;
        let entries = &mut self.entries;
        let copy = StreamCopy::new(source).to_version(version).lossy(true);
        let report = copy.write(&mut new, |record| {
            let (decision, guid, from_old) = decide(&record, version, guids, uuids)?;
            restored += u32::from(from_old);
            entries.push(entry(&record, guid));
            Ok::<_, Refusal>(decision)
        });
        let report = report.map_err(|error| copy_refusal(error, &path))?;
        new.finish(&locked.file)?;
        let (file, id) = new.keep()?;
        self.report.altered += report.altered;
        self.report.lost_modseqs += report.lost_modseqs;
        self.report.restored += restored;
        self.files.push(StagedFile {
            kind,
            file,
            id,
            from: locked.id,
            from_version: source.minor_version(),
        });
        Ok(())
    }

    /// Removes the staged files. What cannot be removed is logged: it is nobody's, and goes with the next lock.
    pub fn remove(self, locks: &MailboxLocks) {
        for staged in &self.files {
            let name = new_name(staged.kind);
            let dir = locks.place.directory_of(staged.kind);
            let ours = dir.id(name).is_ok_and(|id| id == Some(staged.id));
            if ours && let Err(error) = dir.unlink(name) {
                tracing::error!(mailbox = %locks.place.mailbox, "{error}");
            }
        }
    }

    /// The staged file of a kind.
    #[must_use]
    pub fn file(&self, kind: FileKind) -> Option<&StagedFile> {
        self.files.iter().find(|f| f.kind == kind)
    }
}

fn copy_refusal(error: CopyError<Refusal>, path: &std::path::Path) -> Refusal {
    match error {
        CopyError::Decide(refusal) => refusal,
        CopyError::Convert(error) => error.into(),
        CopyError::Write(source) => IoError::new("write", path, source).into(),
        other => Refusal::new(Code::Io, other.to_string()),
    }
}
