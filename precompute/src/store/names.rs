//! Mailboxes by name: from the command line, or from a list ([`indexfile::mailbox::list`]).
//!
//! A name without a partition is looked for in the default partition, then in the others. Of all
//! lists only the JSON of 3.6 says where a uuid directory is. For a scrub, other names that have no
//! legacy directory are looked for by walking the uuid directories once and reading each
//! `cyrus.header`, which has the mailbox's name since 3.6. A mailbox that is named twice is given
//! once.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use indexfile::finding::{Code, Finding};
use indexfile::mailbox::list::{Item, Skip};
use indexfile::mailbox::{ImapdConf, MailboxName, uuid_dir};
use indexfile::walk::{Leaves, directory_id, is_of_another, partitions_once};

use super::{Place, Step, Store, Target, partition_name, walk};
use crate::mailbox::directory_finding;
use crate::message::Spool;

/// A mailbox of which the name is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailboxEntry {
    /// The name, not yet checked.
    pub name: String,
    /// The partition, if the list says.
    pub partition: Option<String>,
    /// The unique id, if the list says that the directory is named by it (Cyrus 3.6 and later).
    pub uniqueid: Option<String>,
    /// Why the entry is none; it ends as a finding.
    pub bad: Option<String>,
}

impl MailboxEntry {
    /// One of which no more is known.
    #[must_use]
    pub fn name(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// The mailbox of an entry of a list, or why it has none here.
    ///
    /// # Errors
    /// [`Skip`].
    pub fn of(item: Item) -> Result<Self, Skip> {
        let mut listed = Self::default();
        match item {
            Item::Mailbox { name, partition } => {
                (listed.name, listed.partition) = (name.to_string(), partition);
            }
            Item::ByUniqueId {
                name,
                partition,
                uniqueid,
            } => {
                (listed.name, listed.partition) = (name, partition);
                listed.uniqueid = Some(uniqueid);
            }
            Item::Skipped(skip) => return Err(skip),
            Item::Bad { line, what } => {
                listed.bad = Some(format!("mailbox list, line {line}: {what}"));
            }
        }
        Ok(listed)
    }
}

/// Turns names into mailboxes, each directory once.
pub struct Resolver<I> {
    store: Store,
    conf: Arc<ImapdConf>,
    wanted: I,
    leaves: Leaves,
    /// Names that have no legacy directory, and where it could not be looked for.
    unresolved: BTreeMap<String, Option<Finding>>,
    /// The walk for them, once all names were tried.
    walk: Option<Box<dyn Iterator<Item = Step> + Send>>,
    /// The directories of `cyrus.index` that were given, by device and inode.
    given: HashSet<(u64, u64)>,
}

/// What there is under the names of one mailbox.
#[derive(Default)]
struct Candidates {
    found: Vec<Target>,
    /// Where it is not, of the first place.
    absent: Option<PathBuf>,
    /// Why it could not be looked for in a place.
    unseen: Option<Finding>,
}

impl<I: Iterator<Item = MailboxEntry>> Resolver<I> {
    /// Looks up `wanted` in the partitions of `conf`. With [`Leaves::Read`] also directories that
    /// have messages only count, and those of 3.6 that are named after a unique id.
    pub fn new(conf: Arc<ImapdConf>, wanted: I, leaves: Leaves) -> Self {
        Self {
            store: Store::Conf(Arc::clone(&conf)),
            conf,
            wanted,
            leaves,
            unresolved: BTreeMap::new(),
            walk: None,
            given: HashSet::new(),
        }
    }

    /// The mailbox, a finding, or `None` if its uuid directory is to be looked for.
    fn legacy(&mut self, wanted: &MailboxEntry) -> Option<Step> {
        let bad = |path: PathBuf, why: &dyn std::fmt::Display| {
            Some(Err(Finding::new(&wanted.name, Code::NoMailbox, path, why)))
        };
        let mut candidates = match self.candidates(wanted) {
            Ok(candidates) => candidates,
            Err(why) => return bad(PathBuf::new(), &why),
        };
        if let [one, other, ..] = candidates.found.as_slice() {
            let why = format!(
                "it is at {} and at {}; name the partition of the live one, or remove the other",
                one.index_path().display(),
                other.index_path().display()
            );
            return bad(PathBuf::new(), &why);
        }
        if let Some(target) = candidates.found.pop() {
            return Some(Ok(target));
        }
        if self.leaves == Leaves::Read {
            self.unresolved
                .insert(wanted.name.clone(), candidates.unseen);
            return None;
        }
        match candidates.unseen {
            Some(finding) => Some(Err(finding)),
            None => bad(candidates.absent.unwrap_or_default(), &"no such mailbox"),
        }
    }

