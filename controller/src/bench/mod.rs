//! How fast a fleet goes: a store made for it, migrated again and again in different ways.
//!
//! Both hosts lie on this machine, each with its slotd, messages are hashed ahead on both, commits
//! are durable as always. The ways are compared within one invocation, by turns, so that what else
//! the machine does hits all of them. Between two runs the old files are put back from `.OLD`. A
//! crash leaves what a crash of the demo leaves.

pub mod compare;
mod count;
mod curve;
pub mod document;
mod markdown;
mod over;
mod reset;
mod stats;
mod table;
mod text;
mod unit;

#[cfg(test)]
mod sample;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use indexfile::{IoContext, IoError};
use serde::Serialize;
use slotd::client::{Client, Timeouts};
use slotd::protocol::{Named, Prepare, Upgrade, Write};
use stores::{Layout, StoreSpec, Variety};

use crate::control::Limits;
use crate::demo::signals::Signals;
use crate::demo::workdir::Workdir;
use crate::demo::{DemoError, Host, PARTITION, PrecomputeReport, Slotd, migrate};
use crate::observer::Silent;
use crate::run::{LockMs, Settings, Summary};

pub use over::ChangeOver;
pub use stats::Stats;
pub use table::{markdown, text};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to work: new or empty; the default is the system's place for temporary files.
    pub dir: Option<PathBuf>,
    /// Mailboxes.
    pub mailboxes: usize,
    /// Messages in each.
    pub messages: u32,
    /// Measured runs of each way.
    pub runs: usize,
    /// Mailboxes at once.
    pub parallel: usize,
    /// Measure a change-over to this version (12 to 19) instead.
    pub change_over: Option<u8>,
}

/// Everything measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Mailboxes.
    pub mailboxes: usize,
    /// Messages in each.
    pub messages: u32,
    /// Mailboxes at once.
    pub parallel: usize,
    /// Processors.
    pub cores: usize,
    /// Seconds it took to make the store, both hosts.
    pub store_seconds: f64,
    /// Messages hashed ahead a second, one host.
    pub precompute_rate: f64,
    /// Without and with `PREPARE`.
    pub ways: Vec<Way>,
    /// A change-over, if that was asked for.
    pub change_over: Option<ChangeOver>,
}

/// One way to migrate.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// Its name.
    pub name: &'static str,
    /// Mailboxes a second, both hosts.
    pub rate: Stats,
    /// How long locks were held, milliseconds: medians, 99th percentiles and maxima of the runs.
    pub lock_p50: Stats,
    /// See `lock_p50`.
    pub lock_p99: Stats,
    /// See `lock_p50`.
    pub lock_max: Stats,
    /// System calls per mailbox and host, of a run of its own; empty without strace.
    pub calls: Vec<(String, f64)>,
}

/// One way while it is measured.
struct Measured {
    name: &'static str,
    settings: Settings,
    rates: Vec<f64>,
    locks: Vec<LockMs>,
    calls: Vec<(String, f64)>,
}

/// A bench cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// As with the demo.
    #[error(transparent)]
    Demo(#[from] DemoError),
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
        way: &'static str,
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
            Self::Failed { .. } => Exit::RolledBack,
        }
    }
}

/// The hosts and what runs on them.
struct Fleet {
    work: Workdir,
    master: Host,
    replica: Host,
    list: PathBuf,
    signals: Signals,
    journals: usize,
}

/// Measures. `note` receives what happens, a line at a time. Must be called from the main thread.
///
/// # Errors
/// If a store cannot be made, a slotd does not start, or a mailbox is not migrated.
pub fn run(options: &Options, note: &dyn Fn(&str)) -> Result<Figures, BenchError> {
    let signals = Signals::listen()?;
    let work = Workdir::new(options.dir.as_deref())?;
    let master = Host::lay_out(work.path(), "master", Layout::HASHED)?;
    let replica = Host::lay_out(work.path(), "replica", Layout::METAPARTITION)?;
    let list = work.path().join("mailboxes.txt");
    let mut fleet = Fleet {
        work,
        master,
        replica,
        list,
        signals,
        journals: 0,
    };
    note(&format!(
        "making {} mailboxes of {} messages",
        options.mailboxes, options.messages
    ));
    let start = Instant::now();
    fleet.make_store(options)?;
    let store_seconds = start.elapsed().as_secs_f64();
    note(&format!(
        "made in {store_seconds:.1} s; hashing ahead on both hosts"
    ));
    let hashed = migrate::precompute(&fleet.master, &fleet.signals)?;
    migrate::precompute(&fleet.replica, &fleet.signals)?;

    let way = |name, prepare| Measured {
        name,
        settings: Settings {
            prepare,
            limits: Limits {
                parallel: options.parallel,
                ..Limits::default()
            },
            passes: 1,
            ..Settings::upgrade()
        },
        rates: Vec::new(),
        locks: Vec::new(),
        calls: Vec::new(),
    };
    let mut ways = vec![way("--prepare never", Write::Never)];
    if let Some(to) = options.change_over {
        note("upgrading to version 10, then changing over");
        let change_over = Some(fleet.change_over(&ways.remove(0), to)?);
        return Ok(figures(
            options,
            (store_seconds, &hashed),
            (ways, change_over),
        ));
    }
    if fleet.prepares(options)? {
        ways.push(way("--prepare always", Write::Always));
    } else {
        note("this slotd prepares nothing: measured without PREPARE only");
    }
    // The first round warms everything up and is not counted.
    for round in 0..=options.runs {
        for way in &mut ways {
            let summary = fleet.migrate(way, &[[].as_slice(), [].as_slice()])?;
            let rate = rate(summary.mailboxes, summary.seconds);
            let kind = if round == 0 { "warm-up" } else { "run" };
            note(&format!(
                "{kind} {round} {}: {rate:.0} mailboxes/s",
                way.name
            ));
            if round > 0 {
                way.rates.push(rate);
                way.locks.push(summary.lock_ms);
            }
        }
    }
    if count::available() {
        for way in &mut ways {
            note(&format!("counting system calls {}", way.name));
            fleet.count(way)?;
        }
    } else {
        note("strace is not installed: system calls are not counted");
    }
    Ok(figures(options, (store_seconds, &hashed), (ways, None)))
}

