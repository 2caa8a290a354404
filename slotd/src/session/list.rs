//! `LIST`: the mailboxes on this host, by walking the partitions.
//!
//! In the order of directories, partition after partition, so that a page can be continued after any mailbox
//! without keeping the list: memory is that of the directories on one path. A mailbox is a directory with a
//! cyrus.header and a cyrus.index whose name leads back to it. What may be a mailbox and is not listed is counted and
//! named ([`OddKind`]), so that nobody takes the list for complete when it is not. Everything is only looked at.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indexfile::mailbox::{ImapdConf, MailboxName, MetaFile, name_of_dir};
use rustix::fs::{AtFlags, FileType};

use super::Session;
use crate::fs::{Dir, OpenError};
use crate::protocol::{Code, ListRange, Listed, MAX_LINE, Named, Odd, OddKind, Reply};
use crate::refusal::Refusal;
use crate::store::Store;

/// The most names in one reply.
const MAX_NAMES: usize = 1000;
/// A page ends after this long with what it has, if that is anything: a store on a slow disk gives short pages, and whoever
/// asks sees that it goes on.
const PAGE_TIME: Duration = Duration::from_millis(500);
/// Room for the fields besides the names and [`ODD_BYTES`].
const MARGIN: usize = 4096;
/// Room for what is odd, as it is on the wire; what does not fit is counted.
const ODD_BYTES: usize = 4096;

/// Where a walk is.
#[derive(Debug)]
pub(super) struct Walker {
    /// Partitions still to come, the next one last.
    partitions: Vec<String>,
    current: Option<Part>,
    /// Found already, and still to be given.
    pending: Option<(String, MailboxName)>,
    /// The mailbox that was given last.
    last: Option<Named>,
    odd: Oddities,
}

/// What was met since the last page and is not listed.
#[derive(Debug, Default)]
struct Oddities {
    count: u64,
    named: Vec<Odd>,
    bytes: usize,
}

impl Oddities {
    fn note(&mut self, kind: OddKind, path: PathBuf) {
        self.count += 1;
        let odd = Odd { kind, path };
        let bytes = odd.wire_len();
        if self.bytes + bytes <= ODD_BYTES {
            self.bytes += bytes;
            self.named.push(odd);
        }
    }
}

#[derive(Debug)]
struct Part {
    name: String,
    root: Dir,
    /// If cyrus.index lies elsewhere than cyrus.header.
    index_root: Option<Dir>,
    /// Directories still to be looked at, the next one last; relative to the root.
    stack: Vec<PathBuf>,
}

impl Session {
    pub(super) fn list(&mut self, range: &ListRange) -> Result<Reply, Refusal> {
        let store = &self.host.store;
        let mut walker = match self.walker.take() {
            Some(walker) if walker.last == range.after && walker.last.is_some() => walker,
            _ => Walker::start(store, range.after.as_ref())?,
        };
        let max = range
            .max
            .map_or(MAX_NAMES, |m| (m as usize).clamp(1, MAX_NAMES));
        let begun = Instant::now();
        let mut page = Listed::default();
        let mut bytes = 0;
        while let Some((partition, mailbox)) = walker.next(store)? {
            if !page.names.is_empty() && partition != page.partition {
                // A page holds mailboxes of one partition.
                walker.pending = Some((partition, mailbox));
                page.next.clone_from(&walker.last);
                break;
            }
            page.partition.clone_from(&partition);
            // Escaped a name is at most three times as long.
            bytes += 3 * mailbox.to_string().len() + 1;
            page.names.push(mailbox.clone());
            walker.last = Some(Named {
                mailbox,
                partition: Some(partition),
            });
            let full = bytes + 3 * 500 + MARGIN + ODD_BYTES > MAX_LINE;
            if page.names.len() >= max || full || begun.elapsed() >= PAGE_TIME {
                page.next.clone_from(&walker.last);
                break;
            }
        }
        let odd = std::mem::take(&mut walker.odd);
        (page.odd, page.odd_list) = (odd.count, odd.named);
        self.walker = page.next.is_some().then_some(walker);
        Ok(Reply::Ok(page.to_fields()))
    }
}

impl Walker {
    fn start(store: &Store, after: Option<&Named>) -> Result<Walker, Refusal> {
        let mut partitions: Vec<String> =
            store.conf().partitions().map(|p| p.name.clone()).collect();
        partitions.sort_by(|a, b| b.cmp(a));
        let mut walker = Walker {
            partitions,
            current: None,
            pending: None,
            last: after.cloned(),
            odd: Oddities::default(),
        };
        let Some(after) = after else {
            return Ok(walker);
        };
        let partition = match &after.partition {
            Some(partition) => partition.clone(),
            None => store.find(after)?.partition,
        };
        while let Some(next) = walker.partitions.pop() {
            if next.eq_ignore_ascii_case(&partition) {
                let sub = store.conf().dirs(&after.mailbox, &next)?.data().sub.clone();
                walker.current = Some(Part::open(store, &next, Some(&sub), &mut walker.odd)?);
                return Ok(walker);
            }
        }
        Err(Refusal::new(
            Code::NoMailbox,
            format!("there is no partition {partition}"),
        ))
    }

