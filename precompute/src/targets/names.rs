//! Mailboxes by name: from the command line, or from a list.
//!
//! Lists are read by [`indexfile::mailbox::list`]. A name without a partition is looked for in the default
//! partition, then in the others.

use std::collections::HashMap;
use std::sync::Arc;

use indexfile::mailbox::list::{Item, Skip};
use indexfile::mailbox::{ConfError, ImapdConf, MailboxName, MetaFile};

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
        let mut found = Vec::new();
        for partition in candidates {
            let all = match self.conf.dirs_of_any_release(&name, partition) {
                Ok(all) => all,
                Err(error) => return finding(Code::NoMailbox, std::path::PathBuf::new(), &error),
            };
            for dirs in all {
                let there = [MetaFile::Header, MetaFile::Index]
                    .into_iter()
                    .any(|file| std::fs::symlink_metadata(dirs.file(file)).is_ok());
                let index = dirs.file_dir(MetaFile::Index).path();
                if there {
                    found.push((partition, dirs, index));
                } else {
                    first.get_or_insert(index);
                }
            }
        }
        match found.as_slice() {
            [] => {
                let path = first.unwrap_or_default();
                let why = format!("{}: no such mailbox (no {})", listed.name, path.display());
                finding(Code::NoMailbox, path, &why)
            }
            [(partition, dirs, _)] => match self.roots_of(partition) {
                Ok(roots) => Ok(Target {
                    mailbox: name.to_string(),
                    roots,
                    sub: dirs.data().sub.clone(),
                }),
                Err(error) => finding(Code::NoMailbox, std::path::PathBuf::new(), &error),
            },
            [(_, _, one), (_, _, other), ..] => {
                let (one, other) = (one.display(), other.display());
                let why = format!(
                    "{name} is at {one} and at {other}; name the partition of the live one, or remove the other"
                );
                finding(Code::NoMailbox, std::path::PathBuf::new(), &why)
            }
        }
    }

    fn roots_of(&mut self, partition: &str) -> Result<Arc<Roots>, ConfError> {
        if let Some(roots) = self.roots.get(partition) {
            return Ok(Arc::clone(roots));
        }
        let roots = Arc::new(Roots::of_partition(self.conf, partition)?);
        self.roots.insert(partition.to_owned(), Arc::clone(&roots));
        Ok(roots)
    }
}
