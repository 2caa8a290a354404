//! How long a change-over takes: prepared, prepared again, changed over, verified.

use std::sync::Arc;

use indexfile::IoContext;
use serde::Serialize;
use slotd::client::Timeouts;

use super::{BenchError, Fleet, Measured, Slotd, migrate};
use crate::cutover::{self, Preparation, Proof, Work};
use crate::demo::{DemoError, Host};
use crate::hosts::Connect;
use crate::journal::{SqliteJournal, Verb};
use crate::observer::Silent;
use crate::run::{self, LockMs, Settings, Slotds, Source};

/// Seconds for all mailboxes of both hosts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ChangeOver {
    /// The version.
    pub to: u8,
    /// The first `cutover --prepare`.
    pub prepare: f64,
    /// The second, with nothing changed in between.
    pub prepare_again: f64,
    /// `cutover`.
    pub cutover: f64,
    /// How long its locks were held, milliseconds.
    pub lock_ms: LockMs,
    /// `cutover --verify`, which reads this many messages of each mailbox.
    pub verify: f64,
    /// See `verify`.
    pub sample: u32,
}

/// Messages that are read of each mailbox: what `cutover --verify` does by itself.
const SAMPLE: u32 = 1;

impl Fleet {
    /// Brings the store to version 10 as `way` does, raises the fence on both hosts, and changes
    /// over.
    pub(super) fn change_over(&mut self, way: &Measured, to: u8) -> Result<ChangeOver, BenchError> {
        self.migrate(way, &[[].as_slice(), [].as_slice()])?;
        for host in [&self.master, &self.replica] {
            raise_fence(host)?;
        }
        rustix::fs::sync();
        let start = |host: &Host| Slotd::start(host, &self.work.socket(host.name), None);
        let slotds = [start(&self.master)?, start(&self.replica)?];
        let first = self.prepare(&slotds, to, way)?;
        let second = self.prepare(&slotds, to, way)?;
        let failed = |done, way| BenchError::Failed {
            upgraded: done,
            mailboxes: first.mailboxes,
            way,
        };
        if second.unchanged != second.mailboxes {
            return Err(failed(second.unchanged, "by the second prepare"));
        }
        let settings = Settings {
            verb: Verb::Cutover,
            to,
            ..way.settings.clone()
        };
        let state = self.work.path().join("journal-cutover.sqlite");
        let silent = Arc::new(Silent);
        let run = migrate::run(&slotds, &self.list, &state, settings, silent, &self.signals)?;
        self.signals.check()?;
        if run.summary.upgraded != run.summary.mailboxes {
            return Err(failed(run.summary.upgraded, "by the change-over"));
        }
        let proof = self.verify(&slotds, to, way)?;
        if !proof.complete {
            return Err(failed(proof.good, "as the proof says"));
        }
        Ok(ChangeOver {
            to,
            prepare: first.seconds,
            prepare_again: second.seconds,
            cutover: run.summary.seconds,
            lock_ms: run.summary.lock_ms,
            verify: proof.seconds,
            sample: SAMPLE,
        })
    }

    fn prepare(
        &self,
        slotds: &[Slotd; 2],
        to: u8,
        way: &Measured,
    ) -> Result<Preparation, BenchError> {
        let parallel = way.settings.limits.parallel;
        self.with_work(slotds, (to, parallel), async |work| {
            cutover::prepare(work, vec![Source::Master], |_, _| {}).await
        })
    }

    fn verify(&self, slotds: &[Slotd; 2], to: u8, way: &Measured) -> Result<Proof, BenchError> {
        let parallel = way.settings.limits.parallel;
        self.with_work(slotds, (to, parallel), async |work| {
            cutover::verify(work, vec![Source::Master], Some(SAMPLE), |_, _| {}).await
        })
    }

    /// With two slotds, a journal and nobody who watches.
    fn with_work<T>(
        &self,
        slotds: &[Slotd; 2],
        (to, parallel): (u8, usize),
        work: impl AsyncFnOnce(&Work<'_>) -> Result<T, run::RunError>,
    ) -> Result<T, BenchError> {
        let [master, replica] = slotds;
        let connect: Arc<dyn Connect> = Arc::new(Slotds {
            credentials: None,
            master: migrate::address(master)?,
            replica: Some(migrate::address(replica)?),
            timeouts: Timeouts::default(),
        });
        let state = self.work.path().join("journal-cutover.sqlite");
        let journal = SqliteJournal::open(&state).map_err(run::RunError::from);
        let journal = journal.map_err(DemoError::from)?;
        let (_handle, stop) = run::stop_pair();
        let all = Work {
            connect: &connect,
            journal: &journal,
            observer: &Silent,
            stop: &stop,
            parallel,
            to,
        };
        let done = self.signals.runtime().block_on(work(&all));
        self.signals.check()?;
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
