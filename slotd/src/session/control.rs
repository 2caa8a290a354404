//! How the server cuts a session's work short.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// How the server tells a session at work that its work is not wanted any more.
#[derive(Debug, Default)]
pub struct Control {
    /// Looked at by whatever waits or works.
    pub cancel: AtomicBool,
    why: AtomicU8,
}

/// Why a session's work was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The connection is closed.
    Disconnected,
    /// It took too long.
    Expired,
}

impl Control {
    /// Stops the work under way as soon as it looks.
    pub fn cancel(&self, why: CancelReason) {
        let value = match why {
            CancelReason::Disconnected => 1,
            CancelReason::Expired => 2,
        };
        self.why.store(value, Ordering::Relaxed);
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// The work it was meant for is over.
    pub fn clear(&self) {
        self.why.store(0, Ordering::Relaxed);
        self.cancel.store(false, Ordering::Relaxed);
    }

    /// Whether and why.
    #[must_use]
    pub fn why(&self) -> Option<CancelReason> {
        match self.why.load(Ordering::Relaxed) {
            1 => Some(CancelReason::Disconnected),
            2 => Some(CancelReason::Expired),
            _ => None,
        }
    }
}
