//! Stores for the tests of this crate: small mail stores of version 9, made in a scratch directory.

#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use indexfile::FileKind;
use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::mailbox::HEADER_MAGIC;
use precompute::cache::{Cache, Stamp};
use precompute::hash::sha1_of;

/// The program under test.
pub const PRECOMPUTE: &str = env!("CARGO_BIN_EXE_precompute");

/// A mail store in a scratch directory, messages and index files side by side.
pub struct Store {
    dir: tempfile::TempDir,
}

impl Store {
    /// An empty one.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        let conf = format!("partition-default: {}/spool\n", dir.path().display());
        fs::write(dir.path().join("imapd.conf"), conf).expect("conf");
        fs::create_dir(dir.path().join("spool")).expect("mkdir");
        Self { dir }
    }

    pub fn conf(&self) -> PathBuf {
        self.dir.path().join("imapd.conf")
    }

    pub fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// The directory of a mailbox.
    pub fn mailbox(&self, name: &str) -> PathBuf {
        self.spool().join(name.replace('.', "/"))
    }

    /// Makes a mailbox: `live` in the index, `expunged` in the expunge file (in this order), all
    /// with a message file each.
    pub fn make(&self, name: &str, live: &[u32], expunged: &[u32]) -> PathBuf {
        let dir = self.mailbox(name);
        fs::create_dir_all(&dir).expect("mkdir");
        for uid in live.iter().chain(expunged) {
            fs::write(dir.join(format!("{uid}.")), content(name, *uid)).expect("message");
        }
        self.index(name, live, expunged);
        dir
    }

    /// Writes index, expunge file and header of a mailbox, without messages.
    pub fn index(&self, name: &str, live: &[u32], expunged: &[u32]) {
        let dir = self.mailbox(name);
        fs::write(dir.join("cyrus.index"), index(name, FileKind::Index, live)).expect("index");
        if !expunged.is_empty() {
            let bytes = index(name, FileKind::Expunge, expunged);
            fs::write(dir.join("cyrus.expunge"), bytes).expect("expunge");
        }
        let uniqueid = sha1_of(name.as_bytes())[..8]
            .iter()
            .fold(String::new(), |s, b| format!("{s}{b:02x}"));
        let rest = format!("\t{uniqueid}\n\nanyone\tlrs\t\n");
        let header = [HEADER_MAGIC, rest.as_bytes()].concat();
        fs::write(dir.join("cyrus.header"), header).expect("header");
    }

    /// Runs a command of the program on all mailboxes.
    pub fn run(&self, command: &str, more: &[&str]) -> Output {
        let mut precompute = Command::new(PRECOMPUTE);
        precompute
            .arg(command)
            .arg("--imapd-conf")
            .arg(self.conf())
            .args(more);
        precompute.output().expect("the program was built")
    }

    /// Runs `run --json` and gives its summary; its exit code must be `code`.
    pub fn summary(&self, code: i32, more: &[&str]) -> serde_json::Value {
        let mut args = vec!["--json", "--quiet"];
        args.extend(more);
        let output = self.run("run", &args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// All caches: path below the spool, bytes.
    pub fn caches(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = walk(&self.spool());
        files
            .into_iter()
            .filter(|path| path.ends_with("cyrus.sha1s"))
            .map(|path| {
                let bytes = fs::read(&path).expect("cache");
                (path, bytes)
            })
            .collect()
    }

    /// Removes all caches.
    pub fn forget(&self) {
        for path in self.caches().into_keys() {
            fs::remove_file(path).expect("unlink");
        }
    }

    /// Checks that no entry of any cache that would be believed is wrong; how many would be.
    pub fn believed_and_right(&self) -> usize {
        let mut believed = 0;
        for (path, bytes) in self.caches() {
            let cache = Cache::from_bytes(bytes, &path).expect("whole");
            for entry in &cache {
                let entry = entry.unwrap();
                let message = path.with_file_name(format!("{}.", entry.uid));
                let (Ok(meta), Ok(bytes)) = (fs::metadata(&message), fs::read(&message)) else {
                    continue;
                };
                if entry.still_same(&stamp(&meta), meta.len()) {
                    believed += 1;
                    let sha1 = sha1_of(&bytes);
                    assert_eq!(entry.guid.as_bytes(), &sha1, "{}", message.display());
                }
            }
        }
        believed
    }
}

/// What the cache keeps of a file.
pub fn stamp(meta: &fs::Metadata) -> Stamp {
    Stamp {
        mtime_ns: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
        ctime_ns: meta.ctime() * 1_000_000_000 + meta.ctime_nsec(),
        inode: meta.ino(),
    }
}

fn index(name: &str, kind: FileKind, uids: &[u32]) -> Vec<u8> {
    let mut builder = IndexBuilder::new(9, kind);
    for uid in uids {
        builder = builder.record(BuildRecord {
            uid: *uid,
            size: u32::try_from(content(name, *uid).len()).expect("small"),
            ..BuildRecord::default()
        });
    }
    builder.to_bytes().expect("sound")
}

/// The bytes of a message; some are small, some are larger than a lane's buffer.
pub fn content(name: &str, uid: u32) -> Vec<u8> {
    let line = format!("Subject: {name} {uid}\r\n\r\n");
    let len = match uid % 50 {
        0 => 150_000,
        1..=5 => 0,
        n => n as usize * 150,
    };
    let body = (0..len).map(|i| b"reguid\r\n"[i % 8]);
    line.bytes().chain(body).collect()
}

/// All files below a directory.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut stack = vec![dir.to_owned()];
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(dir).expect("list") {
            let entry = entry.expect("entry");
            if entry.file_type().expect("type").is_dir() {
                stack.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}
