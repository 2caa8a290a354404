//! Files that are not what they should be are refused by name, in one sentence.

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::finding::Code;
use indexfile::layout::VERSIONS;
use indexfile::{FileKind, IndexFile, ReadError};
use std::path::Path;

fn open(bytes: Vec<u8>) -> Result<IndexFile, ReadError> {
    IndexFile::from_bytes(bytes, Path::new("cyrus.index"), FileKind::Index)
}

fn three(minor: u32) -> Vec<u8> {
    let records = [3, 5, 9].map(|uid| BuildRecord {
        uid,
        size: 100,
        modseq: u64::from(uid),
        ..BuildRecord::default()
    });
    IndexBuilder::new(minor, FileKind::Index)
        .records(records)
        .to_bytes()
        .expect("sound")
}

fn code(bytes: Vec<u8>) -> &'static str {
    open(bytes).expect_err("not sound").code().name()
}

fn patched(mut bytes: Vec<u8>, offset: usize, value: u32) -> Vec<u8> {
    bytes[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
    bytes
}

#[test]
fn files_of_every_version_are_read() {
    for minor in VERSIONS {
        let file = open(three(minor)).expect("sound");
        assert_eq!(
            file.records()
                .map(Result::unwrap)
                .map(|r| r.uid())
                .collect::<Vec<_>>(),
            [3, 5, 9],
            "version {minor}"
        );
        assert_eq!(
            file.records()
                .map(Result::unwrap)
                .map(|r| r.size())
                .sum::<u64>(),
            300,
            "version {minor}"
        );
        assert_eq!(file.find_uid(5).unwrap().map(|r| r.uid()), Some(5));
        assert!(file.find_uid(4).unwrap().is_none());
        assert_eq!(
            (file.header().exists(), file.header().last_uid()),
            (3, 9),
            "version {minor}"
        );
    }
}

#[test]
fn each_damage_has_its_own_name() {
    assert_eq!(code(Vec::new()), "zero-length");
    assert_eq!(code(b"From: joe\r\n".to_vec()), "not-index");
    assert_eq!(
        code(b"From: joe@example.org\r\nTo: someone else\r\n\r\nHello".to_vec()),
        "not-index"
    );
    assert_eq!(code(vec![0; 500]), "not-index");
    assert_eq!(code(three(9)[..3].to_vec()), "not-index");
    assert_eq!(code(three(9)[..50].to_vec()), "truncated");
    let nine = three(9);
    assert_eq!(code(nine[..nine.len() - 1].to_vec()), "truncated");
    assert_eq!(code(patched(three(9), 20, u32::MAX)), "truncated");
    for version in [0, 1, 21, 1000, u32::MAX] {
        assert_eq!(code(patched(three(9), 8, version)), "unknown-version");
    }
    assert_eq!(code(patched(three(9), 8, 11)), "version-11");
    assert_eq!(code(patched(three(9), 16, 88)), "hybrid-9-88");
    assert_eq!(code(patched(three(10), 8, 9)), "hybrid-9-88");
    for size in [0, 51, 96, 4096, u32::MAX] {
        assert_eq!(code(patched(three(10), 16, size)), "bad-header", "{size}");
        assert_eq!(
            code(patched(three(10), 12, size | 1)),
            "bad-header",
            "{size}"
        );
    }
    assert_eq!(code(patched(three(9), 96, 0)), "zero-uid");
    assert_eq!(code(patched(three(9), 96 + 80, 3)), "uid-order");
    assert_eq!(code(patched(three(12), 24, 1)), "header-crc");
    assert_eq!(code(patched(three(12), 128 + 96 + 4, 1)), "record-crc");
}

#[test]
fn bytes_after_the_last_record_are_ignored() {
    let mut bytes = three(9);
    let len = bytes.len();
    bytes.extend_from_slice(b"a crashed append");
    let file = open(bytes).expect("sound");
    assert_eq!(
        (file.trailing_bytes(), file.length(), file.records().len()),
        (16, len as u64, 3)
    );
}

#[test]
fn an_expunge_file_need_not_be_in_order() {
    let records = [9, 3, 5].map(|uid| BuildRecord {
        uid,
        ..BuildRecord::default()
    });
    let bytes = IndexBuilder::new(9, FileKind::Expunge)
        .records(records)
        .to_bytes()
        .expect("sound");
    assert_eq!(code(bytes.clone()), "uid-order");
    let file =
        IndexFile::from_bytes(bytes, Path::new("cyrus.expunge"), FileKind::Expunge).expect("sound");
    assert_eq!(file.find_uid(3).unwrap().map(|r| r.uid()), Some(3));
}

#[test]
fn a_mapped_file_is_the_same_as_one_in_memory_and_a_missing_one_is_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("cyrus.index");
    let error = IndexFile::open(&path, FileKind::Index).expect_err("missing");
    assert!(
        error.to_string().contains(&path.display().to_string()),
        "{error}"
    );
    assert_eq!(error.code(), Code::Io);
    std::fs::write(&path, three(10)).expect("write");
    let file = IndexFile::open(&path, FileKind::Index).expect("sound");
    assert_eq!(file.to_bytes().expect("readable"), three(10));
    let error = IndexFile::open(dir.path(), FileKind::Index).expect_err("a directory");
    assert_eq!(error.code(), Code::NotRegular, "{error}");
    shared(&file);
}

/// Compiles only for what threads may share.
fn shared<T: Send + Sync>(_: &T) {}
