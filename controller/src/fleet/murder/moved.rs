//! Where mailboxes went that were gone when their turn came: the mupdate server is asked once more,
//! about each of them once. It is never asked under a lock.

use std::sync::Arc;

use indexfile::mailbox::MailboxName;

use super::list::MurderList;
use crate::murder::Location;
use crate::murder::client::{Locator, Placed};
use crate::observer::Observer;

/// A mailbox that was gone when its turn came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// It.
    pub name: MailboxName,
    /// The pair that had it, by its place.
    pub from: usize,
}

/// Where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Now {
    /// On another pair, by its place, and there on this partition, if the server names one.
    OnPair(usize, Option<String>),
    /// On a server that is none of the pairs.
    Elsewhere(String),
    /// It is being moved, or a crash left this.
    Reserved,
    /// The server still has it where it is no longer: it was deleted, and the server does not know.
    Stale,
}

/// Where each of them is now; those are left out that the server has nowhere, and all where it is
/// away or a kept list is used. `servers`: those of the pairs, by their places.
pub async fn whereabouts(
    list: &MurderList,
    gone: Vec<Gone>,
    servers: &[&str],
    observer: &Arc<dyn Observer>,
) -> Vec<(Gone, Now)> {
    if list.from_cache || gone.is_empty() {
        return Vec::new();
    }
    let observer = Arc::clone(observer);
    let mut locator = Locator::new(list.settings.clone(), list.patience, observer);
    let mut found = Vec::new();
    for one in gone {
        let placed = locator.locate(&one.name).await;
        if let Some(now) = placed.and_then(|placed| now(&placed, one.from, servers)) {
            found.push((one, now));
        }
    }
    found
}

/// What the server says, of one that was on the pair `from`; `None` if it names no server.
fn now(placed: &Placed, from: usize, servers: &[&str]) -> Option<Now> {
    let Location { server, partition } = placed.location.as_ref()?;
    let pair = servers.iter().position(|of_pair| of_pair == server);
    Some(match pair {
        _ if placed.reserved => Now::Reserved,
        Some(pair) if pair == from => Now::Stale,
        Some(pair) => Now::OnPair(pair, partition.clone()),
        None => Now::Elsewhere(server.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_that_moved_is_on_another_pair_or_is_named_and_nothing_is_guessed() {
        let placed = |location: &[u8], reserved| Placed {
            location: Location::from_bytes(location),
            reserved,
        };
        let servers = ["be1.test", "be2.test"];
        for (location, reserved, wanted) in [
            (
                &b"be2.test!p1"[..],
                false,
                Some(Now::OnPair(1, Some("p1".to_owned()))),
            ),
            (b"be1.test!p1", false, Some(Now::Stale)),
            (
                b"be9.test!p1",
                false,
                Some(Now::Elsewhere("be9.test".to_owned())),
            ),
            (b"be2.test!p1", true, Some(Now::Reserved)),
            (b"p1", false, None),
        ] {
            assert_eq!(now(&placed(location, reserved), 0, &servers), wanted);
        }
    }
}