fn figures(
    options: &Options,
    (store_seconds, hashed): (f64, &PrecomputeReport),
    (ways, change_over): (Vec<Measured>, Option<ChangeOver>),
) -> Figures {
    Figures {
        mailboxes: options.mailboxes,
        messages: options.messages,
        parallel: options.parallel,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        store_seconds,
        precompute_rate: rate(hashed.messages, hashed.seconds),
        ways: ways.into_iter().map(Measured::figures).collect(),
        change_over,
    }
}

impl Fleet {
    fn make_store(&self, options: &Options) -> Result<(), BenchError> {
        let spec = StoreSpec::new(options.mailboxes, options.messages).variety(Variety::Plain);
        let hosts = [&self.master.store, &self.replica.store];
        let stop = self.signals.flag();
        spec.build_until(&hosts, stop).map_err(DemoError::from)?;
        let mut list = Vec::new();
        spec.write_list(PARTITION, &mut list)
            .io_context("write", &self.list)?;
        std::fs::write(&self.list, list).io_context("write", &self.list)?;
        // So that a run does not pay for what was written before it.
        rustix::fs::sync();
        Ok(())
    }

    /// Asks whether PREPARE does anything here.
    fn prepares(&self, options: &Options) -> Result<bool, BenchError> {
        let slotd = Slotd::start(&self.master, &self.work.socket("master"), None)?;
        let address = migrate::address(&slotd)?;
        let spec = StoreSpec::new(options.mailboxes, options.messages).variety(Variety::Plain);
        let name = spec.names().next();
        let Some(Ok(name)) = name.map(|name| MailboxName::parse(&name)) else {
            return Ok(false);
        };
        let prepare = Prepare {
            of: Named::new(name),
            upgrade: Upgrade::default(),
            write: Write::Always,
            epoch: None,
        };
        let asked = self.signals.runtime().block_on(async {
            let mut client = Client::connect(&address, Timeouts::default()).await?;
            client.prepare(prepare).await
        });
        Ok(asked.is_ok_and(|answer| answer.prepared))
    }

    /// Puts the old files back if need be and migrates everything, with slotds run by these
    /// commands.
    fn migrate(
        &mut self,
        way: &Measured,
        wrappers: &[&[std::ffi::OsString]; 2],
    ) -> Result<Summary, BenchError> {
        for host in [&self.master, &self.replica] {
            reset::put_back(&host.store.meta)?;
        }
        rustix::fs::sync();
        self.signals.check()?;
        self.journals += 1;
        let state = self
            .work
            .path()
            .join(format!("journal-{}.sqlite", self.journals));
        let start = |host: &Host, wrapper| {
            Slotd::start_under(wrapper, host, &self.work.socket(host.name), None)
        };
        let slotds = [
            start(&self.master, wrappers[0])?,
            start(&self.replica, wrappers[1])?,
        ];
        let silent = Arc::new(Silent);
        let settings = way.settings.clone();
        let run = migrate::run(&slotds, &self.list, &state, settings, silent, &self.signals)?;
        self.signals.check()?;
        let summary = run.summary;
        if summary.upgraded != summary.mailboxes {
            let (upgraded, mailboxes) = (summary.upgraded, summary.mailboxes);
            return Err(BenchError::Failed {
                upgraded,
                mailboxes,
                way: way.name,
            });
        }
        Ok(summary)
    }

    /// A run under strace, for its counts only.
    fn count(&mut self, way: &mut Measured) -> Result<(), BenchError> {
        let outs =
            ["master", "replica"].map(|host| self.work.path().join(format!("{host}.strace")));
        for out in &outs {
            let _ = std::fs::remove_file(out);
        }
        let wrappers = [count::wrapper(&outs[0]), count::wrapper(&outs[1])];
        let summary = self.migrate(way, &[&wrappers[0], &wrappers[1]])?;
        way.calls = count::per_mailbox(&outs, summary.mailboxes)?;
        Ok(())
    }
}

impl Measured {
    fn figures(self) -> Way {
        let locks =
            |of: fn(&LockMs) -> f64| Stats::of(&self.locks.iter().map(of).collect::<Vec<f64>>());
        Way {
            name: self.name,
            rate: Stats::of(&self.rates),
            lock_p50: locks(|l| l.p50),
            lock_p99: locks(|l| l.p99),
            lock_max: locks(|l| l.max),
            calls: self.calls,
        }
    }
}

/// Per second.
#[allow(clippy::cast_precision_loss)] // counts far below 2^52
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(1e-9)
}
