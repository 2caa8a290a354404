//! slotd's memory with one giant mailbox open: what it holds does not grow with the mailbox.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::{FileKind, Guid, HeaderField, RecordGuid, Uuid};
use stores::Host;
use stores::genuine::unpack_239;
use tests::attack::{LIMIT_KIB, peak};
use tests::fleet::program;
use tests::process::Slotd;
use tests::wire::{Wire, value};

const HUGE: &str = "user.huge";

/// Makes `user.huge` with an index of `n` records that have SHA-1s, in steps; it has no messages.
fn huge(host: &Host, n: u32) {
    let alice = host.dirs("user.alice");
    let sibling = |dir: &Path| dir.with_file_name("huge");
    let (data, meta) = (sibling(&alice.data), sibling(&alice.meta));
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(&meta).unwrap();
    fs::copy(alice.meta.join("cyrus.header"), meta.join("cyrus.header")).unwrap();
    write(&meta.join("cyrus.index"), 10, n, |uid| {
        let mut guid = [7; 20];
        guid[..4].copy_from_slice(&uid.to_be_bytes());
        RecordGuid::Guid(Guid::from_bytes(guid))
    });
    // What an upgrade replaced.
    write(&meta.join("cyrus.index.OLD"), 9, n, |uid| {
        let mut uuid = [3; 12];
        uuid[..4].copy_from_slice(&uid.to_be_bytes());
        RecordGuid::Uuid(Uuid::from_bytes(uuid))
    });
}

/// An index of `n` records.
fn write(path: &Path, version: u32, n: u32, guid: impl Fn(u32) -> RecordGuid) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    let header = IndexBuilder::new(version, FileKind::Index)
        .set(HeaderField::Exists, u64::from(n))
        .last_uid(n);
    out.write_all(&header.to_bytes().unwrap()).unwrap();
    for first in (1..=n).step_by(5000) {
        let records = (first..(first + 5000).min(n + 1)).map(|uid| BuildRecord {
            uid,
            size: 9,
            modseq: 5,
            guid: guid(uid),
            ..BuildRecord::default()
        });
        let some = IndexBuilder::new(version, FileKind::Index).records(records);
        out.write_all(&some.to_bytes().unwrap()[96..]).unwrap();
    }
    out.flush().unwrap();
}

#[test]
fn slotd_with_a_mailbox_of_a_million_records_stays_below_64_mib() {
    stays_below(1_000_000);
}

#[test]
#[ignore = "the same as the test of a million, three times as long"]
fn slotd_with_a_mailbox_of_three_million_records_stays_below_64_mib() {
    stays_below(3_000_000);
}

/// More than are kept until it is looked again whether they are records still.
#[test]
fn of_messages_that_are_all_missing_each_is_counted_and_the_first_are_listed() {
    let n = 150_000;
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    huge(&host, n);
    let slotd = Slotd::start(&program("slotd"), &host, &[]);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    let found = wire.must(&format!("VERIFY {HUGE}"));
    for key in ["checked", "bad"] {
        assert_eq!(value(&found, key), Some(&*n.to_string()), "{key}");
    }
    let list: Vec<_> = value(&found, "list").unwrap().split(',').collect();
    let first = (1..=500).map(|uid| format!("{uid}%3Amissing"));
    assert!(list.iter().copied().eq(first), "{:?}", &list[..5]);
    assert!(peak(slotd.pid()) < LIMIT_KIB);
    assert_eq!(slotd.stop().code, Some(0));
}

fn stays_below(n: u32) {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    huge(&host, n);
    let slotd = Slotd::start(&program("slotd"), &host, &["--max-lock", "600"]);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    let digest = |reply: &str| value(reply, "digest").map(ToOwned::to_owned);
    let status = wire.must(&format!("STATUS {HUGE}"));
    assert_eq!(
        digest(&status),
        digest(&wire.must(&format!("VERIFY {HUGE} sample=0")))
    );
    let plain = {
        wire.must(&format!("LOCK {HUGE} wait_ms=1000"));
        let plain = wire.must("UPGRADE 9 uuids=cut");
        wire.must("GUIDS from=500000");
        wire.must("ROLLBACK");
        plain
    };
    wire.must(&format!("PREPARE {HUGE} 9 uuids=cut"));
    wire.must(&format!("LOCK {HUGE} wait_ms=1000"));
    let prepared = wire.must("UPGRADE 9 uuids=cut");
    assert_eq!(value(&prepared, "prepared"), Some("1"), "{prepared}");
    assert_eq!(digest(&prepared), digest(&plain));
    wire.must("COMMIT");
    // What only `.OLD` had is in cyrus.uuids now, and comes from there.
    for prepare in [false, true] {
        if prepare {
            wire.must(&format!("PREPARE {HUGE} 8 write=always"));
        }
        wire.must(&format!("LOCK {HUGE} wait_ms=1000"));
        let back = wire.must("UPGRADE 8");
        assert_eq!(value(&back, "restored"), Some(&*n.to_string()), "{back}");
        wire.must("ROLLBACK");
    }
    let peak = peak(slotd.pid());
    eprintln!("{n} records: {peak} KiB");
    assert!(peak < LIMIT_KIB, "{peak} KiB");
    assert_eq!(slotd.stop().code, Some(0));
}
