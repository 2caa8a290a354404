//! Somebody truncates live files, or copies others over them in place (`cp backup/cyrus.index
//! live/`), while slotd and precompute read them: each ends with success or a refusal. No signal
//! ends them, and slotd serves its other connections all the while.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::{FileKind, Guid, RecordGuid};
use stores::Host;
use stores::genuine::unpack_239;
use tests::fleet::program;
use tests::process::{Guard, Slotd};
use tests::wire::Wire;

const HUGE: &str = "user.huge";
const OTHER: &str = "user.alice";
const RECORDS: u32 = 30_000;

fn index(kind: FileKind, uids: impl Iterator<Item = u32>, old_style: u32) -> Vec<u8> {
    let record = |uid: u32| {
        let mut guid = [7; 20];
        guid[..4].copy_from_slice(&uid.to_be_bytes());
        if uid <= old_style {
            guid[12..].fill(0);
        }
        BuildRecord {
            uid,
            size: 1,
            modseq: 9,
            guid: RecordGuid::Guid(Guid::from_bytes(guid)),
            ..BuildRecord::default()
        }
    };
    let builder = IndexBuilder::new(10, kind).last_uid(RECORDS + 6000);
    builder.records(uids.map(record)).to_bytes().expect("fits")
}

/// Files and what they hold when nobody disturbs them.
struct Vandal(Vec<(PathBuf, Vec<u8>)>);

impl Vandal {
    /// Truncates each at random, and writes it again as `cp` does, until `stop`.
    fn rage(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            for (path, good) in &self.0 {
                // It may have been replaced by rename, or not made yet.
                let Ok(cut) = File::options().write(true).open(path) else {
                    continue;
                };
                cut.set_len(fastrand::u64(..good.len() as u64)).unwrap();
                std::thread::sleep(Duration::from_micros(fastrand::u64(..2000)));
                let mut again = File::create(path).unwrap();
                for piece in good.chunks(128 << 10) {
                    again.write_all(piece).unwrap();
                }
                std::thread::sleep(Duration::from_micros(fastrand::u64(..15_000)));
            }
        }
    }

    fn disturb(&self, act: impl FnOnce()) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| self.rage(&stop));
            // It must end also if what is disturbed fails the test.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            stop.store(true, Ordering::Relaxed);
            if let Err(panic) = ended {
                std::panic::resume_unwind(panic);
            }
        });
        for (path, good) in &self.0 {
            fs::write(path, good).unwrap();
        }
    }
}

/// A mailbox of many records in the 2.3.9 store; it has messages 1 to `messages`, which have
/// old-style GUIDs.
fn huge(host: &Host, messages: u32) -> (PathBuf, PathBuf) {
    let alice = host.dirs(OTHER);
    let sibling = |dir: &Path| dir.with_file_name("huge");
    let (data, meta) = (sibling(&alice.data), sibling(&alice.meta));
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(&meta).unwrap();
    fs::copy(alice.meta.join("cyrus.header"), meta.join("cyrus.header")).unwrap();
    let expunged = (RECORDS + 1..=RECORDS + 5000).rev();
    for (kind, bytes) in [
        (
            FileKind::Index,
            index(FileKind::Index, 1..=RECORDS, messages),
        ),
        (
            FileKind::Expunge,
            index(FileKind::Expunge, expunged, messages),
        ),
    ] {
        fs::write(meta.join(kind.file_name()), bytes).unwrap();
    }
    for uid in 1..=messages {
        fs::write(data.join(format!("{uid}.")), b"m").unwrap();
    }
    (data, meta)
}

fn vandal(meta: &Path, names: &[&str]) -> Vandal {
    let of = |name: &&str| {
        let path = meta.join(name);
        let good = fs::read(&path).unwrap();
        (path, good)
    };
    Vandal(names.iter().map(of).collect())
}

