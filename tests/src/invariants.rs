//! What must hold of a host's mail store, whatever was done to it and wherever it was cut short.
//!
//! [`Before::remember`] reads a store before a run; [`Before::check`] judges it afterwards:
//! * each mailbox is one complete set, the old one (same bytes) or the new one (version 10, every
//!   other byte as it was, every GUID the SHA-1 of its message), index and expunge in step;
//! * at no instant is the index newer than its expunge file, wherever either lies ([`crate::watch`]
//!   looks all the time);
//! * no scratch file, no lock;
//! * cyrus.header, cyrus.cache, the message files and all else untouched, down to inode and mtime;
//!   owner and mode of what was replaced kept; `.OLD` is the very file that was replaced.
//!
//! [`alike`] compares two hosts. The checker shares no code with what it checks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::locks;
use crate::snapshot::{Entry, Tree};
use crate::store::{Dirs, Host};
use crate::witness::{Image, hex, sha1_of, word};

/// Files that may lie beside a mailbox and mean nothing to Cyrus.
const OURS: [&str; 2] = ["cyrus.sha1s", "cyrus.uuids"];

/// When the check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// After a run that ended, or after recovery.
    Settled,
    /// Right after something was killed: scratch files may be there, and the new expunge beside
    /// the old index (never the other way round).
    Cut,
}

/// Which complete set a mailbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Byte for byte what it was.
    Old,
    /// Converted.
    New,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The set each mailbox holds, where it holds one.
    pub states: BTreeMap<String, State>,
    /// (UID, GUID hex) of index and expunge of each mailbox, by UID.
    pub guids: BTreeMap<String, Vec<(u32, String)>>,
    /// Broken invariants, a line each.
    pub violations: Vec<String>,
}

impl Report {
    /// Fails the test if an invariant is broken.
    ///
    /// # Panics
    /// With all violations.
    pub fn assert_clean(&self) {
        assert!(
            self.violations.is_empty(),
            "broken invariants:\n{}",
            self.violations.join("\n")
        );
    }

    /// How many mailboxes are in `state`.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.states.values().filter(|s| **s == state).count()
    }
}

/// A host as it was.
#[derive(Clone, Debug)]
pub struct Before {
    host: Host,
    mailboxes: BTreeMap<String, Mailbox>,
}

#[derive(Clone, Debug)]
struct Mailbox {
    dirs: Dirs,
    index: Vec<u8>,
    expunge: Option<Vec<u8>>,
    files: Tree,
}

impl Before {
    /// Reads the store of `host`.
    ///
    /// # Errors
    /// The first file that could not be read.
    pub fn remember(host: &Host) -> io::Result<Self> {
        let mut mailboxes = BTreeMap::new();
        for (name, dirs) in host.mailboxes()? {
            let mailbox = Mailbox {
                index: fs::read(dirs.file("cyrus.index"))?,
                expunge: read_if_there(&dirs.file("cyrus.expunge"))?,
                files: files_of(&dirs)?,
                dirs,
            };
            mailboxes.insert(name, mailbox);
        }
        Ok(Self {
            host: host.clone(),
            mailboxes,
        })
    }

    /// Names of the mailboxes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.mailboxes.keys().map(String::as_str)
    }

    /// Judges the store as it is now.
    ///
    /// # Panics
    /// If the store cannot be read at all.
    #[must_use]
    pub fn check(&self, when: When) -> Report {
        let mut report = Report::default();
        let now: Vec<_> = self.host.mailboxes().unwrap().into_keys().collect();
        if now != self.mailboxes.keys().cloned().collect::<Vec<_>>() {
            report
                .violations
                .push("the set of mailboxes changed".into());
        }
        for (name, mailbox) in &self.mailboxes {
            let mut lines = Vec::new();
            match judge(mailbox, when, &mut lines) {
                Ok((state, guids)) => {
                    report.states.extend(state.map(|s| (name.clone(), s)));
                    report.guids.insert(name.clone(), guids);
                }
                Err(e) => lines.push(e.to_string()),
            }
            report
                .violations
                .extend(lines.into_iter().map(|l| format!("{name}: {l}")));
        }
        report
    }
}

