//! Messages that are odd, in the way, or change while they are read.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::*;
use crate::hash::lanes::Lanes;
use crate::hash::{Kernel, sha1_of};

fn spool(dir: &Path) -> Spool {
    Spool::open(dir).expect("it was just made")
}

fn all(spool: &Spool, uids: &[u32]) -> Vec<(u32, Result<Hashed, String>)> {
    let mut out = Vec::new();
    let mut lanes = Lanes::new(Kernel::detect());
    let sink = |uid, result: Result<Hashed, MessageError>| {
        out.push((uid, result.map_err(|e| e.to_string())));
    };
    Hasher::new(spool, uids.iter().copied(), sink, NoGate).run(&mut lanes);
    out.sort_by_key(|(uid, _)| *uid);
    out
}

#[test]
fn a_hash_is_the_sha1_of_the_bytes_and_carries_size_and_stamp() {
    let dir = tempfile::tempdir().expect("scratch");
    let sizes = [0usize, 1, 55, 56, 64, 4_096, 65_536, 65_537, 300_000];
    for (uid, size) in (1u8..).zip(sizes) {
        fs::write(dir.path().join(format!("{uid}.")), vec![uid; size]).expect("write");
    }
    let spool = spool(dir.path());
    let uids: Vec<u32> = (1..).take(sizes.len()).collect();
    let results = all(&spool, &uids);
    assert_eq!(results.len(), sizes.len());
    for ((uid, result), size) in results.into_iter().zip(sizes) {
        let hashed = result.expect("readable");
        assert_eq!(
            hashed.guid.as_bytes(),
            &sha1_of(&vec![uid.to_le_bytes()[0]; size])
        );
        assert_eq!(hashed.size, size as u64);
        let stat = spool.stat(uid).expect("there");
        assert_eq!((stat.stamp, stat.size), (hashed.stamp, hashed.size));
        assert_eq!(spool.hash(uid).expect("readable"), hashed);
    }
}

#[test]
fn what_is_no_regular_file_is_said_and_the_rest_is_hashed() {
    let dir = tempfile::tempdir().expect("scratch");
    let path = |uid: u32| dir.path().join(format!("{uid}."));
    fs::write(path(1), "one").expect("write");
    fs::create_dir(path(2)).expect("mkdir");
    symlink("3.", path(3)).expect("a loop");
    symlink("1.", path(4)).expect("a link to a good message");
    nix::unistd::mkfifo(&path(5), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    drop(std::os::unix::net::UnixListener::bind(path(6)).expect("socket"));
    fs::write(path(8), "eight").expect("write");
    let results = all(&spool(dir.path()), &[1, 2, 3, 4, 5, 6, 7, 8]);
    let texts: Vec<String> = results
        .iter()
        .map(|(uid, r)| match r {
            Ok(_) => "ok".to_owned(),
            Err(text) => text.replace(&path(*uid).display().to_string(), "PATH"),
        })
        .collect();
    assert_eq!(
        texts,
        [
            "ok",
            "PATH: a directory where a message should be",
            "PATH: a symbolic link where a message should be",
            "PATH: a symbolic link where a message should be",
            "PATH: a pipe where a message should be",
            "PATH: a socket or device where a message should be",
            "PATH: no such message file",
            "ok",
        ]
    );
}

#[test]
fn a_message_one_may_not_read_is_denied() {
    let dir = tempfile::tempdir().expect("scratch");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let path = dir.path().join("1.");
    fs::write(&path, "secret").expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).expect("chmod");
    let spool = spool(dir.path());
    // Root reads everything, so a thread of root's becomes nobody first (threads of Linux have
    // user ids of their own).
    let result = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may");
        }
        spool.hash(1)
    });
    let result = result.join().expect("no panic");
    assert!(
        matches!(result, Err(MessageError::Denied { .. })),
        "{result:?}"
    );
}

/// Changes the file between the reads, through the gate that is asked before each.
struct Meddler<'a> {
    path: &'a Path,
    left: u32,
    how: fn(&Path),
}

impl Gate for Meddler<'_> {
    fn read(&mut self, _bytes: u64) -> bool {
        if self.left > 0 {
            self.left -= 1;
            (self.how)(self.path);
        }
        true
    }
}

fn meddled(times: u32, how: fn(&Path)) -> (Vec<Result<Hashed, MessageError>>, Vec<u8>) {
    let dir = tempfile::tempdir().expect("scratch");
    let path = dir.path().join("1.");
    fs::write(&path, vec![1; 200_000]).expect("write");
    let spool = spool(dir.path());
    let mut out = Vec::new();
    let meddler = Meddler {
        path: &path,
        left: times,
        how,
    };
    let sink = |_, result| out.push(result);
    let aside =
        Hasher::new(&spool, [1].into_iter(), sink, meddler).run(&mut Lanes::new(Kernel::detect()));
    assert!(aside.is_empty());
    (out, fs::read(&path).unwrap_or_default())
}

fn grow(path: &Path) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(path)
        .expect("open");
    file.write_all(b"more").expect("append");
}

fn shrink(path: &Path) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("open");
    let len = file.metadata().expect("stat").len();
    file.set_len(len / 2).expect("truncate");
}

fn rewrite_same_length(path: &Path) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::OpenOptions::new().write(true).open(path).expect("open");
    let fresh = file.metadata().expect("stat").modified().expect("mtime");
    let nanos = fresh.elapsed().unwrap_or_default().subsec_nanos();
    file.write_all_at(&nanos.to_be_bytes(), 190_000)
        .expect("write");
    file.set_modified(fresh).expect("hide the change in mtime");
}

fn replace(path: &Path) {
    let new = path.with_extension("new");
    let salt = fs::metadata(path).expect("stat").len();
    fs::write(&new, vec![3; usize::try_from(salt).expect("small") + 1]).expect("write");
    fs::rename(&new, path).expect("rename");
}

#[test]
fn a_message_that_changes_while_it_is_read_is_read_again() {
    for how in [grow, shrink, rewrite_same_length, replace] {
        let (out, bytes) = meddled(1, how);
        let [Ok(hashed)] = out.as_slice() else {
            panic!("{out:?}");
        };
        assert_eq!(hashed.guid.as_bytes(), &sha1_of(&bytes));
        assert_eq!(hashed.size, bytes.len() as u64);
    }
}

#[test]
fn a_message_that_never_rests_gets_no_sha1() {
    for how in [grow, rewrite_same_length, replace] {
        let (out, _) = meddled(1_000, how);
        assert!(
            matches!(out.as_slice(), [Err(MessageError::Unstable { .. })]),
            "{out:?}"
        );
    }
}

#[test]
fn a_message_that_goes_away_while_it_is_read_is_missing() {
    let (out, _) = meddled(1, |path| fs::remove_file(path).expect("unlink"));
    assert!(
        matches!(out.as_slice(), [Err(MessageError::Missing { .. })]),
        "{out:?}"
    );
}
