//! How fast it goes on this machine: stores made for it, hashed, migrated again and again in
//! different ways, beside the least that any program would have to do.
//!
//! Both hosts lie on this machine, each with its slotd, and commits are durable as always. What is
//! compared is measured within one invocation, by turns, so that what else the machine does hits
//! all of it; a first turn warms everything up and is not counted. Between two runs the old files
//! are put back from `.OLD`. Everything lies in one directory, which is gone afterwards unless it
//! was named. A crash leaves what a crash of the demo leaves.

pub mod compare;
mod convert;
pub mod corpus;
mod cost;
mod count;
mod curve;
pub mod document;
mod file;
mod fleet;
mod floor;
mod growth;
mod hashing;
mod limits;
pub mod listing;
pub mod live;
mod locks;
mod machine;
mod markdown;
mod over;
mod page;
mod peers;
mod rates;
mod reconstruct;
mod recovery;
mod reset;
mod stats;
mod text;
mod unit;
mod upgrading;
mod whole;

#[cfg(test)]
mod sample;

use std::path::PathBuf;
use std::time::Instant;

use indexfile::IoError;
use indexfile::exit::Exit;
use stores::{StoreSpec, Variety};
use strum::{EnumIter, IntoStaticStr};

use crate::demo::DemoError;
use crate::demo::signals::Signals;
use crate::demo::workdir::Workdir;

use corpus::Corpus;
use document::{Document, FORMAT, Peer, Section};
use fleet::Fleet;

pub use file::ReadError;
pub use stats::Stats;

/// The mailboxes of the whole job, and the messages of each: 222 MB.
pub const WHOLE: (u32, u32) = whole::SIZE;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to work: new or empty; the default is the system's place for temporary files.
    pub dir: Option<PathBuf>,
    /// The store of the parts that have none of their own.
    pub corpus: Corpus,
    /// Measured runs of each way.
    pub runs: usize,
    /// How many mailboxes at once: each of these is measured.
    pub parallel: Vec<usize>,
    /// Which parts.
    pub parts: Vec<Part>,
    /// The version (12 to 19) that a change-over goes to.
    pub to: u8,
    /// The mailboxes of the whole job, and the messages of each.
    pub whole: (usize, u32),
    /// Do the whole job also as the seed of this program did.
    pub as_seed: bool,
    /// Smaller sizes where a part has sizes of its own.
    pub quick: bool,
}

/// A part of the bench; its name is that of its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, IntoStaticStr, clap::ValueEnum)]
#[strum(serialize_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Part {
    /// What the machine can do at most.
    Limits,
    /// One large index written anew, beside a copy.
    Convert,
    /// Messages hashed ahead, on one host.
    Precompute,
    /// Mailboxes a second by the number at once, beside the bare way.
    Fleet,
    /// How long a mailbox is locked, by its size.
    Locks,
    /// From a controller or slotd killed in mid-run to done again.
    Recovery,
    /// Time by records and by mailboxes, and the exponent that fits.
    Growth,
    /// Hashed and migrated, from nothing done to all done.
    WholeJob,
    /// System calls, memory and bytes written, by mailbox and host.
    Cost,
    /// A change-over to a later version: prepared, done, verified.
    ChangeOver,
}

/// A bench cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// As with the demo.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// There is nothing to copy.
    #[error("{}: no mailbox in it: a partition's directory is wanted", .0.display())]
    Empty(PathBuf),
    /// A program that is measured beside ours does not do its work.
    #[error("{name} {why}")]
    Peer {
        /// The program.
        name: &'static str,
        /// What became of it.
        why: String,
    },
    /// A run in a process of its own came to nothing.
    #[error("the upgrade {how}; it said: {said}")]
    Upgrade {
        /// What became of it.
        how: String,
        /// The last that it said.
        said: String,
    },
    /// Not every mailbox was migrated, so the figures would mean nothing.
    #[error(
        "only {upgraded} of {mailboxes} mailboxes were upgraded {way}: there is nothing to measure"
    )]
    Failed {
        /// Mailboxes upgraded.
        upgraded: u64,
        /// Mailboxes of the run.
        mailboxes: u64,
        /// The way.
        way: String,
    },
}

impl From<IoError> for BenchError {
    fn from(error: IoError) -> Self {
        Self::Demo(error.into())
    }
}

impl BenchError {
    /// The exit code that says the same.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Demo(error) => error.exit(),
            Self::Empty(_) | Self::Peer { .. } => Exit::Data,
            Self::Failed { .. } | Self::Upgrade { .. } => Exit::RolledBack,
        }
    }
}

/// What all parts work with.
struct Bench<'a> {
    options: &'a Options,
    signals: Signals,
    work: Workdir,
    /// Receives what happens, a line at a time.
    note: &'a dyn Fn(&str),
    not_measured: Vec<String>,
    peers: Vec<Peer>,
}

