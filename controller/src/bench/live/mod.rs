//! What users feel: the latency of STORE while a run goes on over their mailboxes, and without one.
//!
//! Clients of an imitation of Cyrus 2.3 ([`stores::cyrus23`]) store flags, deliver and read on the
//! master, each in a process of its own, and one more replays on the replica what they did. With a
//! run, the mailboxes are upgraded and downgraded again and again meanwhile, so that far more
//! STOREs meet a lock than in a migration, in which a mailbox is locked once. Without one, no
//! process of reguid runs. Both ways are measured by turns.
//!
//! Promises: nothing outside of its directory is touched; children and directory are gone at its
//! end, as with the demo. Each flag that a client stored is there at the end, or it fails.

mod child;
mod client;
mod error;
mod logged;
mod measures;
mod pair;
mod phase;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use slotd::protocol::Write;

use super::document::{Document, FORMAT, Section};
use super::machine;
use crate::control::Limits;
use crate::demo::signals::Signals;
use crate::demo::workdir::Workdir;
use measures::Series;
use pair::Pair;
use phase::phase;

pub use client::{SUBCOMMAND, be_client};
pub use error::LiveError;

/// Messages of all mailboxes of one size, if nobody says how many mailboxes there are to be.
const MESSAGES: u32 = 80_000;
/// Most mailboxes of one size, then.
const MAILBOXES: u32 = 16;
/// The longest warm-up.
const WARM_UP: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to work: new or empty; the default is the system's place for temporary files.
    pub dir: Option<PathBuf>,
    /// Clients.
    pub clients: usize,
    /// What each client does in a second.
    pub rate: u32,
    /// Messages of a mailbox: each of these sizes is measured.
    pub messages: Vec<u32>,
    /// Mailboxes of each size; by default fewer of large ones.
    pub mailboxes: Option<usize>,
    /// How long the clients work in each round, with a run and without.
    pub lasts: Duration,
    /// Rounds, after one to warm up.
    pub rounds: usize,
    /// Whether new files are written before the locks are taken.
    pub prepare: Write,
    /// The limits of the runs.
    pub limits: Limits,
}

impl Options {
    /// From one thing that a client does to the next.
    fn every(&self) -> Duration {
        Duration::from_secs(1) / self.rate.max(1)
    }

    fn mailboxes(&self, messages: u32) -> usize {
        let by_size = (MESSAGES / messages.max(1)).clamp(1, MAILBOXES);
        self.mailboxes.unwrap_or(by_size as usize)
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let sizes: Vec<String> = self.messages.iter().map(ToString::to_string).collect();
        let mailboxes = self.messages.iter().map(|n| self.mailboxes(*n).to_string());
        let prepare = match self.prepare {
            Write::Never => "never",
            Write::Always => "always",
            Write::Auto => "auto",
        };
        let mut settings = BTreeMap::from([
            ("clients".to_owned(), self.clients.to_string()),
            ("rate".to_owned(), self.rate.to_string()),
            ("messages".to_owned(), sizes.join(",")),
            (
                "mailboxes".to_owned(),
                mailboxes.collect::<Vec<_>>().join(","),
            ),
            ("seconds".to_owned(), self.lasts.as_secs_f64().to_string()),
            ("rounds".to_owned(), self.rounds.to_string()),
            ("prepare".to_owned(), prepare.to_owned()),
        ]);
        for limit in &crate::control::LIMITS {
            let value = limit.get(&self.limits);
            if value != limit.default {
                settings.insert(limit.name.to_owned(), value);
            }
        }
        settings
    }
}

/// Measures. `note` receives what happens, a line at a time. Must be called from the main thread.
///
/// # Errors
/// If a store cannot be made, a process does not start, no mailbox is upgraded meanwhile, or
/// something that a client stored is lost.
pub fn run(options: &Options, note: &dyn Fn(&str)) -> Result<Document, LiveError> {
    let signals = Signals::listen()?;
    let work = Workdir::new(options.dir.as_deref())?;
    let mut machine = machine::look(work.path());
    let (began, begun) = (jiff::Timestamp::now(), Instant::now());
    let section = measure(options, &work, &signals, note)?;
    machine.load_after = machine::load();
    Ok(Document {
        format: FORMAT,
        reguid: env!("CARGO_PKG_VERSION").into(),
        began: began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        seconds: begun.elapsed().as_secs_f64(),
        machine,
        settings: options.settings(),
        peers: Vec::new(),
        not_measured: Vec::new(),
        sections: vec![section],
    })
}

fn measure(
    options: &Options,
    work: &Workdir,
    signals: &Signals,
    note: &dyn Fn(&str),
) -> Result<Section, LiveError> {
    let mut all = Vec::new();
    for (number, messages) in options.messages.iter().copied().enumerate() {
        let mailboxes = options.mailboxes(messages);
        note(&format!(
            "making {mailboxes} mailboxes of {messages} messages on two hosts, and hashing them"
        ));
        let pair = Pair::make(work, number, (messages, mailboxes), signals)?;
        let series = Series {
            messages,
            mailboxes,
            rounds: Vec::new(),
        };
        all.push((pair, series));
    }
    let mut number = 0;
    let mut next = |pair: &Pair, with_run, lasts| {
        number += 1;
        phase(pair, options, (number, with_run, lasts), signals)
    };
    // The first round warms everything up and is not counted.
    for round in 0..=options.rounds {
        for (pair, series) in &mut all {
            if round == 0 {
                let lasts = options.lasts.min(WARM_UP);
                next(pair, true, lasts)?;
                continue;
            }
            // Whichever comes first has it easier or harder: so they change places.
            let (without, with) = if round.is_multiple_of(2) {
                let with = next(pair, true, options.lasts)?;
                (next(pair, false, options.lasts)?, with)
            } else {
                let without = next(pair, false, options.lasts)?;
                (without, next(pair, true, options.lasts)?)
            };
            note(&format!(
                "round {round}, {} messages: p99 {:.2} ms without a run, {:.2} ms with one",
                series.messages,
                without.sampled.stores.lock_ms().p99,
                with.sampled.stores.lock_ms().p99
            ));
            series.rounds.push([without, with]);
        }
    }
    let series: Vec<Series> = all.into_iter().map(|(_, series)| series).collect();
    Ok(measures::section(&series, how(options)))
}

/// How it was measured, in sentences.
fn how(options: &Options) -> Vec<String> {
    vec![
        format!(
            "{} clients, each in a process of its own and with {} things to do a second, at fixed \
             times: 70 of 100 are STOREs, 5 deliveries, 25 FETCHes. What they do is replayed on \
             the replica. The time of a STORE is from when it was due until after its unlock.",
            options.clients, options.rate
        ),
        "With a run, all mailboxes are upgraded and downgraded again and again; without one no \
         process of reguid runs. Locks are those of the run, of both hosts."
            .to_owned(),
    ]
}
