//! SHA-1s that an operator already has (lines of `sha1sum`) into caches.
//!
//! A SHA-1 of the past says nothing about a file that has changed since. So an import needs the
//! time at which the hashing was begun, and takes a line only if its file has neither an mtime nor
//! a ctime from then on; the rest is left to `precompute run`. A share of the lines is also checked
//! against the files; one that is wrong refuses its whole mailbox. A crash leaves caches whole, old
//! or new.

mod lines;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use indexfile::Guid;
use jiff::Timestamp;
use serde::Serialize;

pub use lines::{Line, parse_line};

use crate::cache::{Cache, Entry};
use crate::hash::Kernel;
use crate::hash::lanes::Lanes;
use crate::mailbox::{Mailbox, Opened, cache_finding, index_finding};
use crate::message::{Hashed, Hasher, MessageError, NoGate, uid_of};
use crate::pass::{Rows, Wanted};
use crate::store::Target;
use indexfile::finding::{Code, Finding};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Mailboxes that lines named.
    pub mailboxes: u64,
    /// Lines that name no message of any mailbox.
    pub ignored: u64,
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
        self.mailboxes += other.mailboxes;
        self.ignored += other.ignored;
        self.lines += other.lines;
        self.imported += other.imported;
        self.cached += other.cached;
        self.changed += other.changed;
        self.unwanted += other.unwanted;
        self.checked += other.checked;
    }
}

/// Lines that are worked on at a time; about 6 MiB.
const BATCH: usize = 64 * 1024;

/// An import into one mailbox. Memory does not grow with the number of lines: they are worked on in
/// batches, and what comes of them waits in [`Rows`].
pub struct Import {
    mailbox: Mailbox,
    old: Option<Cache>,
    options: Options,
    /// Lines a batch.
    batch_lines: usize,
    /// The batch: UIDs and SHA-1s in the order in which they came.
    lines: Vec<(u32, Guid)>,
    /// New entries, by the position of their messages in the mailbox.
    rows: Rows,
    counts: Counts,
}

impl Import {
    /// Opens the mailbox; `None` if it was removed meanwhile. What is wrong with it although it can
    /// be worked on goes to `report`.
    ///
    /// # Errors
    /// A finding: the mailbox or its cache cannot be read.
    pub fn begin(
        target: Target,
        options: Options,
        report: &dyn Fn(Finding),
    ) -> Result<Option<Self>, Finding> {
        let mailbox = match Mailbox::open(target)? {
            Opened::Mailbox(mailbox, finding) => {
                finding.into_iter().for_each(report);
                *mailbox
            }
            Opened::Vanished => return Ok(None),
        };
        let old = mailbox
            .cache()
            .map_err(|error| cache_finding(&mailbox.target, &error))?
            .good();
        Ok(Some(Self {
            mailbox,
            old,
            options,
            batch_lines: BATCH,
            lines: Vec::new(),
            rows: Rows::default(),
            counts: Counts::default(),
        }))
    }

    /// Takes one line.
    ///
    /// # Errors
    /// A finding: a message cannot be looked at, or a line is wrong. Nothing is imported then.
    pub fn line(&mut self, uid: u32, guid: Guid) -> Result<(), Finding> {
        self.lines.push((uid, guid));
        if self.lines.len() < self.batch_lines {
            return Ok(());
        }
        self.batch()
    }

