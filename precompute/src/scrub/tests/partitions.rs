//! Partitions that are one directory, that share one, that are empty or cannot be looked at.

use super::targets::{Roots, names, scrub_steps, walk};
use super::*;
use crate::store::names::{MailboxEntry, Resolver};
use indexfile::mailbox::ImapdConf;
use indexfile::walk::Leaves;
use std::os::unix::fs::symlink;
use std::sync::Arc;

/// What names lead to: partitions and directories of messages, or the codes of findings.
fn resolve(conf: &Arc<ImapdConf>, leaves: Leaves, wanted: &[&str]) -> Vec<(String, PathBuf)> {
    let wanted: Vec<_> = wanted.iter().map(|name| MailboxEntry::name(name)).collect();
    let steps = Resolver::new(Arc::clone(conf), wanted.into_iter(), leaves);
    let each = steps.map(|step| match step {
        Ok(target) => (target.partition.to_string(), target.data_path()),
        Err(finding) => (finding.code.name().to_owned(), finding.path),
    });
    each.collect()
}

const EVERY: [Leaves; 3] = [Leaves::Read, Leaves::SkipMessages, Leaves::Skip];

#[test]
fn a_mailbox_of_partitions_that_are_one_directory_is_one_mailbox_and_comes_once() {
    let roots = Roots::new();
    roots.mailbox("data/user/joe", "data/user/joe", 10, 3, None);
    symlink(roots.at("data"), roots.at("alias")).expect("link");
    let data = roots.at("data").display().to_string();
    let alias = roots.at("alias").display().to_string();
    let joe = ("default".to_owned(), roots.at("data/user/joe"));
    for other in [data, alias] {
        let conf = roots.conf(&format!("partition-p2: {other}\n"));
        for leaves in EVERY {
            let found = resolve(&conf, leaves, &["user.joe", "user.joe"]);
            assert_eq!(found, std::slice::from_ref(&joe), "{other} {leaves:?}");
        }
        let wanted = ["p2", "default"].map(|partition| MailboxEntry {
            partition: Some(partition.to_owned()),
            ..MailboxEntry::name("user.joe")
        });
        let steps = Resolver::new(conf, wanted.into_iter(), Leaves::Skip);
        assert_eq!(steps.count(), 1, "{other}");
    }
}

#[test]
fn partitions_that_share_a_metapartition_keep_their_messages_apart() {
    let roots = Roots::new();
    roots.mailbox("data/user/joe", "meta/user/joe", 10, 3, None);
    roots.mailbox("cold/user/ann", "meta/user/ann", 10, 3, None);
    let conf = roots.conf(
        "partition-p2: COLD\nmetapartition-default: META\nmetapartition-p2: META\n\
         metapartition_files: header index expunge cache\ndefaultpartition: default\n",
    );
    let (summary, findings) = scrub_steps(walk(&conf));
    assert_eq!((names(&findings), summary.compared), (vec![], 6));
    for leaves in EVERY {
        assert_eq!(
            resolve(&conf, leaves, &["user.ann", "user.joe"]),
            [
                ("p2".to_owned(), roots.at("cold/user/ann")),
                ("default".to_owned(), roots.at("data/user/joe")),
            ]
        );
    }
}

#[test]
fn what_lies_on_a_root_that_is_not_there_is_not_absent() {
    let roots = Roots::new();
    roots.mailbox("data/user/joe", "meta/user/joe", 10, 3, None);
    let conf =
        roots.conf("metapartition-default: META\nmetapartition_files: header index expunge\n");
    // Unmounted, with the directory of the mount in its place, or without.
    std::fs::rename(roots.at("meta"), roots.at("away")).expect("rename");
    for root in [false, true] {
        if root {
            std::fs::create_dir(roots.at("meta")).expect("mkdir");
        }
        let (_, findings) = scrub_steps(walk(&conf));
        let codes: Vec<_> = findings.iter().map(|f| f.code.name()).collect();
        assert!(codes.iter().all(|code| *code == "no-spool"), "{findings:?}");
        let wanted = std::iter::once(MailboxEntry::name("user.joe"));
        let steps = Resolver::new(Arc::clone(&conf), wanted, Leaves::Read);
        let (_, findings) = scrub_steps(steps);
        assert_eq!(names(&findings), [("user.joe", "no-spool")]);
        if !root {
            let found = resolve(&conf, Leaves::Skip, &["user.joe"]);
            assert_eq!(found, [("no-spool".to_owned(), roots.at("meta"))]);
        }
    }
    // A way out of the partition is not followed, by name neither.
    let elsewhere = roots.conf("");
    std::fs::create_dir_all(roots.at("data/user")).expect("mkdir");
    symlink(roots.at("away"), roots.at("data/user/ann")).expect("link");
    let found = resolve(&elsewhere, Leaves::Skip, &["user.ann", "user.eve"]);
    let codes: Vec<_> = found.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["link", "no-mailbox"]);
}

#[test]
fn a_partition_without_a_mailbox_is_found_beside_a_full_one() {
    let roots = Roots::new();
    roots.mailbox("data/user/joe", "data/user/joe", 10, 3, None);
    let conf = roots.conf("partition-p2: COLD\ndefaultpartition: default\n");
    let (summary, findings) = scrub_steps(walk(&conf));
    let cold = roots.at("cold").display().to_string();
    assert_eq!(names(&findings), [(cold.as_str(), "no-mailbox")]);
    assert_eq!((summary.compared, summary.exit().code()), (3, 67));
    // Who names a mailbox did not ask about the others.
    let wanted = std::iter::once(MailboxEntry::name("user.joe"));
    let (_, findings) = scrub_steps(Resolver::new(conf, wanted, Leaves::Read));
    assert_eq!(names(&findings), []);
}
