//! The way back to version 10: the `.OLD` files, as long as no server has written to the new index.

use std::io::Read as _;

use indexfile::cutover::FROM;
use indexfile::{FileKind, IoContext as _, IoError};
use std::io::Write as _;

use super::stamp::{Content, Stamp};
use crate::fileops::{Role, name};
use crate::fs::{NewFile, Unsynced};
use crate::lock::MailboxLocks;
use crate::protocol::{Code, FileState, Upgrade};
use crate::refusal::Refusal;
use crate::stage::{
    Identities, LiveFiles, Note, Stage, StagedFile, locked, new_name, old_name, remove_strays,
};
use crate::store::Place;

/// What the change-over of this mailbox was made from, if there was one that leads back to version
/// `to`.
///
/// # Errors
/// [`Code::Unsupported`]: it is not by our change-over that the index has its version.
pub fn way_back(place: &Place, live: &LiveFiles, to: u32) -> Result<Stamp, Refusal> {
    let (from, index) = (live.index.minor_version(), live.index.path().display());
    let text = if to == FROM {
        match Stamp::read(place)?.filter(|stamp| stamp.to == from) {
            Some(stamp) => return Ok(stamp),
            None => format!("{index} has version {from}, and not by a change-over of reguid"),
        }
    } else {
        format!("{index} has version {from}: from there the only way back is to version {FROM}")
    };
    Err(Refusal::new(Code::Unsupported, text))
}

/// Stages the [`way_back`] of a locked mailbox, whose live files were checked, to version 10.
///
/// # Errors
/// [`Code::TooLate`] if the live index is not what the change-over made; [`Code::Damaged`] if what
/// it was made from is not there any more. Nothing is changed.
pub fn undo(
    (locks, live): (&MailboxLocks, &LiveFiles),
    stamp: &Stamp,
    want: Upgrade,
    note: Note<'_>,
) -> Result<Stage, Refusal> {
    let (from, index) = (stamp.to, live.index.path().display());
    let place = &locks.place;
    let under = |kind, name| Content::under(place, kind, name);
    let live_name = name(FileKind::Index, Role::Live);
    if under(FileKind::Index, live_name)?.as_ref() != Some(&stamp.made) {
        let text = format!(
            "a server has written to {index} since the change-over: the way back is closed"
        );
        return Err(Refusal::new(Code::TooLate, text));
    }
    if live.expunge.is_some() {
        return Err(super::expunge_beside(live, from));
    }
    remove_strays(locks)?;
    let mut stage = Stage::empty(live, FROM);
    stage.by_content = want.by_content;
    for kind in [FileKind::Index, FileKind::Expunge] {
        let Some(was) = stamp.content(kind, FROM) else {
            continue;
        };
        if under(kind, old_name(kind))?.as_ref() != Some(was) {
            let path = place.directory_of(kind).path_of(old_name(kind));
            let text = format!(
                "{} is not what the change-over replaced: there is no way back",
                path.display()
            );
            return Err(Refusal::new(Code::Damaged, text));
        }
        stage.copy_old(locks, kind, note)?;
    }
    let keeps = Identities {
        version: FROM,
        ..Identities::default()
    };
    stage.keep_old(locks, live, &keeps, (want.run, None), note)?;
    stage.finish(locks)?;
    Ok(stage)
}

impl Stage {
    /// A copy of `.OLD`, with its attributes: the name stays for what it is.
    fn copy_old(
        &mut self,
        locks: &MailboxLocks,
        kind: FileKind,
        note: Note<'_>,
    ) -> Result<(), Refusal> {
        let dir = &**locks.place.directory_of(kind);
        let path = dir.path_of(old_name(kind));
        let mut old = dir.open_file(old_name(kind), false)?;
        let mut new = if let Some(new) = NewFile::nameless(dir, new_name(kind))? {
            new
        } else {
            note()?;
            NewFile::create(dir, new_name(kind))?
        };
        new.lock()?;
        let mut block = vec![0; 256 << 10];
        loop {
            let read = old.read(&mut block).io_context("read", &path)?;
            if read == 0 {
                break;
            }
            let write = |e| IoError::new("write", &dir.path_of(new_name(kind)), e);
            new.write_all(&block[..read]).map_err(write)?;
        }
        new.finish(&old)?;
        let made = new.keep()?;
        let from = match kind {
            FileKind::Index => Some(locked(locks, kind)?.id),
            FileKind::Expunge => None,
        };
        self.files.push(StagedFile {
            kind,
            made,
            unsynced: Some(Unsynced::All),
            from,
        });
        self.set_state(kind, FileState::Staged);
        Ok(())
    }
}
