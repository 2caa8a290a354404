//! A store that the builder makes is one that the readers of real stores accept, oddities included.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use indexfile::mailbox::{HeaderFile, MetaFile};
use indexfile::{Guid, IndexFile, RecordField};

use super::*;

/// The two layouts of the demo: hashed in one tree, and with a metapartition.
fn layouts(dir: &Path) -> (ImapdConf, ImapdConf) {
    let conf = |text: &str| {
        let text = text.replace("ROOT", dir.to_str().expect("an ASCII path"));
        ImapdConf::parse(&text).expect("a good imapd.conf")
    };
    (
        conf("configdirectory: ROOT/a/conf\npartition-default: ROOT/a/spool\nhashimapspool: yes\n"),
        conf(
            "configdirectory: ROOT/b/conf\npartition-default: ROOT/b/spool\n\
             metapartition-default: ROOT/b/meta\nmetapartition_files: header index cache expunge\n",
        ),
    )
}

/// Path below `root` and bytes of every file.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let bytes = fs::read(&path).expect("a file");
                found.insert(path.strip_prefix(root).expect("below").to_path_buf(), bytes);
            }
        }
    }
    found
}

fn number(record: &indexfile::Record<'_>, field: RecordField) -> u64 {
    record.get(field).expect("a number field of version 6")
}

/// Reads every file of a mailbox and checks it against the others; returns (live, expunged).
fn check_mailbox(conf: &ImapdConf, name: &MailboxName) -> (u64, u64) {
    let dirs = conf.dirs(name, "default").expect("a place");
    let header = HeaderFile::open(&dirs.file(MetaFile::Header)).expect("a header");
    let cache = fs::read(dirs.file(MetaFile::Cache)).expect("a cache");
    let mut counts = (0, 0);
    for (file, kind) in [
        (MetaFile::Index, indexfile::FileKind::Index),
        (MetaFile::Expunge, indexfile::FileKind::Expunge),
    ] {
        let path = dirs.file(file);
        if file == MetaFile::Expunge && !path.exists() {
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
            let message = dirs.data().path().join(format!("{}.", record.uid()));
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
        match kind {
            indexfile::FileKind::Index => counts.0 = u64::from(index.num_records()),
            indexfile::FileKind::Expunge => counts.1 = u64::from(index.num_records()),
        }
    }
    counts
}

#[test]
fn every_mailbox_is_read_without_complaint_and_its_files_agree() {
    let dir = tempfile::tempdir().expect("a directory");
    let (hashed, meta) = layouts(dir.path());
    let spec = StoreSpec::new(64, 12);
    let built = spec.build(&[&hashed, &meta], "default").expect("a store");
    for conf in [&hashed, &meta] {
        let mut counts = (0, 0);
        for name in spec.names() {
            let (live, expunged) = check_mailbox(conf, &name.expect("a name"));
            counts = (counts.0 + live, counts.1 + expunged);
        }
        assert_eq!(counts, (built.live, built.expunged));
    }
    assert!(built.expunged > 0 && built.linked > 0);
}

#[test]
fn the_same_seed_makes_the_same_bytes_on_any_layout_and_another_seed_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, second) = (dir.path().join("1"), dir.path().join("2"));
    let spec = StoreSpec::new(40, 6);
    let (hashed, meta) = layouts(&first);
    spec.build(&[&hashed, &meta], "default").expect("a store");
    let (again, _) = layouts(&second);
    spec.build(&[&again], "default").expect("a store");
    let sorted = |root: PathBuf| {
        let mut all: Vec<Vec<u8>> = files(&root).into_values().collect();
        all.sort();
        all
    };
    assert_eq!(files(&first.join("a")), files(&second.join("a")));
    assert_eq!(sorted(first.join("a")), sorted(first.join("b")));
    let (other, _) = layouts(&dir.path().join("3"));
    spec.clone()
        .seed(1)
        .build(&[&other], "default")
        .expect("a store");
    assert_ne!(files(&first.join("a")), files(&dir.path().join("3/a")));
}

