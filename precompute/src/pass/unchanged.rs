//! Which entries of an old cache hold, by the names in the mailbox's directory alone.
//!
//! Cyrus never changes a message in place: another message is another file, with another inode
//! number. So an entry whose message still has its name and inode number is that of the same file.
//! One system call shows some thousand names; a look at each message is a system call a message,
//! and a read on a cold disk. The names cannot show what touches files without Cyrus: a `chown -R`,
//! a restore by `cp`, an editor. Those mostly hit all messages of a mailbox. So a sample is looked
//! at, and if one of it differs from its entry, every message is. An entry that is kept although
//! its message changed is never believed: its users look at the message (`Entry::still_same`).

use super::wanted::Wanted;
use crate::cache::Cache;
use crate::mailbox::Mailbox;
use crate::uid_set::UidSet;

/// One entry in 64 is looked at, and at least one a mailbox.
const SAMPLE: usize = 64;
/// Directories are in no order of UID. Names are compared in sorted batches, so that each block of
/// the cache is read once a batch.
const BATCH: usize = 128 * 1024;

/// The entries of a cache whose messages still have their name and inode number.
#[derive(Debug, Default)]
pub struct Unchanged {
    same: UidSet,
    count: usize,
}

impl Unchanged {
    /// Lists the directory and looks at a sample, another one for each `sample_seed`.
    ///
    /// None if the directory cannot be read (looking at each message then shows why), or if the
    /// sample shows that names are not to be relied on here.
    #[must_use]
    pub fn of(mailbox: &Mailbox, old: &Cache, sample_seed: usize) -> Self {
        let mut unchanged = Self::default();
        let mut names: Vec<(u32, u64)> = Vec::with_capacity(old.len().min(BATCH));
        let listed = mailbox.spool.for_each_name(|uid, inode| {
            names.push((uid, inode));
            if names.len() == BATCH {
                unchanged.compare_sorted(&mut names, old);
            }
        });
        unchanged.compare_sorted(&mut names, old);
        if listed.is_ok() && unchanged.sample_is_good(mailbox, old, sample_seed) {
            unchanged
        } else {
            Self::default()
        }
    }

    fn compare_sorted(&mut self, names: &mut Vec<(u32, u64)>, old: &Cache) {
        names.sort_unstable();
        for (uid, inode) in names.drain(..) {
            let old = old.get(uid).filter(|old| old.stamp.inode == inode);
            if old.is_some() && self.same.insert(uid) {
                self.count += 1;
            }
        }
    }

    fn sample_is_good(&self, mailbox: &Mailbox, old: &Cache, sample_seed: usize) -> bool {
        let first = sample_seed % SAMPLE.min(old.len()).max(1);
        let mut sample = old.iter().skip(first).step_by(SAMPLE);
        sample.all(|entry| {
            let Ok(entry) = entry else {
                return false;
            };
            let now = || mailbox.spool.stat(entry.uid);
            !self.contains(entry.uid)
                || now().is_ok_and(|now| entry.still_same(&now.stamp, now.size))
        })
    }

    /// Whether the entry of this UID is one of them.
    #[must_use]
    pub fn contains(&self, uid: u32) -> bool {
        self.same.contains(uid)
    }

