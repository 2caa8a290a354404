//! How work on many mailboxes is stopped.

use tokio::sync::watch;

/// How urgently a run is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It goes on.
    #[default]
    No,
    /// Begin nothing new; let what is under way end.
    Finish,
    /// Roll back what is not decided, carry out what is, and end.
    Now,
}

/// Asks a run to stop. Urgency only grows.
#[derive(Clone, Debug)]
pub struct StopHandle(watch::Sender<Stop>);

impl StopHandle {
    /// Asks for the run to end.
    pub fn stop(&self, how: Stop) {
        self.0.send_if_modified(|now| {
            let more = how > *now;
            *now = (*now).max(how);
            more
        });
    }

    /// One step more urgent than before: what each SIGINT or SIGTERM does. Returns what it is now.
    #[allow(clippy::must_use_candidate)] // called for what it does
    pub fn escalate(&self) -> Stop {
        let next = if *self.0.borrow() == Stop::No {
            Stop::Finish
        } else {
            Stop::Now
        };
        self.stop(next);
        next
    }

    /// Returns once nothing is left that this could stop.
    pub async fn is_done(&self) {
        self.0.closed().await;
    }
}

/// The run's end of it.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Receiver<Stop>);

impl StopSignal {
    /// How urgent it is.
    #[must_use]
    pub fn level(&self) -> Stop {
        *self.0.borrow()
    }

    /// Returns once it is at least that urgent; never if the handle was dropped and it is not.
    pub async fn reached(&mut self, level: Stop) {
        if self.0.wait_for(|now| *now >= level).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A handle and its signal.
#[must_use]
pub fn stop_pair() -> (StopHandle, StopSignal) {
    let (sender, receiver) = watch::channel(Stop::No);
    (StopHandle(sender), StopSignal(receiver))
}
