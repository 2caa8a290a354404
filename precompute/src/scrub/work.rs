//! What one thread does with one task: look through a mailbox, compare records, look again.
//!
//! Tasks make further ones. Their number is bounded: a thread that finds too many does its own
//! at once. So memory does not depend on how many mailboxes, messages or findings there are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexfile::finding::{Code, Finding};
use indexfile::mailbox::MetaFile;
use indexfile::{FileKind, ReadError};

use super::describe::describe;
use super::examine::{Fresh, compare, observe_unlisted, observe_unlisted_again};
use super::observation::{Observation, Suspect, Verdict, judge};
use super::record_reader::{RecordReader, WINDOW, is_missing, open_expunge};
use super::row::Row;
use super::spools::{Spools, age};
use super::{Counters, Options};
use crate::governor::Governor;
use crate::hash::lanes::Lanes;
use crate::links::Links;
use crate::mailbox::directory_finding;
use crate::message::MessageError;
use crate::store::{Place, Step, Target};
use crate::throttle::{ReadCounts, Throttle};
use crate::uid_set::UidSet;
use crate::worker_pool::Pool;

/// How often a mailbox without an index, or without its directory, is tried before that is
/// reported.
const TRIES: u32 = 3;

pub(super) enum Task {
    /// What the walk or the list brought.
    Step(Step),
    /// Observation through a mailbox once more; how often that was tried.
    Mailbox(Arc<Target>, u32),
    /// Compare records with files.
    Rows(Arc<Target>, Arc<Spools>, Vec<Row>),
    /// Observation again at what looked wrong.
    Suspects(Arc<Target>, Vec<Suspect>),
}

/// The UIDs that a mailbox has records of.
#[derive(Default)]
struct RecordedUids {
    all: UidSet,
    archived: UidSet,
    unlinked: UidSet,
}

pub(super) struct Work<'a> {
    pub(super) options: &'a Options,
    pub(super) governor: &'a Governor,
    pub(super) counters: &'a Counters,
    pub(super) report: &'a (dyn Fn(Finding) + Sync),
    pub(super) links: Links,
}

