//! Stores of every kind, sound, damaged and alive.

mod damage;
mod fixtures;
mod live;
mod partitions;
mod targets;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::{FileKind, Guid, RecordGuid};
use tempfile::TempDir;

use super::{Counters, Options, Summary};
use crate::governor::Governor;
use crate::hash::sha1_of;
use crate::store::{self, Step, Target};
use indexfile::finding::{Code, Finding};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path)
}

/// A mailbox in the root of a plain tree, whether it exists or not.
fn plain(data: &Path, meta: Option<&Path>, archive: Option<&Path>) -> Target {
    let store = store::Store::plain(data, meta, archive);
    let target = store.target(&"plain".into(), Path::new(""));
    Target {
        named: true,
        ..target.expect("plain")
    }
}

fn options(settle: Duration) -> Options {
    Options {
        jobs: 4,
        settle,
        ..Options::default()
    }
}

fn scrub_with(
    steps: impl Iterator<Item = Step> + Send,
    options: &Options,
) -> (Summary, Vec<Finding>) {
    let findings = Mutex::new(Vec::new());
    let summary = super::run(
        steps,
        options,
        &Governor::new(None),
        &Counters::default(),
        |finding: &Finding| {
            findings.lock().expect("no panic").push(finding.clone());
        },
    )
    .expect("threads");
    let mut findings = findings.into_inner().expect("no panic");
    findings.sort_by(|a, b| {
        (&a.mailbox, a.compared.uid, a.code).cmp(&(&b.mailbox, b.compared.uid, b.code))
    });
    assert_eq!(usize::try_from(summary.findings), Ok(findings.len()));
    (summary, findings)
}

/// Scrubs mailboxes that do not change meanwhile.
fn scrub(mailboxes: impl IntoIterator<Item = Target>) -> (Summary, Vec<Finding>) {
    let steps: Vec<Step> = mailboxes.into_iter().map(Ok).collect();
    scrub_with(steps.into_iter(), &options(Duration::from_millis(30)))
}

fn codes(findings: &[Finding]) -> Vec<(&'static str, Option<u32>)> {
    findings
        .iter()
        .map(|finding| (finding.code.name(), finding.compared.uid))
        .collect()
}

fn body(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b' ' + (state % 90) as u8
        })
        .collect()
}

fn record(uid: u32, message: &[u8]) -> BuildRecord {
    BuildRecord {
        uid,
        size: u32::try_from(message.len()).expect("small"),
        guid: RecordGuid::Guid(Guid::from_bytes(sha1_of(message))),
        ..BuildRecord::default()
    }
}

/// A mailbox in a directory of its own.
struct Store {
    dir: TempDir,
    minor: u32,
    records: Vec<BuildRecord>,
    expunged: Vec<BuildRecord>,
}

impl Store {
    /// With messages 1 to `count`.
    fn new(minor: u32, count: u32) -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        let mut store = Self {
            dir,
            minor,
            records: Vec::new(),
            expunged: Vec::new(),
        };
        for uid in 1..=count {
            let message = body(u64::from(uid), 100 + uid as usize * 37 % 5000);
            std::fs::write(store.file(uid), &message).expect("write");
            store.records.push(record(uid, &message));
        }
        store.write();
        store
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, uid: u32) -> PathBuf {
        self.path().join(format!("{uid}."))
    }

    fn bytes(&self, kind: FileKind) -> Vec<u8> {
        let records = if kind == FileKind::Index {
            &self.records
        } else {
            &self.expunged
        };
        IndexBuilder::new(self.minor, kind)
            .records(records.iter().copied())
            .to_bytes()
            .expect("builds")
    }

    fn write(&self) {
        std::fs::write(self.path().join("cyrus.index"), self.bytes(FileKind::Index))
            .expect("write");
        if !self.expunged.is_empty() {
            std::fs::write(
                self.path().join("cyrus.expunge"),
                self.bytes(FileKind::Expunge),
            )
            .expect("write");
        }
    }

    fn mailbox(&self) -> Target {
        plain(self.path(), None, None)
    }

    fn scrub(&self) -> (Summary, Vec<Finding>) {
        scrub([self.mailbox()])
    }

    fn clean(&self) -> Summary {
        let (summary, findings) = self.scrub();
        assert_eq!(findings, [], "nothing is wrong");
        summary
    }
}

/// Inverts one bit of a file, in place.
fn flip(path: &Path, bit: u64) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[usize::try_from(bit / 8).expect("small")] ^= 1 << (bit % 8);
    std::fs::write(path, bytes).expect("write");
}

fn is(findings: &[Finding], code: Code) -> bool {
    findings.len() == 1 && findings[0].code == code
}
