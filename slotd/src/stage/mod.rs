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
mod copy;
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
mod staged;
mod strays;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indexfile::FileKind;

use crate::fileops::{Role, name};
use crate::lock::MailboxLocks;
use crate::protocol::{Code, FileState, Rehash, Upgrade};
use crate::refusal::Refusal;

pub use carries::{carries, guid_like};
pub use digest::{Digester, digest_of};
pub use found_guids::{FoundGuid, FoundGuids};
pub use identities::{GuidChoice, Identities};
pub use ledger::{FILE_NAME as LEDGER_NAME, NEW_NAME as LEDGER_NEW_NAME};
pub use listing::Listing;
pub use live::{LiveFiles, LiveStats};
pub use old::{OldUuids, old_name, previous_name};
pub use prepare::{PrepareOptions, Prepared, WORTH_WRITING, prepare, prepared_name, remove_stale};
pub use resolve::{CancelGate, Resolved, Want, resolve, spool};
pub use sources::{Budget, Caches, Expected, Incarnation, Sources};
pub use staged::{Stage, StagedFile};
pub use strays::{remove_strays, sign_of_an_open_rename, strays};

use copy::write_copy;
use staged::locked;

/// The lowest and highest version that is written.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 6..=10;

/// From this version on records have GUIDs, which must be SHA-1s.
pub const GUID_VERSION: u32 = 10;

/// Notes in the intent log that a file under a scratch name is about to be made, and returns when
/// that is on stable storage. Called only where a file cannot be made without a name.
pub type Note<'a> = &'a dyn Fn() -> Result<(), Refusal>;

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
