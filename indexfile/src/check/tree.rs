//! What is to be checked: a file, a mailbox directory, a tree of them, or the mailboxes of a
//! configuration.

use super::Options;
use super::findings::Findings;
use super::mailbox::{check_mailbox, open_and_check};
use crate::error::{IoContext, IoError};
use crate::finding::Code;
use crate::kind::FileKind;
use crate::mailbox::{ImapdConf, MailboxDirs, MailboxName, MetaFile, Partition, name_of_dir};
use crate::walk::{
    Found, Leaves, Odd, OddKind, Step, Tree, Walk, also_on, partitions_once, shared_roots,
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
#[must_use]
pub fn check_store<'a>(
    conf: &ImapdConf,
    names: &'a [MailboxName],
    options: &Options,
    findings: &mut Findings,
) -> Vec<&'a MailboxName> {
    let partitions = partitions_once(conf);
    for shared in shared_roots(conf) {
        findings.push(Code::SharedRoots, &shared.inner.1, None, shared.to_string());
    }
    let once: Vec<String> = partitions.iter().map(|p| p.name.clone()).collect();
    let mut unknown: Vec<&MailboxName> = names.iter().collect();
    for partition in &partitions {
        let mut walk =
            Walk::new(&Tree::of_partition(conf, partition), Leaves::Read).excluding_roots_of(conf);
        if names.is_empty() {
            for step in walk {
                match step {
                    Step::Odd(odd) => note(&odd, findings),
                    Step::Found(found) => {
                        check_found(conf, &once, partition, &found, findings);
                        check_mailbox(&conf.dirs_at(partition, &found.sub), options, findings);
                    }
                }
            }
            continue;
        }
        for name in names {
            let Ok(dirs) = conf.dirs(name, &partition.name) else {
                continue;
            };
            let found = walk.again(&dirs.data().sub);
            if found.any() {
                unknown.retain(|one| *one != name);
                check_found(conf, &once, partition, &found, findings);
                check_mailbox(&conf.dirs_at(partition, &found.sub), options, findings);
            }
        }
        // Roots that are not there: what lies there is not known.
        for step in walk.into_odd() {
            note(&step, findings);
        }
    }
    unknown
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
