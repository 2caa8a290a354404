//! Whether the fence stands that a change-over needs: nobody who could open a store runs, and no
//! server can be started there unnoticed.
//!
//! Only a slotd can tell, of its own host: `PREFLIGHT` says so for a look before anything begins,
//! and each `UPGRADE` that needs it looks again.

use std::sync::Arc;

use slotd::protocol::FENCE_UP;

use super::connect::Connect;
use super::probe::host_facts;
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
        let facts = host_facts(connect, side).await?;
        match facts.and_then(|facts| facts.fence).as_deref() {
            Some(FENCE_UP) => {}
            Some(reason) => fallen.push(format!("it does not stand on the {side}: {reason}")),
            None => fallen.push(format!(
                "the {side}'s slotd does not know it: use the same release on all hosts"
            )),
        }
    }
    Ok((!fallen.is_empty()).then(|| fallen.join("; ")))
}
