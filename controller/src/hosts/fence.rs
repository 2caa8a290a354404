//! Whether the fence stands that a change-over needs: nobody who could open a store runs, and no
//! server can be started there unnoticed.
//!
//! Only a slotd can tell, of its own host: `PREFLIGHT` says so for a look before anything begins,
//! and each `UPGRADE` that needs it looks again.

use std::sync::Arc;

use slotd::protocol::{Command, FENCE_UP, HostFacts, Reply};

use super::connect::Connect;
use super::link::Link;
use crate::error::RunError;
use crate::two_phase::Side;

/// Where the fence does not stand, and why, in words; `None` if it stands on both hosts.
///
/// # Errors
/// A host does not answer.
pub(crate) async fn fallen_fence(connect: &Arc<dyn Connect>) -> Result<Option<String>, RunError> {
    let mut fallen = Vec::new();
    for side in Side::ALL {
        if connect.address(side).is_none() {
            continue;
        }
        match fence(connect, side).await?.as_deref() {
            Some(FENCE_UP) => {}
            Some(reason) => fallen.push(format!("it does not stand on the {side}: {reason}")),
            None => fallen.push(format!(
                "the {side}'s slotd does not know it: use the same release on all hosts"
            )),
        }
    }
    Ok((!fallen.is_empty()).then(|| fallen.join("; ")))
}

/// What one host says of it.
async fn fence(connect: &Arc<dyn Connect>, side: Side) -> Result<Option<String>, RunError> {
    let unavailable = |text: String| RunError::Unavailable {
        side: side.as_str(),
        text,
    };
    let reply = Link::new(side, connect).call(&Command::Preflight).await;
    match reply.map_err(|error| unavailable(error.to_string()))? {
        Reply::Ok(fields) => HostFacts::from_fields(&fields)
            .map(|facts| facts.fence)
            .map_err(|error| unavailable(error.to_string())),
        Reply::No { code, text } => Err(unavailable(format!("PREFLIGHT: [{code}] {text}"))),
        // Of a release that has no such command.
        Reply::Bad(_) => Ok(None),
    }
}
