//! What the names in a mailbox's directory say of its old cache, before any message is looked at.
//!
//! Cyrus never changes a message in place: another message is another file, with another inode number. So an entry
//! whose message still has its name and inode number is that of the same file, and one system call shows some
//! thousand of those, where a look at each message is a system call a message and, on a cold disk, a read. What the
//! names cannot show is what touches files without Cyrus: a `chown -R`, a restore by `cp`, an editor. Those mostly
//! hit all messages of a mailbox, so a sample is looked at, and if a single one of it is not what its entry says, all
//! are. An entry that is kept although its message was changed after all is never believed: whoever uses it looks at
//! the message then (`Entry::still_same`).
//!
//! Only reads; a crash leaves nothing.

use super::wanted::Wanted;
use crate::cache::Cache;
use crate::mailbox::Mailbox;
use crate::uid_set::UidSet;

/// One entry in so many is looked at, and at least one a mailbox.
const SAMPLE: usize = 64;
/// Pages of index and cache are given back after so many messages; some 2 to 4 MiB of each.
const RELEASE: usize = 32 * 1024;

/// The entries of a cache whose messages still have their name and inode number.
#[derive(Debug, Default)]
pub struct Known {
    same: UidSet,
    count: usize,
}

impl Known {
    /// Lists the directory and looks at a sample; `lot` says at which, and should be another one each time.
    ///
    /// None is known if the directory cannot be read (then each is looked at, and that tells what is the matter), or
    /// if the sample shows that names are not to be relied on here.
    #[must_use]
    pub fn of(mailbox: &Mailbox, old: &Cache, lot: usize) -> Self {
        let mut known = Self::default();
        let mut names = 0_usize;
        let listed = mailbox.spool.for_each_name(|uid, inode| {
            names += 1;
            if names.is_multiple_of(RELEASE) {
                old.release();
            }
            if old.get(uid).is_some_and(|old| old.stamp.inode == inode) && known.same.insert(uid) {
                known.count += 1;
            }
        });
        if listed.is_ok() && known.sample_is_good(mailbox, old, lot) {
            known
        } else {
            Self::default()
        }
    }

    fn sample_is_good(&self, mailbox: &Mailbox, old: &Cache, lot: usize) -> bool {
        let first = lot % SAMPLE.min(old.len()).max(1);
        let sample = old.iter().skip(first).step_by(SAMPLE);
        let mut looked_at = sample.filter(|entry| self.contains(entry.uid));
        looked_at.all(|entry| {
            let now = mailbox.spool.stat(entry.uid);
            now.is_ok_and(|now| entry.still_same(&now.stamp, now.size))
        })
    }

    /// Whether the entry of this UID is one of them.
    #[must_use]
    pub fn contains(&self, uid: u32) -> bool {
        self.same.contains(uid)
    }

    /// Whether these are all of `old`, and just what `wanted` wants: then there is nothing to do.
    #[must_use]
    pub fn is_all(&self, mailbox: &Mailbox, old: &Cache, mut wanted: Wanted) -> bool {
        if self.count != old.len() {
            return false;
        }
        let same = old.iter().enumerate().all(|(i, entry)| {
            if i % RELEASE == RELEASE - 1 {
                mailbox.index.release();
                old.release();
            }
            let want = wanted.next(&mailbox.index);
            want.is_some_and(|want| want.uid == entry.uid && want.size == entry.size)
        });
        same && wanted.next(&mailbox.index).is_none()
    }
}
