//! Caches that are written and wait to be synced and put in place together.
//!
//! They wait for as many as [`GROUP`], and not longer than [`PATIENCE`] or until the pass ends. What a crash leaves is
//! told in [`crate::cache`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cache::{self, Placer, StoreError, Written};
use crate::finding::Finding;
use crate::targets::Target;

/// So many are placed together.
const GROUP: usize = 16;
/// None waits longer than about this.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Caches to be placed, and whose they are.
pub type Group = Vec<(Target, Written)>;

/// Those that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    placer: Placer,
    inner: Mutex<(Group, Option<Instant>)>,
}

impl Waiting {
    fn inner(&self) -> MutexGuard<'_, (Group, Option<Instant>)> {
        // Consistent after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; the group it makes full, if it does, is to be placed by the caller.
    pub fn add(&self, target: Target, written: Written) -> Option<Group> {
        let mut inner = self.inner();
        inner.0.push((target, written));
        inner.1.get_or_insert_with(Instant::now);
        (inner.0.len() >= GROUP).then(|| take(&mut inner))
    }

    /// Those that wait, if the first of them waited so long.
    pub fn longer_than(&self, time: Duration) -> Group {
        let mut inner = self.inner();
        match inner.1 {
            Some(since) if since.elapsed() >= time => take(&mut inner),
            _ => Group::new(),
        }
    }

    /// Syncs and places them; tells of those with which that failed.
    pub fn place(&self, group: Group) -> Vec<Finding> {
        let placed = self.placer.place(group).into_iter();
        let failed = placed.filter_map(|(target, result)| finding(&target, &result.err()?));
        failed.collect()
    }
}

fn take(inner: &mut (Group, Option<Instant>)) -> Group {
    inner.1 = None;
    std::mem::take(&mut inner.0)
}

/// What is to be told of a cache that could not be written or placed.
pub fn finding(target: &Target, error: &StoreError) -> Option<Finding> {
    // A mailbox that was removed meanwhile needs no cache.
    if matches!(error, StoreError::Gone { .. }) {
        return None;
    }
    let path = target.index_path().join(cache::FILE_NAME);
    Some(Finding::new(&target.mailbox, error.code(), path, error))
}
