//! Hosts that are out of service, for `status`: asked at once, and for a moment only.

use std::time::Duration;

use serde_json::{Value, json};
use slotd::client::Timeouts;

use super::Fail;
use super::args::UnusedHosts;
use crate::drain::{Host, Seen, look, sentence};
use crate::fleet::Fleet;
use crate::hosts::{Connect, Slotds};

/// How long a host may take to say so.
const PATIENCE: Duration = Duration::from_secs(2);

/// Those of the hosts named that are not in service, or do not answer.
pub(super) fn out_of_service(hosts: &UnusedHosts) -> Result<Vec<(String, Seen)>, Fail> {
    let timeouts = Timeouts {
        connect: PATIENCE,
        call: PATIENCE,
        work: PATIENCE,
    };
    let credentials = hosts.credentials();
    let slotds = |master, replica| Slotds {
        master,
        replica,
        credentials: credentials.clone(),
        timeouts,
    };
    let mut all: Vec<Host> = Vec::new();
    let mut add = |name: &str, slotds: Slotds| {
        let connect: std::sync::Arc<dyn Connect> = std::sync::Arc::new(slotds);
        all.extend(Host::of_pair(name, &connect));
    };
    match (hosts.fleet(), hosts.master()) {
        (_, Some(master)) => add("", slotds(master.clone(), hosts.replica().cloned())),
        (Some(file), None) => {
            for (name, pair) in Fleet::read(file)?.pairs {
                let replica = pair.replica.map(|host| host.addr);
                add(&name, slotds(pair.master.addr, replica));
            }
        }
        (None, None) => return Ok(Vec::new()),
    }
    let seen = super::session::with_runtime(async move { Ok(look(&all).await) })?;
    let out = |(name, seen): &(String, Seen)| sentence(name, seen).is_some();
    Ok(seen.into_iter().filter(out).collect())
}

/// One of them.
pub(super) fn json(name: &str, seen: &Seen) -> Value {
    match seen {
        Seen::Away(why) => json!({ "host": name, "state": "away", "why": why }),
        Seen::There {
            state,
            since,
            by,
            failover,
            ..
        } => json!({
            "host": name,
            "state": state.to_string(),
            "since_ms": since,
            "by": by,
            "failover": failover,
        }),
    }
}
