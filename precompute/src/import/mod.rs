//! SHA-1s that an operator already has (lines of `sha1sum`) into caches.
//!
//! A SHA-1 of the past says nothing about a file that has changed since. So an import needs the time
//! at which the hashing was begun, and takes a line only if its file has neither an mtime nor a ctime
//! from then on; the rest is left to `precompute run`. A share of the lines is also checked against
//! the files; one that is wrong refuses its whole mailbox. A crash leaves caches whole, old or new.

mod lines;
mod time;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexfile::IoError;

pub use lines::{Line, parse_line};
pub use time::parse_time;

use crate::cache::{self, Entry, Found, StoreError};
use crate::finding::{Code, Finding};
use crate::hash::Kernel;
use crate::hash::lanes::Lanes;
use crate::mailbox::{Mailbox, Opened, index_finding};
use crate::message::MessageError;
use crate::pass::Wanted;
use crate::targets::Target;

/// How to import.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When the hashing was begun, nanoseconds since 1970.
    pub as_of_ns: i64,
    /// How many of a hundred lines are checked against the file.
    pub check_percent: u32,
    /// Also messages that have a GUID.
    pub all_messages: bool,
}

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that named a message of a mailbox.
    pub lines: u64,
    /// Lines that are in a cache now.
    pub imported: u64,
    /// Lines whose message the cache had already.
    pub cached: u64,
    /// Lines whose file has changed since the hashing, or may have.
    pub changed: u64,
    /// Lines of messages that need no SHA-1, or are not there any more.
    pub unwanted: u64,
    /// Lines that were checked against the file.
    pub checked: u64,
}

impl Counts {
    /// Adds those of another mailbox.
    pub fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.imported += other.imported;
        self.cached += other.cached;
        self.changed += other.changed;
        self.unwanted += other.unwanted;
        self.checked += other.checked;
    }
}

/// Imports the lines of one mailbox, by UID.
///
/// # Errors
/// A finding: the mailbox cannot be worked on, a line is wrong, or the cache cannot be written.
pub fn import(
    target: Target,
    lines: &BTreeMap<u32, indexfile::Guid>,
    options: &Options,
) -> Result<Counts, Finding> {
    let mut counts = Counts {
        lines: lines.len() as u64,
        ..Counts::default()
    };
    let mailbox = match Mailbox::open(target)? {
        Opened::Mailbox(mailbox, _) => *mailbox,
        Opened::Gone => {
            counts.unwanted = counts.lines;
            return Ok(counts);
        }
    };
    let path = mailbox.index_path().join(cache::FILE_NAME);
    let name = mailbox.target.mailbox.clone();
    let failed = |error: StoreError| Finding::new(&name, error.code(), path.clone(), &error);
    let old = find(&mailbox).map_err(failed)?;
    let mut entries: BTreeMap<u32, Entry> = old
        .iter()
        .flat_map(|c| c.iter())
        .map_while(|entry| entry.ok().map(|e| (e.uid, e)))
        .collect();
    let mut new = Vec::new();
    let unread = |code, error| index_finding(&mailbox.target, code, &error);
    let mut wanted = Wanted::new(mailbox.expunge.as_ref(), options.all_messages)
        .map_err(|error| unread(Code::Expunge, error))?;
    let mut seen = 0;
    while let Some(want) = wanted
        .next(&mailbox.index)
        .map_err(|error| unread(Code::Index, error))?
    {
        let Some(guid) = lines.get(&want.uid) else {
            continue;
        };
        seen += 1;
        let now = match mailbox.spool.stat(want.uid) {
            Ok(now) => now,
            Err(MessageError::Missing { .. }) => {
                counts.unwanted += 1;
                continue;
            }
            Err(error) => return Err(Finding::of_message(&name, &error)),
        };
        let known = entries.get(&want.uid);
        if known.is_some_and(|entry| entry.still_same(&now.stamp, now.size)) {
            counts.cached += 1;
        } else if now.stamp.mtime_ns >= options.as_of_ns || now.stamp.ctime_ns >= options.as_of_ns {
            counts.changed += 1;
        } else {
            new.push(Entry {
                uid: want.uid,
                size: now.size,
                stamp: now.stamp,
                guid: *guid,
            });
        }
    }
    counts.unwanted += counts.lines - seen;
    counts.checked = check(&mailbox, &new, options.check_percent)?;
    if new.is_empty() {
        return Ok(counts);
    }
    counts.imported = new.len() as u64;
    entries.extend(new.into_iter().map(|entry| (entry.uid, entry)));
    replace(&mailbox, &entries).map_err(failed)?;
    Ok(counts)
}

fn find(mailbox: &Mailbox) -> Result<Option<cache::Cache>, StoreError> {
    let (dir, path) = (mailbox.index_dir(), mailbox.index_path());
    cache::find(dir, &path, mailbox.uidvalidity(), &mailbox.uniqueid).map(Found::good)
}

fn replace(mailbox: &Mailbox, entries: &BTreeMap<u32, Entry>) -> Result<(), StoreError> {
    cache::replace(
        mailbox.index_dir(),
        &mailbox.index_path(),
        mailbox.owner,
        (mailbox.uidvalidity(), &mailbox.uniqueid),
        u32::try_from(entries.len()).unwrap_or(u32::MAX),
        entries.values().map(|entry| Ok::<_, IoError>(*entry)),
    )
}

/// Hashes a share of the new entries, at least one, spread evenly.
fn check(mailbox: &Mailbox, new: &[Entry], percent: u32) -> Result<u64, Finding> {
    if percent == 0 || new.is_empty() {
        return Ok(0);
    }
    let share = (new.len() as u64)
        .saturating_mul(u64::from(percent.min(100)))
        .div_ceil(100);
    let step = usize::try_from(new.len() as u64 / share.max(1))
        .unwrap_or(1)
        .max(1);
    let sample: BTreeMap<u32, &Entry> = new.iter().step_by(step).map(|e| (e.uid, e)).collect();
    let mut wrong = None;
    let mut lanes = Lanes::new(Kernel::detect());
    mailbox.spool.hash_many(sample.keys().copied(), &mut lanes, |uid, result| {
        let name = &mailbox.target.mailbox;
        let path = mailbox.spool.path_of(uid);
        let finding = match (sample.get(&uid), result) {
            (Some(entry), Ok(now)) if now.guid == entry.guid => return,
            (Some(entry), Ok(now)) => {
                let why = format!(
                    "{}: the list has {}, the file gives {}; nothing of this mailbox is imported",
                    path.display(),
                    entry.guid,
                    now.guid
                );
                Finding::new(name, Code::WrongEntry, path, &why)
            }
            (_, Err(error)) => Finding::of_message(name, &error),
            (None, Ok(_)) => return,
        };
        wrong.get_or_insert(finding);
    });
    match wrong {
        Some(finding) => Err(finding),
        None => Ok(sample.len() as u64),
    }
}

/// A directory of messages and the UID that a path names in it.
#[must_use]
pub fn message_of(path: &Path) -> Option<(PathBuf, u32)> {
    let name = path.file_name()?.to_str()?.strip_suffix('.')?;
    let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    if !digits || name.starts_with('0') {
        return None;
    }
    Some((path.parent()?.to_owned(), name.parse().ok()?))
}
