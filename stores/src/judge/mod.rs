//! What must hold of a host's mail store, whatever was done to it and wherever it was cut short.
//!
//! [`Before::remember`] reads a store before a run; [`Before::check`] judges it afterwards:
//! * each mailbox is one complete set, the old one (same bytes) or the new one (version 10, every
//!   other byte as it was, every GUID the SHA-1 of its message), index and expunge in step;
//! * the index is not newer than its expunge file, wherever either lies;
//! * no scratch file, no lock;
//! * cyrus.header, cyrus.cache, the message files and all else below the partition's roots
//!   untouched, down to inode and mtime; owner and mode of what was replaced kept; `.OLD` is the
//!   very file that was replaced.
//!
//! [`alike`] compares two hosts. The judge shares no code with what it judges: [`image`] is a
//! parser of its own. It reads and never writes.

pub mod image;
pub mod locks;
pub mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::host::{Dirs, Host};
use image::{Image, sha1_of, word};
use snapshot::{Entry, Tree};

/// Files that may lie beside a mailbox and mean nothing to Cyrus.
const OURS: [&str; 2] = ["cyrus.sha1s", "cyrus.uuids"];

/// When the check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// After a run that ended, or after recovery.
    Settled,
    /// After a run that was to leave every mailbox at version 10 with true GUIDs, and nothing else
    /// happened: then no other file has another ctime either.
    Upgraded,
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

/// UID and GUID of each record, by UID; GUIDs of 12 bytes are padded with zeros.
pub type Guids = Vec<(u32, [u8; 20])>;

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The set each mailbox holds, where it holds one.
    pub states: BTreeMap<String, State>,
    /// GUIDs of index and expunge of each mailbox.
    pub guids: BTreeMap<String, Guids>,
    /// How many of them were compared with the message file, and are its SHA-1.
    pub proven: u64,
    /// Files found exactly as they were, but for index and expunge files.
    pub untouched: u64,
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
    files: Tree,
}

#[derive(Clone, Debug)]
struct Mailbox {
    dirs: Dirs,
    index: Vec<u8>,
    expunge: Option<Vec<u8>>,
}