impl Work<'_> {
    pub(super) fn run(&self, task: Task, pool: &Pool<Task>, lanes: &mut Lanes) {
        match task {
            Task::Step(Ok(mailbox)) => self.mailbox(&Arc::new(mailbox), 1, pool, lanes),
            Task::Step(Err(finding)) => self.not_opened(finding),
            Task::Mailbox(mailbox, tries) => self.mailbox(&mailbox, tries, pool, lanes),
            Task::Rows(mailbox, spools, rows) => self.rows(&mailbox, &spools, rows, pool, lanes),
            Task::Suspects(mailbox, suspects) => self.suspects(&mailbox, suspects, pool, lanes),
        }
    }

    fn not_opened(&self, mut finding: Finding) {
        if finding.code == Code::Denied {
            // A scrub only reads, so it has one word for all that it may not.
            finding.code = Code::Unreadable;
        }
        (self.report)(finding);
    }

    fn found(&self, code: Code, mailbox: &Target, path: &Path, text: &str) {
        (self.report)(Finding::new(&mailbox.mailbox, code, path.to_owned(), &text));
    }

    fn index_error(&self, mailbox: &Target, error: &ReadError) {
        let code = match error {
            ReadError::Io(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                Code::Unreadable
            }
            ReadError::Io(_) => Code::Io,
            other => other.code(),
        };
        self.found(code, mailbox, error.path(), &error.to_string());
    }

    fn spool_error(&self, mailbox: &Target, error: &MessageError) {
        let code = match error {
            MessageError::Denied { .. } => Code::Unreadable,
            _ => Code::Io,
        };
        self.found(code, mailbox, error.path(), &error.to_string());
    }

    /// Looks through a whole mailbox.
    fn mailbox(&self, mailbox: &Arc<Target>, tries: u32, pool: &Pool<Task>, lanes: &mut Lanes) {
        let mut index =
            match RecordReader::open(&mailbox.dirs.file(MetaFile::Index), FileKind::Index) {
                Ok(index) => index,
                Err(error) if is_missing(&error) => return self.no_index(mailbox, tries, pool),
                Err(error) => return self.index_error(mailbox, &error),
            };
        let spools = match Spools::open(mailbox) {
            Ok(spools) => Arc::new(spools),
            Err(error) => return self.spool_error(mailbox, &error),
        };
        if spools.get(Place::Data).is_none() && index.num_records() > 0 {
            return self.no_spool(mailbox, tries, &mailbox.data_path(), pool);
        }
        if unreachable(mailbox, MetaFile::Expunge).is_some() && tries < TRIES {
            return pool.delay(Task::Mailbox(Arc::clone(mailbox), tries + 1));
        }
        let mut listed = RecordedUids::default();
        let mut sound = self.records(mailbox, &spools, &mut index, &mut listed, pool, lanes);
        match open_expunge(&mailbox.dirs.file(MetaFile::Expunge)) {
            Ok(None) => {
                if let Some(dir) = unreachable(mailbox, MetaFile::Expunge) {
                    self.no_directory(mailbox, MetaFile::Expunge, &dir);
                    sound = false;
                }
            }
            Ok(Some(mut expunge)) => {
                sound &= self.records(mailbox, &spools, &mut expunge, &mut listed, pool, lanes);
            }
            Err(error) => {
                self.index_error(mailbox, &error);
                sound = false;
            }
        }
        // Without all records any file might look as if it had none.
        if sound && !self.governor.stopped() {
            self.unlisted(mailbox, &spools, &listed, pool, lanes);
        }
        self.counters.lock().mailboxes += 1;
    }

    /// Hands out the records of one file; `false` if not all could be read.
    fn records(
        &self,
        mailbox: &Arc<Target>,
        spools: &Arc<Spools>,
        file: &mut RecordReader,
        listed: &mut RecordedUids,
        pool: &Pool<Task>,
        lanes: &mut Lanes,
    ) -> bool {
        let mut no_archive = false;
        while !file.at_end() {
            if !self.governor.go_on() {
                return false;
            }
            let damaged = |uid, error: ReadError| {
                // What it says cannot be trusted, but that the UID is in use can, most likely.
                listed.all.insert(uid);
                listed.unlinked.insert(uid);
                self.index_error(mailbox, &error);
            };
            let mut rows = match file.next_rows(damaged) {
                Ok(rows) => rows,
                Err(error) => {
                    self.index_error(mailbox, &error);
                    return false;
                }
            };
            let count = rows.len();
            for row in &rows {
                listed.all.insert(row.uid);
                if row.archived {
                    listed.archived.insert(row.uid);
                }
                if row.unlinked || row.cleanup {
                    listed.unlinked.insert(row.uid);
                }
            }
            rows.retain(|row| !row.unlinked);
            let mut progress = self.counters.lock();
            progress.unlinked += (count - rows.len()) as u64;
            progress.messages += rows.len() as u64;
            progress.old_style += rows.iter().filter(|row| row.guid.is_none()).count() as u64;
            drop(progress);
            if spools.get(Place::Archive).is_none() {
                let all = rows.len();
                rows.retain(|row| !row.archived);
                no_archive |= rows.len() < all;
            }
            if rows.is_empty() {
                continue;
            }
            let task = Task::Rows(Arc::clone(mailbox), Arc::clone(spools), rows);
            if let Err(task) = pool.offer(task) {
                self.run(task, pool, lanes);
            }
        }
        if no_archive {
            // One finding says more than a million.
            self.no_spool(
                mailbox,
                TRIES,
                &mailbox.location(Place::Archive).path(),
                pool,
            );
        }
        true
    }

    /// Looks for files without a record.
    fn unlisted(
        &self,
        mailbox: &Arc<Target>,
        spools: &Arc<Spools>,
        listed: &RecordedUids,
        pool: &Pool<Task>,
        lanes: &mut Lanes,
    ) {
        let mut suspects = Vec::new();
        for place in mailbox.places() {
            let Some(spool) = spools.get(place) else {
                continue;
            };
            let result = spool.for_each_name(|uid, _| {
                let right = if listed.archived.contains(uid) {
                    Place::Archive
                } else {
                    Place::Data
                };
                let at_home =
                    listed.all.contains(uid) && mailbox.location(right) == mailbox.location(place);
                if at_home || listed.unlinked.contains(uid) {
                    return;
                }
                let Some(seen) = observe_unlisted(spool, place, uid, None) else {
                    return;
                };
                suspects.push(Suspect {
                    observations: 1,
                    seen,
                });
                if suspects.len() >= WINDOW as usize {
                    self.suspects(mailbox, std::mem::take(&mut suspects), pool, lanes);
                }
            });
            if let Err(errno) = result {
                let code = if errno == rustix::io::Errno::ACCESS {
                    Code::Unreadable
                } else {
                    Code::Io
                };
                self.found(
                    code,
                    mailbox,
                    spool.path(),
                    &format!("cannot read the directory: {errno}"),
                );
            }
        }
        self.suspects(mailbox, suspects, pool, lanes);
    }

    /// The index is not there.
    fn no_index(&self, mailbox: &Arc<Target>, tries: u32, pool: &Pool<Task>) {
        let there = |path: PathBuf| path.symlink_metadata().is_ok();
        let index = mailbox.dirs.file(MetaFile::Index);
        let header = match mailbox.exists() {
            Ok(header) => header,
            Err(_) if tries < TRIES => {
                return pool.delay(Task::Mailbox(Arc::clone(mailbox), tries + 1));
            }
            Err(error) => return self.not_opened(directory_finding(mailbox, &error)),
        };
        if mailbox.named && !there(mailbox.data_path()) && !header {
            let text = format!("no such mailbox (no {})", index.display());
            return self.found(Code::NoMailbox, mailbox, &index, &text);
        }
        if tries < TRIES {
            // Perhaps it is being made, renamed or removed.
            return pool.delay(Task::Mailbox(Arc::clone(mailbox), tries + 1));
        }
        let mut messages = 0_u64;
        if let Ok(spools) = Spools::open(mailbox) {
            for spool in mailbox.places().filter_map(|place| spools.get(place)) {
                // A directory that cannot be read now counts as empty; there may be a header.
                let _ = spool.for_each_name(|_, _| messages += 1);
            }
        }
        if messages > 0 || mailbox.named || header {
            if let Some(dir) = unreachable(mailbox, MetaFile::Index) {
                return self.no_directory(mailbox, MetaFile::Index, &dir);
            }
            let text = format!("no index, though the mailbox has {messages} message files");
            self.found(Code::NoIndex, mailbox, &index, &text);
        } else {
            self.counters.lock().races += 1;
        }
    }

    /// The directory of a file is not there, while others of the mailbox are.
    fn no_directory(&self, mailbox: &Target, file: MetaFile, dir: &Path) {
        let name = file.file_name();
        let text = format!("no such directory, where {name} belongs (is it mounted?)");
        self.found(Code::NoSpool, mailbox, dir, &text);
    }

    /// A directory of messages is not there.
    fn no_spool(&self, mailbox: &Arc<Target>, tries: u32, dir: &Path, pool: &Pool<Task>) {
        if tries < TRIES {
            return pool.delay(Task::Mailbox(Arc::clone(mailbox), tries + 1));
        }
        let text = "no such directory, though the index has messages in it (is it mounted?)";
        self.found(Code::NoSpool, mailbox, dir, text);
    }

    /// Compares records with their files.
    fn rows(
        &self,
        mailbox: &Arc<Target>,
        spools: &Spools,
        rows: Vec<Row>,
        pool: &Pool<Task>,
        lanes: &mut Lanes,
    ) {
        let mut suspects = Vec::new();
        self.compare(spools, rows, Some(&self.links), lanes, |seen| {
            if seen.guid.is_some() {
                self.counters.lock().compared += 1;
            }
            if seen.code.is_some() {
                suspects.push(Suspect {
                    observations: 1,
                    seen,
                });
            }
        });
        self.suspects(mailbox, suspects, pool, lanes);
    }

    /// Without `links` every name of a file is read, as a second look must.
    fn compare(
        &self,
        spools: &Spools,
        rows: Vec<Row>,
        links: Option<&Links>,
        lanes: &mut Lanes,
        each: impl FnMut(Observation),
    ) {
        let throttle = Throttle {
            governor: self.governor,
            links,
            single_stat: false,
            count: &|counts: ReadCounts| self.counters.lock().bytes += counts.bytes,
        };
        compare(spools, rows, lanes, throttle, each);
    }

    /// Looks again at what looked wrong.
    fn suspects(
        &self,
        mailbox: &Arc<Target>,
        suspects: Vec<Suspect>,
        pool: &Pool<Task>,
        lanes: &mut Lanes,
    ) {
        if suspects.is_empty() || self.governor.stopped() {
            return;
        }
        let fresh = match Fresh::open(mailbox, &suspects) {
            Ok(fresh) => fresh,
            // The mailbox is gone, and its messages with it.
            Err(error) if is_missing(&error) => {
                self.counters.lock().races += suspects.len() as u64;
                return;
            }
            Err(error) => return self.index_error(mailbox, &error),
        };
        let mut with_rows = Vec::with_capacity(suspects.len());
        for suspect in suspects {
            match fresh.row(&suspect.seen) {
                Ok(row) => with_rows.push((suspect, row)),
                Err(error) => return self.index_error(mailbox, &error),
            }
        }
        let spools = match Spools::open(mailbox) {
            Ok(spools) => spools,
            Err(error) => return self.spool_error(mailbox, &error),
        };
        let mut again = Vec::new();
        let mut settle = |mut suspect: Suspect, now: Option<Observation>| {
            let still = now.as_ref().is_some_and(|now| self.is_still(now));
            match judge(&mut suspect, now, still) {
                Verdict::Race => self.counters.lock().races += 1,
                Verdict::Again => again.push(suspect),
                Verdict::Damage if self.in_delivery(&suspect.seen, fresh.last_uid()) => {
                    self.counters.lock().in_delivery += 1;
                }
                Verdict::Damage => (self.report)(describe(mailbox, &suspect.seen)),
            }
        };
        let mut of_records = Vec::new();
        for (suspect, row) in with_rows {
            match (suspect.seen.unlisted, row) {
                (Some(place), row) => {
                    let uid = suspect.seen.uid;
                    settle(
                        suspect,
                        observe_unlisted_again(mailbox, &spools, place, uid, row),
                    );
                }
                (None, Some(row)) if !row.unlinked => of_records.push((suspect, row)),
                (None, _) => settle(suspect, None),
            }
        }
        let rows = of_records.iter().map(|(_, row)| *row).collect();
        self.compare(&spools, rows, None, lanes, |now| {
            let at = of_records.iter().position(|(_, row)| Some(*row) == now.row);
            if let Some(at) = at {
                settle(of_records.swap_remove(at).0, Some(now));
            }
        });
        if !again.is_empty() {
            pool.delay(Task::Suspects(Arc::clone(mailbox), again));
        }
    }

    /// Whether nothing has moved for a while that a look depends on.
    fn is_still(&self, seen: &Observation) -> bool {
        // A record may have gone long before its file, so the age of the directory proves nothing
        // of a unlisted: there is always another look after the wait.
        let times = [seen.file.map(|(_, stamp)| stamp.ctime_ns), seen.dir_changed];
        let newest = times.into_iter().flatten().max();
        let still_for = newest.filter(|_| seen.unlisted.is_none()).and_then(age);
        still_for.is_some_and(|still_for| still_for >= self.options.settle)
    }

    /// A file beyond the last UID given that was made recently: its record may still be to come.
    fn in_delivery(&self, seen: &Observation, last_uid: u32) -> bool {
        let grace = self.options.delivery_grace;
        let young = |ctime_ns| age(ctime_ns).is_none_or(|age: Duration| age < grace);
        seen.code == Some(Code::Unlisted)
            && seen.uid > last_uid
            && seen.file.is_some_and(|(_, stamp)| young(stamp.ctime_ns))
    }
}

/// The directory of a file, if that is not there: then nobody can say that there is no such file.
fn unreachable(mailbox: &Target, file: MetaFile) -> Option<PathBuf> {
    let dir = mailbox.dirs.file_dir(file).path();
    (!dir.is_dir()).then_some(dir)
}
