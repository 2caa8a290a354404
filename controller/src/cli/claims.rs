//! The claims to the pairs of an invocation: waited for, lost, and raised above what a host knows.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::session::Session;
use crate::error::RunError;
use crate::fleet::{Begin, finished_since};
use crate::journal::JournalError;
use crate::run::{HigherEpoch, higher_epoch};
use crate::stop::Stop;

/// Between two looks at a pair that another controller works on.
const CLAIM_PAUSE: Duration = Duration::from_secs(2);

impl Session {
    /// Claims a pair for this controller. Of a fleet: one that another controller works on is
    /// waited for, and a journal on a server that does not answer for `--host-wait`. What another
    /// controller has finished since this one began is not begun again. In a journal that only one
    /// controller can have, a pair is claimed already.
    ///
    /// # Errors
    /// The journal cannot be used, or the wait was stopped.
    pub(super) async fn claim(&self, at: usize) -> Result<Begin, RunError> {
        let (at_work, begun) = (&self.pairs[at], Instant::now());
        let mut stop = at_work.parts().stop;
        loop {
            let error = match self.try_claim(at) {
                Err(error @ (JournalError::Claimed { .. } | JournalError::Postgres { .. }))
                    if self.is_fleet() =>
                {
                    error
                }
                result => return Ok(result?),
            };
            let silent = matches!(error, JournalError::Postgres { .. });
            let waits = !silent || begun.elapsed() < at_work.control.limits().host_wait;
            if !waits || stop.level() != Stop::No {
                return Err(error.into());
            }
            at_work.control.holds(Some(error.to_string()));
            tokio::select! {
                () = tokio::time::sleep(CLAIM_PAUSE) => {}
                () = stop.reached(Stop::Finish) => {}
            }
            at_work.control.holds(None);
        }
    }

    fn try_claim(&self, at: usize) -> Result<Begin, JournalError> {
        let at_work = &self.pairs[at];
        let claimed = self.store.pair(&at_work.pair.name);
        if let Some(fleet) = &self.settings.fleet {
            let (name, store) = (&at_work.pair.name, self.store.as_ref());
            let before = self.finished_before;
            if let Some(run) = finished_since(store, &self.settings, fleet, name, before)? {
                // An earlier claim of this controller may be over, and its journal with it.
                at_work.parts.lock().journal = match claimed {
                    Ok(journal) => journal,
                    Err(_) => self.common.state.read_pair(name)?,
                };
                return Ok(Begin::Finished(run));
            }
        }
        at_work.parts.lock().journal = claimed?;
        Ok(Begin::Work)
    }

    /// Whether this controller may still write to the pair's journal.
    pub(super) fn has_claim(&self, at: usize) -> bool {
        self.pairs[at].parts().journal.flush().is_ok()
    }

    /// Raises the pair's epoch above the one in a host's refusal, if that is of the same journal
    /// and higher than the journal's own, to which the claim stands: the database went back, as
    /// when a standby takes over. Tells whether it was raised.
    ///
    /// # Errors
    /// The journal cannot be used.
    pub(super) fn raise(&self, at: usize, said: &str) -> Result<bool, RunError> {
        let at_work = &self.pairs[at];
        let journal = at_work.parts().journal;
        let Some(HigherEpoch { host, own }) = higher_epoch(journal.as_ref(), said)? else {
            return Ok(false);
        };
        if at_work.raised.swap(true, Ordering::Relaxed) {
            return Ok(false);
        }
        let journal = match self.store.pair_above(&at_work.pair.name, host) {
            Err(JournalError::Claimed { .. }) => return Ok(false),
            journal => journal?,
        };
        let mut parts = at_work.parts.lock();
        parts.journal = journal;
        parts.observer.warn(&format!(
            "a host knows epoch {host} of this journal, and the database has {own}: it went back, \
             and its newest rows may be missing; the epoch is raised, and the hosts are asked"
        ));
        Ok(true)
    }

    /// The same after some work on the pair, which is to be done once more then.
    ///
    /// # Errors
    /// As [`Session::raise`].
    pub(super) fn raises<T>(
        &self,
        at: usize,
        result: &Result<T, RunError>,
    ) -> Result<bool, RunError> {
        match result {
            Err(RunError::TakenOver(text)) => self.raise(at, text),
            _ => Ok(false),
        }
    }
}
