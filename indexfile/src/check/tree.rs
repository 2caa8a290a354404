//! What is to be checked: a file, a mailbox directory, a tree of them, or the mailboxes of a
//! configuration.

use super::Options;
use super::findings::Findings;
use super::mailbox::{check_mailbox, open_and_check};
use crate::error::{IoContext, IoError};
use crate::finding::Code;
use crate::kind::FileKind;
use crate::mailbox::{
    HeaderFile, ImapdConf, MailboxDirs, MailboxName, MetaFile, Partition, is_uuid_dir, name_of_dir,
};
use crate::walk::{
    Found, Leaves, Odd, OddKind, Step, Tree, Walk, also_on, is_of_another, partitions_once,
    shared_roots,
};
use std::path::Path;

/// Checks a file by itself, or a mailbox directory, or all mailbox directories below a directory.
///
/// A mailbox directory is one that holds a `cyrus.index`, `cyrus.header` or `cyrus.expunge`; where
/// these lie in different trees, see [`check_store`]. Symbolic links below `path` are not followed,
/// and are reported.
///
/// # Errors
/// Only if `path` itself cannot be looked at; whatever is wrong below it is a finding.
pub fn check_path(path: &Path, options: &Options, findings: &mut Findings) -> Result<(), IoError> {
    let meta = path.metadata().io_context("stat", path)?;
    if !meta.is_dir() {
        open_and_check(path, FileKind::of_path(path), findings);
        return Ok(());
    }
    std::fs::read_dir(path).io_context("list", path)?;
    for step in Walk::new(&Tree::plain(path, None, None), Leaves::Read) {
        match step {
            Step::Odd(odd) => note(&odd, findings),
            // Message files alone: of a mailbox whose other files lie in another tree.
            Step::Found(found) if is_part(&found) => {
                let dirs = MailboxDirs::plain(path, None, None, &found.sub);
                check_mailbox(&dirs, options, findings);
            }
            Step::Found(_) => {}
        }
    }
    Ok(())
}

fn is_part(found: &Found) -> bool {
    found.header.is_there() || found.index.is_there() || found.expunge.is_there()
}

/// Checks the mailboxes of a configuration, each with its files wherever that puts them: those
/// named, or all that can be found. Gives the names of which there is nothing.
///
/// A name is looked for in the directories of every release, those of 3.6 that are named after a
/// unique id included: there `cyrus.header` has it.
#[must_use]
pub fn check_store<'a>(
    conf: &ImapdConf,
    names: &'a [MailboxName],
    options: &Options,
    findings: &mut Findings,
) -> Vec<&'a MailboxName> {
    for shared in shared_roots(conf) {
        findings.push(Code::SharedRoots, &shared.inner.1, None, shared.to_string());
    }
    let partitions = partitions_once(conf);
    let mut store = StoreCheck {
        conf,
        once: partitions.iter().map(|p| p.name.clone()).collect(),
        options,
        findings,
    };
    if names.is_empty() {
        for partition in partitions {
            store.all(partition);
        }
        return Vec::new();
    }
    let mut unknown: Vec<&MailboxName> = names.iter().collect();
    for partition in &partitions {
        let known = store.named(partition, names);
        unknown.retain(|name| !known.contains(name));
    }
    for partition in partitions {
        store.by_unique_id(partition, &mut unknown);
    }
    if findings.has(Code::UnreadableDirectory) {
        // They may well be there.
        unknown.clear();
    }
    unknown
}

/// A check of the mailboxes of a configuration.
struct StoreCheck<'a> {
    conf: &'a ImapdConf,
    /// The partitions that have directories of their own.
    once: Vec<String>,
    options: &'a Options,
    findings: &'a mut Findings,
}

