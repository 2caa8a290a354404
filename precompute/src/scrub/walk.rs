//! Finding mailboxes by walking the partitions: legacy directories, hashed or not, and `uuid/C1/C2/ID`.
//!
//! The directories that hold indexes are walked first, so that a mailbox whose spool is not mounted is
//! found and told of; then those that hold messages, for directories whose index is gone. Links are
//! not followed, so there are no loops; a link to a directory is told of, because a mailbox may hide
//! behind it. Memory is one open directory a level.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::mailbox::{HeaderFile, ImapdConf, MetaFile, name_of_dir};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::finding::{Code, Finding};
use super::mailbox::Mailbox;
use crate::message::uid_of;

/// What a walk brings.
pub type Step = Result<Mailbox, Finding>;

/// Where the mailbox at one place below the roots of a partition has its files.
#[must_use]
pub fn mailbox_at(
    conf: &ImapdConf,
    partition: &str,
    sub: &Path,
    name: Option<&str>,
) -> Option<Mailbox> {
    let partition = conf.partition(partition)?;
    let dirs = conf.dirs_at(partition, sub);
    let data = dirs.data().path();
    let named = name.is_some();
    Some(Mailbox {
        name: name.map_or_else(|| data.display().to_string(), str::to_owned),
        archive: partition.archive_root.as_ref().map(|root| root.join(sub)),
        header: dirs.file(MetaFile::Header),
        index: dirs.file(MetaFile::Index),
        expunge: dirs.file(MetaFile::Expunge),
        data,
        named,
    })
}

/// Where 3.6 and later put the mailbox with this unique id.
pub(super) fn uuid_dir(uniqueid: &str) -> Option<PathBuf> {
    let good = uniqueid
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (first, second) = (uniqueid.get(..1)?, uniqueid.get(1..2)?);
    good.then(|| ["uuid", first, second, uniqueid].iter().collect())
}

fn is_uuid_dir(sub: &Path) -> bool {
    let uniqueid = sub.file_name().and_then(std::ffi::OsStr::to_str);
    uniqueid.and_then(uuid_dir).is_some_and(|dir| dir == sub)
}

/// The roots of one partition, or of a tree without any configuration.
#[derive(Clone, Debug)]
enum Part {
    Conf(Arc<ImapdConf>, String),
    Plain {
        data: PathBuf,
        meta: PathBuf,
        archive: Option<PathBuf>,
    },
}

impl Part {
    /// What findings about its roots are told under.
    fn name(&self) -> String {
        match self {
            Self::Conf(_, partition) => format!("partition-{partition}"),
            Self::Plain { data, .. } => data.display().to_string(),
        }
    }

    /// The mailbox at `sub` with the best name there is for it.
    fn mailbox(&self, sub: &Path) -> Option<Mailbox> {
        let (conf, partition) = match self {
            Self::Conf(conf, partition) => (conf, partition),
            Self::Plain {
                data,
                meta,
                archive,
            } => {
                let archive = archive.as_ref().map(|root| root.join(sub));
                let (data, meta) = (data.join(sub), meta.join(sub));
                let mailbox = Mailbox::plain(&data, Some(&meta), archive.as_deref());
                return Some(Mailbox {
                    named: false,
                    ..mailbox
                });
            }
        };
        let mut mailbox = mailbox_at(conf, partition, sub, None)?;
        if is_uuid_dir(sub) {
            let header = HeaderFile::open(&mailbox.header).ok();
            if let Some(name) = header.and_then(|header| header.name) {
                mailbox.name = name;
            }
        } else if let Some(name) = name_of_dir(conf, partition, sub) {
            mailbox.name = name.to_string();
        }
        Some(mailbox)
    }
}

/// One root to walk.
struct Root {
    part: Part,
    path: PathBuf,
    /// It is walked for indexes; otherwise for what looks like a mailbox and has no index.
    indexes: bool,
}

impl Root {
    /// The root of the indexes first, then those of messages that lie elsewhere.
    fn all(part: &Part, index: &Path, others: impl IntoIterator<Item = PathBuf>) -> Vec<Self> {
        let root = |path, indexes| Self {
            part: part.clone(),
            path,
            indexes,
        };
        let mut others: Vec<_> = others.into_iter().filter(|root| root != index).collect();
        others.dedup();
        let others = others.into_iter().map(|path| root(path, false));
        std::iter::once(root(index.to_owned(), true))
            .chain(others)
            .collect()
    }
}

/// A directory that is being read.
struct Level {
    dir: Dir,
    sub: PathBuf,
    index: bool,
    messages: bool,
}

/// Walks the roots of partitions, or a plain tree.
pub struct Walk {
    roots: std::vec::IntoIter<Root>,
    root: Option<Root>,
    levels: Vec<Level>,
}

impl Walk {
    /// Walks all partitions of a configuration.
    #[must_use]
    pub fn new(conf: &Arc<ImapdConf>) -> Self {
        let mut roots = Vec::new();
        for partition in conf.partitions() {
            let dirs = conf.dirs_at(partition, Path::new(""));
            let index = dirs.file_dir(MetaFile::Index).root.clone();
            let messages =
                std::iter::once(partition.root.clone()).chain(partition.archive_root.clone());
            let part = Part::Conf(Arc::clone(conf), partition.name.clone());
            roots.extend(Root::all(&part, &index, messages));
        }
        Self::of(roots)
    }

