//! Finding mailboxes by walking all roots of each partition ([`indexfile::walk`]).
//!
//! Links are not followed; each link to a directory is reported, because a mailbox may lie behind
//! it.

use std::path::Path;
use std::sync::Arc;

use indexfile::mailbox::MetaFile;
use indexfile::walk::{self, Found, Leaves, Odd, OddKind, Tree, partitions_once};

use super::{Step, Store, Target, partition_name};
use crate::finding::{Code, Finding};

/// Walks a store and yields its mailboxes.
pub struct Walk {
    store: Store,
    leaves: Leaves,
    partitions: std::vec::IntoIter<Arc<str>>,
    current: Option<(Arc<str>, walk::Walk)>,
    /// The current partition has had nothing to say yet.
    silent: bool,
}

impl Walk {
    /// Walks a store, each directory once. With [`Leaves::Read`] also directories that have
    /// messages only are mailboxes; else a partition without any mailbox is a finding.
    #[must_use]
    pub fn new(store: &Store, leaves: Leaves) -> Self {
        let partitions: Vec<Arc<str>> = match store {
            // Of partitions that share all their directories one.
            Store::Conf(conf) => partitions_once(conf)
                .into_iter()
                .map(partition_name)
                .collect(),
            Store::Plain { data, .. } => vec![data.display().to_string().into()],
        };
        Self {
            store: store.clone(),
            leaves,
            partitions: partitions.into_iter(),
            current: None,
            silent: true,
        }
    }

    fn begin(&mut self, partition: Arc<str>) -> Option<()> {
        let walk = match &self.store {
            Store::Conf(conf) => {
                let tree = Tree::of_partition(conf, conf.partition(&partition)?);
                walk::Walk::new(&tree, self.leaves).excluding_roots_of(conf)
            }
            Store::Plain {
                data,
                meta,
                archive,
            } => {
                let tree = Tree::plain(data, meta.as_deref(), archive.as_deref());
                walk::Walk::new(&tree, self.leaves)
            }
        };
        self.current = Some((partition, walk));
        self.silent = true;
        Some(())
    }

    /// What findings about the roots of a partition are reported under.
    fn root_name(&self, partition: &str) -> String {
        match self.store {
            Store::Conf(_) => format!("partition-{partition}"),
            Store::Plain { .. } => partition.to_owned(),
        }
    }

    fn odd(&self, partition: &str, odd: Odd) -> Option<Finding> {
        let (code, why) = match odd.kind {
            OddKind::Link => (
                Code::Link,
                "a symbolic link to a directory, not followed".to_owned(),
            ),
            OddKind::NoRoot => (
                Code::NoSpool,
                "no such directory (is the spool mounted?)".to_owned(),
            ),
            OddKind::Denied => (
                Code::Denied,
                "not permitted to read the directory".to_owned(),
            ),
            // lost+found is for root only, and no place for mailboxes.
            OddKind::LostAndFound | OddKind::NotText => return None,
            _ => (Code::Io, format!("cannot read the directory: {}", odd.why)),
        };
        Some(Finding::new(
            &self.root_name(partition),
            code,
            odd.path,
            &why,
        ))
    }

    fn found(&self, partition: &Arc<str>, found: &Found) -> Option<Target> {
        // A header without an index, or the reverse, is for the open to report. An expunge file
        // alone lists nothing that anybody could open.
        let messages = self.leaves == Leaves::Read && found.messages;
        let of_use = found.index.is_there() || found.header.is_there() || messages;
        of_use.then(|| self.store.target(partition, &found.sub))?
    }

    fn nothing(&self, partition: &Arc<str>) -> Option<Finding> {
        let root = self.store.target(partition, Path::new(""))?;
        let path = root.dirs.file_dir(MetaFile::Index).path();
        let why = "no mailbox below it (is the spool mounted?)";
        Some(Finding::new(&root.mailbox, Code::NoMailbox, path, &why))
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let Some((partition, walk)) = &mut self.current else {
                let partition = self.partitions.next()?;
                self.begin(partition);
                continue;
            };
            let (partition, step) = (Arc::clone(partition), walk.next());
            let step = match step {
                Some(walk::Step::Odd(odd)) => self.odd(&partition, odd).map(Err),
                Some(walk::Step::Found(found)) => self.found(&partition, &found).map(Ok),
                None => {
                    self.current = None;
                    let nothing = self.silent && self.leaves != Leaves::Read;
                    nothing.then(|| self.nothing(&partition)).flatten().map(Err)
                }
            };
            if step.is_some() {
                self.silent = false;
                return step;
            }
        }
    }
}
