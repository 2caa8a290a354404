//! What can be asked of a host without a lock: each command a function of the [`Host`], in a file
//! of its own.
//!
//! Nothing here changes a file or waits for a lock, so a crash leaves nothing. What is asked of a
//! mailbox that is staged (`GUIDS`, `DIGESTS`) takes its [`Listing`](crate::stage::Listing).

mod find;
mod guids;
mod host;
mod host_status;
mod list;
mod live_digest;
mod odd;
mod preflight;
mod sha1s;
mod status;
mod verify;

pub use find::find;
pub use guids::{digests, guids};
pub use host::{host, out_of_service};
pub use host_status::host_status;
#[cfg(test)]
pub(crate) use list::KEPT;
pub use list::{BadRoots, Walker, page};
pub use preflight::preflight;
pub use sha1s::{fetch_sha1s, sha1s};
pub use status::status;
pub use verify::verify;

use std::time::SystemTime;

use crate::host::Host;
use crate::protocol::{Greeting, HostDrain, HostState, PROTOCOL_VERSION};

/// `HELLO`, and the answer to `REGISTER`: `left` are the journals that left something open.
#[must_use]
pub fn hello(host: &Host, left: Option<String>) -> Greeting {
    let drain = host.drained.brief().unwrap_or_else(|_| HostDrain {
        state: HostState::Unknown,
        ..HostDrain::default()
    });
    // A table that cannot be read refuses every mailbox by itself.
    let failover = host.store.mounts().in_failover().unwrap_or_default();
    let failover = failover
        .iter()
        .map(|point| point.to_string_lossy().into_owned());
    let failover = failover.collect();
    Greeting {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL_VERSION,
        host_id: host.host_id.clone(),
        roots: host.roots.clone(),
        draining: host.is_draining(),
        failed: host.log.usable_now().is_err(),
        capacity: Some(host.limits().at_once()),
        limits: Some(host.limits()),
        served: host.served.served().as_str().to_owned(),
        stopped: host.served.is_stopped(),
        rehash: true,
        cert_days: host
            .options
            .tls
            .as_ref()
            .map(|tls| tls.certificate().days_left(SystemTime::now())),
        host: drain.state,
        host_since: drain.since,
        host_by: drain.by,
        failover,
        left,
    }
}
