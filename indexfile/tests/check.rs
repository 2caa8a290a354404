//! Every kind of damage is found under its own name; what real servers wrote is clean.

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::check::{
    Code, Findings, Options, RepairError, Severity, check_path, repair_expunge,
};
use indexfile::layout::{self, VERSIONS};
use indexfile::sha1s::encode;
use indexfile::{FileKind, HeaderField, IndexFile, RecordField, flags};
use std::path::{Path, PathBuf};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path)
}

fn check(path: &Path) -> Findings {
    let mut findings = Findings::new();
    check_path(path, &Options::default(), &mut findings).expect("the path is there");
    findings
}

fn codes(findings: &Findings) -> Vec<&'static str> {
    let mut codes: Vec<_> = findings.counts().map(|(code, ..)| code.name()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// A copy of a real mailbox at version 9, with six expunged messages.
fn mailbox() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("tempdir");
    for file in [
        "cyrus.index",
        "cyrus.expunge",
        "cyrus.cache",
        "cyrus.header",
    ] {
        std::fs::copy(
            fixture("cyrus-2.3.16/a-v9-before").join(file),
            dir.path().join(file),
        )
        .expect("copy");
    }
    dir
}

fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("open");
    file.write_all_at(bytes, offset).expect("write");
}

#[test]
fn what_genuine_servers_wrote_has_no_errors() {
    for (dir, expected) in [
        ("cyrus-2.3.16/a-v9-before", &["old-style-guids"][..]),
        (
            "cyrus-2.3.16/b-v10-after-auto-upgrade",
            &["old-style-guids"],
        ),
        ("cyrus-2.3.16/c-v10-after-reconstruct-k-G", &[]),
        (
            "cyrus-3.6.1/v9",
            &["expunged-inside", "header-form", "old-style-guids"],
        ),
        ("cyrus-3.6.1/v10", &["expunged-inside", "header-form"]),
        ("cyrus-3.6.1/v12", &[]),
        ("cyrus-3.6.1/v13", &[]),
        ("cyrus-3.6.1/v14", &[]),
        ("cyrus-3.6.1/v15", &[]),
        ("cyrus-3.6.1/v16", &[]),
        ("cyrus-3.6.1/v17", &[]),
    ] {
        let mut findings = Findings::new();
        let messages = Some(fixture("cyrus-3.6.1/messages"));
        let options = Options {
            messages,
            ..Options::default()
        };
        check_path(&fixture(dir), &options, &mut findings).expect("there");
        assert_eq!(codes(&findings), expected, "{dir}: {:?}", findings.list());
    }
}

#[test]
fn any_single_flipped_byte_of_a_checksummed_file_is_found() {
    for version in [12, 13, 14, 15, 16, 17] {
        let bytes = std::fs::read(fixture(&format!("cyrus-3.6.1/v{version}/cyrus.index")))
            .expect("fixture");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            // All bits at odd places, one bit at even ones.
            flipped[at] ^= if at % 2 == 0 { 1 << (at / 2 % 8) } else { 0xff };
            let found = match IndexFile::from_bytes_unverified(
                flipped.clone(),
                Path::new("cyrus.index"),
                FileKind::Index,
            ) {
                Err(_) => true,
                Ok(index) => {
                    let mut findings = Findings::new();
                    indexfile::check::check_index(&index, &mut findings);
                    findings.worst() == Some(Severity::Error)
                }
            };
            assert!(found, "version {version}, byte {at}");
            // And what is not sound is not opened as if it were.
            assert!(
                IndexFile::from_bytes(flipped, Path::new("cyrus.index"), FileKind::Index).is_err()
            );
        }
    }
}

#[test]
fn versions_without_a_sample_are_checked_by_the_same_table() {
    for version in [18, 19, 20] {
        let record = BuildRecord {
            uid: 3,
            size: 9,
            modseq: 7,
            system_flags: flags::SEEN,
            ..BuildRecord::default()
        };
        let bytes = IndexBuilder::new(version, FileKind::Index)
            .record(record)
            .to_bytes()
            .expect("sound");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x20;
            assert!(
                IndexFile::from_bytes(flipped, Path::new("x"), FileKind::Index).is_err(),
                "{version}, byte {at}"
            );
        }
    }
}

