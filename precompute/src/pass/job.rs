//! One mailbox in progress: cut into chunks, hashed by any thread, put together in order of UID.
//!
//! Results are collected in [`Rows`], and the cache is replaced once, at the end. Before that, a
//! checkpoint writes what is done so far together with what the old cache has for the rest; after a
//! crash the next run starts with that. The final bytes do not depend on checkpoints or threads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexfile::finding::{Code, Finding};
use indexfile::{IoError, ReadError};
use parking_lot::Mutex;

use super::Options;
use super::rows::Rows;
use super::unchanged::Unchanged;
use super::wanted::{Want, Wanted};
use crate::cache::{self, Cache, Entry, Found, StoreError};
use crate::mailbox::{Mailbox, cache_finding, index_finding};

/// A chunk ends after this many messages,
const CHUNK_MESSAGES: usize = 256;
/// or after this many bytes.
const CHUNK_BYTES: u64 = 8 << 20;

/// A mailbox in progress.
#[derive(Debug)]
pub struct Job {
    /// The mailbox.
    pub mailbox: Mailbox,
    old: Option<Cache>,
    /// Which of its messages are not looked at.
    unchanged: Unchanged,
    /// The old file is torn or damaged: it is replaced even by an empty one.
    damaged: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    wanted: Wanted,
    exhausted: bool,
    /// The slot of the next message.
    next: usize,
    /// Chunks that were given out and are not yet done.
    busy: usize,
    rows: Rows,
    failed: Option<IoError>,
    /// The index could be read no further.
    unread: Option<ReadError>,
    interrupted: bool,
    finished: bool,
    missing: BTreeSet<u32>,
    /// Entries that the old cache did not have, and how many of them a checkpoint has.
    fresh: usize,
    checkpointed_fresh: usize,
    checkpointed: Instant,
}

/// What came of [`Job::begin`].
#[derive(Debug)]
pub enum Begun {
    /// There is something to do.
    Job(Arc<Job>),
    /// All of these messages are in its cache and are [`Unchanged`], and nothing else is in it.
    Nothing(u64),
}

/// One message of a chunk.
#[derive(Debug)]
pub struct Item {
    /// Where its entry goes in [`Rows`].
    pub slot: usize,
    /// What is wanted.
    pub want: Want,
    /// What the old cache has for it.
    pub old: Option<Entry>,
    /// It need not be looked at; see [`super::unchanged`].
    pub unchanged: bool,
}

impl Job {
    /// Prepares to work on `mailbox`; `sample_seed` is for [`Unchanged::of`].
    ///
    /// # Errors
    /// If the old cache is there and cannot be read, or the expunge file cannot.
    pub fn begin(
        mailbox: Mailbox,
        options: &Options,
        sample_seed: usize,
    ) -> Result<Begun, Finding> {
        let failed = |error: StoreError| cache_finding(&mailbox.target, &error);
        cache::sweep(mailbox.index_dir()).map_err(failed)?;
        let found = mailbox.cache().map_err(failed)?;
        let damaged = matches!(found, Found::Damaged(_));
        let old = found.good();
        let wanted = || {
            Wanted::new(mailbox.expunge.as_ref(), options.all_messages)
                .map_err(|error| index_finding(&mailbox.target, Code::Expunge, &error))
        };
        let unchanged = match &old {
            Some(old) if !options.look_at_all => {
                let unchanged = Unchanged::of(&mailbox, old, sample_seed);
                if unchanged.is_all(&mailbox, old, wanted()?) {
                    return Ok(Begun::Nothing(old.len() as u64));
                }
                unchanged
            }
            _ => Unchanged::default(),
        };
        let state = State {
            wanted: wanted()?,
            exhausted: false,
            next: 0,
            busy: 0,
            rows: Rows::default(),
            failed: None,
            unread: None,
            interrupted: false,
            finished: false,
            missing: BTreeSet::new(),
            fresh: 0,
            checkpointed_fresh: 0,
            checkpointed: Instant::now(),
        };
        Ok(Begun::Job(Arc::new(Self {
            mailbox,
            old,
            unchanged,
            damaged,
            state: Mutex::new(state),
        })))
    }

    /// The next chunk, by UID; `None` if there are no more. [`Job::chunk_done`] takes note of its
    /// end.
    pub fn next(&self) -> Option<Vec<Item>> {
        let mut state = self.state.lock();
        let mut items = Vec::with_capacity(CHUNK_MESSAGES);
        let mut bytes = 0u64;
        while !state.exhausted && items.len() < CHUNK_MESSAGES && bytes < CHUNK_BYTES {
            let want = match state.wanted.next(&self.mailbox.index) {
                Ok(Some(want)) => want,
                end => {
                    state.exhausted = true;
                    state.unread = end.err();
                    break;
                }
            };
            let old = self.old.as_ref();
            let old = old.and_then(|cache| cache.get(want.uid));
            if old.is_none() {
                bytes = bytes.saturating_add(want.size);
            }
            let same_size = old.is_some_and(|old| old.size == want.size);
            items.push(Item {
                slot: state.next,
                want,
                old,
                unchanged: same_size && self.unchanged.contains(want.uid),
            });
            state.next += 1;
        }
        state.busy += usize::from(!items.is_empty());
        (!items.is_empty()).then_some(items)
    }

