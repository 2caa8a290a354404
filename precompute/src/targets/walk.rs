//! Finding mailboxes by walking: every directory that holds a `cyrus.index` or `cyrus.header` is one.
//!
//! The walk is [`indexfile::walk`], over all roots of a partition, so that a mailbox whose message directory is missing is
//! noticed. Links are not followed; each link to a directory is reported, because a mailbox may hide behind it. Directories
//! that by their link count have none below them are not read: they may have a million names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::mailbox::{ImapdConf, name_of_dir};
use indexfile::walk::{self, Leaves, Odd, OddKind, Tree};

use super::{Roots, Target};
use crate::finding::{Code, Finding};

/// Walks a tree and yields its mailboxes.
pub struct Walk<'a> {
    roots: Arc<Roots>,
    conf: Option<&'a ImapdConf>,
    steps: walk::Walk,
    /// Whether there was anything to say yet.
    silent: bool,
}

/// One step of a walk: a mailbox, or something to report.
pub type Step = Result<Target, Finding>;

impl<'a> Walk<'a> {
    /// Walks below `roots`; names come from `conf` if given, else directories stand for names.
    #[must_use]
    pub fn new(roots: Roots, conf: Option<&'a ImapdConf>) -> Self {
        let known = conf.and_then(|conf| Some((conf, conf.partition(&roots.partition)?)));
        let tree = known.map_or_else(
            || Tree::plain(&roots.data, Some(&roots.index), None),
            |(conf, partition)| Tree::of_partition(conf, partition),
        );
        let walk = walk::Walk::new(&tree, Leaves::Skip);
        Self {
            steps: match conf {
                Some(conf) => walk.beside(conf),
                None => walk,
            },
            roots: Arc::new(roots),
            conf,
            silent: true,
        }
    }

    fn name(&self, sub: &Path) -> String {
        self.conf
            .and_then(|conf| name_of_dir(conf, &self.roots.partition, sub))
            .map_or_else(
                || below(&self.roots.data, sub).display().to_string(),
                |name| name.to_string(),
            )
    }

    fn odd(&self, odd: Odd) -> Option<Finding> {
        let (code, why) = match odd.kind {
            OddKind::Link => (
                Code::Link,
                "a symbolic link to a directory, not followed".to_owned(),
            ),
            OddKind::NoRoot => (
                Code::NoSpool,
                "no such directory (is the spool mounted?)".to_owned(),
            ),
            OddKind::Denied => (Code::Denied, odd.why),
            // lost+found is readable for root only, and no place for mailboxes.
            OddKind::LostAndFound | OddKind::NotText => return None,
            _ => (Code::Io, odd.why),
        };
        let text = format!("{}: {why}", odd.path.display());
        let mailbox = [&self.roots.index, &self.roots.data]
            .into_iter()
            .find_map(|root| odd.path.strip_prefix(root).ok())
            .map_or_else(|| odd.path.display().to_string(), |sub| self.name(sub));
        Some(Finding::new(&mailbox, code, odd.path, &text))
    }

    fn step(&self, step: walk::Step) -> Option<Step> {
        match step {
            walk::Step::Odd(odd) => self.odd(odd).map(Err),
            // One without the other is for the open to complain about.
            walk::Step::Found(found) if found.index.is_there() || found.header.is_there() => {
                Some(Ok(Target {
                    mailbox: self.name(&found.sub),
                    roots: Arc::clone(&self.roots),
                    sub: found.sub,
                }))
            }
            walk::Step::Found(_) => None,
        }
    }
}

/// `root/sub`, without a slash at the end where `sub` is empty.
fn below(root: &Path, sub: &Path) -> PathBuf {
    if sub.as_os_str().is_empty() {
        root.to_owned()
    } else {
        root.join(sub)
    }
}

impl Iterator for Walk<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let Some(step) = self.steps.next() else {
                if !std::mem::take(&mut self.silent) {
                    return None;
                }
                let path = self.roots.index.clone();
                let text = format!(
                    "{}: no mailbox below it (is the spool mounted?)",
                    path.display()
                );
                let name = self.name(Path::new(""));
                return Some(Err(Finding::new(&name, Code::NoMailbox, path, &text)));
            };
            if let Some(step) = self.step(step) {
                self.silent = false;
                return Some(step);
            }
        }
    }
}