#[test]
fn half_upgraded_states_are_distinguished_by_name() {
    let upgraded = |file: &str| fixture("cyrus-2.3.16/b-v10-after-auto-upgrade").join(file);
    // Killed between the two renames, as a 2.3 server does them: the index first.
    let dir = mailbox();
    std::fs::copy(upgraded("cyrus.index"), dir.path().join("cyrus.index")).expect("copy");
    assert_eq!(
        codes(&check(dir.path())),
        ["expunge-older", "old-style-guids"]
    );
    // The safe order: the expunge file first.
    let dir = mailbox();
    std::fs::copy(upgraded("cyrus.expunge"), dir.path().join("cyrus.expunge")).expect("copy");
    std::fs::write(dir.path().join("cyrus.index.NEW"), "part").expect("write");
    assert_eq!(
        codes(&check(dir.path())),
        ["expunge-newer", "new-left-behind", "old-style-guids"]
    );
    // Others.
    let dir = mailbox();
    std::fs::write(dir.path().join("cyrus.expunge"), "").expect("write");
    assert_eq!(
        codes(&check(dir.path())),
        ["old-style-guids", "zero-length"]
    );
    patch(&dir.path().join("cyrus.index"), 16, &88_u32.to_be_bytes());
    assert_eq!(codes(&check(dir.path())), ["hybrid-9-88", "zero-length"]);
    let dir = mailbox();
    let index = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("cyrus.index"))
        .expect("open");
    index.set_len(2000).expect("cut");
    assert_eq!(codes(&check(dir.path())), ["old-style-guids", "truncated"]);
}

#[test]
fn the_expunge_file_beside_a_version_10_index_is_repaired_as_cyrus_would_have_upgraded_it() {
    let open = |path: &Path, kind| IndexFile::open(path, kind).expect("sound");
    let index = open(
        &fixture("cyrus-2.3.16/b-v10-after-auto-upgrade/cyrus.index"),
        FileKind::Index,
    );
    let expunge = open(
        &fixture("cyrus-2.3.16/a-v9-before/cyrus.expunge"),
        FileKind::Expunge,
    );
    let mut repaired = Vec::new();
    let report = repair_expunge(&index, &expunge, &mut repaired).expect("provable");
    assert_eq!(report.records, 6);
    let golden = std::fs::read(fixture(
        "cyrus-2.3.16/b-v10-after-auto-upgrade/cyrus.expunge",
    ))
    .expect("fixture");
    assert_eq!(repaired, golden);
    // Nothing to repair, and a contradiction.
    let nine = open(
        &fixture("cyrus-2.3.16/a-v9-before/cyrus.index"),
        FileKind::Index,
    );
    let refused = repair_expunge(&nine, &expunge, &mut Vec::new());
    assert!(matches!(
        refused,
        Err(RepairError::OtherState {
            index: 9,
            expunge: 9,
            ..
        })
    ));
    let whole = open(&fixture("cyrus-3.6.1/v10/cyrus.index"), FileKind::Index);
    let refused = repair_expunge(&whole, &expunge, &mut Vec::new());
    assert!(
        matches!(refused, Err(RepairError::NotProvable { .. })),
        "its UIDs are in that index"
    );
}

#[test]
fn counters_that_do_not_agree_are_named() {
    let record = BuildRecord {
        uid: 5,
        size: 10,
        system_flags: flags::DELETED | flags::ANSWERED | flags::FLAGGED,
        modseq: 9,
        ..BuildRecord::default()
    };
    for version in VERSIONS {
        let layout = layout::of(version).expect("known");
        for (field, code) in [
            (HeaderField::Deleted, Code::DeletedCount),
            (HeaderField::Answered, Code::AnsweredCount),
            (HeaderField::Flagged, Code::FlaggedCount),
            (HeaderField::QuotaMailboxUsed, Code::QuotaSum),
            (HeaderField::LastUid, Code::LastUid),
            (HeaderField::Highestmodseq, Code::Highestmodseq),
            (HeaderField::Unseen, Code::UnseenCount),
        ] {
            if layout.header.get(field).is_none() {
                continue;
            }
            let builder = IndexBuilder::new(version, FileKind::Index)
                .record(record)
                .set(field, 3);
            let index = IndexFile::from_bytes(
                builder.to_bytes().expect("fits"),
                Path::new("x"),
                FileKind::Index,
            );
            let mut findings = Findings::new();
            indexfile::check::check_index(&index.expect("readable"), &mut findings);
            let bad: Vec<_> = findings
                .list()
                .iter()
                .map(|f| f.code)
                .filter(|c| c.severity() > Severity::Note)
                .collect();
            assert_eq!(bad, [code], "version {version}, {}", field.name());
        }
    }
}

