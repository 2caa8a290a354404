//! Looks at mailboxes all the time while a test runs: at no instant may an index be newer than its
//! expunge file.
//!
//! It only reads, and keeps no file open. A mailbox that was so when the watch began (tests plant
//! that) is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use stores::judge::image::word;
use stores::judge::skewed;
use stores::{Dirs, Host};

/// How many mailboxes of a host are watched, so that each is seen often.
const MOST: usize = 40;
const PAUSE: Duration = Duration::from_millis(1);

/// A file as it was at one instant.
#[derive(PartialEq, Eq)]
struct Seen {
    start: Vec<u8>,
    /// Inode, and when it was last linked, renamed or written.
    of: (u64, i64, i64),
}

fn see(path: &Path) -> io::Result<Seen> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    let mut start = Vec::new();
    file.take(12).read_to_end(&mut start)?;
    Ok(Seen {
        start,
        of: (meta.ino(), meta.ctime(), meta.ctime_nsec()),
    })
}

/// Tells if the index was newer than the expunge file at the instant at which the latter was looked
/// at.
///
/// The two cannot be looked at at once. So the index is looked at before and after: if it was one
/// and the same, untouched, it was so in between.
#[must_use]
pub fn skew(dirs: &Dirs) -> Option<String> {
    let [index, expunge] = ["cyrus.index", "cyrus.expunge"].map(|name| dirs.file(name));
    let before = see(&index).ok()?;
    let between = see(&expunge).ok()?;
    if !skewed(&before.start, &between.start) || see(&index).ok()? != before {
        return None;
    }
    let versions = [&before, &between].map(|seen| word(&seen.start, 8));
    Some(format!(
        "{} is at version {}, {} at {}",
        index.display(),
        versions[0],
        expunge.display(),
        versions[1]
    ))
}

/// A watch that goes on until it is ended or dropped.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    found: Arc<Mutex<BTreeSet<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch the mailboxes of these hosts that have an expunge file or may get one.
    ///
    /// # Panics
    /// If the stores cannot be read.
    #[must_use]
    pub fn over(hosts: &[&Host]) -> Self {
        let boxes = |host: &&Host| -> BTreeMap<String, Dirs> { host.mailboxes().unwrap() };
        let watched: Vec<Dirs> = hosts
            .iter()
            .flat_map(|host| boxes(host).into_values().take(MOST))
            .filter(|dirs| skew(dirs).is_none())
            .collect();
        let (over, found) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let thread = std::thread::spawn({
            let (over, found) = (Arc::clone(&over), Arc::clone(&found));
            move || watch(&watched, &over, &found)
        });
        Self {
            over,
            found,
            thread: Some(thread),
        }
    }

    /// Ends it without failing the test, and gives what was seen.
    #[must_use]
    pub fn end(mut self) -> Vec<String> {
        self.stop();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *found).into_iter().collect()
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// What was seen so far.
    #[must_use]
    pub fn found(&self) -> Vec<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().cloned().collect()
    }
}

fn watch(watched: &[Dirs], over: &AtomicBool, found: &Mutex<BTreeSet<String>>) {
    while !over.load(Ordering::Relaxed) {
        for dirs in watched {
            if let Some(line) = skew(dirs) {
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.insert(line);
            }
        }
        std::thread::sleep(PAUSE);
    }
}

impl Drop for Watch {
    /// Fails the test if anything was seen.
    fn drop(&mut self) {
        self.stop();
        let found = self.found();
        if !std::thread::panicking() {
            assert!(
                found.is_empty(),
                "an index was newer than its expunge file:\n{}",
                found.join("\n")
            );
        }
    }
}
