//! Every message's SHA-1 against the GUID in its index, for any Cyrus from 2.3.10 on.
//!
//! Promises: nothing is written and nothing is locked, so it can run on a live server at any time,
//! and a crash leaves nothing. Every message that has a SHA-1 in its record is read in full; all
//! others are compared by size. What Cyrus does meanwhile is distinguished from damage by looking
//! again ([`look`]): a finding was seen at least twice, from two openings of the index. Memory
//! stays flat whatever the number of mailboxes, messages or findings.
//!
//! Records are those of `cyrus.index` and, in 2.3, of `cyrus.expunge`; expunged messages keep their
//! files until they are cleaned up, so they are read as well. A record marked unlinked (bit 30) is
//! not expected to have a file; one marked archived (bit 29) has it in the archive partition.

mod describe;
mod examine;
mod observation;
mod record_reader;
mod row;
mod spools;
mod summary;
mod work;

pub use summary::{Counters, Summary};

use std::time::{Duration, Instant};

use crate::governor::Governor;
use crate::hash::Kernel;
use crate::links::Links;
use crate::store::Step;
use crate::worker_pool::{self, Limits, PoolError, default_jobs};
use indexfile::finding::Finding;
use work::{Task, Work};

/// How to scrub.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads; more than cores, so that a disk has many requests to choose from.
    pub jobs: usize,
    /// How long something must be still before it counts as settled.
    pub settle: Duration,
    /// How long a file beyond `last_uid` may be without a record.
    pub delivery_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: default_jobs(),
            settle: Duration::from_secs(2),
            delivery_grace: Duration::from_secs(15 * 60),
        }
    }
}

/// Scrubs what `steps` yields; every finding goes to `report`, from any thread, as soon as it is
/// sure.
///
/// Takes no lock and writes nothing. Ends early when `governor` says stop.
///
/// # Errors
/// Only if the threads cannot be started.
pub fn run(
    steps: impl Iterator<Item = Step> + Send,
    options: &Options,
    governor: &Governor,
    counters: &Counters,
    report: impl Fn(&Finding) + Sync,
) -> Result<Summary, PoolError> {
    let start = Instant::now();
    let report = |finding: Finding| {
        counters.found(finding.code);
        report(&finding);
    };
    let scrub = Work {
        options,
        governor,
        counters,
        report: &report,
        links: Links::default(),
    };
    let limits = Limits {
        threads: options.jobs,
        source_first: 0,
        delay: options.settle,
        kernel: Kernel::detect(),
    };
    let work = |task, pool: &_, lanes: &mut _| scrub.run(task, pool, lanes);
    let tasks = steps.map(Task::Step);
    worker_pool::run(tasks, limits, governor, &work, &mut || {})?;
    Ok(counters.summary(governor.stopped(), start.elapsed().as_secs_f64()))
}

#[cfg(test)]
mod tests;
