//! A store that the builder makes is one that the readers of real stores accept, oddities included.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use indexfile::mailbox::HeaderFile;
use indexfile::{FileKind, IndexFile, RecordField};

use super::*;
use crate::judge::image::sha1_of;
use crate::{Dirs, Layout};

const KINDS: [FileKind; 2] = [FileKind::Index, FileKind::Expunge];

/// The two layouts of the demo: hashed in one tree, and with a metapartition.
fn layouts(dir: &Path) -> [Host; 2] {
    [("a", Layout::HASHED), ("b", Layout::METAPARTITION)]
        .map(|(name, layout)| Host::lay_out(&dir.join(name), layout).expect("a host"))
}

/// Path and SHA-1 of every file but the imapd.conf, which names its own place.
fn files(host: &Host) -> BTreeMap<std::path::PathBuf, [u8; 20]> {
    let tree = crate::judge::snapshot::take(&host.root).expect("readable");
    tree.into_iter()
        .filter(|(path, entry)| !entry.is_dir() && !path.ends_with("imapd.conf"))
        .map(|(path, entry)| (path, entry.sha1))
        .collect()
}

fn number(record: &indexfile::Record<'_>, field: RecordField) -> u64 {
    record.get(field).expect("a number field of version 6")
}

/// Reads every file of a mailbox and checks it against the others; returns (live, expunged).
fn check_mailbox(host: &Host, name: &str) -> (u64, u64) {
    let dirs = host.place(name);
    let header = HeaderFile::open(&dirs.file("cyrus.header")).expect("a header");
    let cache = fs::read(dirs.file("cyrus.cache")).expect("a cache");
    let mut counts = [0; 2];
    for (kind, count) in KINDS.into_iter().zip(&mut counts) {
        let path = dirs.file(kind.file_name());
        if kind == FileKind::Expunge && !path.exists() {
            continue;
        }
        let mode = fs::metadata(&path)
            .expect("its metadata")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        let index = IndexFile::open(&path, kind).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            cache[..4],
            index.header().generation_no().to_be_bytes(),
            "{name}"
        );
        for record in index.records().map(Result::unwrap) {
            let message = dirs.data.join(format!("{}.", record.uid()));
            let meta =
                fs::metadata(&message).unwrap_or_else(|e| panic!("{}: {e}", message.display()));
            assert_eq!(meta.len(), record.size(), "{name} {}", record.uid());
            let mtime = meta
                .modified()
                .expect("an mtime")
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            assert_eq!(
                mtime.as_secs(),
                number(&record, RecordField::Internaldate),
                "{name}"
            );
            assert!(
                number(&record, RecordField::CacheOffset) < cache.len() as u64,
                "{name}"
            );
            assert!(record.uid() <= index.header().last_uid(), "{name}");
            let flags = record.user_flag_numbers().max().map_or(0, |k| k + 1);
            assert!(
                flags <= header.user_flags.len(),
                "{name}: a flag without a name"
            );
        }
        *count = u64::from(index.num_records());
    }
    counts.into()
}

#[test]
fn every_mailbox_is_read_without_complaint_and_its_files_agree() {
    let dir = tempfile::tempdir().expect("a directory");
    let [hashed, meta] = layouts(dir.path());
    let spec = StoreSpec::new(64, 12);
    let built = spec.build(&[&hashed, &meta]).expect("a store");
    for host in [&hashed, &meta] {
        let mut counts = (0, 0);
        for name in spec.names() {
            let (live, expunged) = check_mailbox(host, &name);
            counts = (counts.0 + live, counts.1 + expunged);
        }
        assert_eq!(counts, (built.live, built.expunged));
    }
    assert!(built.expunged > 0 && built.linked > 0);
}

