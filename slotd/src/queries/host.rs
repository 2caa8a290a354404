//! `HOST`: whether users get in, who is here, what replication has still to send, and whether the
//! mounts are there.

use crate::host::Host;
use crate::protocol::{Fields, HostDrain, HostState};
use crate::refusal::Refusal;

/// `HOST`.
///
/// # Errors
/// A file of the configdirectory, or slotd's record, cannot be read.
pub fn host(host: &Host) -> Result<HostDrain, Refusal> {
    let mounts = host.store.mounts();
    let roots = host.store.roots();
    let refused = roots.iter().filter_map(|root| mounts.check(root).err());
    Ok(HostDrain {
        roots_refused: refused.map(|refusal| refusal.text).collect(),
        ..host.drained.look()?
    })
}

/// What `STATUS` says besides of a host that is out of service; nothing of one that is not.
#[must_use]
pub fn out_of_service(host: &Host) -> Fields {
    match host.drained.brief() {
        Ok(found) if found.state == HostState::Open => Fields::new(),
        Ok(found) => {
            let fields = Fields::new().with("host", found.state);
            let since = found.since.map(|since| ("since", since.to_string()));
            let by = found.by.map(|by| ("by", by));
            let more = since.into_iter().chain(by);
            more.fold(fields, |fields, (key, value)| fields.with(key, value))
        }
        Err(_) => Fields::new().with("host", HostState::Unknown),
    }
}
