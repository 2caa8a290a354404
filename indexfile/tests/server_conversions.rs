//! What genuine servers made of old files, we make byte for byte, their known bugs aside.
//!
//! The inputs and outputs are in `fixtures/cyrus-2.3.16`; see its MANIFEST.md.

use indexfile::HeaderField as H;
use indexfile::{Decision, FileKind, Guid, IndexFile, RecordGuid, StreamCopy, flags};
use std::convert::Infallible;
use std::path::{Path, PathBuf};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/cyrus-2.3.16")
        .join(path)
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(fixture(path)).expect("fixture")
}

fn kind(path: &str) -> FileKind {
    FileKind::of_path(Path::new(path))
}

fn open(path: &str) -> IndexFile {
    IndexFile::open(&fixture(path), kind(path)).expect("sound fixture")
}

fn converted(source: &IndexFile, to: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let copy = StreamCopy::new(source).to_version(to);
    copy.write(&mut out, |_| Ok::<_, Infallible>(Decision::Keep))
        .expect("convertible");
    assert_eq!(copy.output_len(), Some(out.len() as u64));
    out
}

#[test]
fn upgrade_from_9_to_10_equals_that_of_2_3_16() {
    for file in ["cyrus.index", "cyrus.expunge"] {
        let ours = converted(&open(&format!("a-v9-before/{file}")), 10);
        assert_eq!(
            ours,
            read(&format!("b-v10-after-auto-upgrade/{file}")),
            "{file}"
        );
    }
}

#[test]
fn downgrade_from_10_to_9_gives_the_first_bytes_back() {
    for file in ["cyrus.index", "cyrus.expunge"] {
        let ours = converted(&open(&format!("b-v10-after-auto-upgrade/{file}")), 9);
        assert_eq!(ours, read(&format!("a-v9-before/{file}")), "{file}");
    }
}

#[test]
fn upgrades_of_every_early_version_equal_those_of_the_servers() {
    let cases = [
        ("v2", "index"),
        ("v2b", "index"),
        ("v3", "index"),
        ("v4", "index"),
        ("v5", "index"),
        ("v6", "index"),
        ("v7", "index"),
        ("v7", "expunge"),
        ("v8", "index"),
        ("v8", "expunge"),
    ];
    for (version, file) in cases {
        let source = open(&format!("d-early-headers/{version}.before.{file}"));
        for (server, to) in [("2.3.16", 10), ("2.3.9", 9)] {
            let after = format!("d-early-headers/{version}.after-{server}.{file}");
            if !fixture(&after).exists() {
                assert_eq!(
                    (version, server),
                    ("v2b", "2.3.9"),
                    "only this one was never made"
                );
                continue;
            }
            let mut theirs = read(&after);
            if source.header().start_offset() < 64 {
                // Both servers leave bytes of the first record in leaked_cache of versions 2 and 3.
                assert_ne!(theirs[64..68], [0; 4], "{after}");
                theirs[64..68].fill(0);
            }
            assert_eq!(converted(&source, to), theirs, "{after}");
        }
    }
}

#[test]
fn altered_guids_are_those_of_a_reconstruct_and_nothing_else_changes() {
    let before = open("a-v9-before/cyrus.index");
    let golden = open("c-v10-after-reconstruct-k-G/cyrus.index");
    let guid = |uid| match golden.find_uid(uid).unwrap().map(|r| r.guid()) {
        Some(RecordGuid::Guid(guid)) => guid,
        other => panic!("UID {uid}: {other:?}"),
    };
    let mut out = Vec::new();
    let report = StreamCopy::new(&before)
        .to_version(10)
        .write(&mut out, |r| {
            Ok::<_, Infallible>(Decision::Alter(guid(r.uid())))
        })
        .expect("convertible");
    assert_eq!((report.records, report.altered, report.padded), (34, 34, 0));
    let ours =
        IndexFile::from_bytes(out, Path::new("cyrus.index.NEW"), FileKind::Index).expect("sound");
    let mut header = ours.header().bytes().to_vec();
    assert_eq!(header[8..12], 10_u32.to_be_bytes());
    assert_eq!(header[16..20], 88_u32.to_be_bytes());
    header[8..12].copy_from_slice(&9_u32.to_be_bytes());
    header[16..20].copy_from_slice(&80_u32.to_be_bytes());
    assert_eq!(header, before.header().bytes());
    for (old, new) in before
        .records()
        .map(Result::unwrap)
        .zip(ours.records().map(Result::unwrap))
    {
        assert_eq!(old.bytes()[..60], new.bytes()[..60]);
        assert_eq!(new.guid(), RecordGuid::Guid(guid(old.uid())));
        assert_eq!(old.modseq(), new.modseq());
    }
}