/// What was found of one mailbox.
#[derive(Default)]
struct Judged {
    state: Option<State>,
    guids: Guids,
    proven: u64,
    lines: Vec<String>,
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
                dirs,
            };
            mailboxes.insert(name, mailbox);
        }
        Ok(Self {
            host: host.clone(),
            mailboxes,
            files: files_of(host)?,
        })
    }

    /// Names of the mailboxes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.mailboxes.keys().map(String::as_str)
    }

    /// Judges the store as it is now. A store that cannot be read is a violation too.
    #[must_use]
    pub fn check(&self, when: When) -> Report {
        let mut report = Report::default();
        let now = self.host.mailboxes();
        let now = now.and_then(|now| Ok((now, files_of(&self.host)?)));
        let (now, files) = match now {
            Ok(now) => now,
            Err(e) => {
                report.violations.push(e.to_string());
                return report;
            }
        };
        if !now.keys().eq(self.mailboxes.keys()) {
            let line = "the set of mailboxes changed".to_owned();
            report.violations.push(line);
        }
        let judged: Vec<_> = self
            .mailboxes
            .par_iter()
            .map(|(name, mailbox)| (name, judge(mailbox, when)))
            .collect();
        for (name, mailbox) in judged {
            let mailbox = mailbox.unwrap_or_else(|e| Judged {
                lines: vec![e.to_string()],
                ..Judged::default()
            });
            report.proven += mailbox.proven;
            report
                .states
                .extend(mailbox.state.map(|s| (name.clone(), s)));
            report.guids.insert(name.clone(), mailbox.guids);
            let lines = mailbox.lines.into_iter().map(|l| format!("{name}: {l}"));
            report.violations.extend(lines);
        }
        self.files(&files, when, &mut report);
        report
    }

    /// Everything below the roots but the content of index and expunge files.
    fn files(&self, now: &Tree, when: When, report: &mut Report) {
        let mut owners: BTreeMap<&Path, (&str, Option<State>)> = BTreeMap::new();
        for (name, mailbox) in &self.mailboxes {
            let owner = (name.as_str(), report.states.get(name).copied());
            owners.insert(&mailbox.dirs.data, owner);
            owners.insert(&mailbox.dirs.meta, owner);
        }
        let place = |path: &Path| {
            let dir = path.parent().unwrap_or(path);
            let owner = owners.get(dir).map(|(name, state)| (*name, *state));
            (owner, name_of(path))
        };
        let touched = |was: &Entry, is: &Entry| when == When::Upgraded && was != is;
        let mut lines = Vec::new();
        for (path, was) in &self.files {
            let (owner, name) = place(path);
            let state = owner.and_then(|(_, state)| state);
            let suffix = Path::new(&name).extension().unwrap_or_default();
            let ours = suffix == "OLD" || suffix == "NEW" || OURS.contains(&&*name);
            match now.get(path) {
                _ if owner.is_some() && ours => {}
                None => lines.push((path, "is gone".to_owned())),
                Some(is) if was.is_dir() => {
                    if was.id() != is.id() || was.ino != is.ino {
                        lines.push((path, "is another directory".to_owned()));
                    }
                }
                Some(is) if owner.is_some() && is_replaced(&name) && state != Some(State::Old) => {
                    if was.id() != is.id() {
                        lines.push((path, "owner or mode changed".to_owned()));
                    }
                    if was.ino == is.ino && was.sha1 != is.sha1 {
                        lines.push((path, "was written in place".to_owned()));
                    }
                }
                // No change at all leaves the ctime alone. But tests do change files for a while,
                // and an index gets another name, which is `.OLD`.
                Some(is) if !was.untouched(is) || touched(was, is) && !is_replaced(&name) => {
                    let line = format!("was touched (inode {} to {})", was.ino, is.ino);
                    lines.push((path, line));
                }
                Some(_) => report.untouched += u64::from(!is_replaced(&name)),
            }
        }
        for (path, is) in now {
            let (owner, name) = place(path);
            let beside = owner.is_some() && OURS.contains(&&*name);
            if beside || when == When::Cut || self.files.contains_key(path) {
                continue;
            }
            let base = name.strip_suffix(".OLD").filter(|base| is_replaced(base));
            match (base.map(|base| path.with_file_name(base)), owner) {
                (Some(base), Some((_, Some(State::New)))) => {
                    let was = self.files.get(&base).filter(|was| was.untouched(is));
                    let live = now.get(&base);
                    if was.is_none_or(|was| live.is_some_and(|live| live.ino == was.ino)) {
                        lines.push((path, "is not the file that was replaced".to_owned()));
                    }
                }
                _ => lines.push((path, "is a stray".to_owned())),
            }
        }
        report
            .violations
            .extend(lines.into_iter().map(|(path, line)| {
                let (owner, name) = place(path);
                match owner {
                    Some((mailbox, _)) => format!("{mailbox}: {name} {line}"),
                    None => format!("{} {line}", path.display()),
                }
            }));
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
        let of = |report: &Report| report.guids.get(name).cloned().unwrap_or_default();
        let theirs: BTreeMap<_, _> = of(replica).into_iter().collect();
        for (uid, guid) in of(master) {
            if theirs.get(&uid).is_some_and(|other| *other != guid) {
                lines.push(format!("{name}: UID {uid} has another GUID on the replica"));
            }
        }
    }
    lines
}

