//! Finding mailboxes by walking: every directory that holds a `cyrus.index` or `cyrus.header` is one.
//!
//! The tree that holds the indexes is walked, so that a mailbox whose message directory is missing is
//! noticed.
//! Links are not followed, so there are no loops; each link to a directory is reported, because a
//! mailbox may hide behind it. Memory grows with the width of the tree, not with its size.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::mailbox::{ImapdConf, name_of_dir};

use super::{Roots, Target};
use crate::finding::{Code, Finding};

/// Walks a tree and yields its mailboxes.
pub struct Walk<'a> {
    roots: Arc<Roots>,
    conf: Option<&'a ImapdConf>,
    /// Directories still to be looked into, below the roots.
    stack: Vec<PathBuf>,
    /// Whether there was anything to say yet.
    silent: bool,
    /// The device of the directory before, and whether link counts tell of subdirectories there.
    counts_links: Option<(u64, bool)>,
}

impl<'a> Walk<'a> {
    /// Walks below `roots`; names come from `conf` if given, else directories stand for names.
    #[must_use]
    pub fn new(roots: Roots, conf: Option<&'a ImapdConf>) -> Self {
        Self {
            roots: Arc::new(roots),
            conf,
            stack: vec![PathBuf::new()],
            silent: true,
            counts_links: None,
        }
    }

    fn finding(&self, code: Code, sub: &Path, why: &dyn std::fmt::Display) -> Finding {
        let path = below(&self.roots.index, sub);
        let text = format!("{}: {why}", path.display());
        Finding::new(&self.name(sub), code, path, &text)
    }

    fn name(&self, sub: &Path) -> String {
        self.conf
            .and_then(|conf| name_of_dir(conf, &self.roots.partition, sub))
            .map_or_else(
                || below(&self.roots.data, sub).display().to_string(),
                |name| name.to_string(),
            )
    }

    /// Whether a directory is known to have no subdirectories, without reading its perhaps million names.
    ///
    /// On these file systems the link count of a directory is 2 and one for each subdirectory.
    fn no_subdirectories(&mut self, path: &Path) -> std::io::Result<bool> {
        const EXT: i64 = 0xef53;
        const XFS: i64 = 0x5846_5342;
        const TMPFS: i64 = 0x0102_1994;
        let meta = fs::symlink_metadata(path)?;
        if meta.nlink() != 2 {
            return Ok(false);
        }
        // All directories of a device are of one file system: it is asked for its kind once.
        if self
            .counts_links
            .is_none_or(|(device, _)| device != meta.dev())
        {
            #[allow(clippy::useless_conversion)] // f_type has other types on other processors
            let kind = i64::try_from(rustix::fs::statfs(path)?.f_type).unwrap_or_default();
            self.counts_links = Some((meta.dev(), [EXT, XFS, TMPFS].contains(&kind)));
        }
        Ok(self.counts_links.is_some_and(|(_, counts)| counts))
    }

    /// Puts the subdirectories of `sub` on the stack; what could not be looked at is returned.
    fn enter(&mut self, sub: &Path) -> Result<Vec<Finding>, std::io::Error> {
        let path = below(&self.roots.index, sub);
        let mut found = Vec::new();
        if self.no_subdirectories(&path)? {
            return Ok(found);
        }
        let mut below = Vec::new();
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name();
            if sub.as_os_str().is_empty() && name == "lost+found" {
                continue; // the file system's own, readable for root only
            }
            if kind.is_dir() {
                below.push(sub.join(name));
            } else if kind.is_symlink() && fs::metadata(entry.path()).is_ok_and(|m| m.is_dir()) {
                let why = "a symbolic link to a directory, not followed";
                found.push(self.finding(Code::Link, &sub.join(name), &why));
            }
        }
        // Deepest of the last first: sorted, so that two runs go the same way.
        below.sort_unstable_by(|a, b| b.cmp(a));
        self.stack.append(&mut below);
        Ok(found)
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

/// One step of a walk: a mailbox, or something to report.
pub type Step = Result<Target, Finding>;

impl Iterator for Walk<'_> {
    type Item = Vec<Step>;

    /// What the next directory brings; empty for one that is no mailbox.
    fn next(&mut self) -> Option<Vec<Step>> {
        let Some(sub) = self.stack.pop() else {
            if !std::mem::take(&mut self.silent) {
                return None;
            }
            let why = "no mailbox below it (is the spool mounted?)";
            return Some(vec![Err(self.finding(
                Code::NoMailbox,
                Path::new(""),
                &why,
            ))]);
        };
        let steps = self.step(sub);
        self.silent &= steps.is_empty();
        Some(steps)
    }
}

impl Walk<'_> {
    fn step(&mut self, sub: PathBuf) -> Vec<Step> {
        let mut steps = Vec::new();
        match self.enter(&sub) {
            Ok(found) => steps.extend(found.into_iter().map(Err)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // The root must be there; a mailbox may be removed while we walk.
                if sub.as_os_str().is_empty() {
                    let why = "no such directory (is the spool mounted?)";
                    steps.push(Err(self.finding(Code::NoSpool, &sub, &why)));
                }
                return steps;
            }
            Err(error) => {
                let code = match error.kind() {
                    std::io::ErrorKind::PermissionDenied => Code::Denied,
                    _ => Code::Io,
                };
                steps.push(Err(self.finding(code, &sub, &error)));
                return steps;
            }
        }
        let there =
            |root: &Path, name: &str| fs::symlink_metadata(root.join(&sub).join(name)).is_ok();
        let index = there(&self.roots.index, "cyrus.index");
        let header = there(&self.roots.header, "cyrus.header");
        if index || header {
            // One without the other is for the open to complain about.
            steps.push(Ok(Target {
                mailbox: self.name(&sub),
                roots: Arc::clone(&self.roots),
                sub,
            }));
        }
        steps
    }
}