/// Compares two hosts that were judged: the same state of each mailbox and, UID by UID, the same
/// GUID where both have the message.
#[must_use]
pub fn alike(master: &Report, replica: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, state) in &master.states {
        if replica.states.get(name).is_some_and(|other| other != state) {
            lines.push(format!("{name}: {state:?} on the master only"));
        }
        let theirs: BTreeMap<_, _> = replica
            .guids
            .get(name)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        for (uid, guid) in master.guids.get(name).into_iter().flatten() {
            if theirs.get(uid).is_some_and(|other| other != guid) {
                lines.push(format!("{name}: UID {uid} has another GUID on the replica"));
            }
        }
    }
    lines
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Regular files of both directories, by full path.
fn files_of(dirs: &Dirs) -> io::Result<Tree> {
    let mut tree = Tree::new();
    for dir in [&dirs.data, &dirs.meta] {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                tree.insert(entry.path(), Entry::read(&entry.path())?);
            }
        }
    }
    Ok(tree)
}

type Judged = (Option<State>, Vec<(u32, String)>);

fn judge(mailbox: &Mailbox, when: When, lines: &mut Vec<String>) -> io::Result<Judged> {
    let dirs = &mailbox.dirs;
    let index = fs::read(dirs.file("cyrus.index"))?;
    let expunge = read_if_there(&dirs.file("cyrus.expunge"))?;
    if let Some(expunge) = &expunge
        && mailbox
            .expunge
            .as_ref()
            .is_none_or(|was| !skewed(&mailbox.index, was))
        && skewed(&index, expunge)
    {
        lines.push(skew(&index, expunge));
    }
    let mut guids = Vec::new();

    let index_state = set_of(
        "cyrus.index",
        mailbox,
        &mailbox.index,
        &index,
        &mut guids,
        lines,
    );
    let state = match (&mailbox.expunge, &expunge) {
        (None, None) => index_state,
        (Some(old), Some(new)) => {
            let other = set_of("cyrus.expunge", mailbox, old, new, &mut guids, lines);
            match (index_state, other) {
                (Some(a), Some(b)) if a == b => Some(a),
                (Some(State::Old), Some(State::New)) if when == When::Cut => None,
                (Some(a), Some(b)) => {
                    lines.push(format!("index is {a:?}, but expunge is {b:?}"));
                    None
                }
                _ => None,
            }
        }
        (Some(_), None) => {
            lines.push("cyrus.expunge is gone".into());
            None
        }
        (None, Some(_)) => {
            lines.push("cyrus.expunge came out of nothing".into());
            None
        }
    };
    guids.sort();
    files(mailbox, state, when, lines)?;
    for name in ["cyrus.header", "cyrus.index", "cyrus.expunge"] {
        let path = dirs.file(name);
        if path.exists() && locks::held(&path)? {
            lines.push(format!("{name} is locked"));
        }
    }
    Ok((state, guids))
}

/// Whether an index is newer than its expunge file. Cyrus then reads the expunge file with the
/// index's sizes, and `cyr_expire` unlinks live messages by what it reads: never, at no instant,
/// wherever the two lie.
#[must_use]
pub fn skewed(index: &[u8], expunge: &[u8]) -> bool {
    // One that a server is just making has records before it has a header.
    let [index, expunge] = [index, expunge].map(|bytes| word(bytes, 8));
    expunge != 0 && index > expunge
}

fn skew(index: &[u8], expunge: &[u8]) -> String {
    let [index, expunge] = [index, expunge].map(|bytes| word(bytes, 8));
    format!("the index is at version {index} and its expunge file at {expunge}")
}

