//! One look instead of two: it is taken for mail at rest, and never for mail that moved.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::FirstPart;
use super::single_stat::Clocks;
use super::*;
use crate::hash::lanes::Lanes;
use crate::hash::{Kernel, sha1_of};

/// Longer than the margin, so that files made before it are old enough.
const AGE: Duration = Duration::from_millis(2_300);

/// Counts the looks that came before the reading, and moves the clocks.
#[derive(Default)]
struct Counting<'a> {
    single_stat: bool,
    /// Messages that were read in the plain way.
    plain: usize,
    /// Added to the wall clock at each asking.
    step: i64,
    asked: i64,
    /// Done after the first time that the clocks were asked.
    meddle: Option<&'a dyn Fn()>,
}

impl Gate for &mut Counting<'_> {
    fn single_stat(&mut self) -> bool {
        self.single_stat
    }

    fn read(&mut self, bytes: u64) -> bool {
        self.plain += usize::from(bytes > 0);
        true
    }

    fn clocks(&mut self) -> Clocks {
        let mut now = Clocks::now();
        let off = self.step * self.asked;
        self.asked += 1;
        now.ahead_least += off;
        now.ahead_most += off;
        if let Some(meddle) = self.meddle.take() {
            meddle();
        }
        now
    }
}

fn hash(dir: &Path, uids: RangeInclusive<u32>, gate: &mut Counting<'_>) -> Vec<(u32, Hashed)> {
    let spool = Spool::open(dir).expect("it was just made");
    let mut out = Vec::new();
    let sink = |uid, result: Result<Hashed, MessageError>| out.push((uid, result.expect("sound")));
    let aside = Hasher::new(&spool, uids, sink, gate).run(&mut Lanes::new(Kernel::detect()));
    assert!(aside.is_empty());
    out.sort_by_key(|(uid, _)| *uid);
    out
}