/// Where the builder puts mailboxes is where Cyrus looks for them.
#[test]
fn a_mailbox_lies_where_imapd_conf_says() {
    let dir = tempfile::tempdir().expect("a directory");
    for host in layouts(dir.path()) {
        let conf = indexfile::mailbox::ImapdConf::load(&host.conf).expect("a good imapd.conf");
        for name in StoreSpec::new(64, 1).names() {
            let mailbox = indexfile::mailbox::MailboxName::parse(&name).expect("a name");
            let theirs = conf.dirs(&mailbox, "default").expect("a place");
            let ours = host.place(&name);
            assert_eq!(ours.data, theirs.data().path());
            let header = theirs.file(indexfile::mailbox::MetaFile::Header);
            assert_eq!(ours.file("cyrus.header"), header);
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_bytes_on_any_layout_and_another_seed_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = StoreSpec::new(40, 6);
    let [hashed, meta] = layouts(&dir.path().join("1"));
    let [again, other] = layouts(&dir.path().join("2"));
    spec.build(&[&hashed, &meta]).expect("a store");
    spec.build(&[&again]).expect("a store");
    spec.seed(1).build(&[&other]).expect("a store");
    let sorted = |host: &Host| {
        let mut all: Vec<_> = files(host).into_values().collect();
        all.sort_unstable();
        all
    };
    assert_eq!(files(&hashed), files(&again));
    assert_eq!(sorted(&hashed), sorted(&meta));
    assert_ne!(files(&meta), files(&other));
}

#[test]
fn the_oddities_are_as_odd_as_they_say() {
    let dir = tempfile::tempdir().expect("a directory");
    let [host, _] = layouts(dir.path());
    let spec = StoreSpec::new(32, 20);
    spec.build(&[&host]).expect("a store");
    let dirs = |name: &str| -> Dirs { host.place(name) };
    let open = |name: &str, kind: FileKind| {
        IndexFile::open(&dirs(name).file(kind.file_name()), kind).expect("a good file")
    };
    let index = |name: &str| open(name, FileKind::Index);
    let expunge = |name: &str| open(name, FileKind::Expunge);
    let uids = |f: &IndexFile| {
        f.records()
            .map(Result::unwrap)
            .map(|r| r.uid())
            .collect::<Vec<_>>()
    };
    assert!(!uids(&expunge("user.alice.expunged")).is_sorted());
    assert_eq!(index("user.alice.empty").num_records(), 0);
    assert!(dirs("user.alice.empty").data.is_dir());
    assert_eq!(index("user.alice.allgone").num_records(), 0);
    assert!(expunge("user.alice.allgone").num_records() > 0);
    assert_eq!(expunge("user.dave.expunge emptied").num_records(), 0);
    let mixed = index("user.alice.mixed");
    let nulls = mixed
        .records()
        .map(Result::unwrap)
        .filter(|r| r.guid().padded().is_null())
        .count();
    assert!(nulls > 0 && nulls < mixed.num_records() as usize);
    let flagged = index("user.alice.flags128");
    assert!(
        flagged
            .records()
            .map(Result::unwrap)
            .flat_map(|r| r.user_flag_numbers().collect::<Vec<_>>())
            .any(|k| k > 96)
    );
    let versions = [
        ("user.bob.padded", 10),
        ("user.carol.Archive.since the 2^3^6", 8),
        ("user.carol.Archive.since the 2^3^3", 7),
        ("user.carol.Archive.since the 2^2", 6),
    ];
    for (name, version) in versions {
        assert_eq!(index(name).minor_version(), version);
    }
    assert!(
        index("user.bob.padded")
            .records()
            .map(Result::unwrap)
            .all(|r| r.guid().is_old_style())
    );
    for record in index("user.bob.done").records().map(Result::unwrap) {
        let path = dirs("user.bob.done")
            .data
            .join(format!("{}.", record.uid()));
        let sha1 = sha1_of(&fs::read(path).expect("a message"));
        assert_eq!(record.guid().padded().as_bytes(), &sha1);
    }
    let modseqs = index("user.bob.condstore");
    assert!(
        modseqs.header().highestmodseq()
            >= modseqs
                .records()
                .map(Result::unwrap)
                .filter_map(|r| r.modseq())
                .max()
    );
    assert!(
        modseqs
            .records()
            .map(Result::unwrap)
            .filter_map(|r| r.modseq())
            .any(|m| m > 1)
    );
    let torn = dirs("user.dave.torn append").file("cyrus.index");
    let length = fs::metadata(torn).expect("its metadata").len();
    let records = u64::from(index("user.dave.torn append").num_records());
    assert_eq!(length, 96 + records * 80 + 37);
    let shared = hard_links(&dirs("user.alice.onecopy").data);
    assert!(shared > 1, "messages are hard-linked");
}

/// How many files of a directory have more than one name.
fn hard_links(dir: &Path) -> usize {
    let files = fs::read_dir(dir).expect("a directory").flatten();
    let linked = files.filter(|e| e.metadata().is_ok_and(|m| m.nlink() > 1));
    linked.count()
}

#[test]
fn a_plain_store_has_exactly_so_many_messages_in_each_mailbox() {
    let dir = tempfile::tempdir().expect("a directory");
    let [host, _] = layouts(dir.path());
    let spec = StoreSpec::new(20, 7)
        .variety(Variety::Plain)
        .message_bytes(400..=500);
    let built = spec.build(&[&host]).expect("a store");
    assert_eq!((built.live, built.expunged, built.linked), (140, 0, 0));
    for name in spec.names() {
        assert_eq!(check_mailbox(&host, &name), (7, 0));
    }
}

#[test]
fn the_mailbox_list_is_what_ctl_mboxlist_of_2_3_9_prints() {
    let spec = StoreSpec::new(40, 1);
    let mut list = Vec::new();
    spec.write_list("default", &mut list).expect("memory");
    let list = String::from_utf8(list).expect("ASCII");
    assert_eq!(list.lines().count(), 40);
    assert!(list.contains("user.alice.empty\t0 default\talice\tlrswipkxtecda\tbob\tlrs\t\n"));
    assert!(list.lines().is_sorted());
}

#[test]
fn a_stop_is_obeyed() {
    let dir = tempfile::tempdir().expect("a directory");
    let [host, _] = layouts(dir.path());
    let stopped = StoreSpec::new(9, 1).build_until(&[&host], &AtomicBool::new(true));
    assert!(matches!(stopped, Err(StoreError::Stopped)));
    assert_eq!(files(&host).len(), 0);
}
