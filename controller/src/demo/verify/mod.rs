//! Checks a migration with eyes of its own: nothing here uses the code that did the work.
//!
//! [`Originals::take`] remembers a host's whole tree before the run: every path, its inode, owner,
//! mode and times, and the bytes of each cyrus.index and cyrus.expunge. [`Originals::check`] looks
//! at the tree again afterwards and says everything that is not as it should be: a GUID that is not
//! the SHA-1 of its message file, a header or record byte that changed without need, a record out
//! of its place, a file touched, replaced, gone or left behind. It reads and never writes.

mod fields;
mod index;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexfile::IoError;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use tree::{Entry, Tree};

/// What lies beside a live file once it was replaced.
const OLD: &str = ".OLD";
/// Findings kept word for word; more are only counted.
const KEPT: usize = 50;

/// A mailbox's name and one of its files.
type FileOf = (String, &'static str);

/// One host as it was.
#[derive(Debug)]
pub struct Originals {
    host: String,
    data: PathBuf,
    meta: PathBuf,
    before: Tree,
}

/// What a check of one host found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Mailboxes looked at.
    pub mailboxes: u64,
    /// Mailboxes that have new files.
    pub changed: u64,
    /// GUIDs that are the SHA-1 of their message file.
    pub guids: u64,
    /// Bytes of messages hashed for that.
    pub bytes: u64,
    /// Files found exactly as they were: same inode, owner, mode, times, size.
    pub untouched: u64,
    /// Everything that is wrong, with its place; at most fifty.
    pub findings: Vec<String>,
    /// How many findings there were.
    pub wrong: u64,
    /// UID and GUID of every record, by mailbox directory and file, for [`Verdict::compare`].
    guids_of: BTreeMap<FileOf, Vec<(u32, [u8; 20])>>,
}

impl Verdict {
    fn finding(&mut self, text: String) {
        self.wrong += 1;
        if self.findings.len() < KEPT {
            self.findings.push(text);
        }
    }

    fn merge(mut self, other: Self) -> Self {
        self.mailboxes += other.mailboxes;
        self.changed += other.changed;
        self.guids += other.guids;
        self.bytes += other.bytes;
        self.untouched += other.untouched;
        self.wrong += other.wrong;
        let room = KEPT.saturating_sub(self.findings.len());
        self.findings.extend(other.findings.into_iter().take(room));
        self.guids_of.extend(other.guids_of);
        self
    }

    /// Adds a finding for each mailbox in which the other host has other UIDs or GUIDs.
    pub fn compare(&mut self, other: &Self) {
        let mut keys: Vec<_> = self
            .guids_of
            .keys()
            .chain(other.guids_of.keys())
            .cloned()
            .collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            if self.guids_of.get(&key) != other.guids_of.get(&key) {
                self.finding(format!("{}: {} differs between the hosts", key.0, key.1));
            }
        }
    }

    /// Whether everything is as it should be.
    #[must_use]
    pub fn good(&self) -> bool {
        self.wrong == 0
    }
}

impl Originals {
    /// Remembers a host. `data` and `meta` are the roots of its partition, the same path if it has
    /// no metapartition; `hashed` says whether a one-letter directory precedes each mailbox.
    ///
    /// # Errors
    /// If the trees cannot be read.
    pub fn take(host: &str, data: &Path, meta: &Path, hashed: bool) -> Result<Self, IoError> {
        let before = Tree::read(data, meta, hashed, true)?;
        Ok(Self {
            host: host.to_owned(),
            data: data.to_owned(),
            meta: meta.to_owned(),
            before,
        })
    }

    /// Mailboxes this host has.
    #[must_use]
    pub fn mailboxes(&self) -> usize {
        self.before.mailboxes().count()
    }

