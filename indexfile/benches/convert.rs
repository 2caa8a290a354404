//! Converting version 9 to 10 beside a plain copy of the result, both with fsync.
//!
//! `RECORDS=200000,5000000 cargo bench -p indexfile` (default 200000). The files lie in
//! `BENCH_DIR`, by default the target directory, so that both sides meet the same file system.

use criterion::{Criterion, Throughput};
use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::{Decision, FileKind, Guid, IndexFile, RecordGuid, StreamCopy, Uuid, WriteBehind};
use std::convert::Infallible;
use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn records() -> Vec<u32> {
    let text = std::env::var("RECORDS").unwrap_or_else(|_| "200000".to_owned());
    text.split(',')
        .map(|n| n.trim().parse().expect("RECORDS is a list of numbers"))
        .collect()
}

fn directory() -> PathBuf {
    std::env::var_os("BENCH_DIR").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).to_path_buf(),
        PathBuf::from,
    )
}

/// A version 9 file of `n` records, each with a UUID of schema 1.
fn version_9(path: &Path, n: u32) {
    let record = |uid: u32| {
        let mut uuid = [1, 5, 0, 0x46, 0xb0, 0xc0, 0xde, 0, 7, 0, 0, 0];
        uuid[8..].copy_from_slice(&uid.to_be_bytes());
        BuildRecord {
            uid,
            size: 4000 + uid % 977,
            guid: RecordGuid::Uuid(Uuid::from_bytes(uuid)),
            modseq: u64::from(uid) + 2,
            ..BuildRecord::default()
        }
    };
    let bytes = IndexBuilder::new(9, FileKind::Index)
        .records((1..=n).map(record))
        .to_bytes();
    std::fs::write(path, bytes.expect("fits")).expect("write");
}

/// A stand-in for looking a GUID up: all bytes differ, none costs anything to speak of.
fn guid(uid: u32) -> Guid {
    let mut bytes = [0xa5; 20];
    bytes[..4].copy_from_slice(&uid.to_be_bytes());
    Guid::from_bytes(bytes)
}

fn convert(from: &Path, to: &Path) {
    let index = IndexFile::open(from, FileKind::Index).expect("sound");
    let file = File::create(to).expect("create");
    let copy = StreamCopy::new(&index).to_version(10);
    let report = copy
        .write(&mut WriteBehind::new(&file), |r| {
            Ok::<_, Infallible>(Decision::Alter(guid(r.uid())))
        })
        .expect("convert");
    file.sync_all().expect("fsync");
    black_box(report);
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("copy");
    File::open(to).and_then(|f| f.sync_all()).expect("fsync");
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let scratch = tempfile::tempdir_in(directory()).expect("scratch directory");
    for n in records() {
        let [old, new, target] =
            ["v9", "v10", "target"].map(|name| scratch.path().join(format!("{name}-{n}")));
        version_9(&old, n);
        convert(&old, &new);
        let mut group = criterion.benchmark_group(format!("{n} records"));
        group.throughput(Throughput::Bytes(new.metadata().expect("stat").len()));
        group.measurement_time(Duration::from_secs(20));
        group.bench_function("cp and fsync", |b| {
            b.iter(|| copy(&new, &target));
        });
        group.bench_function("convert 9 to 10 and fsync", |b| {
            b.iter(|| convert(&old, &target));
        });
        group.finish();
        for path in [old, new, target] {
            std::fs::remove_file(path).expect("remove");
        }
    }
    criterion.final_summary();
}
