//! How work on many mailboxes is stopped.

use std::sync::Arc;

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

/// What is wanted of it.
#[derive(Debug, Default)]
struct Wanted {
    level: Stop,
    /// Why it is to end at once, where that was asked for as a panic.
    panic: Option<Arc<str>>,
}

/// Asks a run to stop. Urgency only grows.
#[derive(Clone, Debug)]
pub struct StopHandle(watch::Sender<Wanted>);

impl StopHandle {
    /// Asks for the run to end.
    pub fn stop(&self, how: Stop) {
        self.0.send_if_modified(|now| {
            let more = how > now.level;
            now.level = now.level.max(how);
            more
        });
    }

    /// Asks for the run to end as with [`Stop::Now`], but that what is decided is settled with all
    /// attempts, as if nothing had been asked for. Keeps the reason for its summary: the first one,
    /// in words that follow "because". Returns whether this is it.
    #[allow(clippy::must_use_candidate)] // called for what it does
    pub fn panic(&self, why: &str) -> bool {
        self.0.send_if_modified(|now| {
            let first = now.panic.is_none();
            if first {
                (now.level, now.panic) = (Stop::Now, Some(why.into()));
            }
            first
        })
    }

    /// One step more urgent than before: what each SIGINT or SIGTERM does. Returns what it is now.
    #[allow(clippy::must_use_candidate)] // called for what it does
    pub fn escalate(&self) -> Stop {
        let next = if self.0.borrow().level == Stop::No {
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
pub struct StopSignal(watch::Receiver<Wanted>);

impl StopSignal {
    /// How urgent it is.
    #[must_use]
    pub fn level(&self) -> Stop {
        self.0.borrow().level
    }

    /// Why it is to end at once, if that was asked for as a panic: words that follow "because".
    #[must_use]
    pub fn panic(&self) -> Option<String> {
        self.0.borrow().panic.as_deref().map(str::to_owned)
    }

    /// Returns once it is at least that urgent; never if the handle was dropped and it is not.
    pub async fn reached(&mut self, level: Stop) {
        if self.0.wait_for(|now| now.level >= level).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A handle and its signal.
#[must_use]
pub fn stop_pair() -> (StopHandle, StopSignal) {
    let (sender, receiver) = watch::channel(Wanted::default());
    (StopHandle(sender), StopSignal(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_most_urgent_stop_and_its_first_reason_is_kept() {
        let (handle, stop) = stop_pair();
        assert_eq!((stop.level(), stop.panic()), (Stop::No, None));
        handle.stop(Stop::Finish);
        assert!(handle.panic("a file is there"));
        assert!(!handle.panic("somebody asked"));
        handle.stop(Stop::Finish);
        assert_eq!(
            (stop.level(), stop.panic().as_deref()),
            (Stop::Now, Some("a file is there"))
        );
        let (handle, stop) = stop_pair();
        handle.stop(Stop::Now);
        assert_eq!(stop.panic(), None, "a second signal is none");
        assert!(
            handle.panic("somebody asked"),
            "its reason is said all the same"
        );
    }
}
