//! `CLEAN`: removes all that is ours from a mailbox, under its locks. A crash leaves some of it.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use indexfile::cutover::{SIDE_NAME, STAMP_NAME};
use indexfile::sha1s::FILE_NAME;
use indexfile::{FileKind, IndexFile};
use rustix::fs::FileType;

use super::{READ_IN_LOCK, lock_settled};
use crate::fs::{Dir, OpenError};
use crate::host::Host;
use crate::intent::recovery::Attempt;
use crate::lock::{MailboxLocks, Patience, wait};
use crate::protocol::{Clean, Cleaned, Code};
use crate::refusal::Refusal;
use crate::stage::cutover::is_over;
use crate::stage::{
    LEDGER_NAME, LEDGER_NEW_NAME, new_name, old_name, prepared_name, previous_name,
};
use crate::store::Place;

/// `CLEAN`. What a crash left is settled first: a half-done commit needs its `.NEW` and `.OLD`.
///
/// A mailbox that is changed over may be served by a Cyrus whose locks are not ours. No Cyrus knows
/// the names that are removed there; the locks keep only our own work out.
///
/// # Errors
/// The mailbox cannot be locked; or something under such a name is none of ours.
pub fn clean(host: &Host, clean: &Clean, cancel: &AtomicBool) -> Result<Cleaned, Refusal> {
    let attempt = Attempt {
        wait: host.options.default_wait,
        read: Some(READ_IN_LOCK),
        cancel,
    };
    let place = host.store.find(&clean.of)?;
    if is_changed_over(&place)? && host.log.open_of(place.mailbox.as_str()).is_empty() {
        let patience = Patience {
            deadline: Instant::now() + attempt.wait,
            cancel,
        };
        return remove(&MailboxLocks::take(place, patience)?, clean.dry_run, &[]);
    }
    let (locks, _) = lock_settled(host, &clean.of, &place, attempt)?;
    let staged = [FileKind::Index, FileKind::Expunge].map(new_name);
    remove(&locks, clean.dry_run, &staged)
}

fn is_changed_over(place: &Place) -> Result<bool, Refusal> {
    let kind = FileKind::Index;
    let path = place.index.path_of(kind.file_name());
    let file = place.index.open_file(kind.file_name(), false)?;
    let index = IndexFile::from_file_unverified(&file, &path, kind);
    // One that cannot be read is refused in its own words, once it is locked.
    Ok(index.is_ok_and(|index| is_over(index.minor_version())))
}

/// Removes what is ours, `staged` names too. All of it is looked at first: a mailbox that is
/// refused has lost nothing.
fn remove(locks: &MailboxLocks, dry_run: bool, staged: &[&str]) -> Result<Cleaned, Refusal> {
    let mut ours: Vec<(&Dir, &str)> = Vec::new();
    let in_index = [
        FILE_NAME,
        LEDGER_NAME,
        LEDGER_NEW_NAME,
        STAMP_NAME,
        SIDE_NAME,
    ];
    ours.extend(in_index.map(|name| (&*locks.place.index, name)));
    for kind in [FileKind::Index, FileKind::Expunge] {
        let dir = locks.place.directory_of(kind);
        ours.extend([old_name(kind), previous_name(kind)].map(|name| (&**dir, name)));
        let staged = staged.iter().filter(|name| **name == new_name(kind));
        ours.extend(staged.map(|name| (&**dir, *name)));
        // One that is locked belongs to a PREPARE under way.
        let stale = match dir.open_file(prepared_name(kind), true) {
            Ok(file) => wait::try_lock(&file).unwrap_or(false),
            Err(OpenError::Missing { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        ours.extend(stale.then_some((&**dir, prepared_name(kind))));
    }
    let mut cleaned = Cleaned::default();
    let mut found = Vec::new();
    for (dir, name) in ours {
        let Some(stat) = dir.stat(name)? else {
            continue;
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let path = dir.path_of(name);
            let text = format!("{} is no regular file, so none of ours", path.display());
            return Err(Refusal::new(Code::Damaged, format!("{text}; move it away")));
        }
        cleaned.files.push(name.to_owned());
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        cleaned.bytes = cleaned.bytes.saturating_add(size);
        found.push((dir, name));
    }
    for (dir, name) in found.into_iter().filter(|_| !dry_run) {
        dir.unlink(name)?;
    }
    Ok(cleaned)
}