/// What it is called, and how it is done to a file.
type Change = (&'static str, fn(&Path));

fn body(uid: u32) -> Vec<u8> {
    // Empty, small, just as large as a lane's buffer, and larger.
    let len = [0, 700, 65_536, 200_000][uid as usize % 4];
    (0..len)
        .map(|i: u32| (i % 251 + uid).to_le_bytes()[0])
        .collect()
}

/// Messages 1 to `uids`, made now.
fn messages(uids: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("scratch");
    for uid in 1..=uids {
        fs::write(path(dir.path(), uid), body(uid)).expect("write");
    }
    dir
}

fn path(dir: &Path, uid: u32) -> PathBuf {
    dir.join(format!("{uid}."))
}

fn right(dir: &Path, hashed: &[(u32, Hashed)], uids: usize) {
    assert_eq!(hashed.len(), uids);
    for (uid, hashed) in hashed {
        let bytes = fs::read(path(dir, *uid)).expect("there");
        assert_eq!(hashed.guid.as_bytes(), &sha1_of(&bytes), "{uid}");
        assert_eq!(hashed.size, bytes.len() as u64);
        let now = Spool::open(dir).expect("there").stat(*uid).expect("there");
        assert_eq!(hashed.stamp, now.stamp);
    }
}

#[test]
fn mail_at_rest_is_looked_at_once_and_mail_that_moved_twice() {
    let (dir, steps, young) = (messages(100), messages(100), messages(1));
    let dir = dir.path();
    let local = Spool::open(dir).expect("there").local_times().is_some();
    let counting = || Counting {
        single_stat: true,
        ..Counting::default()
    };

    // Just made: too young for one look.
    let mut gate = counting();
    right(young.path(), &hash(young.path(), 1..=1, &mut gate), 1);
    assert_eq!(gate.plain, 1, "it was looked at before it was read");

    std::thread::sleep(AGE);
    let mut gate = counting();
    right(dir, &hash(dir, 1..=100, &mut gate), 100);
    // What is larger than a buffer is read on after the look: 25 files of 200,000 bytes, 3 more
    // parts; of the others, 75 have a first part.
    let rest = 25 * 3;
    assert_eq!(gate.plain, if local { rest } else { 75 + rest });

    // The clock goes back a minute whenever it is asked: nothing that one look gave is believed.
    let mut gate = counting();
    gate.step = -60_000_000_000;
    right(steps.path(), &hash(steps.path(), 1..=100, &mut gate), 100);
    // All but the batch after which it was noticed are read again; that one, too.
    assert!(gate.plain >= 100, "{}", gate.plain);

    // Changed after the clocks were read: by what is written, and by what only hides it.
    let changes: [Change; 4] = [
        ("in place", |file| {
            use std::os::unix::fs::FileExt as _;
            let was = fs::metadata(file).expect("stat").modified().expect("mtime");
            let file = fs::OpenOptions::new().write(true).open(file).expect("open");
            file.write_all_at(b"changed", 20).expect("write");
            file.set_modified(was).expect("hide the change in mtime");
        }),
        ("longer", |file| {
            fs::write(file, vec![7; 50_000]).expect("write");
        }),
        ("shorter", |file| fs::write(file, "x").expect("write")),
        ("replaced", |file| {
            let new = file.with_extension("new");
            fs::write(&new, vec![3; 700]).expect("write");
            fs::rename(new, file).expect("rename");
        }),
    ];
    // Each of 700 bytes.
    for (uid, (name, change)) in [25, 29, 33, 37].into_iter().zip(&changes) {
        let victim = path(dir, uid);
        let meddle = || change(&victim);
        let mut gate = counting();
        gate.meddle = Some(&meddle);
        right(dir, &hash(dir, uid..=uid, &mut gate), 1);
        assert_eq!(gate.plain, 1, "{name}");
    }
    // The same between the reading and the look.
    let device = fs_device(dir);
    for (uid, (name, change)) in [5, 9, 13, 17].into_iter().zip(&changes) {
        let victim = path(dir, uid);
        let before = Clocks::now().coarse;
        let file = fs::File::open(&victim).expect("open");
        let mut buffer = vec![0; 65_536];
        let part = FirstPart::read(file.into(), &mut buffer).expect("readable");
        change(&victim);
        let looked = part.stat_after(before, device);
        // A file that was replaced is still there for us, whole, but has another ctime: no name.
        assert!(looked.is_err(), "{name}");
    }
    let mut buffer = vec![0; 65_536];
    let whole = fs::File::open(path(dir, 21)).expect("open");
    let part = FirstPart::read(whole.into(), &mut buffer).expect("readable");
    let before = Clocks::now().coarse;
    assert_eq!(part.stat_after(before, device).is_ok(), local);
    let other = fs::File::open(path(dir, 21)).expect("open");
    let part = FirstPart::read(other.into(), &mut buffer).expect("readable");
    assert!(
        part.stat_after(before, device + 1).is_err(),
        "another file system"
    );
}

fn fs_device(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(dir).expect("stat").dev()
}

#[test]
fn what_is_no_regular_file_is_not_read_from() {
    let dir = tempfile::tempdir().expect("scratch");
    let fifo = path(dir.path(), 1);
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let spool = Spool::open(dir.path()).expect("there");
    let mut writer = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .expect("both ends");
    std::io::Write::write_all(&mut writer, b"for somebody else").expect("space");
    let mut gate = Counting {
        single_stat: true,
        ..Counting::default()
    };
    let mut out = Vec::new();
    let sink = |_, result: Result<Hashed, MessageError>| out.push(result);
    Hasher::new(&spool, [1].into_iter(), sink, &mut gate).run(&mut Lanes::new(Kernel::detect()));
    assert!(
        matches!(out.as_slice(), [Err(MessageError::NotRegular { .. })]),
        "{out:?}"
    );
    let mut there = [0; 17];
    std::io::Read::read_exact(&mut writer, &mut there).expect("nothing was taken out");
    assert_eq!(&there, b"for somebody else");
}
