//! A file is truncated, or another is copied over it in place, while it is read. Each command
//! ends with success or with a sentence and its exit code; none is killed by a signal.

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::finding::Code;
use indexfile::sha1s::{Cache, Entry, Stamp, encode};
use indexfile::{FileKind, Guid, IndexFile, ReadError};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const RECORDS: u32 = 60_000;

fn index(minor: u32, kind: FileKind, uids: impl Iterator<Item = u32>) -> Vec<u8> {
    let records = uids.map(|uid| BuildRecord {
        uid,
        size: 100,
        modseq: 7,
        cache_offset: 4,
        ..BuildRecord::default()
    });
    let builder = IndexBuilder::new(minor, kind).records(records);
    builder.to_bytes().expect("fits")
}

fn sha1s() -> Vec<u8> {
    let entry = |uid: u32| Entry {
        uid,
        size: 100,
        stamp: Stamp::default(),
        guid: Guid::from_bytes([uid.to_le_bytes()[0] | 1; 20]),
    };
    let entries: Vec<Entry> = (1..=RECORDS).map(entry).collect();
    encode(1, "id", &entries).expect("sound")
}

/// A mailbox of large files, and where their good bytes are.
struct Victim {
    dir: tempfile::TempDir,
}

impl Victim {
    const NAMES: [&str; 4] = ["cyrus.index", "cyrus.expunge", "cyrus.cache", "cyrus.sha1s"];

    fn new() -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        let victim = Self { dir };
        // One cache record of ten empty items, then a long rest: its end is looked for by none.
        let mut cache = vec![0; 4 << 20];
        cache[3] = 0;
        let expunged = (RECORDS + 1..=RECORDS * 2).rev();
        for (name, bytes) in [
            ("cyrus.index", index(9, FileKind::Index, 1..=RECORDS)),
            ("cyrus.expunge", index(9, FileKind::Expunge, expunged)),
            ("cyrus.cache", cache),
            ("cyrus.sha1s", sha1s()),
        ] {
            fs::write(victim.path(name), &bytes).expect("write");
            fs::write(victim.good(name), &bytes).expect("write");
        }
        fs::write(victim.path("other"), index(9, FileKind::Index, 1..=RECORDS)).expect("write");
        victim
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn good(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("good-{name}"))
    }

    /// Truncates each file at random, and writes it again as `cp` does, until `stop`.
    fn vandalise(&self, stop: &AtomicBool, seed: u64) {
        let mut state = seed | 1;
        let mut random = |below: u64| {
            // xorshift
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below.max(1)
        };
        while !stop.load(Ordering::Relaxed) {
            for name in Self::NAMES {
                let good = fs::read(self.good(name)).expect("read");
                let cut = File::options().write(true).open(self.path(name));
                let cut = cut.expect("open");
                cut.set_len(random(good.len() as u64)).expect("truncate");
                std::thread::sleep(Duration::from_micros(random(3000)));
                // `cp good live`: truncated to nothing, then written from the start.
                let mut again = File::create(self.path(name)).expect("open");
                for piece in good.chunks(128 << 10) {
                    again.write_all(piece).expect("write");
                }
                std::thread::sleep(Duration::from_micros(random(30_000)));
            }
        }
        for name in Self::NAMES {
            fs::copy(self.good(name), self.path(name)).expect("copy");
        }
    }
}

/// Runs a command; its exit code, and never a signal or a panic.
fn run(args: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_indexfile"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .expect("start");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(
        out.status.signal(),
        None,
        "{args:?} was killed by a signal; {said}"
    );
    let code = out.status.code().expect("no signal, so a code");
    assert!([0, 65, 74].contains(&code), "{args:?}: {code} {said}");
    (code, said)
}

