//! What a run came to over all its pairs: the numbers of the page.

use std::collections::BTreeMap;

use crate::journal::{
    AtOnce, Figures, Filter, Journal, JournalError, JournalStore, Row, RunInfo, RunOfPairs, State,
    for_each_row,
};
use crate::longest::Longest;
use crate::two_phase::Reason;

use super::part::Part;
use super::slices::Slices;
use super::standing::Standing;
use super::time::last_ended;

/// Partitions that are counted each, at most: a list may name as many as it likes.
const PARTITIONS: usize = 1000;

/// A run.
pub(super) struct Account {
    pub(super) run: RunOfPairs,
    /// Its pairs, in order of their names.
    pub(super) pairs: Vec<OfPair>,
    /// All of them together.
    pub(super) whole: Part,
    /// When the last mailbox ended, milliseconds since 1970; `None`: none has.
    pub(super) last_ms: Option<i64>,
    pub(super) slices: Slices,
    /// By pair and partition.
    pub(super) partitions: BTreeMap<Partition, Part>,
    /// The mailboxes with the longest locks.
    pub(super) slowest: Vec<Slow>,
    /// What failed, by how it stands and why.
    pub(super) failures: BTreeMap<(Standing, Reason), Failures>,
}

/// A pair of the run.
pub(super) struct OfPair {
    /// Its name; empty without a fleet.
    pub(super) name: String,
    /// `None`: the run has not begun there.
    pub(super) info: Option<RunInfo>,
    /// How many mailboxes at once there were, where that was found.
    pub(super) steered: Option<AtOnce>,
    pub(super) part: Part,
}

/// A partition of a pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partition {
    /// Which of the pairs.
    pub(super) pair: usize,
    pub(super) name: PartitionName,
}

/// What a partition is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PartitionName {
    /// As the list has it.
    Named(String),
    /// The list has none.
    NotListed,
    /// One of those beyond the thousandth.
    Others,
}

/// A mailbox with long locks.
pub(super) struct Slow {
    /// Which of the pairs.
    pub(super) pair: usize,
    pub(super) name: String,
    pub(super) partition: Option<String>,
    pub(super) figures: Figures,
}

impl Slow {
    /// The longer one.
    pub(super) fn longest_us(&self) -> u64 {
        self.figures.longest_lock_us().unwrap_or(0)
    }
}

/// Failures of one kind.
pub(super) struct Failures {
    pub(super) mailboxes: u64,
    /// How many of which pair.
    pub(super) pairs: BTreeMap<usize, u64>,
    /// The first one.
    pub(super) example: String,
    /// Where it failed, and what was said.
    pub(super) detail: String,
}

impl Account {
    /// Reads it, with the `slowest` longest locks.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn collect(
        store: &dyn JournalStore,
        run: &RunOfPairs,
        slowest: usize,
    ) -> Result<Self, JournalError> {
        let mut journals = Vec::with_capacity(run.pairs.len());
        let mut last_ms = None;
        for pair in &run.pairs {
            let begun = pair.is_started().then(|| store.pair(&pair.name));
            let journal = begun.transpose()?;
            // Two passes: slices of time need to know when the run ended.
            if let Some(journal) = &journal {
                last_ms = last_ms.max(last_ended(journal.as_ref(), run.id)?);
            }
            journals.push(journal);
        }
        let mut account = Self {
            run: run.clone(),
            pairs: Vec::with_capacity(run.pairs.len()),
            whole: Part::new(),
            last_ms,
            slices: Slices::new(run.started_ms, last_ms.unwrap_or(run.started_ms)),
            partitions: BTreeMap::new(),
            slowest: Vec::new(),
            failures: BTreeMap::new(),
        };
        let mut longest = Longest::new(slowest);
        for (pair, journal) in run.pairs.iter().zip(journals) {
            account.pair(&pair.name, journal.as_deref(), &mut longest)?;
        }
        account.slowest = longest.into_list();
        Ok(account)
    }

    fn pair(
        &mut self,
        name: &str,
        journal: Option<&dyn Journal>,
        longest: &mut Longest<Slow>,
    ) -> Result<(), JournalError> {
        let at = self.pairs.len();
        let mut part = Part::new();
        let (mut info, mut steered) = (None, None);
        if let Some(journal) = journal {
            info = journal.run(self.run.id)?;
            steered = journal.at_once(self.run.id)?;
            for_each_row(journal, self.run.id, Filter::All, |row| {
                part.add(row);
                self.row(at, row, longest);
            })?;
        }
        self.whole.merge(&part);
        self.pairs.push(OfPair {
            name: name.to_owned(),
            info,
            steered,
            part,
        });
        Ok(())
    }

    fn row(&mut self, pair: usize, row: &Row, longest: &mut Longest<Slow>) {
        if let Some(at) = row.ended_ms() {
            let good = matches!(
                row.state,
                State::Upgraded | State::Unchanged | State::Rehearsed | State::Gone
            );
            self.slices.add(at, !good);
        }
        let name = match &row.partition {
            Some(name) => PartitionName::Named(name.clone()),
            None => PartitionName::NotListed,
        };
        let mut key = Partition { pair, name };
        if self.partitions.len() >= PARTITIONS && !self.partitions.contains_key(&key) {
            key.name = PartitionName::Others;
        }
        self.partitions
            .entry(key)
            .or_insert_with(Part::new)
            .add(row);
        if let Some(us) = row.figures.longest_lock_us().filter(|us| *us > 0) {
            longest.offer(us, || Slow {
                pair,
                name: row.name.to_string(),
                partition: row.partition.clone(),
                figures: row.figures,
            });
        }
        if let Some(kind) = Standing::of(row) {
            let failures = self.failures.entry(kind).or_insert_with(|| Failures {
                mailboxes: 0,
                pairs: BTreeMap::new(),
                example: row.name.to_string(),
                detail: match row.side {
                    Some(side) => format!("{side}: {}", row.detail),
                    None => row.detail.clone(),
                },
            });
            failures.mailboxes += 1;
            *failures.pairs.entry(pair).or_default() += 1;
        }
    }

    /// Whether the pairs have names.
    pub(super) fn is_fleet(&self) -> bool {
        self.pairs.iter().any(|pair| !pair.name.is_empty())
    }

    /// The name of a pair; empty without a fleet.
    pub(super) fn pair_name(&self, at: usize) -> &str {
        self.pairs.get(at).map_or("", |pair| &pair.name)
    }

    /// Of a pair where it has begun; nothing if it has nowhere.
    pub(super) fn begun(&self) -> Option<&RunInfo> {
        self.pairs.iter().find_map(|pair| pair.info.as_ref())
    }

    /// Seconds from the begin to the last mailbox.
    pub(super) fn seconds(&self) -> f64 {
        let last = self.last_ms.unwrap_or(self.run.started_ms);
        super::time::seconds(last - self.run.started_ms)
    }
}