    /// Whether [`Job::next`] has nothing more to give.
    #[must_use]
    pub fn exhausted(&self) -> bool {
        self.state.lock().exhausted
    }

    /// Notes a message whose file is not there, to be looked at again at the end.
    pub fn missing(&self, uid: u32) {
        self.state.lock().missing.insert(uid);
    }

    /// Takes entries by their slots, of which `fresh` are not from the old cache; `entries` is
    /// empty afterwards.
    pub fn put(&self, entries: &mut Vec<(usize, Entry)>, fresh: usize) {
        let mut state = self.state.lock();
        state.fresh += fresh;
        if let Err(error) = state.rows.put(entries, self.mailbox.index_dir()) {
            entries.clear();
            state.failed.get_or_insert(error);
        }
    }

    /// A chunk is done; `complete` unless the governor said stop. `true` if it was the last one,
    /// and [`Job::finish`] is to be called.
    pub fn chunk_done(&self, complete: bool) -> bool {
        let mut state = self.state.lock();
        state.busy -= 1;
        state.interrupted |= !complete;
        state.is_done()
    }

    /// Whether nothing is left to do but [`Job::finish`]; says so once.
    #[must_use]
    pub fn done(&self) -> bool {
        self.state.lock().is_done()
    }

    /// Replaces the cache, unless it would be the same, and says what is missing.
    pub fn finish(&self) -> Vec<Finding> {
        let mut state = self.state.lock();
        let mut findings = self.missing_findings(&state.missing);
        if let Some(error) = state.unread.take() {
            // What the cache has of messages that were not reached is worth more than part of a new
            // one.
            findings.push(index_finding(&self.mailbox.target, Code::Index, &error));
            return findings;
        }
        let result = match state.failed.take() {
            Some(error) => Err(error.into()),
            None if self.is_up_to_date(&state) => Ok(()),
            None => self.mailbox.replace_cache(|| state.rows.iter()),
        };
        findings.extend(result.err().and_then(|error| self.write_finding(&error)));
        findings
    }

    /// Whether the cache has just what was found, or nothing is wanted and it is left to `clean`.
    fn is_up_to_date(&self, state: &State) -> bool {
        let rows = &state.rows;
        match &self.old {
            None => rows.is_empty() && !self.damaged,
            Some(_) if rows.is_empty() => true,
            // As many as there were, each of them taken from there, are the same.
            Some(old) if state.fresh == 0 => rows.iter().count() == old.len(),
            Some(old) => {
                let mut old = old.iter();
                let same =
                    |new| matches!((new, old.next()), (Ok(new), Some(Ok(old))) if new == old);
                rows.iter().all(same) && old.next().is_none()
            }
        }
    }

    fn write_finding(&self, error: &StoreError) -> Option<Finding> {
        // A mailbox that was removed meanwhile needs no cache.
        let gone = matches!(error, StoreError::Vanished { .. });
        (!gone).then(|| cache_finding(&self.mailbox.target, error))
    }

    /// The second look: what was expunged meanwhile is no finding.
    fn missing_findings(&self, missing: &BTreeSet<u32>) -> Vec<Finding> {
        if missing.is_empty() {
            return Vec::new();
        }
        let listed = self.mailbox.still_listed(missing);
        let errors = listed
            .iter()
            .filter_map(|uid| self.mailbox.spool.stat(*uid).err());
        errors
            .map(|error| error.finding(&self.mailbox.target.mailbox))
            .collect()
    }

    /// Writes a checkpoint if there is something new and the last one is `interval` old. Entries of
    /// the old cache are not compared with their files here, but whenever they are used.
    pub fn checkpoint(&self, interval: Duration) -> Option<Finding> {
        let mut state = self.state.lock();
        if state.finished || state.checkpointed.elapsed() < interval {
            return None;
        }
        state.checkpointed = Instant::now();
        if state.fresh == state.checkpointed_fresh {
            return None;
        }
        state.checkpointed_fresh = state.fresh;
        let entries = || state.rows.with(self.old.as_ref());
        self.write_finding(&self.mailbox.replace_cache(entries).err()?)
    }
}

impl State {
    fn is_done(&mut self) -> bool {
        let done = self.exhausted && self.busy == 0 && !self.interrupted && !self.finished;
        self.finished |= done;
        done
    }
}
