//! Mailboxes by name, of any release: legacy directories first, then the uuid directories of 3.6.
//!
//! Of all lists only the JSON of 3.6 says where a uuid directory is. Other names that have no legacy directory are looked for by walking the
//! uuid directories once and reading each `cyrus.header`, which has the mailbox's name since 3.6.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::mailbox::{ImapdConf, MailboxName};

use super::finding::{Code, Finding};
use super::mailbox::Mailbox;
use super::walk::{Step, Walk, mailbox_at, uuid_dir};
use crate::targets::names::Listed;

/// Turns names into mailboxes.
pub struct Resolver<I> {
    conf: Arc<ImapdConf>,
    wanted: I,
    /// Names that have no legacy directory.
    unresolved: BTreeSet<String>,
    /// The walk for them, once all names were tried.
    walk: Option<Walk>,
}

impl<I: Iterator<Item = Listed>> Resolver<I> {
    /// Looks up `wanted` in the partitions of `conf`.
    pub fn new(conf: Arc<ImapdConf>, wanted: I) -> Self {
        Self {
            conf,
            wanted,
            unresolved: BTreeSet::new(),
            walk: None,
        }
    }

    /// The mailbox, a finding, or `None` if it has no legacy directory.
    fn legacy(&self, wanted: &Listed) -> Option<Step> {
        let bad = |why: String| {
            Some(Err(Finding::new(
                Code::NoMailbox,
                &wanted.name,
                PathBuf::new(),
                why,
            )))
        };
        if let Some(why) = &wanted.bad {
            return bad(why.clone());
        }
        if let Some(partition) = wanted
            .partition
            .as_deref()
            .filter(|p| self.conf.partition(p).is_none())
        {
            return bad(format!("the configuration has no partition {partition:?}"));
        }
        let name = match MailboxName::parse(&wanted.name) {
            Ok(name) => name,
            Err(error) => return bad(error.to_string()),
        };
        let default = self.conf.default_partition().map(|p| p.name.clone());
        let others = self
            .conf
            .partitions()
            .map(|p| p.name.clone())
            .filter(|p| Some(p) != default.as_ref());
        let candidates: Vec<String> = match &wanted.partition {
            Some(partition) => vec![partition.clone()],
            None => default.clone().into_iter().chain(others).collect(),
        };
        let mut found: Vec<Mailbox> = Vec::new();
        for partition in candidates {
            let subs = match &wanted.uniqueid {
                Some(uniqueid) => match uuid_dir(uniqueid) {
                    Some(sub) => vec![sub],
                    None => return bad(format!("{uniqueid:?} is not a unique id")),
                },
                None => match self.conf.dirs_of_any_release(&name, &partition) {
                    Ok(all) => all.iter().map(|dirs| dirs.data().sub.clone()).collect(),
                    Err(error) => return bad(error.to_string()),
                },
            };
            for sub in subs {
                let mailbox = mailbox_at(&self.conf, &partition, &sub, Some(&wanted.name))?;
                let there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
                // A directory without any of these may only be on the way to a mailbox further down.
                if wanted.uniqueid.is_some()
                    || there(&mailbox.index)
                    || there(&mailbox.header)
                    || mailbox.has_messages()
                {
                    found.push(mailbox);
                }
            }
        }
        if let [first, second, ..] = found.as_slice() {
            return bad(format!(
                "it is at {} and at {}; name the partition of the live one, or remove the other",
                first.index.display(),
                second.index.display()
            ));
        }
        found.pop().map(Ok)
    }

    fn uuid(&mut self) -> Option<Step> {
        let conf = &self.conf;
        let walk = self.walk.get_or_insert_with(|| Walk::new(conf));
        while !self.unresolved.is_empty() {
            match walk.next() {
                Some(Ok(mailbox)) if self.unresolved.remove(&mailbox.name) => {
                    return Some(Ok(Mailbox {
                        named: true,
                        ..mailbox
                    }));
                }
                Some(Ok(_)) => {}
                Some(Err(finding)) if finding.code == Code::Link => {}
                Some(Err(finding)) => return Some(Err(finding)),
                None => {
                    let name = self.unresolved.pop_first()?;
                    let text = "no such mailbox".to_owned();
                    return Some(Err(Finding::new(
                        Code::NoMailbox,
                        &name,
                        PathBuf::new(),
                        text,
                    )));
                }
            }
        }
        None
    }
}

impl<I: Iterator<Item = Listed>> Iterator for Resolver<I> {
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
