//! Finding mailboxes by walking all roots of each partition ([`indexfile::walk`]).
//!
//! Links are not followed; each link to a directory is reported, because a mailbox may lie behind
//! it.

use std::path::Path;
use std::sync::Arc;

use indexfile::finding::{Code, Finding};
use indexfile::mailbox::MetaFile;
use indexfile::walk::{
    self, Found, Leaves, Odd, OddKind, Tree, Walk, is_of_another, partitions_once,
};

use super::{Step, Store, Target, partition_name};

/// Walks a store and yields its mailboxes, each directory once. With [`Leaves::Read`] directories
/// that have messages only are mailboxes too. A partition without any mailbox is a finding.
pub fn walk(store: &Store, leaves: Leaves) -> impl Iterator<Item = Step> + Send + use<> {
    let partitions: Vec<Arc<str>> = match store {
        // Of partitions that share all their directories one.
        Store::Conf(conf) => partitions_once(conf)
            .into_iter()
            .map(partition_name)
            .collect(),
        Store::Plain { data, .. } => vec![data.display().to_string().into()],
    };
    let store = store.clone();
    let each = move |partition| walk_partition(store.clone(), partition, leaves);
    partitions.into_iter().filter_map(each).flatten()
}

/// Walks the roots of one partition.
fn walk_partition(
    store: Store,
    partition: Arc<str>,
    leaves: Leaves,
) -> Option<impl Iterator<Item = Step> + Send> {
    let mut walk = match &store {
        Store::Conf(conf) => {
            let tree = Tree::of_partition(conf, conf.partition(&partition)?);
            Walk::new(&tree, leaves).excluding_roots_of(conf)
        }
        Store::Plain {
            data,
            meta,
            archive,
        } => Walk::new(
            &Tree::plain(data, meta.as_deref(), archive.as_deref()),
            leaves,
        ),
    };
    let mut empty = true;
    Some(std::iter::from_fn(move || {
        let step = walk.find_map(|step| match step {
            walk::Step::Odd(odd) => unusual(&store, &partition, odd).map(Err),
            walk::Step::Found(found) => mailbox(&store, &partition, leaves, &found).map(Ok),
        });
        let none = || empty.then(|| no_mailbox(&store, &partition)).flatten();
        let step = step.or_else(|| none().map(Err));
        empty = false;
        step
    }))
}

fn unusual(store: &Store, partition: &str, odd: Odd) -> Option<Finding> {
    let (code, why) = match odd.kind {
        OddKind::Link => (Code::Link, "a symbolic link to a directory, not followed"),
        OddKind::NoRoot => (Code::NoSpool, "no such directory (is the spool mounted?)"),
        OddKind::Denied => (Code::Denied, "not permitted to read the directory"),
        // lost+found is for root only, and no place for mailboxes.
        OddKind::LostAndFound | OddKind::NotText => return None,
        _ => (
            Code::Io,
            &*format!("cannot read the directory: {}", odd.why),
        ),
    };
    let name = match store {
        Store::Conf(_) => format!("partition-{partition}"),
        Store::Plain { .. } => partition.to_owned(),
    };
    Some(Finding::new(&name, code, odd.path, &why))
}

fn mailbox(store: &Store, partition: &Arc<str>, leaves: Leaves, found: &Found) -> Option<Target> {
    // A header without an index, or the reverse, is for the open to report. An expunge file alone
    // lists nothing that anybody could open.
    let messages = leaves == Leaves::Read && found.messages;
    let usable = found.index.is_there() || found.header.is_there() || messages;
    let elsewhere = || match store {
        Store::Conf(conf) => conf
            .partition(partition)
            .is_some_and(|partition| is_of_another(conf, partition, &found.sub)),
        Store::Plain { .. } => false,
    };
    (usable && !elsewhere()).then(|| store.target(partition, &found.sub))?
}

fn no_mailbox(store: &Store, partition: &Arc<str>) -> Option<Finding> {
    let root = store.target(partition, Path::new(""))?;
    let path = root.dirs.file_dir(MetaFile::Index).path();
    let why = "no mailbox below it (is the spool mounted?)";
    Some(Finding::new(&root.mailbox, Code::NoMailbox, path, &why))
}
