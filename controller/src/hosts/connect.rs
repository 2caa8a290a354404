//! How a run gets its connections; a simulation brings its own way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use slotd::client::{Addr, Client, ClientError, Timeouts};
use slotd::tls::Credentials;

use crate::two_phase::Side;

/// A future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens connections to the hosts of a run.
pub trait Connect: Send + Sync {
    /// Connects to that side's slotd.
    fn connect(&self, side: Side) -> BoxFuture<'_, Result<Client, ClientError>>;

    /// Its address, for messages and the journal; `None` if the run has no such side.
    fn address(&self, side: Side) -> Option<String>;

    /// The epoch of this coordinator, if its journal has epochs.
    fn epoch(&self) -> Option<u64> {
        None
    }

    /// Days until the certificate that is shown to the hosts ends; `None` without one.
    fn cert_days(&self) -> Option<i64> {
        None
    }

    /// A host said that a coordinator with a higher epoch has taken over, in these words.
    fn fence(&self, _text: &str) {}

    /// What it said, if one did: nothing may be sent any more.
    fn fenced(&self) -> Option<String> {
        None
    }
}

/// One or two slotds at fixed addresses.
#[derive(Clone, Debug)]
pub struct Slotds {
    /// The master's.
    pub master: Addr,
    /// The replica's, if there is one.
    pub replica: Option<Addr>,
    /// What is shown to them by TLS.
    pub credentials: Option<Arc<Credentials>>,
    /// How long to wait for them.
    pub timeouts: Timeouts,
}

impl Slotds {
    fn of(&self, side: Side) -> Option<&Addr> {
        match side {
            Side::Master => Some(&self.master),
            Side::Replica => self.replica.as_ref(),
        }
    }
}

impl Connect for Slotds {
    fn connect(&self, side: Side) -> BoxFuture<'_, Result<Client, ClientError>> {
        // A run without a replica never asks for it; should it, the master is not the answer.
        let addr = self
            .of(side)
            .cloned()
            .unwrap_or_else(|| Addr::Unix("/nonexistent".into()));
        Box::pin(async move {
            Client::connect_as(&addr, self.credentials.as_deref(), self.timeouts).await
        })
    }

    fn address(&self, side: Side) -> Option<String> {
        self.of(side).map(ToString::to_string)
    }

    fn cert_days(&self) -> Option<i64> {
        let shown = self.credentials.as_ref()?;
        Some(shown.certificate().days_left(SystemTime::now()))
    }
}

/// The pause before attempt number `attempt` (1 is the first), with up to half of it as jitter.
pub(crate) fn backoff(first: Duration, attempt: u32, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let pause = doubled.min(longest);
    pause.mul_f64(1.0 + fastrand::f64() / 2.0)
}