/// Measures. `note` receives what happens, a line at a time. Must be called from the main thread.
///
/// # Errors
/// If a store cannot be made, a slotd does not start, or a mailbox is not migrated.
pub fn run(options: &Options, note: &dyn Fn(&str)) -> Result<Document, BenchError> {
    let (began, start) = (jiff::Timestamp::now(), Instant::now());
    let mut bench = Bench {
        options,
        signals: Signals::listen()?,
        work: Workdir::new(options.dir.as_deref())?,
        note,
        not_measured: Vec::new(),
        peers: Vec::new(),
    };
    let mut machine = machine::look(bench.work.path());
    let sections = bench.sections()?;
    machine.load_after = machine::load();
    Ok(Document {
        format: FORMAT,
        reguid: env!("CARGO_PKG_VERSION").into(),
        began: began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        seconds: start.elapsed().as_secs_f64(),
        machine,
        settings: options.settings(),
        peers: bench.peers,
        not_measured: bench.not_measured,
        sections,
    })
}

impl Bench<'_> {
    fn sections(&mut self) -> Result<Vec<Section>, BenchError> {
        let mut sections = Vec::new();
        if self.wants(Part::Limits) {
            sections.push(limits::measure(self)?);
        }
        if self.wants(Part::Convert) {
            sections.push(convert::measure(self)?);
        }
        self.on_one_store(&mut sections)?;
        if self.wants(Part::Locks) {
            sections.push(locks::measure(self)?);
        }
        if self.wants(Part::WholeJob) {
            sections.push(whole::measure(self)?);
        }
        if self.wants(Part::Recovery) {
            sections.push(recovery::measure(self)?);
        }
        if self.wants(Part::Growth) {
            sections.push(growth::measure(self)?);
        }
        Ok(sections)
    }

    /// The parts that share the store that was asked for.
    fn on_one_store(&mut self, sections: &mut Vec<Section>) -> Result<(), BenchError> {
        let parts = [Part::Precompute, Part::Fleet, Part::Cost, Part::ChangeOver];
        if !parts.into_iter().any(|part| self.wants(part)) {
            return Ok(());
        }
        let mut fleet = match &self.options.corpus {
            Corpus::Made(order) => Fleet::make(self, "fleet", &order.spec())?,
            Corpus::Copy(dir) => Fleet::copy(self, "fleet", dir)?,
        };
        let hashed = fleet.hash(self)?;
        if self.wants(Part::Precompute) {
            sections.push(hashed);
        }
        if self.wants(Part::Fleet) {
            sections.push(rates::measure(self, &mut fleet)?);
        }
        if self.wants(Part::Cost) {
            sections.push(cost::measure(self, &mut fleet)?);
        }
        // The last: afterwards the store is of another version.
        if self.wants(Part::ChangeOver) {
            sections.push(over::measure(self, &mut fleet)?);
        }
        fleet.remove();
        Ok(())
    }

    fn wants(&self, part: Part) -> bool {
        self.options.parts.contains(&part)
    }
}

impl Document {
    /// These parts of it, and who was measured beside them.
    #[must_use]
    pub fn only(mut self, parts: &[Part]) -> Self {
        let wanted: Vec<&str> = parts.iter().map(Into::into).collect();
        self.sections
            .retain(|section| wanted.contains(&section.id.as_str()));
        let sections = &self.sections;
        let beside = |peer: &Peer| {
            let measures = sections.iter().flat_map(|section| &section.measures);
            measures
                .filter_map(|m| m.peer.as_ref())
                .any(|name| *name == peer.name)
        };
        self.peers.retain(beside);
        self
    }
}

impl Options {
    /// What was asked for, for the document.
    fn settings(&self) -> std::collections::BTreeMap<String, String> {
        let parallel: Vec<String> = self.parallel.iter().map(ToString::to_string).collect();
        let parts: Vec<&str> = self.parts.iter().map(Into::into).collect();
        let settings = [
            ("corpus", self.corpus.words()),
            ("runs", self.runs.to_string()),
            ("parallel", parallel.join(",")),
            ("only", parts.join(",")),
            ("to", self.to.to_string()),
            ("whole", format!("{} of {}", self.whole.0, self.whole.1)),
            ("as-seed", self.as_seed.to_string()),
            ("quick", self.quick.to_string()),
        ];
        settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Records of the indexes that are converted.
    fn records(&self) -> Vec<u64> {
        if self.quick {
            vec![100_000]
        } else {
            vec![100_000, 1_000_000]
        }
    }

    /// Bytes of the file that is read to see how fast reading is; four times that many are hashed.
    fn large(&self) -> u64 {
        if self.quick { 16 << 20 } else { 64 << 20 }
    }

    /// The number at once at which ways other than the plainest are measured: 16 if it is one of
    /// those asked for, else the first.
    fn usual(&self) -> usize {
        let first = self.parallel.first().copied().unwrap_or(16);
        self.parallel
            .iter()
            .copied()
            .find(|n| *n == 16)
            .unwrap_or(first)
    }
}

/// Mailboxes that are all alike.
fn plain(mailboxes: usize, messages: u32) -> StoreSpec {
    StoreSpec::new(mailboxes, messages).variety(Variety::Plain)
}

/// Per second.
fn rate(count: u64, seconds: f64) -> f64 {
    float(count) / seconds.max(1e-9)
}

/// Counts here are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn float(count: u64) -> f64 {
    count as f64
}
