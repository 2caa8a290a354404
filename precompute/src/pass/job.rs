//! One mailbox in progress: cut into chunks, hashed by any thread, put together in order of UID.
//!
//! Results are collected in [`Rows`], and the cache is replaced once, at the end. Before that, a
//! checkpoint writes what is done so far together with what the old cache has for the rest; after a
//! crash the next run starts with that. The final bytes do not depend on checkpoints or threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexfile::{IoError, ReadError};
use parking_lot::Mutex;

use super::Options;
use super::chunk::{Chunk, Item};
use super::rows::Rows;
use super::unchanged::Unchanged;
use super::wanted::Wanted;
use crate::cache::{self, Cache, Entry, Found, StoreError};
use crate::mailbox::{Mailbox, cache_finding, index_finding};
use indexfile::finding::{Code, Finding};

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
    window: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    wanted: Wanted,
    exhausted: bool,
    next_number: u64,
    in_flight: BTreeMap<u64, Arc<Chunk>>,
    /// Finished chunks that wait for one before them: last UID and entries.
    waiting: BTreeMap<u64, (u32, Vec<Entry>)>,
    next_in_order: u64,
    rows: Rows,
    /// Up to this UID everything that can be had is in `rows`.
    covered: u32,
    failed: Option<IoError>,
    /// The index could be read no further.
    unread: Option<ReadError>,
    interrupted: bool,
    finished: bool,
    missing: BTreeSet<u32>,
    /// Entries put back that the old cache did not have, and how many a checkpoint has.
    fresh: u64,
    checkpointed_fresh: u64,
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

/// What came of [`Job::next`].
#[derive(Debug)]
pub enum Next {
    /// Work.
    Chunk(Arc<Chunk>),
    /// Not now: too many chunks wait for an earlier one.
    Later,
    /// There are no more.
    Exhausted,
}

