//! What hosts say of themselves: in service or not.

use std::fmt::Write as _;
use std::sync::Arc;

use slotd::protocol::{Greeting, HostState};

use crate::fleet::side_by_side;
use crate::hosts::{Connect, hello};
use crate::two_phase::Side;

/// A host that is asked.
#[derive(Clone)]
pub struct Host {
    /// As a person knows it: `the master of be1`.
    pub name: String,
    /// How its pair is reached.
    pub connect: Arc<dyn Connect>,
    /// Which of the pair.
    pub side: Side,
}

impl Host {
    /// The hosts of a pair; `pair` is its name, empty without a fleet.
    pub fn of_pair(pair: &str, connect: &Arc<dyn Connect>) -> Vec<Self> {
        let there = |side: &Side| connect.address(*side).is_some();
        let host = |side: Side| Self {
            name: match pair {
                "" => format!("the {side}"),
                pair => format!("the {side} of {pair}"),
            },
            connect: Arc::clone(connect),
            side,
        };
        Side::ALL.into_iter().filter(there).map(host).collect()
    }
}

/// What one said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It answers.
    There {
        /// Whether users get in.
        state: HostState,
        /// Since when not, milliseconds since 1970.
        since: Option<u64>,
        /// Who did that.
        by: Option<String>,
        /// Mounts in failover: the other host's mail is believed.
        failover: Vec<String>,
        /// Which Cyrus serves it, in slotd's words.
        served: String,
    },
    /// It does not, and why.
    Away(String),
}

impl From<Greeting> for Seen {
    fn from(greeting: Greeting) -> Self {
        Self::There {
            state: greeting.host,
            since: greeting.host_since,
            by: greeting.host_by,
            failover: greeting.failover,
            served: greeting.served,
        }
    }
}

/// Asks all of them at once.
pub async fn look(hosts: &[Host]) -> Vec<(String, Seen)> {
    let ask = |host: Host| async move {
        let seen = match hello(&host.connect, host.side).await {
            Ok(greeting) => greeting.into(),
            Err(error) => Seen::Away(error.to_string()),
        };
        (host.name, seen)
    };
    side_by_side(hosts.iter().cloned().map(ask)).await
}

/// In words, with whom to ask; `None` of a host that is in service.
#[must_use]
pub fn sentence(name: &str, seen: &Seen) -> Option<String> {
    let (state, since, by, failover) = match seen {
        Seen::Away(why) => return Some(format!("{name} does not answer ({why})")),
        Seen::There {
            state,
            since,
            by,
            failover,
            ..
        } => (*state, *since, by, failover),
    };
    if !failover.is_empty() {
        let points = failover.join(", ");
        return Some(format!(
            "{name} is in failover ({points}): the other host's mail is believed"
        ));
    }
    let mut text = match state {
        HostState::Open => return None,
        HostState::Announced => format!("{name} is about to be drained, and still open"),
        HostState::Drained => format!("{name} is drained"),
        HostState::Shut => {
            return Some(format!(
                "{name} keeps users out by a msg/shutdown that slotd did not write"
            ));
        }
        HostState::Unknown => {
            return Some(format!(
                "{name} does not know whether it is drained: see its slotd's log"
            ));
        }
    };
    if let Some(time) = since.and_then(|ms| i64::try_from(ms).ok()) {
        let time = jiff::Timestamp::from_millisecond(time).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, ", since {}", time.strftime("%F %T UTC"));
    }
    if let Some(by) = by {
        text += ", by ";
        text += by;
    }
    Some(text)
}