    /// Looks at the host again: every mailbox should be at version 10 now, with right GUIDs, and
    /// all else as it was. What is wrong is in the verdict.
    ///
    /// # Errors
    /// If the trees cannot be read at all.
    pub fn check(&self) -> Result<Verdict, IoError> {
        let after = Tree::read(&self.data, &self.meta, self.before.hashed, false)?;
        let mailboxes: Vec<&Path> = self.before.mailboxes().collect();
        let mut verdict = mailboxes
            .into_par_iter()
            .map(|dir| self.mailbox(dir, &after))
            .reduce(Verdict::default, Verdict::merge);
        for (path, entry) in &self.before.entries {
            self.stayed(path, entry, &after, &mut verdict);
        }
        for path in after
            .entries
            .keys()
            .filter(|p| !self.before.entries.contains_key(*p))
        {
            if !self.may_be_new(path, &after) {
                verdict.finding(format!("{}: {} was left behind", self.host, path.display()));
            }
        }
        Ok(verdict)
    }

    /// Compares index and expunge of one mailbox with what they were.
    fn mailbox(&self, meta: &Path, after: &Tree) -> Verdict {
        let mut verdict = Verdict {
            mailboxes: 1,
            ..Verdict::default()
        };
        let name = self.before.name_of(meta, &self.meta);
        let below = meta.strip_prefix(&self.meta).unwrap_or(meta);
        let data = self.data.join(below);
        let mut changed = false;
        for file in ["cyrus.index", "cyrus.expunge"] {
            let path = meta.join(file);
            let Some(old) = self.before.entries.get(&path) else {
                continue;
            };
            let Some(new) = after.entries.get(&path) else {
                continue;
            };
            changed |= new.inode != old.inode;
            let place = format!("{}: {name}: {file}", self.host);
            let compared = index::compare(&place, &old.bytes, &path, new.inode != old.inode, &data);
            verdict.bytes += compared.hashed;
            verdict.guids += compared.right;
            for finding in compared.findings {
                verdict.finding(finding);
            }
            verdict
                .guids_of
                .insert((name.clone(), file), compared.guids);
        }
        verdict.changed += u64::from(changed);
        verdict
    }

    /// What was there is still there, and untouched if it is not one of the files we replace.
    fn stayed(&self, path: &Path, old: &Entry, after: &Tree, verdict: &mut Verdict) {
        let place = || format!("{}: {}", self.host, path.display());
        let Some(new) = after.entries.get(path) else {
            verdict.finding(format!("{} is gone", place()));
            return;
        };
        if (new.mode, new.uid, new.gid) != (old.mode, old.uid, old.gid) {
            verdict.finding(format!(
                "{}: mode and owner were {:o} {}:{} and are {:o} {}:{}",
                place(),
                old.mode,
                old.uid,
                old.gid,
                new.mode,
                new.uid,
                new.gid
            ));
        }
        if old.is_dir() {
            if new.inode != old.inode {
                verdict.finding(format!("{}: is another directory now", place()));
            }
        } else if !tree::is_index(path) {
            // The change time is the witness: no write, rename or link leaves it alone.
            if new.same_file(old) {
                verdict.untouched += 1;
            } else {
                verdict.finding(format!("{}: was changed or replaced", place()));
            }
        } else if new.inode != old.inode {
            let kept = after.entries.get(&with_suffix(path, OLD));
            if kept.is_some_and(|k| k.inode != old.inode || k.size != old.size) {
                verdict.finding(format!(
                    "{}{OLD}: is not the file that was replaced",
                    place()
                ));
            }
        }
    }

    /// The cache of hashes, and the files replaced: nothing else may appear.
    fn may_be_new(&self, path: &Path, after: &Tree) -> bool {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            return false;
        };
        let in_mailbox = path.parent().is_some_and(|dir| self.before.is_mailbox(dir));
        match name {
            "cyrus.sha1s" => in_mailbox,
            "cyrus.index.OLD" | "cyrus.expunge.OLD" => {
                // Only beside a file that was replaced.
                let live = path.with_extension("");
                let old = self.before.entries.get(&live).map(|e| e.inode);
                let new = after.entries.get(&live).map(|e| e.inode);
                in_mailbox && old != new
            }
            _ => false,
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
