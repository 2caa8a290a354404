//! `LIST`: the mailboxes on this host, by walking the partitions.
//!
//! In the order of directories, partition after partition, so that a page can be continued after
//! any mailbox without keeping the list: memory is that of the directories on one path, and what is
//! kept of it between two pages, of all connections together, has a bound. The walk is
//! [`indexfile::walk`]. A mailbox is a directory with a cyrus.header and a cyrus.index whose name
//! leads back to it; one that misses a directory or has a link for a file is listed too, so that it
//! is refused by name. What may be a mailbox and is not listed is counted and named ([`OddKind`]),
//! so that nobody takes the list for complete when it is not: so is a partition that is not there,
//! and the others are walked ([`BadRoots`]). Everything is only looked at.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indexfile::mailbox::{ImapdConf, MailboxName, MetaFile, name_of_dir};
use indexfile::walk::{Found, Leaves, Step, Tree, Walk, also_on, is_of_another};

use super::odd::{ODD_BYTES, Oddities, is_hidden, kind_of, kind_of_root};
use crate::fs::Dir;
use crate::protocol::{Code, DuplicateName, ListRange, Listed, MAX_LINE, Named, OddKind};
use crate::refusal::Refusal;
use crate::store::Store;

/// The most names in one reply.
const MAX_NAMES: usize = 1000;
/// A page ends after this long with what it has, if that is anything: a store on a slow disk gives
/// short pages, so that the client sees progress.
const PAGE_TIME: Duration = Duration::from_millis(500);
/// Room for the fields besides the names and [`ODD_BYTES`].
const MARGIN: usize = 4096;

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

/// What becomes of a partition of which a root cannot be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRoots {
    /// It is among what is odd, and the other partitions are walked.
    Listed,
    /// It ends the walk: what is looked for may lie there.
    Refused,
}

/// Where a walk is: what a connection keeps from page to page.
#[derive(Debug)]
pub struct Walker {
    /// Partitions still to come, the next one last.
    partitions: Vec<String>,
    bad_roots: BadRoots,
    only: Option<String>,
    current: Option<Part>,
    /// Found already, and still to be given.
    pending: Option<(String, MailboxName)>,
    /// The mailbox that was given last.
    last: Option<Named>,
    odd: Oddities,
    /// While it is kept.
    taken: Option<Taken>,
}

#[derive(Debug)]
struct Part {
    name: String,
    roots: Vec<PathBuf>,
    walk: Walk,
}

/// `LIST`: a page of the walk. One that goes on where the last ended takes `at`; any other begins
/// anew.
///
/// # Errors
/// A partition is not there and [`BadRoots::Refused`], or the mailbox to begin after is not there.
pub fn page(
    store: &Store,
    at: &mut Option<Walker>,
    range: &ListRange,
    bad_roots: BadRoots,
) -> Result<Listed, Refusal> {
    let mut walker = match at.take() {
        Some(walker) if walker.goes_on(range, bad_roots) => walker,
        _ => Walker::start(store, range, bad_roots)?,
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
    walker.odd.tell(&mut page);
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
    /// Whether it is what this range goes on with.
    fn goes_on(&self, range: &ListRange, bad_roots: BadRoots) -> bool {
        let at = self.last.is_some() && self.last == range.after;
        at && self.bad_roots == bad_roots && self.only == range.only
    }

    fn start(store: &Store, range: &ListRange, bad_roots: BadRoots) -> Result<Walker, Refusal> {
        // Of partitions whose mailboxes are the same directories, one.
        let mut partitions = store.partitions().to_vec();
        partitions.sort_by(|a, b| b.cmp(a));
        if let Some(only) = &range.only {
            partitions.retain(|partition| partition.eq_ignore_ascii_case(only));
        }
        let after = range.after.as_ref();
        let mut walker = Walker {
            partitions,
            bad_roots,
            only: range.only.clone(),
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
                walker.open(store, &next, Some(&sub))?;
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

    /// Begins with a partition, if it is there.
    fn open(&mut self, store: &Store, name: &str, after: Option<&Path>) -> Result<(), Refusal> {
        match Part::open(store, name, after) {
            Ok(part) => self.current = Some(part),
            Err((Some(root), refusal)) if self.bad_roots == BadRoots::Listed => {
                self.odd.note(kind_of_root(refusal.code), root);
            }
            Err((_, refusal)) => return Err(refusal),
        }
        Ok(())
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
                self.open(store, &partition, None)?;
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
    /// A root that cannot be walked is returned with the refusal.
    fn open(
        store: &Store,
        partition: &str,
        after: Option<&Path>,
    ) -> Result<Part, (Option<PathBuf>, Refusal)> {
        let known = store.conf().partition(partition).ok_or_else(|| {
            let text = format!("there is no partition {partition}");
            (None, Refusal::new(Code::NoMailbox, text))
        })?;
        let tree = Tree::of_partition(store.conf(), known);
        // An unmounted partition is an error, never an empty list.
        for root in tree.roots() {
            let there = || -> Result<Dir, Refusal> {
                store.mounts().check(root)?;
                Ok(Dir::open_root(root)?)
            };
            there().map_err(|refusal| (Some(root.to_owned()), refusal))?;
        }
        let walk = Walk::new(&tree, Leaves::SkipMessages).excluding_roots_of(store.conf());
        let walk = match after {
            None => walk,
            Some(after) => walk.after(after),
        };
        Ok(Part {
            name: known.name.clone(),
            roots: tree.roots().map(Path::to_owned).collect(),
            walk,
        })
    }

    fn next(&mut self, conf: &ImapdConf, odd: &mut Oddities) -> Option<MailboxName> {
        loop {
            let found = match self.walk.next()? {
                Step::Found(found) => found,
                Step::Odd(one) => {
                    let under = |root: &PathBuf| one.path.strip_prefix(root).ok();
                    let sub = self.roots.iter().find_map(under).unwrap_or(Path::new(""));
                    odd.note(kind_of(&one, sub), one.path.clone());
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
            (false, false, _) if is_hidden(&found.sub) => Err(None),
            _ if is_hidden(&found.sub) => Err(Some(OddKind::Name)),
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