#[test]
fn a_file_that_is_truncated_while_it_is_read_ends_in_an_error_and_no_signal() {
    let victim = Victim::new();
    let text = |path: PathBuf| path.to_str().expect("text").to_owned();
    let [live, expunge, sha1s] =
        ["cyrus.index", "cyrus.expunge", "cyrus.sha1s"].map(|name| text(victim.path(name)));
    let (other, dir) = (text(victim.path("other")), text(victim.dir.path().into()));
    let out = text(victim.path("out"));
    let commands: [&[&str]; 9] = [
        &["dump", &live],
        &["dump", "--json", &expunge],
        &["check", &dir],
        &["check", &live],
        &["diff", "-q", &live, &other],
        &["diff", "-q", "--kind", "expunge", &expunge, &expunge],
        &["convert", "--to", "10", "--keep-guids", &live, &out],
        &["convert", "--to", "10", "--sha1s", &sha1s, &live, &out],
        &[
            "convert",
            "--to",
            "6",
            "--lossy",
            "--uuids-from",
            &expunge,
            &expunge,
            &out,
        ],
    ];
    let stop = AtomicBool::new(false);
    let mut codes = std::collections::BTreeMap::<i32, u32>::new();
    std::thread::scope(|scope| {
        scope.spawn(|| victim.vandalise(&stop, 0x5eed));
        // The vandal must end also if a command fails this test.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..6 {
                for command in commands {
                    let (code, _) = run(command);
                    *codes.entry(code).or_default() += 1;
                    // A half-written output is no output.
                    if code != 0 {
                        assert!(command[0] != "convert" || !Path::new(&out).exists());
                    }
                    let _ = fs::remove_file(&out);
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(codes.get(&65).is_some_and(|n| *n > 5), "{codes:?}");
    for command in &commands[4..7] {
        assert_eq!(run(command).0, 0, "{command:?} when nothing disturbs it");
        let _ = fs::remove_file(&out);
    }
}

#[test]
fn what_was_opened_and_is_cut_then_says_changed() {
    let dir = tempfile::tempdir().expect("scratch");
    let path = dir.path().join("cyrus.index");
    let bytes = index(9, FileKind::Index, 1..=RECORDS);
    fs::write(&path, &bytes).expect("write");
    let file = IndexFile::open(&path, FileKind::Index).expect("sound");
    let cut = File::options().write(true).open(&path).expect("open");
    cut.set_len(100_000).expect("truncate");
    let changed = |result: Result<(), ReadError>| match result {
        Err(error) if error.code() == Code::Changed => error.to_string(),
        other => panic!("{other:?}"),
    };
    let said = changed(file.verify());
    assert!(said.contains("became shorter while it was read"), "{said}");
    changed(file.record(RECORDS - 1).map(drop));
    changed(file.find_uid(RECORDS).map(drop));
    changed(file.to_bytes().map(drop));
    // What is still there can be read, and the error is the last item.
    let read: Vec<_> = file.records().collect();
    assert!(read.len() > 1000 && read.len() < 1300, "{}", read.len());
    assert!(read.iter().rev().skip(1).all(Result::is_ok));
    changed(read.into_iter().next_back().expect("one").map(drop));
    // It is written again, in place: an index as it was.
    fs::write(&path, &bytes).expect("write");
    file.verify().expect("sound");
}

#[test]
fn a_cache_that_is_cut_or_changed_in_place_gives_no_wrong_entry() {
    let dir = tempfile::tempdir().expect("scratch");
    let path = dir.path().join("cyrus.sha1s");
    let bytes = sha1s();
    fs::write(&path, &bytes).expect("write");
    let cache = Cache::open(&path).expect("whole");
    let first = cache.get(1).expect("there");
    let mut other = bytes.clone();
    other[bytes.len() / 2] ^= 1;
    fs::write(&path, &other).expect("write");
    let gone = (1..=RECORDS)
        .filter(|uid| cache.get(*uid).is_none())
        .count();
    assert_eq!(gone, 72, "the block whose checksum is wrong");
    let cut = File::options().write(true).open(&path).expect("open");
    cut.set_len(100_000).expect("truncate");
    assert_eq!(cache.get(1), Some(first));
    assert!(cache.find(RECORDS).is_err());
    assert!(cache.iter().last().expect("an item").is_err());
}
