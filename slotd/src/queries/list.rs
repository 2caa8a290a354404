//! `LIST`: the mailboxes on this host, by walking the partitions.
//!
//! In the order of directories, partition after partition, so that a page can be continued after
//! any mailbox without keeping the list: memory is that of the directories on one path, and what is
//! kept of it between two pages, of all connections together, has a bound. The walk is
//! [`indexfile::walk`]. A mailbox is a directory with a cyrus.header and a cyrus.index whose name
//! leads back to it; one that misses a directory or has a link for a file is listed too, so that it
//! is refused by name. What may be a mailbox and is not listed is counted and named ([`OddKind`]),
//! so that nobody takes the list for complete when it is not. Everything is only looked at.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indexfile::mailbox::{ImapdConf, MailboxName, MetaFile, name_of_dir};
use indexfile::walk::{self, Found, Leaves, Step, Tree, Walk, also_on, is_of_another};

use crate::fs::Dir;
use crate::protocol::{Code, DuplicateName, ListRange, Listed, MAX_LINE, Named, Odd, OddKind};
use crate::refusal::Refusal;
use crate::store::Store;

/// The most names in one reply.
const MAX_NAMES: usize = 1000;
/// A page ends after this long with what it has, if that is anything: a store on a slow disk gives
/// short pages, so that the client sees progress.
const PAGE_TIME: Duration = Duration::from_millis(500);
/// Room for the fields besides the names and [`ODD_BYTES`].
const MARGIN: usize = 4096;
/// Room for what is odd, as it is on the wire; what does not fit is counted.
const ODD_BYTES: usize = 4096;

/// Bytes that walks have in memory between their pages, of all connections together. One that has
/// no room in it begins anew after the last mailbox, which reads the directories above that again.
pub(crate) const KEPT: usize = 8 << 20;
static BUDGET: Budget = Budget::new(KEPT);

/// An amount of which parts are taken.
#[derive(Debug)]
struct Budget(AtomicUsize);

/// What was taken, until it is dropped.
#[derive(Debug)]
struct Taken {
    of: &'static Budget,
    bytes: usize,
}

impl Budget {
    const fn new(bytes: usize) -> Budget {
        Budget(AtomicUsize::new(bytes))
    }

    /// `None` if that is more than is left.
    fn take(&'static self, bytes: usize) -> Option<Taken> {
        let less = |left: usize| left.checked_sub(bytes);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.ok().map(|_| Taken { of: self, bytes })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Where a walk is: what a connection keeps from page to page.
#[derive(Debug)]
pub struct Walker {
    /// Partitions still to come, the next one last.
    partitions: Vec<String>,
    current: Option<Part>,
    /// Found already, and still to be given.
    pending: Option<(String, MailboxName)>,
    /// The mailbox that was given last.
    last: Option<Named>,
    odd: Oddities,
    /// While it is kept.
    taken: Option<Taken>,
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
    walk: Walk,
}

/// `LIST`: a page of the walk. One that goes on where the last ended takes `at`; any other begins
/// anew.
///
/// # Errors
/// A partition is not there, or the mailbox to begin after is not.
pub fn page(store: &Store, at: &mut Option<Walker>, range: &ListRange) -> Result<Listed, Refusal> {
    let mut walker = match at.take() {
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
        let partitions = also_on(store.conf(), store.partitions(), &mailbox, &partition);
        if !partitions.is_empty() {
            let twice = DuplicateName {
                mailbox: mailbox.clone(),
                partitions,
            };
            bytes += twice.wire_len();
            page.twice.push(twice);
        }
        // Escaped a name is at most three times as long.
        bytes += 3 * mailbox.to_string().len() + 1;
        page.names.push(mailbox.clone());
        walker.last = Some(Named {
            mailbox,
            partition: Some(partition),
        });
        if page.names.len() >= max || is_full(bytes, begun.elapsed()) {
            page.next.clone_from(&walker.last);
            break;
        }
    }
    let odd = std::mem::take(&mut walker.odd);
    (page.odd, page.odd_list) = (odd.count, odd.named);
    if page.next.is_some() {
        walker.taken = None;
        walker.taken = BUDGET.take(walker.bytes());
        *at = walker.taken.is_some().then_some(walker);
    }
    Ok(page)
}

/// Whether a page that has a name already ends here: another one may not fit, or it has taken long
/// enough.
fn is_full(bytes: usize, took: Duration) -> bool {
    bytes + 3 * 500 + MARGIN + ODD_BYTES > MAX_LINE || took >= PAGE_TIME
}

impl Walker {
    fn start(store: &Store, after: Option<&Named>) -> Result<Walker, Refusal> {
        // Of partitions whose mailboxes are the same directories, one.
        let mut partitions = store.partitions().to_vec();
        partitions.sort_by(|a, b| b.cmp(a));
        let mut walker = Walker {
            partitions,
            current: None,
            pending: None,
            last: after.cloned(),
            odd: Oddities::default(),
            taken: None,
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
                walker.current = Some(Part::open(store, &next, Some(&sub))?);
                return Ok(walker);
            }
        }
        Err(Refusal::new(
            Code::NoMailbox,
            format!("there is no partition {partition}"),
        ))
    }

    /// Bytes of memory, about.
    fn bytes(&self) -> usize {
        let walk = self.current.as_ref().map_or(0, |part| part.walk.bytes());
        std::mem::size_of::<Walker>() + walk
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
                self.current = Some(Part::open(store, &partition, None)?);
            }
            if let Some(part) = &mut self.current {
                if let Some(mailbox) = part.next(store.conf(), &mut self.odd) {
                    return Ok(Some((part.name.clone(), mailbox)));
                }
                self.current = None;
            }
        }
    }
}

