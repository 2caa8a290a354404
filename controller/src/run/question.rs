//! One question to one host about one mailbox.

use slotd::protocol::{Command, Named, Reply};

use super::peer::{Peer, is_elsewhere, local, reason_of};
use crate::journal::Listed;
use crate::two_phase::{Reason, Side};

/// What one host said about one mailbox.
pub type Said = Result<slotd::protocol::Fields, (Reason, String)>;

/// What is asked about each mailbox.
pub type Question = dyn Fn(Named) -> Command + Send + Sync;

pub(super) async fn put(
    peer: &mut Peer,
    side: Side,
    strict: Option<bool>,
    of: &Listed,
    question: &Question,
) -> Option<Said> {
    let strict = strict?;
    // The list is the master's: what it says about partitions need not hold on the replica.
    let partition = if side == Side::Master {
        of.partition.clone()
    } else {
        None
    };
    let named = |partition| Named {
        mailbox: of.name.clone(),
        partition,
    };
    let mut result = peer.call_again(&question(named(partition))).await;
    if !strict && is_elsewhere(&result) {
        result = peer.call(&question(named(None))).await;
    }
    Some(match result {
        Ok(Reply::Ok(fields)) => Ok(fields),
        Ok(Reply::No { code, text }) => Err((reason_of(code), text)),
        Ok(Reply::Bad(text)) => Err((Reason::Protocol, format!("BAD {text}"))),
        Err(error) if error.is_local() => Err((Reason::Local, local(&error))),
        Err(error) => Err((Reason::HostAway, error.to_string())),
    })
}
