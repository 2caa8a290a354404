//! What a power cut would leave of what was done so far, and the rules that it must never break.
//!
//! A file's bytes are there once it was synced after it was last written. A name is as it was
//! before until its directory is synced. Nothing is assumed about what else the file system may
//! have written by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::recorder::{Event, Op};

/// The names that Cyrus, or recovery, reads.
const LIVE: [&str; 2] = ["cyrus.index", "cyrus.expunge"];

#[derive(Default)]
pub struct Ledger {
    /// Files whose bytes are on stable storage, and files that were written since they were.
    synced: BTreeSet<(u64, u64)>,
    dirty: BTreeMap<(u64, u64), PathBuf>,
    /// Changes of names that are not on stable storage, by directory.
    names: BTreeMap<PathBuf, Vec<String>>,
    /// Directories that were synced at least once.
    dirs: BTreeSet<PathBuf>,
    /// Intents that were written and are not ended.
    pub intents: BTreeSet<u64>,
    /// Live names that were given a new file.
    pub renamed: Vec<String>,
    pub broken: Vec<String>,
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).unwrap_or("")
}

fn is_live(path: &Path) -> bool {
    LIVE.contains(&name(path))
}

fn is_staged(path: &Path) -> bool {
    LIVE.iter().any(|live| name(path) == format!("{live}.NEW"))
}

fn is_old(path: &Path) -> bool {
    LIVE.iter().any(|live| name(path) == format!("{live}.OLD"))
}

/// What keeps the identifiers that a rename destroys.
fn is_kept(path: &Path) -> bool {
    name(path) == "cyrus.uuids"
}

/// Whether a power cut may not take the change of this name back.
fn matters(path: &Path) -> bool {
    is_live(path) || is_staged(path)
}

impl Ledger {
    pub fn add(&mut self, events: &[Event]) {
        for event in events {
            self.event(event);
        }
    }

    fn event(&mut self, event: &Event) {
        let dir = |path: &Path| path.parent().unwrap_or(path).to_path_buf();
        match &event.op {
            Op::Write(bytes) => {
                if name(&event.path).starts_with("intents.log") {
                    self.intent(bytes);
                }
                self.synced.remove(&event.file);
                self.dirty.insert(event.file, event.path.clone());
            }
            Op::Sync => {
                if self.names.remove(&event.path).is_some() || event.path.is_dir() {
                    self.dirs.insert(event.path.clone());
                }
                self.dirty.remove(&event.file);
                self.synced.insert(event.file);
            }
            Op::Link => {
                let to = event.to.clone().unwrap();
                if is_staged(&to) {
                    self.must_be_synced(event, "gets its name");
                    self.intent_is_durable(&to);
                }
                if matters(&to) || is_old(&to) {
                    self.names
                        .entry(dir(&to))
                        .or_default()
                        .push(name(&to).to_owned());
                }
            }
            Op::Rename => {
                let to = event.to.clone().unwrap();
                if is_live(&to) {
                    if is_staged(&event.path) {
                        self.must_be_synced(event, "is renamed");
                    }
                    self.intent_is_durable(&to);
                    self.other_is_durable(&to);
                    self.what_is_kept_is_durable(&to);
                    self.renamed.push(name(&to).to_owned());
                } else if [".tmp", ".NEW"]
                    .iter()
                    .any(|e| name(&event.path).ends_with(e))
                    || is_kept(&to)
                {
                    self.must_be_synced(event, "is renamed");
                }
                self.names
                    .entry(dir(&to))
                    .or_default()
                    .push(name(&to).to_owned());
            }
            Op::Unlink => {
                if matters(&event.path) {
                    let removed = format!("{} (removed)", name(&event.path));
                    self.names
                        .entry(dir(&event.path))
                        .or_default()
                        .push(removed);
                }
            }
        }
    }

    fn must_be_synced(&mut self, event: &Event, what: &str) {
        if !self.synced.contains(&event.file) {
            let path = event.path.display();
            self.broken.push(format!("{path} {what} and is not synced"));
        }
    }

    fn intent_is_durable(&mut self, to: &Path) {
        if let Some(log) = self
            .dirty
            .values()
            .find(|p| name(p).starts_with("intents.log"))
        {
            let (to, log) = (to.display(), log.display());
            self.broken
                .push(format!("{to} gets a file before {log} is synced"));
        }
        if self.intents.is_empty() {
            self.broken
                .push(format!("{} gets a file without an intent", to.display()));
        }
    }

    /// The rename of one live file is on stable storage before the other's is made.
    fn other_is_durable(&mut self, to: &Path) {
        for (dir, names) in &self.names {
            let others = |n: &&String| LIVE.contains(&n.as_str()) && **n != name(to);
            if let Some(other) = names.iter().find(others) {
                let (to, dir) = (to.display(), dir.display());
                self.broken
                    .push(format!("{to} is renamed before {other} in {dir} is synced"));
            }
        }
    }

    /// What the file that is replaced alone had is kept before it goes.
    fn what_is_kept_is_durable(&mut self, to: &Path) {
        let kept = |names: &Vec<String>| names.iter().any(|n| is_kept(Path::new(n)));
        if self.names.values().any(kept) {
            let to = to.display();
            self.broken.push(format!(
                "{to} is renamed before the name of cyrus.uuids is synced"
            ));
        }
    }

    /// Lines of the intent log, as they are written.
    fn intent(&mut self, bytes: &[u8]) {
        for line in String::from_utf8_lossy(bytes).lines() {
            let Some((_, json)) = line.split_once(' ') else {
                continue;
            };
            let line: serde_json::Value = serde_json::from_str(json).unwrap();
            if let Some(id) = line["begin"]["id"].as_u64() {
                self.intents.insert(id);
            } else if let Some(id) = line["end"]["id"].as_u64() {
                self.intents.remove(&id);
                self.settled("an intent is ended");
            }
        }
    }

    /// Demands that no power cut takes a name back that Cyrus or recovery reads.
    pub fn settled(&mut self, when: &str) {
        for (dir, names) in &self.names {
            let pending: Vec<&String> = names
                .iter()
                .filter(|n| {
                    let n = n.trim_end_matches(" (removed)");
                    matters(Path::new(n))
                        || [".OLD", ".uuids", ".log", ".json", ".store"]
                            .iter()
                            .any(|e| n.ends_with(e))
                })
                .collect();
            if !pending.is_empty() {
                let dir = dir.display();
                self.broken
                    .push(format!("{when}, and of {dir} is not synced: {pending:?}"));
            }
        }
    }

    /// Demands that a directory was synced: what an earlier process did there is not known to be on
    /// stable storage.
    pub fn was_synced(&mut self, dir: &Path, when: &str) {
        if !self.dirs.contains(&dir.canonicalize().unwrap()) {
            self.broken
                .push(format!("{when}, and {} was never synced", dir.display()));
        }
    }

    #[track_caller]
    pub fn assert_kept(&self) {
        assert!(
            self.broken.is_empty(),
            "a power cut breaks it:\n{}",
            self.broken.join("\n")
        );
    }
}
