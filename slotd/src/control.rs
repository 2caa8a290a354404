//! How a session at work is interrupted: by the server, whose connection or clock ends, and by
//! another coordinator that takes the store over.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use tokio::sync::Notify;

/// How a session at work learns that its work is not wanted any more.
#[derive(Debug, Default)]
pub struct Control {
    /// Looked at by whatever waits or works.
    pub cancel: AtomicBool,
    why: AtomicU8,
    /// The epoch that keeps this session's coordinator out, for good; 0 if none does.
    fenced: AtomicU64,
    news: Notify,
}

/// Why a session's work was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The connection is closed.
    Disconnected,
    /// It took too long.
    Expired,
    /// A coordinator with a higher epoch has taken over.
    Fenced,
}

impl Control {
    /// Stops the work under way as soon as it looks.
    pub fn cancel(&self, why: CancelReason) {
        let value = match why {
            CancelReason::Disconnected => 1,
            CancelReason::Expired => 2,
            CancelReason::Fenced => 3,
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
            3 => Some(CancelReason::Fenced),
            _ => None,
        }
    }

    /// A coordinator with this epoch has taken over: the session does nothing for its own any more.
    pub fn fence(&self, epoch: u64) {
        self.fenced.store(epoch, Ordering::Release);
        self.cancel(CancelReason::Fenced);
        self.news.notify_one();
    }

    /// The epoch that keeps this session's coordinator out, if one does.
    #[must_use]
    pub fn fenced(&self) -> Option<u64> {
        Some(self.fenced.load(Ordering::Acquire)).filter(|epoch| *epoch > 0)
    }

    /// Returns once [`Control::fence`] was called; for one that waits, and once.
    pub async fn until_fenced(&self) {
        self.news.notified().await;
    }
}
