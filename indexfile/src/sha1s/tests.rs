//! A cache is whole or refused.

use super::{Cache, CacheError, CacheWriter, Entry, Stamp, WriteError, encode};
use crate::guid::Guid;
use std::path::Path;

fn entries(n: u32) -> Vec<Entry> {
    (1..=n)
        .map(|i| Entry {
            uid: i * 3,
            size: u64::from(i) << 33,
            stamp: Stamp {
                mtime_ns: -i64::from(i),
                ctime_ns: i64::from(i) << 40,
                inode: u64::MAX - u64::from(i),
            },
            guid: Guid::from_bytes([i.to_le_bytes()[0]; 20]),
        })
        .collect()
}

fn open(bytes: &[u8]) -> Result<Cache, CacheError> {
    Cache::from_bytes(bytes.to_vec(), Path::new("cyrus.sha1s"))
}

#[test]
fn what_is_written_is_read_back_whatever_the_number() {
    for n in [0, 1, 71, 72, 73, 144, 1000] {
        let all = entries(n);
        let bytes = encode(1_795_303_866, "6t1vo4vdbkrdyc31bte53jwh", &all).expect("sound");
        let cache = open(&bytes).expect("whole");
        assert_eq!(
            (cache.uidvalidity(), cache.uniqueid()),
            (1_795_303_866, "6t1vo4vdbkrdyc31bte53jwh")
        );
        assert_eq!(cache.iter().map(Result::unwrap).collect::<Vec<_>>(), all);
        for entry in &all {
            assert_eq!(cache.get(entry.uid), Some(*entry));
            assert_eq!(cache.get(entry.uid + 1), None);
        }
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("cyrus.sha1s");
        std::fs::write(&path, &bytes).expect("write");
        assert_eq!(Cache::open(&path).expect("whole").len(), all.len());
    }
}

#[test]
fn any_flipped_byte_any_cut_and_any_added_byte_is_noticed() {
    let bytes = encode(7, "id", &entries(75)).expect("sound");
    for i in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[i] ^= 0x10;
        assert!(open(&flipped).is_err(), "byte {i}");
        assert!(open(&bytes[..i]).is_err(), "cut to {i}");
    }
    assert!(open(&[bytes.as_slice(), b"x"].concat()).is_err());
}

#[test]
fn another_format_is_distinguished_from_damage() {
    let mut bytes = encode(7, "id", &[]).expect("sound");
    bytes[19] = 2;
    assert!(matches!(
        open(&bytes),
        Err(CacheError::UnknownVersion { version: 2, .. })
    ));
    assert!(matches!(open(b"\0\0\0"), Err(CacheError::NotCache { .. })));
    assert!(matches!(open(b""), Err(CacheError::NotCache { .. })));
}

#[test]
fn a_writer_refuses_what_a_reader_would() {
    let long = "x".repeat(65);
    assert!(matches!(
        encode(1, &long, &[]),
        Err(WriteError::UniqueId { len: 65 })
    ));
    let mut twice = entries(1);
    twice.push(twice[0]);
    assert!(matches!(
        encode(1, "", &twice),
        Err(WriteError::UidOrder {
            uid: 3,
            previous: 3
        })
    ));
    let writer = CacheWriter::new(Vec::new(), 1, "", 2).expect("sound");
    assert!(matches!(
        writer.finish(),
        Err(WriteError::Count {
            expected: 2,
            got: 0
        })
    ));
}

#[test]
fn a_changed_file_is_noticed() {
    let entry = entries(1)[0];
    assert!(entry.still_same(&entry.stamp, entry.size));
    assert!(!entry.still_same(&entry.stamp, entry.size + 1));
    let later = Stamp {
        ctime_ns: entry.stamp.ctime_ns + 1,
        ..entry.stamp
    };
    assert!(!entry.still_same(&later, entry.size));
}

/// The file was made by a few lines of Python that know only what docs/formats.md says.
#[test]
fn a_file_made_from_the_description_alone_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/sha1s/many");
    let bytes = std::fs::read(path).expect("corpus");
    let cache = open(&bytes[1..]).expect("whole");
    assert_eq!(
        (cache.len(), cache.uidvalidity(), cache.uniqueid()),
        (79, 7, "6t1vo4vdbkrdyc31bte53jwh")
    );
    let entry = cache.get(79).expect("the last");
    assert_eq!(
        (entry.size, entry.stamp.inode, entry.stamp.ctime_ns),
        (790, 84, 79 << 31)
    );
}
