//! Builds mail stores such as a Cyrus 2.3.9 leaves behind: for the demo, for benches and for tests.
//!
//! Promises: the same [`StoreSpec`] makes the same bytes, names and dates on every host it is
//! written to, whatever the layout of that host; every message file has CRLF line ends, its
//! internal date as mtime, and mode 0600; directories have mode 0700. Memory stays flat however
//! many mailboxes there are. A crash in it leaves part of a store under the roots it was given, and
//! nothing elsewhere.
//!
//! ```
//! use stores::{Host, Layout, StoreSpec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let host = Host::lay_out(dir.path(), Layout::HASHED)?;
//! let built = StoreSpec::new(20, 5).build(&[&host])?;
//! assert_eq!(built.mailboxes, 20);
//! assert!(dir.path().join("spool/a/user/alice/cyrus.index").is_file());
//! # Ok(()) }
//! ```

mod content;
mod gallery;
mod header_file;
mod message;
mod names;
mod order;
mod shape;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::ops::{AddAssign, RangeInclusive};
use std::sync::atomic::{AtomicBool, Ordering};

use indexfile::IoError;
use indexfile::build::BuildError;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::host::Host;
use names::GROUP;
use order::Order;

pub use order::{Counts, POINTS};

/// Which mailboxes a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Variety {
    /// Everything that a long-lived server has: each oddity at least once (from 32 mailboxes on),
    /// then ordinary users whose mailboxes differ in version, identifiers and expunged messages.
    Everything,
    /// Every mailbox alike: version 9, real UUIDs, exactly this many live messages, none expunged.
    /// For measurements.
    Plain,
}

/// What a store is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    seed: u64,
    mailboxes: usize,
    messages: u32,
    variety: Variety,
    message_bytes: RangeInclusive<u32>,
    order: Order,
}

/// What was built, on each host alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Mailboxes.
    pub mailboxes: u64,
    /// Records in cyrus.index.
    pub live: u64,
    /// Records in cyrus.expunge.
    pub expunged: u64,
    /// Message files that are hard links of another.
    pub linked: u64,
    /// Bytes of messages, hard links counted once.
    pub bytes: u64,
}

impl AddAssign for Built {
    fn add_assign(&mut self, other: Self) {
        self.mailboxes += other.mailboxes;
        self.live += other.live;
        self.expunged += other.expunged;
        self.linked += other.linked;
        self.bytes += other.bytes;
    }
}

/// Why a store could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The builder made records that no index can hold: a bug in it.
    #[error("the store builder made an impossible index: {0}")]
    Index(#[from] BuildError),
    /// It was stopped.
    #[error("stopped while building the store")]
    Stopped,
}

impl StoreSpec {
    /// This many mailboxes with this many messages each on average, of every kind there is, seed
    /// 2007.
    #[must_use]
    pub fn new(mailboxes: usize, messages: u32) -> Self {
        Self {
            seed: 2007,
            mailboxes,
            messages,
            variety: Variety::Everything,
            message_bytes: 400..=12_000,
            order: Order::default(),
        }
    }

    /// Another seed makes other messages, flags and counts; the names stay.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Which mailboxes there are.
    #[must_use]
    pub fn variety(mut self, variety: Variety) -> Self {
        self.variety = variety;
        self
    }

    /// Sizes of messages in bytes, roughly; small ones are far more frequent. Headers alone take
    /// about 400.
    #[must_use]
    pub fn message_bytes(mut self, range: RangeInclusive<u32>) -> Self {
        self.message_bytes = range;
        self
    }

    /// How many messages each of the plain mailboxes has.
    #[must_use]
    pub fn counts(mut self, counts: Counts) -> Self {
        self.order.counts = counts;
        self
    }

    /// Percentage of messages of plain mailboxes that are expunged and still on disk.
    #[must_use]
    pub fn expunged(mut self, percent: u32) -> Self {
        self.order.expunged = percent.min(100);
        self
    }

    /// Percentage of plain mailboxes that are of version 10 with SHA-1 GUIDs already.
    #[must_use]
    pub fn done(mut self, percent: u32) -> Self {
        self.order.done = percent.min(100);
        self
    }

    /// Percentage of messages of plain mailboxes that are hard links to one of the user's first
    /// mailbox, which itself has none.
    #[must_use]
    pub fn linked(mut self, percent: u32) -> Self {
        self.order.linked = percent.min(100);
        self
    }

    /// The mailboxes' names, in the order in which they are built.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.mailboxes).map(|i| names::entry(self, i).name)
    }

    /// The mailbox list as `ctl_mboxlist -d` of Cyrus 2.3.9 prints it, sorted by name.
    ///
    /// # Errors
    /// What writing says.
    pub fn write_list(&self, partition: &str, out: &mut impl io::Write) -> io::Result<()> {
        let mut lines: Vec<String> = (0..self.mailboxes)
            .map(|i| {
                let entry = names::entry(self, i);
                format!("{}\t0 {partition}\t{}", entry.name, entry.acl)
            })
            .collect();
        lines.sort_unstable();
        for line in &lines {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Builds the store on each of the hosts, whose partition roots are made if need be.
    ///
    /// # Errors
    /// [`StoreError`]; what was built until then stays.
    pub fn build(&self, hosts: &[&Host]) -> Result<Built, StoreError> {
        self.build_until(hosts, &AtomicBool::new(false))
    }

    /// As [`Self::build`], but gives up soon after `stop` is set.
    ///
    /// # Errors
    /// [`StoreError`]; what was built until then stays.
    pub fn build_until(&self, hosts: &[&Host], stop: &AtomicBool) -> Result<Built, StoreError> {
        for host in hosts {
            write::roots(host)?;
        }
        let groups = self.mailboxes.div_ceil(GROUP);
        (0..groups)
            .into_par_iter()
            .map(|group| self.build_group(group, hosts, stop))
            .try_reduce(Built::default, |mut a, b| {
                a += b;
                Ok(a)
            })
    }

    /// Builds the mailboxes of one group, among which message files are shared.
    fn build_group(
        &self,
        group: usize,
        hosts: &[&Host],
        stop: &AtomicBool,
    ) -> Result<Built, StoreError> {
        let mut built = Built::default();
        let mut inbox: Option<content::Donor> = None;
        let first = group * GROUP;
        for i in first..self.mailboxes.min(first + GROUP) {
            if stop.load(Ordering::Relaxed) {
                return Err(StoreError::Stopped);
            }
            let entry = names::entry(self, i);
            let mut rng = fastrand::Rng::with_seed(mix(self.seed, i as u64));
            let content = content::Content::make(self, &entry, inbox.as_ref(), &mut rng)?;
            for host in hosts {
                let donor = inbox.as_ref().map(|donor| host.place(&donor.name));
                write::mailbox(&content, &host.place(&entry.name), donor.as_ref())?;
            }
            built += content.counts();
            if inbox.is_none() {
                inbox = Some(content.into_donor(entry.name));
            }
        }
        Ok(built)
    }
}

/// One number out of two, well mixed (the finalizer of `splitmix64`).
fn mix(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
