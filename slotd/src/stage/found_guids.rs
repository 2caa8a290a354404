//! The SHA-1s that were found for a mailbox's messages, by UID, in bounded memory.
//!
//! 40 bytes a message. Of a giant mailbox they go to a file of our own without a name
//! (`O_TMPFILE`), beside the index: no other process can open it, and a crash leaves nothing of it.
//! Where there are no such files all stay in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use indexfile::{Guid, IoError};

use super::mark::Mark;
use super::rows::{Spill, uid_of};
use crate::fs::Dir;

/// One message, and what tells whether this still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundGuid {
    /// SHA-1 of the message.
    pub guid: Guid,
    /// Of its record.
    pub record: Mark,
    /// Of its file.
    pub file: Mark,
}

/// UID, marks of record and file, and the SHA-1, so that rows sort as UIDs do.
type Row = [u8; ROW];
const ROW: usize = 4 + 8 + 8 + 20;

/// SHA-1s by UID.
#[derive(Debug, Default)]
pub struct FoundGuids {
    /// Those that came in ascending order.
    rows: Spill<ROW>,
    /// Where the last one that was asked for lies in memory: most ask in order.
    last: AtomicUsize,
    /// Rows, spilled ones too.
    count: usize,
    /// Those that did not come in order, or for the second time, or are forgotten. They count
    /// first.
    others: BTreeMap<u32, Option<FoundGuid>>,
}

fn row(uid: u32, known: &FoundGuid) -> Row {
    let mut row = [0; ROW];
    row[..4].copy_from_slice(&uid.to_be_bytes());
    row[4..12].copy_from_slice(&known.record.to_be_bytes());
    row[12..20].copy_from_slice(&known.file.to_be_bytes());
    row[20..].copy_from_slice(known.guid.as_bytes());
    row
}

fn value_of(row: &Row) -> FoundGuid {
    let word = |at: usize| {
        let bytes = row[at..].first_chunk::<8>().unwrap_or(&[0; 8]);
        u64::from_be_bytes(*bytes)
    };
    let guid = row.last_chunk::<20>().unwrap_or(&[0; 20]);
    FoundGuid {
        guid: Guid::from_bytes(*guid),
        record: word(4),
        file: word(12),
    }
}

impl FoundGuids {
    /// Takes one; `dir` is where a file may be made.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn push(&mut self, dir: &Dir, uid: u32, known: &FoundGuid) -> Result<(), IoError> {
        if self.last_uid().is_some_and(|last| last >= uid) {
            self.others.insert(uid, Some(*known));
            return Ok(());
        }
        self.rows.push(dir, row(uid, known))?;
        self.count += 1;
        Ok(())
    }

    fn last_uid(&self) -> Option<u32> {
        // The last spilled row is below the first in memory, and there is one of these after any
        // that is spilled.
        self.rows.rows.last().map(uid_of)
    }

    /// How many there are, or a few more.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count + self.others.len()
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// It is not what was found any more.
    pub fn forget(&mut self, uid: u32) {
        self.others.insert(uid, None);
    }

    /// Gives the UID and the mark of the file of each.
    ///
    /// # Errors
    /// They cannot be read back.
    pub fn each(&self, mut of: impl FnMut(u32, Mark)) -> Result<(), IoError> {
        self.rows.each(|rows| {
            for row in rows
                .iter()
                .filter(|r| !self.others.contains_key(&uid_of(r)))
            {
                of(uid_of(row), value_of(row).file);
            }
            Ok(())
        })?;
        for (uid, other) in &self.others {
            if let Some(known) = other {
                of(*uid, known.file);
            }
        }
        Ok(())
    }

    /// What is known of a message.
    ///
    /// # Errors
    /// It cannot be read back.
    pub fn get(&self, uid: u32) -> Result<Option<FoundGuid>, IoError> {
        if let Some(other) = self.others.get(&uid) {
            return Ok(*other);
        }
        let rows = &self.rows.rows;
        if rows.first().is_some_and(|first| uid_of(first) <= uid) {
            let next = self.last.load(Ordering::Relaxed) + 1;
            let at = match rows.get(next) {
                Some(row) if uid_of(row) == uid => Some(next),
                _ => rows.binary_search_by_key(&uid, uid_of).ok(),
            };
            let Some(at) = at else {
                return Ok(None);
            };
            self.last.store(at, Ordering::Relaxed);
            return Ok(rows.get(at).map(value_of));
        }
        match &self.rows.spilled {
            Some(spilled) => Ok(spilled.get(uid)?.as_ref().map(value_of)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::rows::IN_MEMORY;

    fn known(uid: u32) -> FoundGuid {
        let mut bytes = [9; 20];
        bytes[..4].copy_from_slice(&uid.to_be_bytes());
        FoundGuid {
            guid: Guid::from_bytes(bytes),
            record: u64::from(uid) << 20,
            file: u64::from(uid) << 7,
        }
    }

    fn check(messages: u32) {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(tmp.path()).unwrap();
        let mut found = FoundGuids::default();
        let uid = |i: u32| i * 3 + 5;
        for i in 0..messages {
            found.push(&dir, uid(i), &known(i)).unwrap();
        }
        assert!(found.rows.is_bounded());
        for i in (0..messages).chain((0..messages).rev().step_by(99_991)) {
            assert_eq!(found.get(uid(i)).unwrap(), Some(known(i)));
        }
        for none in [0, 4, 6, uid(messages) + 3, u32::MAX] {
            assert_eq!(found.get(none).unwrap(), None);
        }
        // Found anew, with another size, and one that was not there.
        found.push(&dir, uid(0), &known(77)).unwrap();
        found.push(&dir, 6, &known(78)).unwrap();
        assert_eq!(found.get(uid(0)).unwrap(), Some(known(77)));
        assert_eq!(found.get(6).unwrap(), Some(known(78)));
        // Each once, as it is now.
        found.forget(uid(messages - 1));
        assert_eq!(found.get(uid(messages - 1)).unwrap(), None);
        let mut all = BTreeMap::new();
        found
            .each(|uid, file| assert!(all.insert(uid, file).is_none()))
            .unwrap();
        let gone = u32::from(messages > 1);
        assert_eq!(
            all.len(),
            messages as usize + 1 - gone as usize - usize::from(messages == 1)
        );
        assert_eq!(all.get(&6), Some(&known(78).file));
        assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_found_is_found_again_however_much_it_is() {
        check(1);
        check(1000);
        check(u32::try_from(IN_MEMORY * 2 + 1025).unwrap());
    }
}
