//! A piece of a mailbox: some messages that one thread hashes, and what it has done of them.

use parking_lot::Mutex;

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
    /// It need not be looked at; see [`super::unchanged`].
    pub unchanged: bool,
}

/// A piece of a mailbox that one thread works on.
#[derive(Debug)]
pub struct Chunk {
    /// Which one of its mailbox, from 0.
    pub number: u64,
    /// The highest UID in it.
    pub last_uid: u32,
    /// Messages: those larger than a lane's buffer, then the others, each by UID.
    pub items: Vec<Item>,
    /// What is done so far; checkpoints read it.
    done: Mutex<Vec<Entry>>,
}

impl Chunk {
    /// Chunk `number` of its mailbox, whose messages are `items`, in order of UID up to `last_uid`.
    pub fn new(number: u64, last_uid: u32, mut items: Vec<Item>) -> Self {
        // The last messages run with fewer and fewer lanes, so these had better be small. More
        // order than that would only make a disk seek.
        items.sort_by_key(|item| item.want.size <= LANE_BYTES as u64);
        Self {
            number,
            last_uid,
            items,
            done: Mutex::default(),
        }
    }

    /// Adds messages that are done.
    pub fn extend(&self, entries: &mut Vec<Entry>) {
        self.done.lock().append(entries);
    }

    /// What is done so far, by UID.
    pub fn sorted(&self) -> Vec<Entry> {
        let mut entries = self.done.lock().clone();
        entries.sort_unstable_by_key(|entry| entry.uid);
        entries
    }
}
