//! Every layout is found, by walking and by name.

use super::*;
use crate::store::names::{MailboxEntry, Resolver};
use indexfile::mailbox::{HeaderFile, ImapdConf};
use indexfile::walk::Leaves;
use std::os::unix::fs::symlink;
use std::sync::Arc;

/// Roots of partitions in a scratch directory.
pub(super) struct Roots {
    dir: TempDir,
}

impl Roots {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        for root in ["data", "meta", "cold"] {
            std::fs::create_dir(dir.path().join(root)).expect("mkdir");
        }
        Self { dir }
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(super) fn conf(&self, more: &str) -> Arc<ImapdConf> {
        let text = format!("partition-default: {}\n{more}", self.at("data").display());
        let text = text.replace("META", &self.at("meta").display().to_string());
        let text = text.replace("COLD", &self.at("cold").display().to_string());
        Arc::new(ImapdConf::parse(&text).expect("sound"))
    }

    /// A mailbox of `count` messages; index and header in `meta`, messages in `data`.
    pub(super) fn mailbox(
        &self,
        data: &str,
        meta: &str,
        minor: u32,
        count: u32,
        header: Option<&Path>,
    ) {
        let store = Store::new(minor, count);
        for dir in [data, meta] {
            std::fs::create_dir_all(self.at(dir)).expect("mkdir");
        }
        for uid in 1..=count {
            std::fs::copy(store.file(uid), self.at(data).join(format!("{uid}."))).expect("copy");
        }
        std::fs::copy(
            store.path().join("cyrus.index"),
            self.at(meta).join("cyrus.index"),
        )
        .expect("copy");
        let to = self.at(meta).join("cyrus.header");
        match header {
            Some(header) => drop(std::fs::copy(header, to).expect("copy")),
            None => std::fs::write(to, b"").expect("write"),
        }
    }
}

pub(super) fn walk(conf: &Arc<ImapdConf>) -> impl Iterator<Item = Step> + Send + use<> {
    store::walk(&store::Store::Conf(Arc::clone(conf)), Leaves::Read)
}

pub(super) fn scrub_steps(steps: impl Iterator<Item = Step> + Send) -> (Summary, Vec<Finding>) {
    scrub_with(steps, &options(Duration::from_millis(30)))
}

pub(super) fn names(findings: &[Finding]) -> Vec<(&str, &str)> {
    findings
        .iter()
        .map(|finding| (finding.mailbox.as_str(), finding.code.name()))
        .collect()
}

#[test]
fn walking_finds_hashed_legacy_and_uuid_directories_and_names_their_mailboxes() {
    let roots = Roots::new();
    let uuid = "uuid/6/t/6t1vo4vdbkrdyc31bte53jwh";
    let header = fixture("cyrus-3.6.1/v17/cyrus.header");
    assert_eq!(
        HeaderFile::open(&header).expect("sound").name.as_deref(),
        Some("user.joe.Old")
    );
    for (sub, minor, header) in [
        ("j/user/joe", 10, None),
        ("j/user/joe/Sub", 12, None),
        ("domain/e/ex.com/j/user/joe", 13, None),
        (uuid, 17, Some(header.as_path())),
    ] {
        roots.mailbox(
            &format!("data/{sub}"),
            &format!("meta/{sub}"),
            minor,
            5,
            header,
        );
        flip(&roots.at(&format!("data/{sub}/3.")), 99);
    }
    let conf = roots.conf(
        "metapartition-default: META\nmetapartition_files: header index cache expunge\n\
         hashimapspool: yes\nvirtdomains: userid\n",
    );
    let (summary, findings) = scrub_steps(walk(&conf));
    assert_eq!(
        names(&findings),
        [
            ("ex.com!user.joe", "bit-rot"),
            ("user.joe", "bit-rot"),
            ("user.joe.Old", "bit-rot"),
            ("user.joe.Sub", "bit-rot"),
        ]
    );
    assert_eq!(findings[2].path, roots.at(&format!("data/{uuid}/3.")));
    assert_eq!((summary.mailboxes, summary.compared), (4, 20));
}

#[test]
fn walking_reports_lost_indexes_unmounted_spools_and_links_and_passes_scratch_by() {
    let roots = Roots::new();
    roots.mailbox("data/user/good", "meta/user/good", 10, 2, None);
    roots.mailbox("data/user/lost", "meta/user/lost", 10, 2, None);
    roots.mailbox("data/user/unmounted", "meta/user/unmounted", 10, 2, None);
    std::fs::remove_dir_all(roots.at("meta/user/lost")).expect("remove");
    std::fs::remove_dir_all(roots.at("data/user/unmounted")).expect("remove");
    for scratch in ["data/stage.", "data/sync./123", "data/lost+found"] {
        std::fs::create_dir_all(roots.at(scratch)).expect("mkdir");
        std::fs::write(roots.at(scratch).join("1."), b"half").expect("write");
    }
    symlink("good", roots.at("data/user/linked")).expect("link");
    std::fs::create_dir_all(roots.at("data/user/empty/deep")).expect("mkdir");
    let conf =
        roots.conf("metapartition-default: META\nmetapartition_files: header index expunge\n");
    let (summary, findings) = scrub_steps(walk(&conf));
    assert_eq!(
        names(&findings),
        [
            ("partition-default", "link"),
            ("user.lost", "no-spool"),
            ("user.unmounted", "no-spool")
        ]
    );
    assert_eq!(summary.compared, 2);
}

