//! Which messages of a directory were changed since a moment: from the kernel's own notes
//! (inotify(7)).
//!
//! A directory's times say that *some* name was made, removed or replaced. This says which, and it
//! also says which files were written in place, so that few messages have to be looked at again
//! under the locks. It sees what is done on this host through this directory. Another host of a
//! network file system, another name (hard link) of a message and a writable mapping go unnoticed.
//!
//! Nothing is written; a crash leaves nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use precompute::message::uid_of;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Changes that are taken one by one. If there are more, all messages are looked at.
const MOST: usize = 10_000;

/// A directory of messages, watched from the moment this was made.
pub struct Watch {
    queue: OwnedFd,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// What happened in the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Messages that were made, removed, replaced, written or given other attributes.
    pub uids: BTreeSet<u32>,
    /// A name was made, removed or replaced, of a message or of another file.
    pub names: bool,
}

impl Watch {
    /// Begins. `None` if the system has no watch left (`fs.inotify.max_user_instances`) or the
    /// file system has none: then the directory's times have to do.
    #[must_use]
    pub fn begin(dir: &impl AsFd) -> Option<Watch> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        // By its handle: the name may lead elsewhere by now.
        let path = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&queue, path, flags).ok()?;
        Some(Watch { queue })
    }

    /// What has happened since it began, or since this was asked last. `None` if that is not known
    /// one by one: too much did, or the directory itself was moved, removed or unmounted.
    #[must_use]
    pub fn changes(&self) -> Option<Changes> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        let mut changes = Changes::default();
        let lost = ReadFlags::QUEUE_OVERFLOW
            | ReadFlags::IGNORED
            | ReadFlags::UNMOUNT
            | ReadFlags::DELETE_SELF
            | ReadFlags::MOVE_SELF;
        let names =
            ReadFlags::CREATE | ReadFlags::DELETE | ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Some(changes),
                Err(Errno::INTR) => continue,
                Err(_) => return None,
            };
            if event.events().intersects(lost) {
                return None;
            }
            changes.names |= event.events().intersects(names);
            if let Some(uid) = event.file_name().and_then(uid_of) {
                changes.uids.insert(uid);
                if changes.uids.len() > MOST {
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_change_of_a_message_is_named_and_a_directory_that_moved_tells_nothing() {
        let at = tempfile::tempdir().unwrap();
        let spool = at.path().join("spool");
        fs::create_dir(&spool).unwrap();
        for uid in 1..=5 {
            fs::write(spool.join(format!("{uid}.")), "one").unwrap();
        }
        let dir = fs::File::open(&spool).unwrap();
        let watch = Watch::begin(&dir).unwrap();
        let changes = |names, uids: &[u32]| {
            let uids = uids.iter().copied().collect();
            Some(Changes { uids, names })
        };
        assert_eq!(watch.changes(), changes(false, &[]));
        fs::write(spool.join("2."), "two").unwrap();
        assert_eq!(watch.changes(), changes(false, &[2]), "in place");
        fs::write(spool.join("cyrus.cache"), "").unwrap();
        assert_eq!(watch.changes(), changes(true, &[]), "not a message");
        fs::write(spool.join("6."), "six").unwrap();
        fs::remove_file(spool.join("1.")).unwrap();
        fs::rename(spool.join("cyrus.cache"), spool.join("3.")).unwrap();
        assert_eq!(watch.changes(), changes(true, &[1, 3, 6]));
        for _ in 0..2 {
            for uid in 10..=u32::try_from(MOST).unwrap() {
                fs::write(spool.join(format!("{uid}.")), "").unwrap();
            }
        }
        assert_eq!(watch.changes(), None, "more than can be known");
        let watch = Watch::begin(&dir).unwrap();
        fs::rename(&spool, at.path().join("away")).unwrap();
        assert_eq!(watch.changes(), None);
    }
}
