//! A master that is away is waited for, for as long as a frontend would.

use std::time::Duration;

use super::error::{Fault, MurderError};
use super::{Client, Settings};
use crate::observer::Observer;
use crate::stop::{Stop, StopSignal};

/// How often, and after which pause, a server that is away is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How many times, the first included.
    pub tries: u32,
    /// Between two of them. A frontend waits 20 s (`mupdate_retry_delay`).
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 20,
            pause: Duration::from_secs(20),
        }
    }
}

/// Connects, again and again while the server is away; each try is said. What waiting cannot
/// change, a wrong password for one, ends it at once.
///
/// # Errors
/// That of the last try, or [`Fault::Stopped`].
pub async fn connect_patiently(
    settings: &Settings,
    patience: Patience,
    observer: &dyn Observer,
    stop: &StopSignal,
) -> Result<Client, MurderError> {
    let Patience { tries, pause } = patience;
    let mut stop = stop.clone();
    let stopped = || MurderError::new(&settings.address, Fault::Stopped);
    for attempt in 1.. {
        let connected = tokio::select! {
            connected = Client::connect(settings) => connected,
            () = stop.reached(Stop::Finish) => return Err(stopped()),
        };
        let error = match connected {
            Ok(client) => {
                let by = if client.is_tls() {
                    "by TLS"
                } else {
                    "in clear"
                };
                observer.say(&format!("{}: {}, {by}", settings.address, client.banner()));
                return Ok(client);
            }
            Err(error) => error,
        };
        if !error.may_pass() || attempt >= tries {
            return Err(error);
        }
        observer.say(&format!(
            "{error}; this was try {attempt} of {tries}, the next is in {pause:?}"
        ));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.reached(Stop::Finish) => return Err(stopped()),
        }
    }
    Err(stopped())
}