#[test]
fn the_cache_and_the_header_are_compared_with_the_index() {
    let dir = mailbox();
    patch(&dir.path().join("cyrus.cache"), 0, &[0, 0, 0, 9]);
    assert_eq!(
        codes(&check(dir.path())),
        ["cache-generation", "old-style-guids"]
    );
    std::fs::write(dir.path().join("cyrus.cache"), [0, 0, 0, 1, 0, 0]).expect("write");
    let found = codes(&check(dir.path()));
    assert_eq!(found, ["cache-damaged", "cache-offset", "old-style-guids"]);
    std::fs::remove_file(dir.path().join("cyrus.cache")).expect("remove");
    std::fs::write(dir.path().join("cyrus.header"), "nothing").expect("write");
    assert_eq!(
        codes(&check(dir.path())),
        ["cache-missing", "header-damaged", "old-style-guids"]
    );
    std::fs::remove_file(dir.path().join("cyrus.header")).expect("remove");
    assert_eq!(
        codes(&check(dir.path())),
        ["cache-missing", "header-missing", "old-style-guids"]
    );

    let dir = tempfile::tempdir().expect("tempdir");
    for file in ["cyrus.index", "cyrus.cache", "cyrus.header"] {
        std::fs::copy(fixture("cyrus-3.6.1/v17").join(file), dir.path().join(file)).expect("copy");
    }
    patch(&dir.path().join("cyrus.cache"), 100, b"#");
    patch(&dir.path().join("cyrus.header"), 200, b"X");
    assert_eq!(
        codes(&check(dir.path())),
        ["cache-crc", "header-file-crc", "sync-crc"],
        "the byte changed in cyrus.header is one of a flag's name"
    );
}

#[test]
fn the_checksum_that_replication_compares_is_computed_from_the_messages() {
    // That it agrees in what genuine servers wrote: what_genuine_servers_wrote_has_no_errors.
    for version in 12..=17_u32 {
        let dir = tempfile::tempdir().expect("tempdir");
        let from = fixture(&format!("cyrus-3.6.1/v{version}"));
        for file in ["cyrus.index", "cyrus.cache", "cyrus.header"] {
            std::fs::copy(from.join(file), dir.path().join(file)).expect("copy");
        }
        let path = dir.path().join("cyrus.index");
        let mut bytes = std::fs::read(&path).expect("read");
        let header = &layout::of(version).expect("known").header;
        let sync = header.get(HeaderField::SyncCrc).expect("in every version");
        let stored = sync.read(&bytes).expect("there");
        assert_ne!(stored, 0, "a sample without the checksum proves nothing");
        bytes[sync.offset as usize] ^= 1;
        // The header's own checksum is right again, so that this is all that is wrong.
        let crc = header
            .get(HeaderField::HeaderCrc)
            .expect("from 12 on")
            .offset as usize;
        let right = crc32fast::hash(&bytes[..crc]).to_be_bytes();
        bytes[crc..crc + 4].copy_from_slice(&right);
        std::fs::write(&path, bytes).expect("write");
        let findings = check(dir.path());
        let found = findings
            .counts()
            .map(|(code, ..)| code)
            .filter(|code| code.severity() > Severity::Note);
        assert_eq!(
            found.collect::<Vec<_>>(),
            [Code::SyncCrc],
            "version {version}"
        );
    }
}

#[test]
fn a_flag_without_a_name_a_uid_twice_and_a_foreign_cache_are_found() {
    let dir = mailbox();
    let layout = layout::of(9).expect("known");
    let user_flags = layout
        .record
        .get(RecordField::UserFlags)
        .expect("there")
        .offset;
    // Bit 31 of the first word of the first record.
    patch(
        &dir.path().join("cyrus.index"),
        96 + u64::from(user_flags),
        &[0x80],
    );
    // The first expunged message gets the UID of a live one.
    patch(&dir.path().join("cyrus.expunge"), 96, &1_u32.to_be_bytes());
    let path = dir.path().join("cyrus.sha1s");
    std::fs::write(&path, encode(1, "other", &[]).expect("sound")).expect("write");
    let found = codes(&check(dir.path()));
    assert_eq!(
        found,
        [
            "duplicate-uid",
            "old-style-guids",
            "sha1s-foreign",
            "unnamed-flag"
        ]
    );
    std::fs::write(&path, "cyrus.sha1s").expect("write");
    assert!(check(dir.path()).has(Code::Sha1sDamaged));
}

