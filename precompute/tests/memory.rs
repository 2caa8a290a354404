//! Memory does not grow with a mailbox: index and cache are read through windows.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::{FileKind, Guid, HeaderField, RecordGuid};
use nix::sys::resource::{UsageWho, getrusage};
use precompute::cache::{CacheWriter, Entry, Stamp};

fn guid(uid: u32) -> Guid {
    let mut bytes = [7; 20];
    bytes[..4].copy_from_slice(&uid.to_be_bytes());
    Guid::from_bytes(bytes)
}

/// A mailbox of `n` records with GUIDs, and a cache of as many entries; made in steps, as this
/// process is to stay small as well.
fn mailbox(root: &Path, n: u32) {
    let dir = root.join("spool/user/joe");
    fs::create_dir_all(&dir).expect("mkdir");
    let conf = format!("partition-default: {}/spool\n", root.display());
    fs::write(root.join("imapd.conf"), conf).expect("write");
    let header = "../fixtures/cyrus-2.3.16/a-v9-before/cyrus.header";
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join(header);
    fs::copy(header, dir.join("cyrus.header")).expect("fixture");
    let mut out = BufWriter::new(File::create(dir.join("cyrus.index")).expect("create"));
    let header = IndexBuilder::new(10, FileKind::Index)
        .set(HeaderField::Exists, u64::from(n))
        .last_uid(n);
    out.write_all(&header.to_bytes().expect("fits"))
        .expect("write");
    for first in (1..=n).step_by(5000) {
        let records = (first..(first + 5000).min(n + 1)).map(|uid| BuildRecord {
            uid,
            size: 9,
            guid: RecordGuid::Guid(guid(uid)),
            ..BuildRecord::default()
        });
        let some = IndexBuilder::new(10, FileKind::Index).records(records);
        out.write_all(&some.to_bytes().expect("fits")[96..])
            .expect("write");
    }
    out.flush().expect("write");
    let uniqueid = indexfile::mailbox::HeaderFile::open(&dir.join("cyrus.header"));
    let uniqueid = uniqueid.expect("sound").uniqueid;
    let out = BufWriter::new(File::create(dir.join("cyrus.sha1s")).expect("create"));
    let uidvalidity = indexfile::IndexFile::open(&dir.join("cyrus.index"), FileKind::Index);
    let uidvalidity = uidvalidity.expect("sound").header().uidvalidity();
    let mut cache = CacheWriter::new(out, uidvalidity, &uniqueid, n).expect("begin");
    for uid in 1..=n {
        let entry = Entry {
            uid,
            size: 9,
            stamp: Stamp::default(),
            guid: guid(uid),
        };
        cache.push(&entry).expect("write");
    }
    cache.finish().expect("write").flush().expect("write");
}

/// The largest resident size so far of any child, KiB.
fn peak() -> i64 {
    getrusage(UsageWho::RUSAGE_CHILDREN)
        .expect("getrusage")
        .max_rss()
}

#[test]
fn no_command_takes_more_memory_for_a_mailbox_twenty_times_as_large() {
    let mut peaks = Vec::new();
    for n in [10_000, 200_000] {
        let dir = tempfile::tempdir().expect("scratch");
        mailbox(dir.path(), n);
        let conf = dir.path().join("imapd.conf");
        let cache = dir.path().join("spool/user/joe/cyrus.sha1s");
        let list = dir.path().join("list");
        let mut lines = BufWriter::new(File::create(&list).expect("create"));
        for uid in (1..=n).rev() {
            let message = dir.path().join(format!("spool/user/joe/{uid}."));
            writeln!(lines, "{}  {}", guid(uid), message.display()).expect("write");
        }
        lines.flush().expect("write");
        let mut import = Command::new(env!("CARGO_BIN_EXE_precompute"));
        import.args(["import", "--all-messages", "--as-of", "1", "--imapd-conf"]);
        import.arg(&conf).arg(&list).stdout(Stdio::null());
        assert_eq!(import.status().expect("starts").code(), Some(0));
        for args in [
            // With the survey that progress needs.
            ["run", "--line-every", "1", "--imapd-conf"].as_slice(),
            &["run", "--look-at-all", "--quiet", "--imapd-conf"],
            &["show"],
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_precompute"));
            let of = if args == ["show"] { &cache } else { &conf };
            command.args(args).arg(of);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let status = command.status().expect("starts");
            assert_eq!(status.code(), Some(0), "{args:?}");
        }
        peaks.push(peak());
    }
    // 17 MB of index and 11 of cache more.
    assert!(peaks[1] < peaks[0] + 4096, "{peaks:?} KiB");
}
