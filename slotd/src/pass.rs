//! The pass of `precompute` as a task of slotd's: SHA-1s of all messages of the store, in
//! `cyrus.sha1s`, so that a run has little left to read.
//!
//! # What it promises
//!
//! * One at a time. It takes no lock of a mailbox and changes nothing but `cyrus.sha1s`, as
//!   `precompute run` does: the same library does the work.
//! * It runs at idle priority, with the threads and the rate that it was given.
//! * It belongs to the host, not to a connection: who started it may go away, and it goes on to its
//!   end. It is ended by [`PassTask::stop`], and with slotd.
//! * To ask how far it is costs nothing and waits for nothing.
//!
//! # What a crash leaves
//!
//! Each `cyrus.sha1s` whole, old or new; the next pass goes on from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indexfile::finding::Finding;
use indexfile::mailbox::ImapdConf;
use indexfile::walk::Leaves;
use parking_lot::Mutex;
use precompute::governor::Governor;
use precompute::pass::{self, Observer, Options, Summary};
use precompute::store::{self, Step};

use crate::protocol::{Code, PassLimits, PassProgress, PassState};
use crate::refusal::Refusal;

/// Findings that are given in words.
const TOLD: usize = 10;
/// Bytes of each of them, so that all fit in a reply.
const LONGEST: usize = 300;
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The pass of a host, if there was one.
#[derive(Debug, Default)]
pub struct PassTask(Mutex<Option<Pass>>);

#[derive(Debug)]
struct Pass {
    governor: Arc<Governor>,
    tally: Arc<Tally>,
    thread: JoinHandle<()>,
    began: Instant,
    /// Milliseconds since 1970.
    began_at: u64,
}

/// What it has done so far; written by all its threads.
#[derive(Debug, Default)]
struct Tally {
    mailboxes: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    first: Mutex<Vec<String>>,
    /// How it ended, and how long it took.
    end: Mutex<Option<(Result<Summary, String>, Duration)>>,
}

impl Observer for Tally {
    fn finding(&self, finding: Finding) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock();
        if first.len() < TOLD {
            let text = format!(
                "{}: {}: {}",
                finding.mailbox,
                finding.code.name(),
                finding.text
            );
            first.push(text.chars().take(LONGEST).collect());
        }
    }

    fn progress(&self, _partition: &str, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Pass {
    fn is_at_work(&self) -> bool {
        !self.thread.is_finished()
    }

    fn progress(&self) -> PassProgress {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let (tally, at_work) = (&self.tally, self.is_at_work());
        let mut progress = PassProgress {
            began: self.began_at,
            mailboxes: of(&tally.mailboxes),
            messages: of(&tally.messages),
            bytes: of(&tally.bytes),
            errors: of(&tally.errors),
            first: tally.first.lock().clone(),
            ..PassProgress::default()
        };
        let end = tally.end.lock();
        let took = end
            .as_ref()
            .map_or_else(|| self.began.elapsed(), |(_, took)| *took);
        progress.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        progress.state = match (&*end, at_work) {
            (_, true) if self.governor.stopped() => PassState::Stopping,
            (_, true) => PassState::Running,
            (Some((Ok(summary), _)), false) => {
                progress.mailboxes = summary.mailboxes;
                progress.messages = summary.messages;
                progress.hashed = summary.hashed;
                progress.cached = summary.cached + summary.linked;
                progress.bytes = summary.bytes;
                progress.errors = summary.errors;
                if summary.stopped {
                    PassState::Stopped
                } else {
                    PassState::Done
                }
            }
            (Some((Err(why), _)), false) => {
                progress.why = Some(why.clone());
                PassState::Failed
            }
            (None, false) => {
                progress.why = Some("it ended badly; slotd's log says more".to_owned());
                PassState::Failed
            }
        };
        progress
    }
}

impl PassTask {
    /// Begins one, unless one is at work: then that one goes on, and the answer says so.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(&self, conf: &ImapdConf, limits: PassLimits) -> Result<PassProgress, Refusal> {
        let mut slot = self.0.lock();
        if let Some(pass) = slot.as_ref().filter(|pass| pass.is_at_work()) {
            return Ok(PassProgress {
                already: true,
                ..pass.progress()
            });
        }
        let governor = Arc::new(Governor::new(limits.max_rate));
        let tally = Arc::<Tally>::default();
        let store = store::Store::Conf(Arc::new(conf.clone()));
        let options = Options {
            all_messages: limits.all_messages,
            jobs: limits
                .jobs
                .map_or_else(|| Options::default().jobs, usize::from),
            ..Options::default()
        };
        let seen = Arc::clone(&tally);
        let (ruled, counted, began) = (Arc::clone(&governor), Arc::clone(&tally), Instant::now());
        let work = move || {
            // Without it the pass works as well, and takes more from others.
            if let Err(error) = precompute::nice::idle() {
                tracing::warn!("PRECOMPUTE does not run at idle priority: {error}");
            }
            let steps = store::walk(&store, Leaves::Skip).inspect(|step: &Step| {
                seen.mailboxes
                    .fetch_add(u64::from(step.is_ok()), Ordering::Relaxed);
            });
            let end = pass::run(steps, &options, &ruled, counted.as_ref());
            let end = end.map_err(|error| error.to_string());
            tracing::info!("PRECOMPUTE has ended: {end:?}");
            *counted.end.lock() = Some((end, began.elapsed()));
        };
        let thread = std::thread::Builder::new()
            .name("precompute".to_owned())
            .spawn(work);
        let thread = thread.map_err(|error| {
            Refusal::new(Code::Io, format!("there is no thread for it: {error}"))
        })?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let pass = Pass {
            governor,
            tally,
            thread,
            began,
            began_at: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        };
        let progress = pass.progress();
        *slot = Some(pass);
        Ok(progress)
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> PassProgress {
        self.0
            .lock()
            .as_ref()
            .map(Pass::progress)
            .unwrap_or_default()
    }

    /// Asks it to end at the next message. Does not wait for that.
    pub fn stop(&self) -> PassProgress {
        if let Some(pass) = self.0.lock().as_ref().filter(|pass| pass.is_at_work()) {
            pass.governor.stop();
        }
        self.progress()
    }

    /// Ends it and waits until it has, for so long at most: what it does not write by then is done
    /// again by the next one.
    pub fn end(&self, limit: Duration) {
        let began = Instant::now();
        while self.stop().state.is_at_work() && began.elapsed() < limit {
            std::thread::sleep(LOOK);
        }
    }
}