/// Compares two hosts that had the same mail: the mailboxes in which their GUIDs differ.
#[must_use]
pub fn differing(master: &Report, replica: &Report) -> Vec<String> {
    let names: BTreeSet<_> = master.guids.keys().chain(replica.guids.keys()).collect();
    let differs = |name: &&&String| master.guids.get(**name) != replica.guids.get(**name);
    let names = names.iter().filter(differs);
    names
        .map(|name| format!("{name}: its GUIDs differ between the hosts"))
        .collect()
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The two files that a migration replaces.
fn is_replaced(name: &str) -> bool {
    matches!(name, "cyrus.index" | "cyrus.expunge")
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// All that lies below both roots, by full path.
fn files_of(host: &Host) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let meta = Some(&host.meta).filter(|meta| **meta != host.data);
    for root in std::iter::once(&host.data).chain(meta) {
        let found = snapshot::take(root)?.into_iter();
        tree.extend(found.map(|(path, entry)| (root.join(path), entry)));
    }
    Ok(tree)
}

fn judge(mailbox: &Mailbox, when: When) -> io::Result<Judged> {
    let dirs = &mailbox.dirs;
    let index = fs::read(dirs.file("cyrus.index"))?;
    let expunge = read_if_there(&dirs.file("cyrus.expunge"))?;
    let mut judged = Judged::default();
    let lines = &mut judged.lines;
    if let Some(expunge) = &expunge
        && mailbox
            .expunge
            .as_ref()
            .is_none_or(|was| !skewed(&mailbox.index, was))
        && skewed(&index, expunge)
    {
        lines.push(skew(&index, expunge));
    }
    let data = &dirs.data;
    let index = SetOf::find("cyrus.index", data, &mailbox.index, index, when, lines);
    let expunge = match (&mailbox.expunge, expunge) {
        (None, None) => None,
        (Some(old), Some(new)) => Some(SetOf::find("cyrus.expunge", data, old, new, when, lines)),
        (Some(_), None) => {
            lines.push("cyrus.expunge is gone".into());
            Some(SetOf::default())
        }
        (None, Some(_)) => {
            lines.push("cyrus.expunge came out of nothing".into());
            Some(SetOf::default())
        }
    };
    judged.state = match &expunge {
        None => index.state,
        Some(expunge) => match (index.state, expunge.state) {
            (Some(a), Some(b)) if a == b => Some(a),
            (Some(State::Old), Some(State::New)) if when == When::Cut => None,
            // Old and new at once: it was right before, and stays.
            (Some(State::New), Some(State::Old)) if expunge.right(data) => Some(State::New),
            (Some(State::Old), Some(State::New)) if index.right(data) => Some(State::New),
            (Some(a), Some(b)) => {
                lines.push(format!("index is {a:?}, but expunge is {b:?}"));
                None
            }
            _ => None,
        },
    };
    for set in std::iter::once(&index).chain(&expunge) {
        judged.proven += set.proven;
        let records = set.image.iter().flat_map(Image::records);
        judged.guids.extend(records.map(|record| {
            let mut guid = [0; 20];
            let bytes = Image::guid(record);
            guid[..bytes.len()].copy_from_slice(bytes);
            (Image::uid(record), guid)
        }));
    }
    judged.guids.sort_unstable();
    for name in ["cyrus.header", "cyrus.index", "cyrus.expunge"] {
        let path = dirs.file(name);
        if path.exists() && locks::held(&path)? {
            lines.push(format!("{name} is locked"));
        }
    }
    Ok(judged)
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

/// Which set one file belongs to.
#[derive(Default)]
struct SetOf {
    state: Option<State>,
    image: Option<Image>,
    proven: u64,
}

impl SetOf {
    /// Old wins where both would do (a file that needed no change).
    fn find(
        file: &str,
        data: &Path,
        old: &[u8],
        new: Vec<u8>,
        when: When,
        lines: &mut Vec<String>,
    ) -> Self {
        let same = old == new;
        let mut set = Self::default();
        let found = lines.len();
        match (Image::parse(new), Image::parse(old.to_vec())) {
            // Damaged before, left alone.
            (Err(_), _) if same && when != When::Upgraded => set.state = Some(State::Old),
            (Err(e), _) => lines.push(format!("{file} is torn: {e}")),
            (Ok(image), was) => {
                match was {
                    _ if same => {}
                    Ok(was) => conversion(file, &was, &image, lines),
                    Err(e) => lines.push(format!("{file} was damaged ({e}) and yet rewritten")),
                }
                if same && when == When::Upgraded && image.minor() != 10 {
                    lines.push(format!("{file} is still at version {}", image.minor()));
                }
                if !same || when == When::Upgraded {
                    set.proven = true_guids(file, &image, data, lines);
                }
                let state = if same { State::Old } else { State::New };
                set.state = (same || lines.len() == found).then_some(state);
                set.image = Some(image);
            }
        }
        set
    }

    /// Whether it is what a migration makes.
    fn right(&self, data: &Path) -> bool {
        let mut lines = Vec::new();
        self.image.as_ref().is_some_and(|image| {
            true_guids("", image, data, &mut lines);
            image.minor() == 10 && lines.is_empty()
        })
    }
}

/// Checks that `new` is `old` at version 10 and that nothing but its GUIDs changed.
fn conversion(file: &str, old: &Image, new: &Image, lines: &mut Vec<String>) {
    if new.minor() != 10 {
        lines.push(format!("{file} changed but is at version {}", new.minor()));
    }
    if new.trailing() != 0 {
        let trailing = new.trailing();
        lines.push(format!(
            "{file} has {trailing} bytes behind its last record"
        ));
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
}

/// Checks that each GUID is the SHA-1 of the message file, and tells how many are.
pub fn true_guids(file: &str, image: &Image, data: &Path, lines: &mut Vec<String>) -> u64 {
    let mut proven = 0;
    for record in image.records() {
        let uid = Image::uid(record);
        match fs::read(data.join(format!("{uid}."))) {
            Ok(message) if sha1_of(&message) == Image::guid(record) => proven += 1,
            Ok(_) => lines.push(format!(
                "{file}: GUID of UID {uid} is not the SHA-1 of its file"
            )),
            Err(e) => lines.push(format!("{file}: message {uid}. cannot be read: {e}")),
        }
    }
    proven
}
