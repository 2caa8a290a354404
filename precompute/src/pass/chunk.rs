//! A piece of a mailbox: some messages that one thread works on, and what it has done of them.
//!
//! Nothing here touches a file.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::wanted::Want;
use crate::cache::Entry;
use crate::hash::lanes::LANE_BYTES;

/// One message.
#[derive(Debug)]
pub struct Item {
    /// What is wanted.
    pub want: Want,
    /// What the old cache has for it.
    pub old: Option<Entry>,
    /// It need not be looked at; see [`super::known`].
    pub known: bool,
}

/// A piece of a mailbox that one thread works on.
#[derive(Debug)]
pub struct Chunk {
    /// Which one of its mailbox, from 0.
    pub number: u64,
    /// The highest UID in it.
    pub last_uid: u32,
    /// Messages; see [`large_first`].
    pub items: Vec<Item>,
    /// What is done so far; others look in for checkpoints.
    done: Mutex<Vec<Entry>>,
}

impl Chunk {
    /// Chunk `number` of its mailbox, whose messages are `items`, in order of UID up to `last_uid`.
    pub fn new(number: u64, last_uid: u32, mut items: Vec<Item>) -> Self {
        large_first(&mut items);
        Self {
            number,
            last_uid,
            items,
            done: Mutex::default(),
        }
    }

    fn done(&self) -> MutexGuard<'_, Vec<Entry>> {
        // What is guarded is consistent after each statement, so a panic elsewhere spoiled nothing.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds messages that are done.
    pub fn extend(&self, entries: &mut Vec<Entry>) {
        self.done().append(entries);
    }

    /// What is done so far, by UID.
    pub fn sorted(&self) -> Vec<Entry> {
        by_uid(self.done().clone())
    }

    /// The same, taken away.
    pub fn take_sorted(&self) -> Vec<Entry> {
        by_uid(std::mem::take(&mut *self.done()))
    }
}

fn by_uid(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_unstable_by_key(|entry| entry.uid);
    entries
}

/// Messages larger than a lane's buffer come first, else each in its place.
///
/// The last messages of a chunk run with fewer and fewer lanes; so these had better be small. More
/// order than that would only make a disk seek.
fn large_first(items: &mut [Item]) {
    items.sort_by_key(|item| item.want.size <= LANE_BYTES as u64);
}