#[test]
fn slotd_survives_live_files_that_are_truncated_while_it_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let (_, meta) = huge(&host, 0);
    let vandal = vandal(&meta, &["cyrus.index", "cyrus.expunge"]);
    let mut slotd = Slotd::start(&program("slotd"), &host, &[]);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    let mut other = Wire::connect(&slotd.addr).unwrap();
    let (mut done, mut refused) = (0, 0);
    vandal.disturb(|| {
        let prepare = format!("PREPARE {HUGE} 9 uuids=cut");
        let lock = format!("LOCK {HUGE} wait_ms=1000");
        let (status, verify) = (format!("STATUS {HUGE}"), format!("VERIFY {HUGE} sample=0"));
        for round in 0..25 {
            let steps = [
                status.as_str(),
                &verify,
                if round % 2 == 0 { &prepare } else { &status },
                &lock,
                "UPGRADE 9 uuids=cut",
                "ROLLBACK",
            ];
            for step in steps {
                let reply = wire.ask(step);
                if reply.starts_with("OK") {
                    done += 1;
                } else {
                    assert!(reply.starts_with("NO ["), "{step}: {reply}");
                    refused += 1;
                }
            }
            other.must(&format!("STATUS {OTHER}"));
        }
    });
    assert!(slotd.alive());
    assert!(done > 25 && refused > 5, "{done} done, {refused} refused");
    // And when nobody disturbs it any more.
    wire.must(&format!("LOCK {HUGE} wait_ms=1000"));
    wire.must("UPGRADE 9 uuids=cut");
    wire.must("COMMIT");
    assert_eq!(slotd.stop().code, Some(0));
}

/// The rename of COMMIT would silently undo what the operator restored.
#[test]
fn an_index_that_was_copied_over_in_place_under_the_lock_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let (_, meta) = huge(&host, 0);
    let slotd = Slotd::start(&program("slotd"), &host, &[]);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    for name in ["cyrus.index", "cyrus.expunge"] {
        let path = meta.join(name);
        let was = fs::read(&path).unwrap();
        let mut backup = was.clone();
        let at = backup.len() - 40;
        backup[at] ^= 1;
        wire.must(&format!("LOCK {HUGE} wait_ms=1000"));
        wire.must("UPGRADE 9 uuids=cut");
        // As `cp` does it: the same inode, the same length.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, &backup).unwrap();
        let reply = wire.ask("COMMIT");
        assert!(reply.starts_with("NO [DAMAGED]"), "{reply}");
        assert!(
            reply.contains("was written to while we held its lock"),
            "{reply}"
        );
        let _ = wire.ask("ROLLBACK");
        assert_eq!(fs::read(&path).unwrap(), backup, "{name} is as it was left");
        fs::write(&path, &was).unwrap();
    }
    assert_eq!(slotd.stop().code, Some(0));
}

#[test]
fn precompute_survives_files_that_are_truncated_while_it_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let (_, meta) = huge(&host, 6000);
    let run = |args: &[&str]| {
        let mut command = Command::new(program("precompute"));
        command.args(args).arg("--imapd-conf").arg(&host.conf);
        Guard::spawn(&mut command).finish()
    };
    run(&["run", "--quiet"]);
    let vandal = vandal(&meta, &["cyrus.index", "cyrus.expunge", "cyrus.sha1s"]);
    let mut codes = Vec::new();
    vandal.disturb(|| {
        for _ in 0..2 {
            for args in [
                ["run", "--quiet"].as_slice(),
                &["run", "--quiet", "--look-at-all"],
                &["scrub", "--quiet"],
                &["verify"],
            ] {
                let ended = run(args);
                let code = ended
                    .code
                    .unwrap_or_else(|| panic!("{args:?} was killed by a signal; {}", ended.stderr));
                assert!(
                    [0, 65, 74, 75].contains(&code) && !ended.stderr.contains("panicked"),
                    "{args:?}: {code} {}",
                    ended.stderr
                );
                codes.push(code);
            }
        }
    });
    assert!(codes.iter().any(|code| *code != 0), "{codes:?}");
}