    /// Looks into the directories that a name can have.
    fn candidates(&self, wanted: &MailboxEntry) -> Result<Candidates, String> {
        if let Some(why) = &wanted.bad {
            return Err(why.clone());
        }
        let name = MailboxName::parse(&wanted.name).map_err(|error| error.to_string())?;
        let mut candidates = Candidates::default();
        for partition in self.partitions(wanted) {
            let all = self.conf.dirs_of_any_release(&name, &partition);
            let all = all.map_err(|error| error.to_string())?;
            let subs = match &wanted.uniqueid {
                Some(uniqueid) => match uuid_dir(uniqueid) {
                    Some(sub) => vec![sub],
                    None => return Err(format!("{uniqueid:?} is not a unique id")),
                },
                None => all.iter().map(|dirs| dirs.data().sub.clone()).collect(),
            };
            for sub in subs {
                let Some(mut target) = self.store.target(&partition, &sub) else {
                    continue; // its directories were just made, so there is that partition
                };
                target.mailbox.clone_from(&wanted.name);
                target.named = true;
                self.look(target, wanted, &mut candidates);
            }
        }
        Ok(candidates)
    }

    /// Those to look into: the one that the list says, or all, the default one first.
    fn partitions(&self, wanted: &MailboxEntry) -> Vec<Arc<str>> {
        if let Some(partition) = &wanted.partition {
            return vec![partition.as_str().into()];
        }
        let default = self.conf.default_partition().map(|p| p.name.as_str());
        let mut all = partitions_once(&self.conf);
        all.sort_by_key(|p| Some(p.name.as_str()) != default);
        all.into_iter().map(partition_name).collect()
    }

    fn look(&self, target: Target, wanted: &MailboxEntry, candidates: &mut Candidates) {
        let exists = target.exists();
        let messages = self.leaves == Leaves::Read && has_messages(&target);
        // A directory without any of these may only be on the way to a mailbox further down.
        if wanted.uniqueid.is_some() || messages || matches!(exists, Ok(true)) {
            let elsewhere = || {
                let partition = self.conf.partition(&target.partition);
                let sub = &target.dirs.data().sub;
                partition.is_some_and(|partition| is_of_another(&self.conf, partition, sub))
            };
            if wanted.partition.is_some() || !elsewhere() {
                candidates.add(target);
            }
        } else if let Err(error) = exists {
            let finding = directory_finding(&target, &error);
            candidates.unseen.get_or_insert(finding);
        } else {
            candidates.absent.get_or_insert(target.index_path());
        }
    }

    fn uuid(&mut self) -> Option<Step> {
        let walk = self
            .walk
            .get_or_insert_with(|| Box::new(walk(&self.store, Leaves::Read)));
        while !self.unresolved.is_empty() {
            match walk.next() {
                Some(Ok(target)) if self.unresolved.remove(&target.mailbox).is_some() => {
                    return Some(Ok(Target {
                        named: true,
                        ..target
                    }));
                }
                Some(Ok(_)) => {}
                // Of partitions without mailboxes a list says nothing.
                Some(Err(finding)) if matches!(finding.code, Code::Link | Code::NoMailbox) => {}
                Some(Err(finding)) => return Some(Err(finding)),
                None => {
                    let (name, unseen) = self.unresolved.pop_first()?;
                    let why = "no such mailbox";
                    let none = || Finding::new(&name, Code::NoMailbox, PathBuf::new(), &why);
                    return Some(Err(unseen.unwrap_or_else(none)));
                }
            }
        }
        None
    }

    fn step(&mut self) -> Option<Step> {
        if self.walk.is_none() {
            while let Some(wanted) = self.wanted.next() {
                if let Some(step) = self.legacy(&wanted) {
                    return Some(step);
                }
            }
        }
        self.uuid()
    }

    /// Whether a mailbox is one that was given before, under whatever name or partition.
    fn repeated(&mut self, target: &Target) -> bool {
        directory_id(&target.index_path()).is_some_and(|id| !self.given.insert(id))
    }
}

impl Candidates {
    /// Takes one, unless it is the very directories of one that was taken.
    fn add(&mut self, target: Target) {
        let ids = |t: &Target| [t.index_path(), t.data_path()].map(|path| directory_id(&path));
        let new = ids(&target);
        let known = |t: &Target| new.iter().any(Option::is_some) && ids(t) == new;
        if !self.found.iter().any(known) {
            self.found.push(target);
        }
    }
}

/// Whether there is any message file.
fn has_messages(target: &Target) -> bool {
    let any = |place: Place| {
        let spool = Spool::open(&target.location(place).path()).ok()?;
        let mut any = false;
        // A directory that cannot be read counts as one without messages.
        spool.for_each_name(|_, _| any = true).ok()?;
        Some(any)
    };
    target.places().any(|place| any(place) == Some(true))
}

impl<I: Iterator<Item = MailboxEntry>> Iterator for Resolver<I> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            match self.step()? {
                Ok(target) if self.repeated(&target) => {}
                step => return Some(step),
            }
        }
    }
}