    /// Whether these are all of `old` and exactly what is `wanted` (from the beginning), so that
    /// there is nothing to do. `false` too if either cannot be read to its end.
    #[must_use]
    pub fn is_all(&self, mailbox: &Mailbox, old: &Cache, mut wanted: Wanted) -> bool {
        if self.count != old.len() {
            return false;
        }
        let mut next = || wanted.next(&mailbox.index);
        let same = old.iter().all(|entry| match (entry, next()) {
            (Ok(entry), Ok(Some(want))) => want.uid == entry.uid && want.size == entry.size,
            _ => false,
        });
        same && matches!(next(), Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use indexfile::FileKind;
    use indexfile::build::{BuildRecord, IndexBuilder};

    use super::*;
    use crate::bench::store::header;
    use crate::governor::Governor;
    use crate::mailbox::Opened;
    use crate::pass::{self, Observer, Options};
    use crate::store::{Store, Target};
    use indexfile::finding::Finding;

    const UIDS: u32 = 200;

    struct Sound;
    impl Observer for Sound {
        fn finding(&self, finding: Finding) {
            panic!("{finding:?}");
        }
    }

    fn index(dir: &Path, uids: impl Iterator<Item = u32>) {
        let mut builder = IndexBuilder::new(10, FileKind::Index);
        for uid in uids {
            builder = builder.record(BuildRecord {
                uid,
                size: 9,
                ..BuildRecord::default()
            });
        }
        fs::write(dir.join("cyrus.index"), builder.to_bytes().expect("sound")).expect("write");
    }

    /// A mailbox of messages 1 to [`UIDS`], and its cache.
    fn mailbox() -> (tempfile::TempDir, Target) {
        let dir = tempfile::tempdir().expect("scratch");
        fs::write(dir.path().join("cyrus.header"), header()).expect("write");
        for uid in 1..=UIDS {
            fs::write(dir.path().join(format!("{uid}.")), format!("{uid:09}")).expect("write");
        }
        index(dir.path(), 1..=UIDS);
        let target = Store::plain(dir.path(), None, None)
            .root()
            .expect("a mailbox");
        let steps = std::iter::once(Ok(target.clone()));
        let governor = Governor::new(None);
        let summary = pass::run(steps, &Options::default(), &governor, &Sound).expect("threads");
        assert_eq!(summary.hashed, u64::from(UIDS));
        (dir, target)
    }

    fn known(target: &Target, sample_seed: usize) -> (usize, bool) {
        let Ok(Opened::Mailbox(mailbox, None)) = Mailbox::open(target.clone()) else {
            panic!("it is sound");
        };
        let old = Cache::open(&target.index_path().join(crate::cache::FILE_NAME)).expect("a cache");
        let known = Unchanged::of(&mailbox, &old, sample_seed);
        let all = (1..=UIDS).filter(|uid| known.contains(*uid)).count();
        assert_eq!(all, known.count);
        let wanted = Wanted::new(mailbox.expunge.as_ref(), false).expect("no expunge file");
        (known.count, known.is_all(&mailbox, &old, wanted))
    }

    #[test]
    fn every_message_is_in_some_sample_and_one_that_differs_makes_all_unknown() {
        let (dir, target) = mailbox();
        assert_eq!(known(&target, 0), (200, true));
        // The same bytes and size, but touched: its ctime tells.
        let touched = dir.path().join("100.");
        fs::set_permissions(touched, Permissions::from_mode(0o600)).expect("chmod");
        let found: Vec<usize> = (0..SAMPLE)
            .filter(|seed| known(&target, *seed) == (0, false))
            .collect();
        assert_eq!(found, [99 % SAMPLE], "in one sample and no other");
        for uid in 1..=UIDS {
            let path = dir.path().join(format!("{uid}."));
            fs::set_permissions(path, Permissions::from_mode(0o600)).expect("chmod");
        }
        assert!((0..SAMPLE).all(|seed| known(&target, seed) == (0, false)));
    }

    #[test]
    fn what_is_replaced_removed_delivered_or_no_longer_wanted_is_something_to_do() {
        let (dir, target) = mailbox();
        let path = |uid: u32| dir.path().join(format!("{uid}."));
        fs::write(path(201), "delivered").expect("write");
        assert_eq!(known(&target, 0), (200, true), "not in the index yet");
        index(dir.path(), 1..=201);
        assert_eq!(known(&target, 0), (200, false), "one more is wanted");
        index(dir.path(), 2..=200);
        assert_eq!(known(&target, 0), (200, false), "one is wanted no more");
        index(dir.path(), 1..=200);
        fs::write(dir.path().join("new"), "replaced.").expect("write");
        fs::rename(dir.path().join("new"), path(8)).expect("replace");
        assert_eq!(known(&target, 0), (199, false));
        fs::remove_file(path(9)).expect("remove");
        assert_eq!(known(&target, 0), (198, false));
    }
}
