//! The two steps that do the work: hashing ahead of time, and the migration itself. Both call what
//! the commands `precompute run` and `controller upgrade` call.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indexfile::exit::Exit;
use indexfile::finding::Finding;
use indexfile::walk::Leaves;
use indicatif::HumanCount;
use parking_lot::Mutex;
use precompute::governor::Governor;
use precompute::pass;
use precompute::store::{Store, walk};
use slotd::client::{Addr, Timeouts};

use super::DemoError;
use super::child::Slotd;
use super::hosts::Host;
use super::signals::Signals;
use super::story::{PrecomputeReport, step};
use crate::control::Places;
use crate::journal::{Ended, SqliteJournal};
use crate::run::{self, Alerts, Finished, Observer, Parts, Settings, Slotds, Source, Summary};

/// How many failures are printed word for word.
const PRINTED: usize = 5;

/// Keeps the first thing that was wrong.
#[derive(Default)]
struct First(Mutex<Option<String>>);

impl pass::Observer for First {
    fn finding(&self, finding: Finding) {
        let mut first = self.0.lock();
        first.get_or_insert_with(|| format!("{}: {}", finding.mailbox, finding.sentence()));
    }
}

/// Hashes every message of the host whose GUID has to be replaced, into its cyrus.sha1s files.
pub(crate) fn precompute(host: &Host, signals: &Signals) -> Result<PrecomputeReport, DemoError> {
    precompute_with(host, signals, &pass::Options::default())
}

/// The same with other options than the usual ones.
pub(crate) fn precompute_with(
    host: &Host,
    signals: &Signals,
    options: &pass::Options,
) -> Result<PrecomputeReport, DemoError> {
    let failed = |text: String| DemoError::Precompute(text);
    let store = Store::Conf(Arc::new(host.conf.clone()));
    let steps = walk(&store, Leaves::Skip);
    let (governor, first) = (Governor::new(None), First::default());
    let over = AtomicBool::new(false);
    let summary = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                if signals.check().is_err() {
                    governor.stop();
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let summary = pass::run(steps, options, &governor, &first);
        over.store(true, Ordering::Release);
        watcher.thread().unpark();
        summary
    });
    signals.check()?;
    let summary = summary.map_err(|e| failed(e.to_string()))?;
    if let Some(first) = first.0.into_inner() {
        return Err(failed(first));
    }
    Ok(PrecomputeReport {
        messages: summary.messages,
        bytes: summary.bytes,
        seconds: summary.seconds,
    })
}

/// What a migration came to.
pub(crate) struct Migrated {
    /// For the report.
    pub summary: Summary,
    /// As `controller upgrade` would end.
    pub exit: Exit,
    failures: Vec<String>,
}

impl Migrated {
    /// Step 4 of the story.
    pub fn story(&self) -> String {
        let s = &self.summary;
        // A display, not arithmetic.
        #[allow(clippy::cast_precision_loss)]
        let rate = s.mailboxes as f64 / s.seconds.max(1e-6);
        let mut lines = vec![
            format!(
                "{} mailboxes on both hosts, {} were right already, {} rolled back, {} in doubt: {rate:.0}/s",
                HumanCount(s.upgraded),
                HumanCount(s.unchanged),
                HumanCount(s.rolled_back),
                HumanCount(s.in_doubt)
            ),
            format!(
                "a mailbox was locked for {:.1} ms (median; 99 of 100 at most {:.1} ms): both hosts prepare new",
                s.lock_ms.p50, s.lock_ms.p99
            ),
            "files, their GUIDs are compared, the decision is on disk, then both put the new ones in place".to_owned(),
        ];
        lines.extend(self.failures.iter().cloned());
        step(
            4,
            "migrated",
            &lines,
            Duration::try_from_secs_f64(s.seconds).unwrap_or_default(),
        )
    }
}

/// Passes on to the progress display, and remembers the first failures.
struct Watcher {
    display: Arc<dyn Observer>,
    failures: Mutex<Vec<String>>,
}

impl Observer for Watcher {
    fn begins(&self, mailboxes: u64, done: u64) {
        self.display.begins(mailboxes, done);
    }

    fn finished(&self, what: &Finished<'_>) {
        if let (Ended::RolledBack | Ended::InDoubt, Some(failure)) = (what.ended, what.failure) {
            let mut failures = self.failures.lock();
            if failures.len() < PRINTED {
                failures.push(format!("{}: {failure}", what.name));
            }
        }
        self.display.finished(what);
    }

    fn say(&self, text: &str) {
        self.display.say(text);
    }

    fn alarm(&self, text: &str) {
        self.display.alarm(text);
    }
}

/// Where a slotd of ours serves, as clients take it.
pub(crate) fn address(slotd: &Slotd) -> Result<Addr, DemoError> {
    slotd
        .address()
        .parse()
        .map_err(|e| DemoError::Address(format!("{e}")))
}

/// Migrates every mailbox of the list, as `controller upgrade` does with these settings.
pub(crate) fn run(
    slotds: &[Slotd; 2],
    list: &Path,
    state: &Path,
    settings: Settings,
    display: Arc<dyn Observer>,
    signals: &Signals,
) -> Result<Migrated, DemoError> {
    let [master, replica] = slotds;
    let connect = Slotds {
        credentials: None,
        master: address(master)?,
        replica: Some(address(replica)?),
        timeouts: Timeouts::default(),
    };
    let journal = SqliteJournal::open(state).map_err(run::RunError::from)?;
    let (handle, stop) = run::stop_pair();
    let mut signalled = signals.count();
    signals.runtime().spawn(async move {
        while signalled.changed().await.is_ok() {
            handle.escalate();
        }
        // Dropping the handle would not stop anything, but keep it as long as there are signals.
    });
    let watcher = Arc::new(Watcher {
        display,
        failures: Mutex::default(),
    });
    let parts = Parts {
        settings,
        connect: Arc::new(connect),
        journal: Arc::new(journal),
        observer: Arc::clone(&watcher) as Arc<dyn Observer>,
        alerts: Alerts::default(),
        stop,
        places: Places::default(),
    };
    let sources = [Source::File(list.to_owned())];
    let summary = signals.runtime().block_on(run::run(parts, &sources))?;
    let mut failures = watcher.failures.lock();
    Ok(Migrated {
        exit: summary.exit(),
        summary,
        failures: std::mem::take(&mut failures),
    })
}
