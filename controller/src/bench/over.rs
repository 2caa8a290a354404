//! Section `change_over`: how long one takes: prepared, prepared again, changed over, verified.

use std::sync::Arc;

use indexfile::IoContext;
use slotd::client::Timeouts;
use slotd::protocol::Write;

use super::document::{Better, Measure, Section, Unit};
use super::fleet::{Fleet, Way};
use super::{Bench, BenchError};
use crate::cutover::{self, Preparation, Proof, Work};
use crate::demo::{DemoError, Host, Slotd, migrate};
use crate::hosts::Connect;
use crate::journal::{SqliteJournal, Verb};
use crate::observer::Silent;
use crate::run::{self, Settings, Slotds, Source};

/// Messages that are read of each mailbox: what `cutover --verify` does by itself.
const SAMPLE: u32 = 1;

/// Brings the store to version 10, raises the fence on both hosts, and changes over.
pub(super) fn measure(bench: &Bench<'_>, fleet: &mut Fleet) -> Result<Section, BenchError> {
    let (way, to) = (
        Way::new(bench.options.usual(), Write::Never),
        bench.options.to,
    );
    (bench.note)(&format!(
        "upgrading to version 10, then changing over to {to}"
    ));
    fleet.plainly(bench, &way)?;
    for host in fleet.hosts() {
        raise_fence(host)?;
    }
    rustix::fs::sync();
    let start = |host: &Host| Slotd::start(host, &bench.work.socket(host.name), None);
    let over = Over {
        bench,
        slotds: [start(&fleet.master)?, start(&fleet.replica)?],
        parallel: way.settings.limits.parallel.most(),
        to,
    };
    let first = over.prepare()?;
    let second = over.prepare()?;
    let failed = |done, way: &str| BenchError::Failed {
        upgraded: done,
        mailboxes: first.mailboxes,
        way: way.to_owned(),
    };
    if second.unchanged != second.mailboxes {
        return Err(failed(second.unchanged, "by the second prepare"));
    }
    let settings = Settings {
        verb: Verb::Cutover,
        to,
        ..way.settings.clone()
    };
    let (list, silent) = (&fleet.list, Arc::new(Silent));
    let run = migrate::run(
        &over.slotds,
        list,
        &over.state(),
        settings,
        silent,
        &bench.signals,
    )?;
    bench.signals.check()?;
    super::fleet::all_upgraded(&run.summary, "by the change-over")?;
    let proof = over.verify()?;
    if !proof.complete {
        return Err(failed(proof.good, "as the proof says"));
    }
    let mut section = Section::new("change_over", format!("A change-over to version {to}"));
    section.notes.push(format!(
        "All mailboxes of both hosts, {} at once, once; {SAMPLE} message of each mailbox is read \
         to verify.",
        over.parallel
    ));
    let locks = run.summary.lock_ms;
    for (id, name, unit, value) in [
        ("prepare", "prepared", Unit::Seconds, first.seconds),
        (
            "prepare_again",
            "prepared again, nothing changed",
            Unit::Seconds,
            second.seconds,
        ),
        (
            "cutover",
            "changed over",
            Unit::Seconds,
            run.summary.seconds,
        ),
        ("verify", "verified", Unit::Seconds, proof.seconds),
        ("lock_p50", "lock held, p50", Unit::Milliseconds, locks.p50),
        ("lock_p99", "lock held, p99", Unit::Milliseconds, locks.p99),
        ("lock_max", "lock held, max", Unit::Milliseconds, locks.max),
    ] {
        let measure = Measure::new(id, name, unit, Better::Lower);
        section.measures.push(measure.with([value]));
    }
    Ok(section)
}

/// A change-over under way.
struct Over<'a> {
    bench: &'a Bench<'a>,
    slotds: [Slotd; 2],
    parallel: usize,
    to: u8,
}

impl Over<'_> {
    fn prepare(&self) -> Result<Preparation, BenchError> {
        self.with_work(async |work| cutover::prepare(work, vec![Source::Master], |_, _| {}).await)
    }

    fn verify(&self) -> Result<Proof, BenchError> {
        self.with_work(async |work| {
            cutover::verify(work, vec![Source::Master], Some(SAMPLE), |_, _| {}).await
        })
    }

    fn state(&self) -> std::path::PathBuf {
        self.bench.work.path().join("journal-cutover.sqlite")
    }

    /// With two slotds, a journal and nobody who watches.
    fn with_work<T>(
        &self,
        work: impl AsyncFnOnce(&Work<'_>) -> Result<T, run::RunError>,
    ) -> Result<T, BenchError> {
        let [master, replica] = &self.slotds;
        let connect: Arc<dyn Connect> = Arc::new(Slotds {
            credentials: None,
            master: migrate::address(master)?,
            replica: Some(migrate::address(replica)?),
            timeouts: Timeouts::default(),
        });
        let journal = SqliteJournal::open(&self.state()).map_err(run::RunError::from);
        let journal = journal.map_err(DemoError::from)?;
        let (_handle, stop) = run::stop_pair();
        let all = Work {
            connect: &connect,
            journal: &journal,
            observer: &Silent,
            stop: &stop,
            parallel: self.parallel,
            to: self.to,
        };
        let done = self.bench.signals.runtime().block_on(work(&all));
        self.bench.signals.check()?;
        Ok(done.map_err(DemoError::from)?)
    }
}

fn raise_fence(host: &Host) -> Result<(), BenchError> {
    let Some(dir) = host.conf.config_directory() else {
        return Ok(());
    };
    let dir = dir.join("msg");
    std::fs::create_dir_all(&dir).io_context("make", &dir)?;
    let file = dir.join("shutdown");
    Ok(std::fs::write(&file, "bench\n").io_context("write", &file)?)
}