#[test]
fn a_dropped_record_leaves_the_counters_right() {
    let before = open("a-v9-before/cyrus.index");
    let mut out = std::io::Cursor::new(Vec::new());
    let report = StreamCopy::new(&before)
        .to_version(10)
        .write_seek(&mut out, |r| {
            Ok::<_, Infallible>(if r.uid() <= 20 {
                Decision::Drop
            } else {
                Decision::Keep
            })
        })
        .expect("convertible");
    let after = IndexFile::from_bytes(
        out.into_inner(),
        Path::new("cyrus.index.NEW"),
        FileKind::Index,
    )
    .expect("sound");
    assert_eq!(after.num_records() + report.dropped, before.num_records());
    let count = |bit: u32| {
        after
            .records()
            .map(Result::unwrap)
            .filter(|r| r.system_flags() & bit != 0)
            .count() as u64
    };
    assert_eq!(after.header().get(H::Deleted), Some(count(flags::DELETED)));
    assert_eq!(
        after.header().get(H::Answered),
        Some(count(flags::ANSWERED))
    );
    assert_eq!(after.header().get(H::Flagged), Some(count(flags::FLAGGED)));
    assert_eq!(
        after.header().get(H::QuotaMailboxUsed),
        Some(after.records().map(Result::unwrap).map(|r| r.size()).sum())
    );
    assert_eq!(after.header().last_uid(), before.header().last_uid());
    // Written in one go the header would be wrong, so that is refused.
    let refused =
        StreamCopy::new(&before).write(&mut Vec::new(), |_| Ok::<_, Infallible>(Decision::Drop));
    assert!(refused.is_err());
}

#[test]
fn what_a_version_cannot_hold_is_refused_unless_allowed() {
    let before = open("a-v9-before/cyrus.index");
    let keep = |_: indexfile::Record<'_>| Ok::<_, Infallible>(Decision::Keep);
    let mut out = Vec::new();
    let refused = StreamCopy::new(&before)
        .to_version(7)
        .write(&mut out, keep)
        .expect_err("modseqs");
    assert!(
        refused.to_string().contains("modseqs") && out.is_empty(),
        "{refused}"
    );
    let report = StreamCopy::new(&before)
        .to_version(6)
        .lossy(true)
        .write(&mut out, keep)
        .expect("allowed");
    let nulls = before
        .records()
        .map(Result::unwrap)
        .filter(|r| r.guid().padded() == Guid::NULL)
        .count();
    assert_eq!(report.losses.guids as usize, 34 - nulls);
    assert_eq!(
        report.lost_modseqs as usize,
        before
            .records()
            .map(Result::unwrap)
            .filter(|r| r.modseq() > Some(1))
            .count()
    );
    for to in [0, 2, 5, 11, 12, 17, 20, 21] {
        assert!(
            StreamCopy::new(&before)
                .to_version(to)
                .write(&mut Vec::new(), keep)
                .is_err(),
            "{to}"
        );
    }
}

/// `reconstruct -V` of 3.6.1 wrote the same mailbox at each version; its cache did not change.
#[test]
fn conversions_between_the_versions_that_3_6_1_wrote_equal_its_files() {
    let path = |version: u32| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../fixtures/cyrus-3.6.1/v{version}/cyrus.index"))
    };
    let open =
        |version: u32| IndexFile::open(&path(version), FileKind::Index).expect("sound fixture");
    for (from, to) in [
        (6, 7),
        (7, 6),
        (8, 7),
        (8, 6),
        (8, 9),
        (9, 8),
        (9, 7),
        (9, 6),
    ] {
        let mut out = Vec::new();
        let copy = StreamCopy::new(&open(from))
            .to_version(to)
            .lossy(true)
            .write(&mut out, |_| Ok::<_, Infallible>(Decision::Keep));
        copy.expect("convertible");
        assert_eq!(
            out,
            std::fs::read(path(to)).expect("fixture"),
            "{from} to {to}"
        );
    }
    // Its own 9 -> 10 parses every message again: the GUIDs are right, the generation goes up, and
    // the message without a Date: (UID 21) loses its sentdate. All else is the same.
    let (nine, ten) = (open(9), open(10));
    let mut out = Vec::new();
    let guid = |uid| {
        ten.find_uid(uid)
            .unwrap()
            .map_or(Guid::NULL, |r| r.guid().padded())
    };
    StreamCopy::new(&nine)
        .to_version(10)
        .write(&mut out, |r| {
            Ok::<_, Infallible>(Decision::Alter(guid(r.uid())))
        })
        .expect("convertible");
    let theirs = ten.to_bytes().unwrap();
    assert_eq!(out.len(), theirs.len());
    let differ: Vec<usize> = (0..out.len()).filter(|&i| out[i] != theirs[i]).collect();
    let sentdate = 96 + 20 * 88 + 8;
    assert!(
        differ
            .iter()
            .all(|&i| i < 4 || (sentdate..sentdate + 4).contains(&i)),
        "{differ:?}"
    );
}