impl Part {
    fn open(store: &Store, partition: &str, after: Option<&Path>) -> Result<Part, Refusal> {
        let known = store.conf().partition(partition).ok_or_else(|| {
            Refusal::new(
                Code::NoMailbox,
                format!("there is no partition {partition}"),
            )
        })?;
        let tree = Tree::of_partition(store.conf(), known);
        // An unmounted partition is an error, never an empty list.
        for root in tree.roots() {
            store.mounts().check(root)?;
            drop(Dir::open_root(root)?);
        }
        let walk = Walk::new(&tree, Leaves::SkipMessages).excluding_roots_of(store.conf());
        let walk = match after {
            None => walk,
            Some(after) => walk.after(after),
        };
        Ok(Part {
            name: known.name.clone(),
            walk,
        })
    }

    fn next(&mut self, conf: &ImapdConf, odd: &mut Oddities) -> Option<MailboxName> {
        loop {
            let found = match self.walk.next()? {
                Step::Found(found) => found,
                Step::Odd(one) => {
                    let kind = match one.kind {
                        walk::OddKind::Link => OddKind::Symlink,
                        walk::OddKind::LostAndFound => OddKind::LostAndFound,
                        walk::OddKind::NotText => OddKind::Name,
                        _ => OddKind::Unreadable,
                    };
                    odd.note(kind, one.path);
                    continue;
                }
            };
            match self.judge(conf, &found) {
                Ok(mailbox) => return Some(mailbox),
                Err(None) => {}
                Err(Some(kind)) => {
                    // It may have been made, renamed or deleted between the two looks.
                    let (again, _) = self.walk.again(&found.sub);
                    if self.judge(conf, &again) == Err(Some(kind)) {
                        odd.note(kind, self.path(&again, conf));
                    }
                }
            }
        }
    }

    /// The mailbox of a directory, or why it is not listed.
    fn judge(&self, conf: &ImapdConf, found: &Found) -> Result<MailboxName, Option<OddKind>> {
        let (header, index) = (found.header.is_there(), found.index.is_there());
        if found.sub.to_str().is_none() {
            return Err(None); // counted when its name was met
        }
        let partition = conf.partition(&self.name);
        if partition.is_some_and(|p| is_of_another(conf, p, &found.sub)) {
            return Err(None); // listed there
        }
        match (header, index, name_of_dir(conf, &self.name, &found.sub)) {
            (true, true, Some(mailbox)) => Ok(mailbox),
            // It cannot be looked for: LOCK of the mailbox will say where.
            (true, false, Some(mailbox)) if self.unreachable(conf, found, MetaFile::Index) => {
                Ok(mailbox)
            }
            (false, true, Some(mailbox)) if self.unreachable(conf, found, MetaFile::Header) => {
                Ok(mailbox)
            }
            (true, true, None) => Err(Some(OddKind::Name)),
            (true, false, _) => Err(Some(OddKind::NoIndex)),
            (false, true, _) => Err(Some(OddKind::NoHeader)),
            (false, false, _) if found.any() => Err(Some(OddKind::Remains)),
            (false, false, _) => Err(None),
        }
    }

    /// Whether the directory of a file is not there.
    fn unreachable(&self, conf: &ImapdConf, found: &Found, file: MetaFile) -> bool {
        let partition = conf.partition(&self.name);
        partition.is_some_and(|partition| {
            let dirs = conf.dirs_at(partition, &found.sub);
            found.missing.contains(&dirs.file_dir(file).path())
        })
    }

    /// Where it is, for people: where its messages lie, unless it has none.
    fn path(&self, found: &Found, conf: &ImapdConf) -> PathBuf {
        let partition = conf.partition(&self.name);
        let dirs = partition.map(|p| conf.dirs_at(p, &found.sub));
        let path = dirs.map(|dirs| {
            let header = dirs.file_dir(MetaFile::Header);
            let data = dirs.data();
            if found.missing.contains(&header.path()) || !found.header.is_there() && found.messages
            {
                data.path()
            } else {
                header.path()
            }
        });
        path.unwrap_or_else(|| found.sub.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_walks_keep_between_pages_is_no_more_than_there_is_for_all() {
        static ALL: Budget = Budget::new(100);
        let one = ALL.take(60).unwrap();
        assert!(ALL.take(41).is_none());
        let two = ALL.take(40).unwrap();
        assert!(ALL.take(1).is_none());
        drop(one);
        assert!(ALL.take(60).is_some());
        drop(two);
        assert_eq!(ALL.0.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn a_page_ends_when_it_is_full_and_when_it_has_taken_long_enough() {
        assert!(!is_full(0, Duration::ZERO));
        assert!(!is_full(30_000, PAGE_TIME / 2));
        assert!(is_full(0, PAGE_TIME));
        assert!(is_full(
            MAX_LINE - ODD_BYTES - MARGIN - 1499,
            Duration::ZERO
        ));
    }
}
