//! The order in which `cyrus.uuids` is replaced, as data: [`crate::stage`] executes it under the
//! mailbox's locks, before the first rename of the commit that needs it.
//!
//! Its operations are its own. A [`Step`](super::Step) is about a file of Cyrus, with an intent
//! that recovery reads and a `.OLD` to go back to. This file is ours alone and needs neither: a
//! crash leaves the old one or the new one, complete, and either is right. It may leave
//! `cyrus.uuids.NEW` too, which the next `UPGRADE` and `CLEAN` remove.

use std::fmt;

use super::Role;

/// One operation. Each is atomic, and each can fail; then the list ends, and `.NEW` is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UuidsOp {
    /// fsync the new file.
    SyncFile,
    /// Remove the name `.NEW`, which a crash may have left. That there is none is no error.
    UnlinkNew,
    /// Give the new file its first name, `.NEW`.
    LinkNew,
    /// Rename `.NEW` over the live name.
    Rename,
    /// fsync the directory.
    SyncDir,
}

/// Replaces `cyrus.uuids` by a file that is written and not synced, and that has the name of this
/// role: [`Role::New`], or [`Role::Unnamed`] where a file can be made without a name.
#[must_use]
pub fn replace_uuids(new: Role) -> Vec<UuidsOp> {
    let mut ops = vec![UuidsOp::SyncFile];
    if new == Role::Unnamed {
        ops.extend([UuidsOp::UnlinkNew, UuidsOp::LinkNew]);
    }
    ops.extend([UuidsOp::Rename, UuidsOp::SyncDir]);
    ops
}

impl fmt::Display for UuidsOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SyncFile => "fsync the file",
            Self::UnlinkNew => "remove the name cyrus.uuids.NEW",
            Self::LinkNew => "link the file as cyrus.uuids.NEW",
            Self::Rename => "rename cyrus.uuids.NEW to cyrus.uuids",
            Self::SyncDir => "fsync its directory",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum File {
        Old,
        New,
        /// What an earlier crash left under `.NEW`, perhaps cut short.
        Stray,
    }

    /// What the names stand for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Names {
        live: Option<File>,
        new: Option<File>,
    }

    /// A directory on a disk: what was done since it was synced may survive a power cut, up to any
    /// point.
    struct Disk {
        /// The names as they were at the last sync, and after each change since.
        names: Vec<Names>,
        new_is_synced: bool,
    }

    impl Disk {
        fn now(&self) -> Names {
            *self.names.last().unwrap()
        }

        fn apply(&mut self, op: UuidsOp) {
            let mut names = self.now();
            match op {
                UuidsOp::SyncFile => self.new_is_synced = true,
                UuidsOp::UnlinkNew => names.new = None,
                UuidsOp::LinkNew => {
                    assert_eq!(names.new, None, "{op}: the name is taken");
                    names.new = Some(File::New);
                }
                UuidsOp::Rename => {
                    assert_eq!(names.new, Some(File::New), "{op}: it is another file");
                    names.live = names.new.take();
                }
                UuidsOp::SyncDir => self.names.clear(),
            }
            self.names.push(names);
        }
    }

    #[test]
    fn a_power_cut_leaves_the_old_file_or_the_new_one_complete_and_at_the_end_the_new_one() {
        for old in [None, Some(File::Old)] {
            let named = (Role::New, Some(File::New));
            let unnamed = [None, Some(File::Stray)].map(|new| (Role::Unnamed, new));
            for (role, new) in [named].into_iter().chain(unnamed) {
                let mut disk = Disk {
                    names: vec![Names { live: old, new }],
                    new_is_synced: false,
                };
                for op in replace_uuids(role) {
                    disk.apply(op);
                    for left in &disk.names {
                        let whole =
                            left.live == old || left.live == Some(File::New) && disk.new_is_synced;
                        assert!(whole, "{role:?}, after {op}: {left:?}");
                    }
                }
                let (live, new) = (Some(File::New), None);
                assert_eq!(disk.names, [Names { live, new }], "{role:?}");
            }
        }
    }

    #[test]
    fn the_row_in_recovery_md_is_the_list() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/recovery.md");
        let text = std::fs::read_to_string(path).unwrap();
        let row = text.lines().find(|line| line.starts_with("| 4a | "));
        let ops = replace_uuids(Role::Unnamed);
        let list: Vec<String> = ops.iter().map(UuidsOp::to_string).collect();
        let list = list.join("; ");
        assert!(row.unwrap().contains(&list), "{list}");
    }
}