impl StoreCheck<'_> {
    fn walk(&self, partition: &Partition) -> Walk {
        let tree = Tree::of_partition(self.conf, partition);
        Walk::new(&tree, Leaves::Read).excluding_roots_of(self.conf)
    }

    /// Checks all mailboxes of a partition.
    fn all(&mut self, partition: &Partition) {
        let mut walk = self.walk(partition);
        let mut nothing = true;
        for step in walk.by_ref() {
            nothing = false;
            match step {
                Step::Odd(odd) => note(&odd, self.findings),
                Step::Found(found) if is_of_another(self.conf, partition, &found.sub) => {}
                Step::Found(found) => self.mailbox(partition, &found),
            }
        }
        if nothing {
            let root = self.conf.dirs_at(partition, Path::new(""));
            let root = root.file_dir(MetaFile::Index).path();
            let (code, path, detail) = match walk.empty_root() {
                Some(empty) => (
                    Code::PartitionEmpty,
                    empty,
                    "nothing at all is in it (is it mounted?)",
                ),
                None => (Code::PartitionUnused, root, "no mailbox is below it"),
            };
            let detail = format!("partition {}: {detail}", partition.name);
            self.findings.push(code, &path, None, detail);
        }
    }

    /// Checks those mailboxes of a partition whose directories follow from their names. Gives the
    /// names of which something is there, or cannot be looked for.
    fn named<'n>(
        &mut self,
        partition: &Partition,
        names: &'n [MailboxName],
    ) -> Vec<&'n MailboxName> {
        let mut walk = self.walk(partition);
        let mut known = Vec::new();
        for name in names {
            let all = self.conf.dirs_of_any_release(name, &partition.name);
            for dirs in all.unwrap_or_default() {
                let (found, odd) = walk.again(&dirs.data().sub);
                for odd in &odd {
                    note(odd, self.findings);
                }
                if found.any() && !is_of_another(self.conf, partition, &found.sub) {
                    self.mailbox(partition, &found);
                } else if odd.is_empty() {
                    continue;
                }
                known.push(name);
            }
        }
        // Roots that are not there.
        for odd in walk.into_odd() {
            note(&odd, self.findings);
        }
        known
    }

    /// Checks those of `unknown` that lie in a directory named after their unique id.
    fn by_unique_id(&mut self, partition: &Partition, unknown: &mut Vec<&MailboxName>) {
        if unknown.is_empty() {
            return;
        }
        for step in self.walk(partition).below(Path::new("uuid")) {
            let found = match step {
                Step::Odd(odd) => {
                    note(&odd, self.findings);
                    continue;
                }
                Step::Found(found) if is_uuid_dir(&found.sub) => found,
                Step::Found(_) => continue,
            };
            let header = self.conf.dirs_at(partition, &found.sub);
            let header = HeaderFile::open(&header.file(MetaFile::Header));
            let Some(name) = header.ok().and_then(|header| header.name) else {
                continue;
            };
            let asked = unknown.len();
            unknown.retain(|one| one.to_string() != name);
            if unknown.len() < asked {
                self.mailbox(partition, &found);
            }
        }
    }

    fn mailbox(&mut self, partition: &Partition, found: &Found) {
        check_found(self.conf, &self.once, partition, found, self.findings);
        let dirs = self.conf.dirs_at(partition, &found.sub);
        check_mailbox(&dirs, self.options, self.findings);
    }
}

fn check_found(
    conf: &ImapdConf,
    once: &[String],
    partition: &Partition,
    found: &Found,
    findings: &mut Findings,
) {
    let dirs = conf.dirs_at(partition, &found.sub);
    let archive = partition.archive_root.as_ref();
    let archive = archive.map(|root| root.join(&found.sub));
    for dir in &found.missing {
        // A mailbox without archived messages has no directory for them.
        if archive.as_ref() == Some(dir) {
            continue;
        }
        let mut files: Vec<&str> = [MetaFile::Header, MetaFile::Index, MetaFile::Expunge]
            .into_iter()
            .filter(|&file| dirs.file_dir(file).path() == *dir)
            .map(MetaFile::file_name)
            .collect();
        if dirs.data().path() == *dir {
            files.push("the messages");
        }
        let detail = format!(
            "it does not exist, where imapd.conf puts {}",
            files.join(", ")
        );
        findings.push(Code::DirectoryMissing, dir, None, detail);
    }
    if let Some(name) = name_of_dir(conf, &partition.name, &found.sub) {
        let others = also_on(conf, once, &name, &partition.name);
        if !others.is_empty() {
            let detail = format!(
                "{name} is on partition {} and on {}",
                partition.name,
                others.join(", ")
            );
            findings.push(Code::TwoPartitions, &dirs.data().path(), None, detail);
        }
    }
}

fn note(odd: &Odd, findings: &mut Findings) {
    let (code, detail) = match odd.kind {
        OddKind::Link => (
            Code::DirectoryLink,
            "a symbolic link to a directory, not followed",
        ),
        OddKind::LostAndFound => (Code::LostAndFound, odd.why.as_str()),
        OddKind::Denied | OddKind::Failed | OddKind::NoRoot => {
            (Code::UnreadableDirectory, odd.why.as_str())
        }
        OddKind::NotText => return,
    };
    findings.push(code, &odd.path, None, detail);
}
