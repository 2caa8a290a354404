//! Caches are replaced whole, by one writer at a time, and look like the index.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use indexfile::Guid;
use indexfile::dir::Dir;

fn entries(n: u32) -> Vec<Entry> {
    (1..=n)
        .map(|uid| Entry {
            uid,
            size: u64::from(uid) * 10,
            stamp: Stamp {
                mtime_ns: 1,
                ctime_ns: 2,
                inode: 3,
            },
            guid: Guid::from_bytes([uid.to_le_bytes()[0]; 20]),
        })
        .collect()
}

struct Scratch {
    dir: tempfile::TempDir,
    open: Dir,
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        let open = Dir::open_root(dir.path()).expect("open");
        Self { dir, open }
    }

    fn put(&self, n: u32) -> Result<(), StoreError> {
        let owner = Owner {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            mode: 0o640,
        };
        let all = entries(n).into_iter().map(Ok);
        replace(&self.open, owner, (7, "id"), n, all)
    }

    fn found(&self, uidvalidity: u32, uniqueid: &str) -> Found {
        find(&self.open, uidvalidity, uniqueid).expect("readable")
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path())
            .expect("list")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_cache_is_found_again_only_for_its_own_mailbox() {
    let dir = Scratch::new();
    assert!(matches!(dir.found(7, "id"), Found::Absent));
    dir.put(5).expect("written");
    let Found::Good(cache) = dir.found(7, "id") else {
        panic!("good");
    };
    assert_eq!(
        cache.iter().map(Result::unwrap).collect::<Vec<_>>(),
        entries(5)
    );
    assert!(matches!(dir.found(8, "id"), Found::Foreign));
    assert!(matches!(dir.found(7, "other"), Found::Foreign));
    assert_eq!(dir.names(), [FILE_NAME]);
}

#[test]
fn the_cache_has_the_mode_of_the_index_and_a_new_inode() {
    let dir = Scratch::new();
    dir.put(5).expect("written");
    let path = dir.dir.path().join(FILE_NAME);
    let first = fs::metadata(&path).expect("there");
    assert_eq!(first.permissions().mode() & 0o7777, 0o640);
    let open = fs::File::open(&path).expect("open");
    dir.put(6).expect("written");
    assert_ne!(fs::metadata(&path).expect("there").ino(), first.ino());
    assert_eq!(
        open.metadata().expect("stat").len(),
        first.len(),
        "the old one is not touched"
    );
}

#[test]
fn what_a_killed_run_left_is_taken_over_or_swept() {
    let dir = Scratch::new();
    let path = dir.dir.path().join(TEMPORARY);
    fs::write(&path, vec![1; 100_000]).expect("stray");
    dir.put(3).expect("written");
    assert_eq!(dir.names(), [FILE_NAME]);
    assert!(matches!(dir.found(7, "id"), Found::Good(c) if c.len() == 3));
    fs::write(&path, "stray").expect("stray");
    assert!(sweep(&dir.open).expect("swept"));
    assert!(!sweep(&dir.open).expect("nothing"));
    assert_eq!(dir.names(), [FILE_NAME]);
}

#[test]
fn two_runs_do_not_write_one_cache_together() {
    let dir = Scratch::new();
    let path = dir.dir.path().join(TEMPORARY);
    let other = fs::File::create(&path).expect("create");
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).expect("lock");
    assert!(matches!(dir.put(3), Err(StoreError::Busy { .. })));
    assert!(!sweep(&dir.open).expect("left alone"));
    assert!(path.exists());
    drop(other);
    dir.put(3).expect("free now");
}

#[test]
fn a_failure_leaves_the_old_cache_and_no_temporary_file() {
    let dir = Scratch::new();
    dir.put(3).expect("written");
    let owner = Owner::of(&dir.open).expect("stat");
    let mut bad = entries(2);
    bad.reverse();
    let all = bad.into_iter().map(Ok);
    let result = replace(&dir.open, owner, (7, "id"), 2, all);
    assert!(matches!(result, Err(StoreError::Write { .. })));
    assert!(matches!(dir.found(7, "id"), Found::Good(c) if c.len() == 3));
    assert_eq!(dir.names(), [FILE_NAME]);
}

#[test]
fn a_directory_that_was_removed_is_gone_not_an_io_error() {
    let dir = Scratch::new();
    fs::remove_dir(dir.dir.path()).expect("rmdir");
    assert!(matches!(dir.put(3), Err(StoreError::Vanished { .. })));
}
