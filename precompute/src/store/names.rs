//! Mailboxes by name: from the command line, or from a list ([`indexfile::mailbox::list`]).
//!
//! A name without a partition is looked for in the default partition, then in the others. Of all
//! lists only the JSON of 3.6 says where a uuid directory is. For a scrub, other names that have no
//! legacy directory are looked for by walking the uuid directories once and reading each
//! `cyrus.header`, which has the mailbox's name since 3.6.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use indexfile::mailbox::list::{Item, Skip};
use indexfile::mailbox::{ImapdConf, MailboxName, MetaFile};
use indexfile::walk::Leaves;

use super::{Place, Step, Store, Target, partition_name, uuid_dir, walk};
use crate::message::Spool;
use indexfile::finding::{Code, Finding};

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

/// Turns names into mailboxes.
pub struct Resolver<I> {
    store: Store,
    conf: Arc<ImapdConf>,
    wanted: I,
    leaves: Leaves,
    /// Names that have no legacy directory.
    unresolved: BTreeSet<String>,
    /// The walk for them, once all names were tried.
    walk: Option<Box<dyn Iterator<Item = Step> + Send>>,
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
            unresolved: BTreeSet::new(),
            walk: None,
        }
    }

    /// The mailbox, a finding, or `None` if its uuid directory is to be looked for.
    fn legacy(&self, wanted: &MailboxEntry) -> Option<Step> {
        let bad = |path: PathBuf, why: &dyn std::fmt::Display| {
            Some(Err(Finding::new(&wanted.name, Code::NoMailbox, path, why)))
        };
        let none = PathBuf::new;
        if let Some(why) = &wanted.bad {
            return bad(none(), why);
        }
        let name = match MailboxName::parse(&wanted.name) {
            Ok(name) => name,
            Err(error) => return bad(none(), &error),
        };
        let default = self.conf.default_partition().map(partition_name);
        let others = self.conf.partitions().map(partition_name);
        let others = others.filter(|p| Some(p) != default.as_ref());
        let candidates: Vec<Arc<str>> = match &wanted.partition {
            Some(partition) => vec![partition.as_str().into()],
            None => default.iter().cloned().chain(others).collect(),
        };
        let mut first = None;
        let mut found: Vec<Target> = Vec::new();
        for partition in candidates {
            let all = match self.conf.dirs_of_any_release(&name, &partition) {
                Ok(all) => all,
                Err(error) => return bad(none(), &error),
            };
            let subs = match &wanted.uniqueid {
                Some(uniqueid) => match uuid_dir(uniqueid) {
                    Some(sub) => vec![sub],
                    None => return bad(none(), &format!("{uniqueid:?} is not a unique id")),
                },
                None => all.iter().map(|dirs| dirs.data().sub.clone()).collect(),
            };
            for sub in subs {
                let mut target = self.store.target(&partition, &sub)?;
                target.mailbox.clone_from(&wanted.name);
                target.named = true;
                let messages = self.leaves == Leaves::Read && has_messages(&target);
                // A directory without any of these may only be on the way to a mailbox further
                // down.
                if wanted.uniqueid.is_some() || target.exists() || messages {
                    found.push(target);
                } else {
                    first.get_or_insert(target.index_path());
                }
            }
        }
        if let [one, other, ..] = found.as_slice() {
            let path = |target: &Target| target.dirs.file_dir(MetaFile::Index).path();
            let why = format!(
                "it is at {} and at {}; name the partition of the live one, or remove the other",
                path(one).display(),
                path(other).display()
            );
            return bad(none(), &why);
        }
        match found.pop() {
            Some(target) => Some(Ok(target)),
            None if self.leaves == Leaves::Read => None,
            None => bad(first.unwrap_or_default(), &"no such mailbox"),
        }
    }

    fn uuid(&mut self) -> Option<Step> {
        let walk = self
            .walk
            .get_or_insert_with(|| Box::new(walk(&self.store, Leaves::Read)));
        while !self.unresolved.is_empty() {
            match walk.next() {
                Some(Ok(target)) if self.unresolved.remove(&target.mailbox) => {
                    return Some(Ok(Target {
                        named: true,
                        ..target
                    }));
                }
                Some(Ok(_)) => {}
                Some(Err(finding)) if finding.code == Code::Link => {}
                Some(Err(finding)) => return Some(Err(finding)),
                None => {
                    let name = self.unresolved.pop_first()?;
                    let why = "no such mailbox";
                    let finding = Finding::new(&name, Code::NoMailbox, PathBuf::new(), &why);
                    return Some(Err(finding));
                }
            }
        }
        None
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
        if self.walk.is_none() {
            while let Some(wanted) = self.wanted.next() {
                match self.legacy(&wanted) {
                    Some(step) => return Some(step),
                    None => drop(self.unresolved.insert(wanted.name)),
                }
            }
        }
        self.uuid()
    }
}
