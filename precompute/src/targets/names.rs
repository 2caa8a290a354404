//! Mailboxes by name: from the command line, or from a list.
//!
//! Lists are read by [`indexfile::mailbox::list`]. A name without a partition is looked for in the default
//! partition, then in the others.

use std::collections::HashMap;
use std::sync::Arc;

use indexfile::mailbox::list::{Item, Skip};
use indexfile::mailbox::{ImapdConf, MailboxName, MetaFile};

use super::walk::Step;
use super::{Roots, Target};
use crate::finding::{Code, Finding};

/// A mailbox of which the name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name, not yet checked.
    pub name: String,
    /// The partition, if the list says.
    pub partition: Option<String>,
    /// The unique id, if the list says that the directory is named by it (Cyrus 3.6 and later).
    pub uniqueid: Option<String>,
    /// Why the entry is none; it ends as a finding.
    pub bad: Option<String>,
}

impl Listed {
    /// One of which no more is known.
    #[must_use]
    pub fn name(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            partition: None,
            uniqueid: None,
            bad: None,
        }
    }

    /// The mailbox of an entry of a list, or why it has none here.
    ///
    /// # Errors
    /// [`Skip`].
    pub fn of(item: Item) -> Result<Self, Skip> {
        match item {
            Item::Mailbox { name, partition } => Ok(Self {
                name: name.to_string(),
                partition,
                ..Self::name("")
            }),
            Item::ByUniqueId {
                name,
                partition,
                uniqueid,
            } => Ok(Self {
                name,
                partition,
                uniqueid: Some(uniqueid),
                bad: None,
            }),
            Item::Skipped(skip) => Err(skip),
            Item::Bad { line, what } => Ok(Self {
                bad: Some(format!("mailbox list, line {line}: {what}")),
                ..Self::name("")
            }),
        }
    }
}

/// Turns names into targets.
pub struct Resolver<'a> {
    conf: &'a ImapdConf,
    roots: HashMap<String, Arc<Roots>>,
}

impl<'a> Resolver<'a> {
    /// Looks names up in the partitions of `conf`.
    #[must_use]
    pub fn new(conf: &'a ImapdConf) -> Self {
        Self {
            conf,
            roots: HashMap::new(),
        }
    }

    /// Finds one mailbox.
    ///
    /// # Errors
    /// A finding that says why there is none.
    pub fn resolve(&mut self, listed: &Listed) -> Step {
        let finding = |code, path, why: &dyn std::fmt::Display| {
            Err(Finding::new(&listed.name, code, path, why))
        };
        if let Some(why) = &listed.bad {
            return finding(Code::NoMailbox, std::path::PathBuf::new(), why);
        }
        let name = match MailboxName::parse(&listed.name) {
            Ok(name) => name,
            Err(error) => return finding(Code::NoMailbox, std::path::PathBuf::new(), &error),
        };
        let default = self.conf.default_partition().map(|p| p.name.as_str());
        let all = self.conf.partitions().map(|p| p.name.as_str());
        let others = all.filter(|name| Some(*name) != default);
        let candidates: Vec<&str> = match &listed.partition {
            Some(partition) => vec![partition],
            None => default.into_iter().chain(others).collect(),
        };
        let mut first = None;
        for partition in candidates {
            let dirs = match self.conf.dirs(&name, partition) {
                Ok(dirs) => dirs,
                Err(error) => return finding(Code::NoMailbox, std::path::PathBuf::new(), &error),
            };
            let there = [MetaFile::Header, MetaFile::Index]
                .into_iter()
                .any(|file| std::fs::symlink_metadata(dirs.file(file)).is_ok());
            if there {
                let roots = match self.roots.get(partition) {
                    Some(roots) => Arc::clone(roots),
                    None => match Roots::of_partition(self.conf, partition) {
                        Ok(roots) => {
                            let roots = Arc::new(roots);
                            self.roots.insert(partition.to_owned(), Arc::clone(&roots));
                            roots
                        }
                        Err(error) => {
                            return finding(Code::NoMailbox, std::path::PathBuf::new(), &error);
                        }
                    },
                };
                return Ok(Target {
                    mailbox: name.to_string(),
                    roots,
                    sub: dirs.data().sub.clone(),
                });
            }
            first.get_or_insert_with(|| dirs.file_dir(MetaFile::Index).path());
        }
        let path = first.unwrap_or_default();
        let why = format!("{}: no such mailbox (no {})", listed.name, path.display());
        finding(Code::NoMailbox, path, &why)
    }
}
