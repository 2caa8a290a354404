//! Places that several runs share: how many mailboxes may be under way at once on a machine that
//! serves several pairs, and over all pairs.
//!
//! # What it promises
//!
//! * A place is taken before a mailbox begins and free again when its attempt is over, however that
//!   ends.
//! * Places go to the runs in the order in which they asked, so no run starves another one.
//! * No deadlock: every run takes its places in the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places on each machine, and over all of them.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    machines: BTreeMap<String, Arc<Semaphore>>,
    all: Option<Arc<Semaphore>>,
}

impl Quota {
    /// With these numbers of places on machines and over all; `None`, or a machine that is not
    /// here, has no limit.
    #[must_use]
    pub fn new(machines: &BTreeMap<String, usize>, all: Option<usize>) -> Self {
        let semaphore = |places: usize| Arc::new(Semaphore::new(places));
        Self {
            machines: machines
                .iter()
                .map(|(name, places)| (name.clone(), semaphore(*places)))
                .collect(),
            all: all.map(semaphore),
        }
    }

    /// Those that a run on these machines needs.
    #[must_use]
    pub fn places(&self, machines: &BTreeSet<String>) -> Places {
        // By name, and that for all last: a run that waits for a machine keeps no other one
        // waiting.
        let of_machines = self.machines.iter().filter(|(m, _)| machines.contains(*m));
        let semaphores = of_machines.map(|(_, s)| s).chain(&self.all);
        Places(semaphores.cloned().collect())
    }
}

/// Where a run takes its places from; without a quota there is always one.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<Arc<Semaphore>>);

/// A place; free again when it is dropped.
#[derive(Debug, Default)]
#[must_use]
pub struct Place {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Places {
    /// A place that is free now.
    #[must_use]
    pub fn try_take(&self) -> Option<Place> {
        let permits = self.0.iter().map(|s| Arc::clone(s).try_acquire_owned());
        let permits = permits.collect::<Result<_, _>>().ok()?;
        Some(Place { _permits: permits })
    }

    /// The next place that is free, in its turn.
    pub fn take(&self) -> impl Future<Output = Place> + Send + 'static {
        let semaphores = self.0.clone();
        async move {
            let mut permits = Vec::with_capacity(semaphores.len());
            for semaphore in semaphores {
                match semaphore.acquire_owned().await {
                    Ok(permit) => permits.push(permit),
                    // Only a closed one refuses, and these are never closed.
                    Err(_) => std::future::pending().await,
                }
            }
            Place { _permits: permits }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_run_has_no_more_places_than_its_machines_and_all_runs_together() {
        let limits = [("a".to_owned(), 1), ("b".to_owned(), 5)].into();
        let quota = Quota::new(&limits, Some(2));
        let (one, two) = (
            quota.places(&machines(&["a", "b"])),
            quota.places(&machines(&["b", "c"])),
        );
        let first = one.try_take().unwrap();
        assert!(one.try_take().is_none(), "a has one place");
        let second = two.try_take().unwrap();
        assert!(two.try_take().is_none(), "two are all");
        drop(first);
        let third = two.take().await;
        assert!(one.try_take().is_none());
        drop((second, third));
        let _again = one.try_take().unwrap();
    }

    #[tokio::test]
    async fn who_waits_longest_is_next() {
        let quota = Quota::new(&BTreeMap::new(), Some(1));
        let places = quota.places(&BTreeSet::new());
        let held = places.try_take().unwrap();
        let mut waits = Box::pin(places.take());
        tokio::select! {
            biased;
            _ = &mut waits => panic!("there is none"),
            () = tokio::task::yield_now() => {}
        }
        drop(held);
        assert!(places.try_take().is_none(), "it is for the one that waits");
        drop(waits.await);
        assert!(places.try_take().is_some());
    }

    #[test]
    fn without_a_quota_there_is_always_a_place() {
        let places = Quota::default().places(&machines(&["a"]));
        let taken: Vec<Place> = (0..1000).filter_map(|_| places.try_take()).collect();
        assert_eq!(taken.len(), 1000);
    }
}