/// Which set one file belongs to. Old wins where both would do (a file that needed no change).
fn set_of(
    file: &str,
    mailbox: &Mailbox,
    old: &[u8],
    new: &[u8],
    guids: &mut Vec<(u32, String)>,
    lines: &mut Vec<String>,
) -> Option<State> {
    let image = match Image::parse(new.to_vec()) {
        Ok(image) => image,
        Err(_) if old == new => return Some(State::Old), // damaged before, left alone
        Err(e) => {
            lines.push(format!("{file} is torn: {e}"));
            return None;
        }
    };
    guids.extend(
        image
            .records()
            .map(|r| (Image::uid(r), hex(Image::guid(r)))),
    );
    if old == new {
        return Some(State::Old);
    }
    let was = match Image::parse(old.to_vec()) {
        Ok(was) => was,
        Err(e) => {
            lines.push(format!("{file} was damaged ({e}) and yet rewritten"));
            return None;
        }
    };
    let found = lines.len();
    conversion(file, &was, &image, &mailbox.dirs.data, lines);
    (lines.len() == found).then_some(State::New)
}

/// Checks that `new` is `old` at version 10 with true GUIDs and nothing else changed.
pub fn conversion(file: &str, old: &Image, new: &Image, data: &Path, lines: &mut Vec<String>) {
    if new.minor() != 10 {
        lines.push(format!("{file} changed but is at version {}", new.minor()));
    }
    if old.lasting_header() != new.lasting_header() {
        lines.push(format!("{file}: header bytes changed"));
    }
    if old.count() != new.count() {
        lines.push(format!(
            "{file}: {} records became {}",
            old.count(),
            new.count()
        ));
    }
    for (was, is) in old.records().zip(new.records()) {
        if Image::lasting(was) != Image::lasting(is) {
            lines.push(format!("{file}: record of UID {} changed", Image::uid(was)));
        }
    }
    true_guids(file, new, data, lines);
}

/// Checks that each GUID is the SHA-1 of the message file.
pub fn true_guids(file: &str, image: &Image, data: &Path, lines: &mut Vec<String>) {
    for record in image.records() {
        let uid = Image::uid(record);
        match fs::read(data.join(format!("{uid}."))) {
            Ok(message) if sha1_of(&message) == Image::guid(record) => {}
            Ok(_) => lines.push(format!(
                "{file}: GUID of UID {uid} is not the SHA-1 of its file"
            )),
            Err(e) => lines.push(format!("{file}: message {uid}. cannot be read: {e}")),
        }
    }
}

/// Everything beside index and expunge, and the looks of those two.
fn files(
    mailbox: &Mailbox,
    state: Option<State>,
    when: When,
    lines: &mut Vec<String>,
) -> io::Result<()> {
    let now = files_of(&mailbox.dirs)?;
    for (path, was) in &mailbox.files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let replaced =
            matches!(&*name, "cyrus.index" | "cyrus.expunge") && state != Some(State::Old);
        let scratch = name.ends_with(".OLD") || name.ends_with(".NEW") || OURS.contains(&&*name);
        match now.get(path) {
            _ if scratch => {}
            None => lines.push(format!("{name} is gone")),
            Some(is) if replaced => {
                if (was.mode, was.uid, was.gid) != (is.mode, is.uid, is.gid) {
                    lines.push(format!("{name}: owner or mode changed"));
                }
            }
            Some(is) if !was.untouched(is) => {
                lines.push(format!(
                    "{name} was touched (inode {} to {})",
                    was.ino, is.ino
                ));
            }
            Some(_) => {}
        }
    }
    for (path, is) in &now {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if OURS.contains(&&*name) || mailbox.files.contains_key(path) || when == When::Cut {
            continue;
        }
        match name.strip_suffix(".OLD") {
            Some(base) if state == Some(State::New) => {
                let was = mailbox.files.get(&path.with_file_name(base));
                if !was.is_some_and(|was| was.untouched(is)) {
                    lines.push(format!("{name} is not the file that was replaced"));
                }
            }
            _ => lines.push(format!("stray file {name}")),
        }
    }
    Ok(())
}