#[test]
fn a_missing_root_is_reported_and_no_clean_bill() {
    let roots = Roots::new();
    std::fs::remove_dir(roots.at("data")).expect("remove");
    let (summary, findings) = scrub_steps(walk(&roots.conf("")));
    assert_eq!(names(&findings), [("partition-default", "no-spool")]);
    assert_eq!(summary.exit().code(), 65);
}

#[test]
fn names_and_lists_lead_to_legacy_and_uuid_directories() {
    let roots = Roots::new();
    let uuid = "data/uuid/6/t/6t1vo4vdbkrdyc31bte53jwh";
    let header = fixture("cyrus-3.6.1/v17/cyrus.header");
    roots.mailbox("data/user/a", "data/user/a", 10, 3, None);
    roots.mailbox("data/user/other", "data/user/other", 10, 3, None);
    roots.mailbox(uuid, uuid, 17, 3, Some(&header));
    roots.mailbox("data/uuid/x/1/x1", "data/uuid/x/1/x1", 17, 3, None);
    let conf = roots.conf("");
    let by_names = |wanted: Vec<MailboxEntry>| {
        scrub_steps(Resolver::new(
            Arc::clone(&conf),
            wanted.into_iter(),
            Leaves::Read,
        ))
    };

    let wanted = ["user.joe.Old", "user.a", "user.nobody", "user", "../x"].map(MailboxEntry::name);
    let (summary, findings) = by_names(wanted.to_vec());
    let nobody = [
        ("../x", "no-mailbox"),
        ("user", "no-mailbox"),
        ("user.nobody", "no-mailbox"),
    ];
    assert_eq!(names(&findings), nobody);
    assert_eq!(
        (summary.mailboxes, summary.compared, summary.exit().code()),
        (2, 6, 67)
    );

    let list = [
        "{",
        r#""user.joe.Old": {"mbtype": "e", "partition": "default", "uniqueid": "6t1vo4vdbkrdyc31bte53jwh"},"#,
        r#""user.b": {"mbtype": "e", "partition": "default", "uniqueid": "x1"},"#,
        r#""user.a": {"mbtype": "el", "partition": "default", "uniqueid": "zz"},"#,
        r#""user.gone": {"mbtype": "e", "partition": "default", "uniqueid": "y1"},"#,
        r#""user.far": {"mbtype": "e", "partition": "elsewhere", "uniqueid": "y2"}"#,
        "}",
    ];
    let list = list.join("\n");
    let items = indexfile::mailbox::list::Reader::new(list.as_bytes());
    let wanted = items.filter_map(|item| MailboxEntry::of(item.expect("understood")).ok());
    let wanted = wanted.collect();
    let (summary, findings) = by_names(wanted);
    assert_eq!(
        names(&findings),
        [("user.far", "no-mailbox"), ("user.gone", "no-mailbox")]
    );
    assert_eq!((summary.mailboxes, summary.compared), (3, 9));
}

#[test]
fn the_archive_partition_of_the_configuration_is_used() {
    let roots = Roots::new();
    let mut store = Store::new(17, 4);
    store.records[2].system_flags = 1 << 29;
    store.write();
    for dir in ["data/user/a", "cold/user/a"] {
        std::fs::create_dir_all(roots.at(dir)).expect("mkdir");
    }
    std::fs::copy(
        store.path().join("cyrus.index"),
        roots.at("data/user/a/cyrus.index"),
    )
    .expect("copy");
    for uid in 1..=4 {
        let dir = if uid == 3 { "cold" } else { "data" };
        std::fs::copy(store.file(uid), roots.at(&format!("{dir}/user/a/{uid}."))).expect("copy");
    }
    let conf = roots.conf("archive_enabled: yes\narchivepartition-default: COLD\n");
    let (summary, findings) = scrub_steps(walk(&conf));
    assert_eq!(
        (findings.len(), summary.compared, summary.mailboxes),
        (0, 4, 1)
    );
    let conf = roots.conf("archivepartition-default: COLD\n");
    let (_, findings) = scrub_steps(walk(&conf));
    assert_eq!(
        codes(&findings),
        [("missing", Some(3))],
        "archiving is not enabled"
    );
}

#[test]
fn a_plain_tree_needs_no_configuration() {
    let roots = Roots::new();
    for sub in ["a", "a/b", "c"] {
        roots.mailbox(&format!("data/{sub}"), &format!("meta/{sub}"), 10, 2, None);
    }
    flip(&roots.at("data/a/b/2."), 4);
    let (summary, findings) = scrub_steps(store::walk(
        &store::Store::plain(&roots.at("data"), Some(&roots.at("meta")), None),
        Leaves::Read,
    ));
    assert_eq!(codes(&findings), [("bit-rot", Some(2))]);
    assert_eq!(
        findings[0].mailbox,
        roots.at("data/a/b").display().to_string()
    );
    assert_eq!(summary.mailboxes, 3);
}