#[test]
fn messages_are_compared_when_asked() {
    let dir = tempfile::tempdir().expect("tempdir");
    for entry in std::fs::read_dir(fixture("cyrus-3.6.1/messages")).expect("list") {
        let path = entry.expect("entry").path();
        std::fs::copy(&path, dir.path().join(path.file_name().expect("name"))).expect("copy");
    }
    patch(&dir.path().join("1."), 0, b"X");
    std::fs::remove_file(dir.path().join("2.")).expect("remove");
    std::fs::write(dir.path().join("3."), "short").expect("write");
    std::fs::remove_file(dir.path().join("4.")).expect("remove");
    std::os::unix::fs::symlink("5.", dir.path().join("4.")).expect("link");
    let mut findings = Findings::new();
    let options = Options {
        messages: Some(dir.path().to_path_buf()),
        ..Options::default()
    };
    check_path(
        &fixture("cyrus-2.3.16/c-v10-after-reconstruct-k-G"),
        &options,
        &mut findings,
    )
    .expect("there");
    let found: Vec<_> = findings
        .list()
        .iter()
        .map(|f| (f.code.name(), f.compared.uid))
        .collect();
    assert_eq!(
        found,
        [
            ("message-guid", Some(1)),
            ("message-missing", Some(2)),
            ("message-size", Some(3)),
            ("message-guid", Some(3)),
            ("message-unreadable", Some(4)),
        ]
    );
}

#[test]
fn a_tree_is_walked_and_links_are_not_followed() {
    let root = tempfile::tempdir().expect("tempdir");
    let dir = root.path().join("user/joe");
    std::fs::create_dir_all(&dir).expect("mkdir");
    std::fs::write(dir.join("cyrus.index"), "").expect("write");
    std::os::unix::fs::symlink(root.path(), root.path().join("user/loop")).expect("link");
    let findings = check(root.path());
    assert_eq!(findings.files(), 1);
    assert_eq!(
        codes(&findings),
        ["directory-link", "header-missing", "zero-length"]
    );
    assert!(
        check_path(
            &root.path().join("none"),
            &Options::default(),
            &mut Findings::new()
        )
        .is_err()
    );
}

#[test]
fn what_lies_in_the_archive_cache_is_not_looked_for_in_the_other_one() {
    let dir = tempfile::tempdir().expect("tempdir");
    for file in ["cyrus.index", "cyrus.cache", "cyrus.header"] {
        std::fs::copy(fixture("cyrus-3.6.1/v17").join(file), dir.path().join(file)).expect("copy");
    }
    let path = dir.path().join("cyrus.index");
    let mut bytes = std::fs::read(&path).expect("read");
    let layout = layout::of(17).expect("known");
    let at = |field| layout.record.get(field).expect("there").offset as usize;
    let record = &mut bytes[layout.header_size as usize..][..layout.record_size as usize];
    record[at(RecordField::SystemFlags)] |= 0x20;
    record[at(RecordField::CacheOffset)..][..4].copy_from_slice(&[0x7f; 4]);
    let crc = at(RecordField::RecordCrc);
    let right = crc32fast::hash(&record[..crc]).to_be_bytes();
    record[crc..crc + 4].copy_from_slice(&right);
    std::fs::write(&path, bytes).expect("write");
    let found = codes(&check(dir.path()));
    assert!(found.contains(&"cache-archived"), "{found:?}");
    assert!(
        !found
            .iter()
            .any(|code| ["cache-offset", "cache-crc"].contains(code)),
        "{found:?}"
    );
}

#[test]
fn a_version_19_file_with_records_of_144_bytes_is_read_and_any_other_length_is_not() {
    let record = |uid: u32| BuildRecord {
        uid,
        size: 100 + uid,
        ..BuildRecord::default()
    };
    let short = IndexBuilder::new(19, FileKind::Index)
        .record(record(3))
        .record(record(8))
        .to_bytes()
        .expect("sound");
    let with_records_of = |size: usize| {
        let mut header = short[..160].to_vec();
        header[16..20].copy_from_slice(&u32::try_from(size).expect("small").to_be_bytes());
        let crc = crc32fast::hash(&header[..156]).to_be_bytes();
        header[156..].copy_from_slice(&crc);
        let mut bytes = header;
        for record in short[160..].chunks(112) {
            let end = bytes.len() + size;
            bytes.extend_from_slice(record);
            bytes.resize(end, 0);
        }
        IndexFile::from_bytes(bytes, Path::new("x"), FileKind::Index)
    };
    let long = with_records_of(144).expect("readable");
    let sizes: Vec<(u32, u64)> = long
        .records()
        .map(|record| record.expect("in memory"))
        .map(|record| (record.uid(), record.size()))
        .collect();
    assert_eq!(sizes, [(3, 103), (8, 108)]);
    assert!(with_records_of(112).is_ok());
    assert!(with_records_of(128).is_err());
}