impl Job {
    /// Prepares to work on `mailbox`. At most `window` chunks are in progress or waiting at a time;
    /// `sample_seed` is for [`Unchanged::of`].
    ///
    /// # Errors
    /// If the old cache is there and cannot be read, or the expunge file cannot.
    pub fn begin(
        mailbox: Mailbox,
        options: &Options,
        window: usize,
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
                let wanted = wanted()?;
                if unchanged.is_all(&mailbox, old, || wanted) {
                    return Ok(Begun::Nothing(old.len() as u64));
                }
                unchanged
            }
            _ => Unchanged::default(),
        };
        let state = State {
            wanted: wanted()?,
            exhausted: false,
            next_number: 0,
            in_flight: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_in_order: 0,
            rows: Rows::default(),
            covered: 0,
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
            window: window.max(1),
            state: Mutex::new(state),
        })))
    }

    /// The next piece of work.
    pub fn next(&self) -> Next {
        let mut state = self.state.lock();
        if state.exhausted {
            return Next::Exhausted;
        }
        if state.in_flight.len() + state.waiting.len() >= self.window {
            return Next::Later;
        }
        let mut items = Vec::with_capacity(CHUNK_MESSAGES);
        let mut bytes = 0u64;
        while items.len() < CHUNK_MESSAGES && bytes < CHUNK_BYTES {
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
            let unchanged = same_size && self.unchanged.contains(want.uid);
            items.push(Item {
                want,
                old,
                unchanged,
            });
        }
        let Some(last) = items.last().map(|item| item.want.uid) else {
            return Next::Exhausted;
        };
        let number = state.next_number;
        state.next_number += 1;
        let chunk = Arc::new(Chunk::new(number, last, items));
        state.in_flight.insert(number, Arc::clone(&chunk));
        Next::Chunk(chunk)
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

    /// Takes back a chunk; `complete` unless the governor said stop. `true` if it was the last one,
    /// and [`Job::finish`] is to be called.
    pub fn put_back(&self, chunk: &Chunk, fresh: u64, complete: bool) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.in_flight.remove(&chunk.number);
        let entries = chunk.sorted();
        state.fresh += fresh;
        state.interrupted |= !complete;
        state
            .waiting
            .insert(chunk.number, (chunk.last_uid, entries));
        while !state.interrupted {
            let Some((last_uid, entries)) = state.waiting.remove(&state.next_in_order) else {
                break;
            };
            state.next_in_order += 1;
            state.covered = last_uid;
            if let Err(error) = state.rows.extend(entries, self.mailbox.index_dir()) {
                state.failed.get_or_insert(error);
            }
        }
        self.is_done(state)
    }

    /// Whether nothing is left to do but [`Job::finish`]; says so once.
    #[must_use]
    pub fn done(&self) -> bool {
        self.is_done(&mut self.state.lock())
    }

    #[allow(clippy::unused_self)]
    fn is_done(&self, state: &mut State) -> bool {
        let done =
            state.exhausted && state.in_flight.is_empty() && !state.interrupted && !state.finished;
        state.finished |= done;
        done
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
            None => self
                .mailbox
                .replace_cache(state.rows.len(), state.rows.iter()),
        };
        findings.extend(result.err().and_then(|error| self.write_finding(&error)));
        findings
    }

    /// Whether the cache has just what was found, or nothing is wanted and it is left to `clean`.
    fn is_up_to_date(&self, state: &State) -> bool {
        let rows = &state.rows;
        let Some(old) = &self.old else {
            return rows.len() == 0 && !self.damaged;
        };
        if old.len() != rows.len() {
            return rows.len() == 0;
        }
        // As many as there were, each of them taken from there, are the same.
        state.fresh == 0
            || rows
                .iter()
                .zip(old.iter())
                .all(|pair| matches!(pair, (Ok(new), Ok(old)) if new == old))
    }

    fn write_finding(&self, error: &StoreError) -> Option<Finding> {
        // A mailbox that was removed meanwhile needs no cache.
        let gone = matches!(error, StoreError::Gone { .. });
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

    /// Writes a checkpoint if there is something new and the last one is `interval` old.
    pub fn checkpoint(&self, interval: Duration) -> Option<Finding> {
        let mut state = self.state.lock();
        if state.finished || state.checkpointed.elapsed() < interval {
            return None;
        }
        state.checkpointed = Instant::now();
        let chunks = state.in_flight.values();
        let waiting = state
            .waiting
            .values()
            .flat_map(|(_, entries)| entries.iter().copied());
        let window: BTreeMap<u32, Entry> = chunks
            .flat_map(|chunk| chunk.sorted())
            .chain(waiting)
            .map(|entry| (entry.uid, entry))
            .collect();
        let new = window.values().filter(|entry| !self.has(entry)).count() as u64;
        let fresh = state.fresh + new;
        if fresh == state.checkpointed_fresh {
            return None;
        }
        state.checkpointed_fresh = fresh;
        let covered = state.covered;
        let count = state.rows.len() + self.beyond(&window, covered).count();
        let entries = state
            .rows
            .iter()
            .chain(self.beyond(&window, covered).map(Ok));
        self.write_finding(&self.mailbox.replace_cache(count, entries).err()?)
    }

    /// The entries beyond UID `covered`: what was done just now, else what the old cache has. The
    /// latter is not checked here, but whenever it is used.
    fn beyond<'a>(
        &'a self,
        window: &'a BTreeMap<u32, Entry>,
        covered: u32,
    ) -> impl Iterator<Item = Entry> + 'a {
        // If it cannot be read to its end, what is left of it is not in the checkpoint.
        let old = self.old.iter().flat_map(Cache::iter);
        let mut old = old
            .map_while(Result::ok)
            .filter(move |entry| entry.uid > covered && !window.contains_key(&entry.uid))
            .peekable();
        let mut new = window.values().copied().peekable();
        std::iter::from_fn(move || match (old.peek(), new.peek()) {
            (Some(o), Some(n)) if o.uid < n.uid => old.next(),
            (Some(_), None) => old.next(),
            _ => new.next(),
        })
    }

    fn has(&self, entry: &Entry) -> bool {
        let old = self.old.as_ref().and_then(|cache| cache.get(entry.uid));
        old == Some(*entry)
    }
}