    /// How many lines it has taken.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.counts.lines + self.lines.len() as u64
    }

    /// Puts what was found into the cache.
    ///
    /// # Errors
    /// As [`Self::line`], or the cache cannot be written.
    pub fn finish(mut self) -> Result<Counts, Finding> {
        self.batch()?;
        if self.counts.imported > 0 {
            let mailbox = &self.mailbox;
            mailbox
                .replace_cache(|| self.rows.with(self.old.as_ref()))
                .map_err(|error| cache_finding(&mailbox.target, &error))?;
        }
        Ok(self.counts)
    }

    fn batch(&mut self) -> Result<(), Finding> {
        let mut lines = std::mem::take(&mut self.lines);
        // Of a UID that is there twice the last one counts.
        lines.reverse();
        lines.sort_by_key(|(uid, _)| *uid);
        lines.dedup_by_key(|(uid, _)| *uid);
        let mut new = self.new_entries(&lines)?;
        self.counts.checked += check(&self.mailbox, &new, self.options.check_percent)?;
        self.counts.imported += new.len() as u64;
        self.rows
            .put(&mut new, self.mailbox.index_dir())
            .map_err(|error| cache_finding(&self.mailbox.target, &error.into()))
    }

    /// The entries that `lines`, by UID, bring to the cache, with the positions of their messages.
    fn new_entries(&mut self, lines: &[(u32, Guid)]) -> Result<Vec<(usize, Entry)>, Finding> {
        let (mailbox, options, counts) = (&self.mailbox, &self.options, &mut self.counts);
        counts.lines += lines.len() as u64;
        let mut new = Vec::new();
        let unread = |code, error| index_finding(&mailbox.target, code, &error);
        let mut wanted = Wanted::new(mailbox.expunge.as_ref(), options.all_messages)
            .map_err(|error| unread(Code::Expunge, error))?;
        let mut lines = lines.iter().peekable();
        for position in 0.. {
            if lines.peek().is_none() {
                break;
            }
            let want = wanted.next(&mailbox.index);
            let Some(want) = want.map_err(|error| unread(Code::Index, error))? else {
                break;
            };
            while lines.next_if(|(uid, _)| *uid < want.uid).is_some() {
                counts.unwanted += 1;
            }
            let Some((uid, guid)) = lines.next_if(|(uid, _)| *uid == want.uid) else {
                continue;
            };
            let now = match mailbox.spool.stat(*uid) {
                Ok(now) => now,
                Err(MessageError::Missing { .. }) => {
                    counts.unwanted += 1;
                    continue;
                }
                Err(error) => return Err(error.finding(&mailbox.target.mailbox)),
            };
            let known = self.old.as_ref().and_then(|cache| cache.get(*uid));
            let since = options.as_of_ns;
            if known.is_some_and(|entry| entry.still_same(&now.stamp, now.size)) {
                counts.cached += 1;
            } else if now.stamp.mtime_ns >= since || now.stamp.ctime_ns >= since {
                counts.changed += 1;
            } else {
                let entry = Entry {
                    uid: *uid,
                    size: now.size,
                    stamp: now.stamp,
                    guid: *guid,
                };
                new.push((position, entry));
            }
        }
        counts.unwanted += lines.count() as u64;
        Ok(new)
    }
}

/// Hashes a share of the new entries, at least one, spread evenly.
fn check(mailbox: &Mailbox, new: &[(usize, Entry)], percent: u32) -> Result<u64, Finding> {
    if percent == 0 || new.is_empty() {
        return Ok(0);
    }
    let share = (new.len() as u64)
        .saturating_mul(u64::from(percent.min(100)))
        .div_ceil(100);
    let step = usize::try_from(new.len() as u64 / share.max(1))
        .unwrap_or(1)
        .max(1);
    let sample: BTreeMap<u32, &Entry> = new.iter().step_by(step).map(|(_, e)| (e.uid, e)).collect();
    let mut wrong = None;
    let mut lanes = Lanes::new(Kernel::detect());
    let sink = |uid, result: Result<Hashed, MessageError>| {
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
            (_, Err(error)) => error.finding(name),
            (None, Ok(_)) => return,
        };
        wrong.get_or_insert(finding);
    };
    Hasher::new(&mailbox.spool, sample.keys().copied(), sink, NoGate).run(&mut lanes);
    match wrong {
        Some(finding) => Err(finding),
        None => Ok(sample.len() as u64),
    }
}

/// A point in time on the command line, seconds since 1970 (also after an `@`) or
/// `2026-11-22T01:02:03Z`, in nanoseconds since 1970.
///
/// # Errors
/// What was expected instead.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let seconds = text.strip_prefix('@').unwrap_or(text).parse::<i64>();
    let time = match seconds {
        Ok(seconds) => Timestamp::from_second(seconds).ok(),
        // Jiff would take any offset; this is what sha1sum's user is asked for.
        Err(_) => text.strip_suffix('Z').and_then(|_| text.parse().ok()),
    };
    let nanoseconds = time.map(Timestamp::as_nanosecond).filter(|ns| *ns >= 0);
    nanoseconds
        .and_then(|ns| i64::try_from(ns).ok())
        .ok_or_else(|| format!("{text:?}: expected seconds since 1970, or 2026-11-22T01:02:03Z"))
}

/// The file system's clock moves in steps: a file's mtime may be that much before the time at which
/// it was written, in nanoseconds.
const TICK_NS: i64 = 10_000_000;