#[test]
fn the_oddities_are_as_odd_as_they_say() {
    let dir = tempfile::tempdir().expect("a directory");
    let (conf, _) = layouts(dir.path());
    StoreSpec::new(32, 20)
        .build(&[&conf], "default")
        .expect("a store");
    let dirs = |name: &str| {
        conf.dirs(&MailboxName::parse(name).expect("a name"), "default")
            .expect("a place")
    };
    let index = |name: &str, file: MetaFile| {
        let kind = if file == MetaFile::Index {
            indexfile::FileKind::Index
        } else {
            indexfile::FileKind::Expunge
        };
        IndexFile::open(&dirs(name).file(file), kind).expect("a good file")
    };
    let uids = |f: &IndexFile| {
        f.records()
            .map(Result::unwrap)
            .map(|r| r.uid())
            .collect::<Vec<_>>()
    };
    assert!(!uids(&index("user.alice.expunged", MetaFile::Expunge)).is_sorted());
    assert_eq!(index("user.alice.empty", MetaFile::Index).num_records(), 0);
    assert!(dirs("user.alice.empty").data().path().is_dir());
    assert_eq!(
        index("user.alice.allgone", MetaFile::Index).num_records(),
        0
    );
    assert!(index("user.alice.allgone", MetaFile::Expunge).num_records() > 0);
    assert_eq!(
        index("user.dave.expunge emptied", MetaFile::Expunge).num_records(),
        0
    );
    let mixed = index("user.alice.mixed", MetaFile::Index);
    let nulls = mixed
        .records()
        .map(Result::unwrap)
        .filter(|r| r.guid().padded().is_null())
        .count();
    assert!(nulls > 0 && nulls < mixed.num_records() as usize);
    let flagged = index("user.alice.flags128", MetaFile::Index);
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
        assert_eq!(index(name, MetaFile::Index).minor_version(), version);
    }
    assert!(
        index("user.bob.padded", MetaFile::Index)
            .records()
            .map(Result::unwrap)
            .all(|r| r.guid().is_old_style())
    );
    for record in index("user.bob.done", MetaFile::Index)
        .records()
        .map(Result::unwrap)
    {
        let path = dirs("user.bob.done")
            .data()
            .path()
            .join(format!("{}.", record.uid()));
        let sha1 = sha1_of(&fs::read(path).expect("a message"));
        assert_eq!(record.guid().padded(), sha1);
    }
    let modseqs = index("user.bob.condstore", MetaFile::Index);
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
    let torn = dirs("user.dave.torn append").file(MetaFile::Index);
    let length = fs::metadata(torn).expect("its metadata").len();
    let records = u64::from(index("user.dave.torn append", MetaFile::Index).num_records());
    assert_eq!(length, 96 + records * 80 + 37);
    let shared = hard_links(&dirs("user.alice.onecopy").data().path());
    assert!(shared > 1, "messages are hard-linked");
}

/// How many files of a directory have more than one name.
fn hard_links(dir: &Path) -> usize {
    let files = fs::read_dir(dir).expect("a directory").flatten();
    let linked = files.filter(|e| e.metadata().is_ok_and(|m| m.nlink() > 1));
    linked.count()
}

fn sha1_of(bytes: &[u8]) -> Guid {
    use sha1::{Digest, Sha1};
    Guid::from_bytes(Sha1::digest(bytes).into())
}

#[test]
fn a_plain_store_has_exactly_so_many_messages_in_each_mailbox() {
    let dir = tempfile::tempdir().expect("a directory");
    let (conf, _) = layouts(dir.path());
    let spec = StoreSpec::new(20, 7)
        .variety(Variety::Plain)
        .message_bytes(400..=500);
    let built = spec.build(&[&conf], "default").expect("a store");
    assert_eq!((built.live, built.expunged, built.linked), (140, 0, 0));
    for name in spec.names() {
        assert_eq!(check_mailbox(&conf, &name.expect("a name")), (7, 0));
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
    let (conf, _) = layouts(dir.path());
    let stopped = StoreSpec::new(9, 1).build_until(&[&conf], "default", &AtomicBool::new(true));
    assert!(matches!(stopped, Err(StoreError::Stopped)));
    assert_eq!(files(&dir.path().join("a/spool")).len(), 0);
}
