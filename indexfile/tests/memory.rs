//! Memory does not grow with the file: neither what is allocated nor what is mapped.

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::{Decision, FileKind, Guid, IndexFile, StreamCopy};
use std::convert::Infallible;
use std::path::Path;

/// A field of /proc/self/status in KiB.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = text
        .lines()
        .find(|l| l.starts_with(field))
        .expect("the field");
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

/// Writes a file of `n` records in steps, so that making it takes no memory either.
fn big(path: &Path, n: u32) {
    use std::io::Write;
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).expect("create"));
    let header = IndexBuilder::new(9, FileKind::Index)
        .set(indexfile::HeaderField::Exists, u64::from(n))
        .last_uid(n);
    out.write_all(&header.to_bytes().expect("fits"))
        .expect("write");
    for first in (1..=n).step_by(5000) {
        let records = (first..(first + 5000).min(n + 1)).map(|uid| BuildRecord {
            uid,
            ..BuildRecord::default()
        });
        let some = IndexBuilder::new(9, FileKind::Index).records(records);
        out.write_all(&some.to_bytes().expect("fits")[96..])
            .expect("write");
    }
    out.flush().expect("write");
}

#[test]
fn a_large_file_is_converted_in_16_mib() {
    const MIB: u64 = 1024;
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("cyrus.index");
    // 40 MB in, 44 MB out.
    big(&path, 500_000);
    let before = (status("RssAnon"), status("RssFile"));
    let index = IndexFile::open(&path, FileKind::Index).expect("sound");
    let (mut anonymous, mut mapped, mut seen) = (0, 0, 0_u32);
    let mut out = std::fs::File::create(dir.path().join("out")).expect("create");
    let copy = StreamCopy::new(&index).to_version(10);
    let report = copy.write(&mut out, |_| {
        seen += 1;
        if seen.is_multiple_of(5000) {
            anonymous = anonymous.max(status("RssAnon"));
            mapped = mapped.max(status("RssFile"));
        }
        Ok::<_, Infallible>(Decision::Alter(Guid::from_bytes([1; 20])))
    });
    assert_eq!(report.expect("convert").altered, 500_000);
    assert!(
        anonymous < before.0 + 16 * MIB,
        "{anonymous} KiB anonymous, {} before",
        before.0
    );
    assert!(
        mapped < before.1 + 16 * MIB,
        "{mapped} KiB mapped, {} before",
        before.1
    );
}