/// Whether a hashing can have begun at `as_of_ns` whose list is complete `now`, and was last
/// written at `written_ns`. A later time would take messages for unchanged that are not.
///
/// # Errors
/// Why not.
pub fn check_time(as_of_ns: i64, now: Timestamp, written_ns: Option<i64>) -> Result<(), String> {
    if i128::from(as_of_ns) > now.as_nanosecond() {
        return Err("that is in the future; give the time at which sha1sum was started".to_owned());
    }
    match written_ns {
        Some(written) if as_of_ns > written.saturating_add(TICK_NS) => Err(
            "the list was last written before that; give the time at which sha1sum was started"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

/// A directory of messages and the UID that a path names in it.
#[must_use]
pub fn message_of(path: &Path) -> Option<(PathBuf, u32)> {
    let name = CString::new(path.file_name()?.as_bytes()).ok()?;
    Some((path.parent()?.to_owned(), uid_of(&name)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use indexfile::FileKind;
    use indexfile::build::{BuildRecord, IndexBuilder};

    use super::*;
    use crate::bench::store::header;
    use crate::store::Store;

    #[test]
    fn batches_come_together_by_uid_and_the_last_line_of_a_message_counts() {
        let dir = tempfile::tempdir().expect("scratch");
        let mut index = IndexBuilder::new(9, FileKind::Index);
        for uid in 1..=20 {
            fs::write(dir.path().join(format!("{uid}.")), "message").expect("write");
            index = index.record(BuildRecord {
                uid,
                size: 7,
                ..BuildRecord::default()
            });
        }
        let index = index.to_bytes().expect("sound");
        fs::write(dir.path().join("cyrus.index"), index).expect("write");
        fs::write(dir.path().join("cyrus.header"), header()).expect("write");
        let target = Store::plain(dir.path(), None, None).root();
        let target = target.expect("a mailbox");
        let guid = |n: u8| Guid::from_bytes([n; 20]);
        let import = |batch_lines, lines: &[(u32, u8)]| {
            let options = Options {
                as_of_ns: i64::MAX,
                check_percent: 0,
                all_messages: false,
            };
            let import = Import::begin(target.clone(), options, &|_| ()).expect("sound");
            let mut import = import.expect("there");
            import.batch_lines = batch_lines;
            for (uid, n) in lines {
                import.line(*uid, guid(*n)).expect("sound");
            }
            let counts = import.finish().expect("written");
            let cache = Cache::open(&dir.path().join(crate::cache::FILE_NAME)).expect("a cache");
            let entries = cache.iter().map(|entry| entry.expect("sound"));
            let entries: Vec<(u32, u8)> = entries
                .map(|entry| (entry.uid, entry.guid.as_bytes()[0]))
                .collect();
            (counts.imported, entries)
        };
        // UIDs 7 and 9 come a second time, in a later batch and in the same one.
        let lines = [
            (9, 1),
            (9, 9),
            (3, 3),
            (7, 1),
            (20, 20),
            (1, 1),
            (7, 7),
            (40, 40),
        ];
        let all = vec![(1, 1), (3, 3), (7, 7), (9, 9), (20, 20)];
        assert_eq!(import(3, &lines), (6, all.clone()));
        // What the cache had stays, in its place.
        let more = [(1, 1), (2, 2), (3, 3), (7, 7), (9, 9), (10, 10), (20, 20)];
        assert_eq!(import(1, &[(10, 10), (2, 2), (3, 99)]), (2, more.to_vec()));
    }

    #[test]
    fn a_hashing_begins_neither_in_the_future_nor_after_its_list_was_written() {
        let now = Timestamp::from_second(2_000).expect("a time");
        let second = 1_000_000_000;
        assert!(check_time(2_000 * second, now, None).is_ok());
        assert!(check_time(2_000 * second + 1, now, None).is_err());
        assert!(check_time(1_000 * second, now, Some(1_000 * second)).is_ok());
        assert!(check_time(1_001 * second, now, Some(1_000 * second)).is_err());
        // The mtime of a list may be a step of the clock behind.
        assert!(check_time(1_000 * second, now, Some(1_000 * second - TICK_NS)).is_ok());
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        let ns = 1_000_000_000;
        assert_eq!(parse_time("0"), Ok(0));
        assert_eq!(parse_time("@1795304000"), Ok(1_795_304_000 * ns));
        assert_eq!(parse_time("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(parse_time("2000-02-29T12:00:00Z"), Ok(951_825_600 * ns));
        assert_eq!(parse_time("2026-11-22 01:02:03Z"), Ok(1_795_309_323 * ns));
        for bad in [
            "",
            "now",
            "2026-11-22",
            "2026-11-22T01:02:03",
            "2026-13-01T00:00:00Z",
            "-5",
            "99999999999999",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