    /// Walks a tree of messages, whose indexes lie in a tree of the same form, or beside them.
    #[must_use]
    pub fn plain(data: &Path, meta: Option<&Path>, archive: Option<&Path>) -> Self {
        let part = Part::Plain {
            data: data.to_owned(),
            meta: meta.unwrap_or(data).to_owned(),
            archive: archive.map(Path::to_owned),
        };
        let messages = std::iter::once(data).chain(archive).map(Path::to_owned);
        Self::of(Root::all(&part, meta.unwrap_or(data), messages))
    }

    fn of(roots: Vec<Root>) -> Self {
        Self {
            roots: roots.into_iter(),
            root: None,
            levels: Vec::new(),
        }
    }

    /// Begins to read a directory; a finding if that fails.
    fn enter(&mut self, sub: PathBuf) -> Option<Finding> {
        let root = self.root.as_ref()?;
        let path = root.path.join(&sub);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Only the root itself may be a link.
        let flags = if sub.as_os_str().is_empty() {
            flags
        } else {
            flags | OFlags::NOFOLLOW
        };
        let open = |flags| rustix::fs::open(&path, flags, Mode::empty());
        let fd = match open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags),
            other => other,
        };
        match fd.and_then(Dir::new) {
            Ok(dir) => {
                self.levels.push(Level {
                    dir,
                    sub,
                    index: false,
                    messages: false,
                });
                None
            }
            // Removed while we walk; but a root must be there.
            Err(Errno::NOENT | Errno::NOTDIR) if !sub.as_os_str().is_empty() => None,
            Err(errno) => {
                let (code, text) = match errno {
                    Errno::NOENT | Errno::NOTDIR => (
                        Code::NoSpool,
                        "no such directory (is it mounted?)".to_owned(),
                    ),
                    Errno::ACCESS => (
                        Code::Unreadable,
                        "not permitted to read the directory".to_owned(),
                    ),
                    errno => (Code::Io, format!("cannot read the directory: {errno}")),
                };
                let name = root.part.name();
                Some(Finding::new(code, &name, path, text))
            }
        }
    }

    /// Deals with one name in the directory that is being read.
    fn entry(&mut self, name: &CStr, kind: FileType) -> Option<Finding> {
        let level = self.levels.last_mut()?;
        let at_root = level.sub.as_os_str().is_empty();
        match name.to_bytes() {
            b"." | b".." => return None,
            b"cyrus.index" | b"cyrus.header" => level.index = true,
            // Cyrus's scratch directories, where half-made messages lie, and the file system's own.
            b"stage." | b"sync." | b"lost+found" if at_root => return None,
            _ if !level.messages && uid_of(name).is_some() => level.messages = true,
            _ => {}
        }
        let kind = match kind {
            FileType::Unknown => {
                let fd = level.dir.fd().ok()?;
                let stat = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        let sub = level.sub.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        match kind {
            FileType::Directory => self.enter(sub),
            FileType::Symlink => {
                let root = self.root.as_ref()?;
                let path = root.path.join(&sub);
                let to_directory = std::fs::metadata(&path).is_ok_and(|meta| meta.is_dir());
                to_directory.then(|| {
                    let text = "a symbolic link to a directory, not followed".to_owned();
                    Finding::new(Code::Link, &root.part.name(), path, text)
                })
            }
            _ => None,
        }
    }

    /// All of a directory was read: is it a mailbox?
    fn leave(&mut self) -> Option<Mailbox> {
        let level = self.levels.pop()?;
        let root = self.root.as_ref()?;
        if !level.index && !level.messages {
            return None;
        }
        let mailbox = root.part.mailbox(&level.sub)?;
        // In the other roots only what the walk for indexes could not find is of interest.
        let index = || std::fs::symlink_metadata(&mailbox.index).is_ok();
        (root.indexes || !index()).then_some(mailbox)
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let Some(level) = self.levels.last_mut() else {
                self.root = Some(self.roots.next()?);
                match self.enter(PathBuf::new()) {
                    Some(finding) => return Some(Err(finding)),
                    None => continue,
                }
            };
            match level.dir.read() {
                Some(Ok(entry)) => {
                    let (name, kind) = (entry.file_name().to_owned(), entry.file_type());
                    if let Some(finding) = self.entry(&name, kind) {
                        return Some(Err(finding));
                    }
                }
                Some(Err(Errno::INTR)) => {}
                Some(Err(errno)) => {
                    let root = self.root.as_ref()?;
                    let path = root.path.join(&level.sub);
                    let name = root.part.name();
                    self.levels.pop();
                    let text = format!("cannot read the directory: {errno}");
                    return Some(Err(Finding::new(Code::Io, &name, path, text)));
                }
                None => {
                    if let Some(mailbox) = self.leave() {
                        return Some(Ok(mailbox));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_directories_are_told_from_mailboxes_that_look_like_them() {
        let dir = uuid_dir("6t1vo4vdbkrdyc31bte53jwh").expect("an id");
        assert_eq!(dir, Path::new("uuid/6/t/6t1vo4vdbkrdyc31bte53jwh"));
        assert!(is_uuid_dir(&dir));
        for other in [
            "uuid",
            "uuid/6/t",
            "uuid/6/x/6t1vo",
            "user/6/t/6t1vo",
            "uuid/6/t/6t1vo/sub",
            "",
        ] {
            assert!(!is_uuid_dir(Path::new(other)), "{other}");
        }
        for bad in ["", "x", "../etc", "a/b", "a.b"] {
            assert_eq!(uuid_dir(bad), None, "{bad}");
        }
    }
}