    fn next(&mut self, store: &Store) -> Result<Option<(String, MailboxName)>, Refusal> {
        if let Some(pending) = self.pending.take() {
            return Ok(Some(pending));
        }
        loop {
            if self.current.is_none() {
                let Some(partition) = self.partitions.pop() else {
                    return Ok(None);
                };
                self.current = Some(Part::open(store, &partition, None, &mut self.odd)?);
            }
            if let Some(part) = &mut self.current {
                if let Some(mailbox) = part.next(store.conf(), &mut self.odd)? {
                    return Ok(Some((part.name.clone(), mailbox)));
                }
                self.current = None;
            }
        }
    }
}

impl Part {
    fn open(
        store: &Store,
        partition: &str,
        after: Option<&Path>,
        odd: &mut Oddities,
    ) -> Result<Part, Refusal> {
        // Any name will do to learn the roots.
        let any = MailboxName::parse("user.a")
            .map_err(|e| Refusal::new(Code::NoMailbox, e.to_string()))?;
        let dirs = store.conf().dirs(&any, partition)?;
        let header_root = &dirs.file_dir(MetaFile::Header).root;
        let index_root = &dirs.file_dir(MetaFile::Index).root;
        // An unmounted partition is an error, never an empty list.
        store.mounts().check(header_root)?;
        store.mounts().check(index_root)?;
        let index_root = if index_root == header_root {
            None
        } else {
            Some(Dir::open_root(index_root)?)
        };
        let root = Dir::open_root(header_root)?;
        let mut part = Part {
            name: partition.to_owned(),
            root,
            index_root,
            stack: Vec::new(),
        };
        match after {
            None => part.push_children(Path::new(""), None, odd)?,
            Some(after) => {
                // All that comes after it: the later ones beside each directory on its path, then what is in it.
                let mut above = PathBuf::new();
                for component in after.components() {
                    let name = Path::new(component.as_os_str());
                    part.push_children(&above, Some(name), odd)?;
                    above.push(name);
                }
                part.push_children(after, None, odd)?;
            }
        }
        Ok(part)
    }

    fn next(
        &mut self,
        conf: &ImapdConf,
        odd: &mut Oddities,
    ) -> Result<Option<MailboxName>, Refusal> {
        while let Some(dir) = self.stack.pop() {
            self.push_children(&dir, None, odd)?;
            let index_root = self.index_root.as_ref().unwrap_or(&self.root);
            let header = has(&self.root, &dir, MetaFile::Header)?;
            let index = has(index_root, &dir, MetaFile::Index)?;
            let kind = match (header, index, name_of_dir(conf, &self.name, &dir)) {
                (true, true, Some(mailbox)) => return Ok(Some(mailbox)),
                (false, false, _) => continue,
                (true, true, None) => OddKind::Name,
                (true, false, _) => OddKind::NoIndex,
                (false, true, _) => OddKind::NoHeader,
            };
            // It may have been made, renamed or deleted between the two looks.
            let again = has(&self.root, &dir, MetaFile::Header)? == header
                && has(index_root, &dir, MetaFile::Index)? == index;
            if again {
                odd.note(kind, self.root.path().join(&dir));
            }
        }
        Ok(None)
    }

    /// Puts the directories in `dir` that come after `after` on the stack, the first one on top.
    fn push_children(
        &mut self,
        dir: &Path,
        after: Option<&Path>,
        odd: &mut Oddities,
    ) -> Result<(), Refusal> {
        let open = match self.root.open_beneath(dir) {
            Ok(open) => open,
            // Removed since its name was read.
            Err(OpenError::Missing { .. } | OpenError::NotDirectory { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // All names are read, also where the count of links says that there are no directories among them: one that
        // was moved to another disk is a symbolic link here.
        let io =
            |e: rustix::io::Errno| indexfile::IoError::new("read directory", open.path(), e.into());
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&open).map_err(io)? {
            let entry = entry.map_err(io)?;
            let bytes = entry.file_name().to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            let name = Path::new(OsStr::from_bytes(bytes));
            if after.is_some_and(|after| name <= after) {
                continue;
            }
            let stat = |flags| {
                let stat = rustix::fs::statat(&open, name, flags);
                stat.map_or(FileType::Unknown, |s| FileType::from_raw_mode(s.st_mode))
            };
            let kind = match entry.file_type() {
                FileType::Unknown => stat(AtFlags::SYMLINK_NOFOLLOW),
                kind => kind,
            };
            match kind {
                FileType::Directory if name.to_str().is_some() => names.push(name.to_owned()),
                FileType::Directory => odd.note(OddKind::Name, open.path().join(name)),
                FileType::Symlink if stat(AtFlags::empty()) == FileType::Directory => {
                    odd.note(OddKind::Symlink, open.path().join(name));
                }
                _ => {}
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        self.stack
            .extend(names.into_iter().map(|name| dir.join(name)));
        Ok(())
    }
}

fn has(root: &Dir, dir: &Path, file: MetaFile) -> Result<bool, Refusal> {
    match rustix::fs::statat(root, dir.join(file.file_name()), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(false),
        Err(errno) => {
            Err(indexfile::IoError::new("stat", &root.path().join(dir), errno.into()).into())
        }
    }
}
