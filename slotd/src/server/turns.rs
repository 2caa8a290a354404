//! Turns of commands that take more memory than a connection has: a walk of the store has the names
//! of whole directories, a look at messages the buffers for them.
//!
//! A bounded number of each kind is at work at once, and of one peer no more than its share: one
//! that lists again and again keeps no other from it. Turns come in the order in which they were
//! asked for; a client that waits for its own holds nothing but its place, and leaves that for one
//! that needs it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::peer::Peer;
use crate::protocol::Command;

/// Walks of the store at once, and of one peer. Each has up to 5 MiB for a directory of 50,000
/// names.
const WALKS: [usize; 2] = [8, 4];
/// Looks at messages at once, and of one peer; each has up to 300 KiB.
const READS: [usize; 2] = [64, 56];
/// Pieces of files at once, and of one peer; each is there three times, as bytes and in words.
const PIECES: [usize; 2] = [16, 12];
/// How long a turn is waited for.
const WAIT: Duration = Duration::from_secs(30);

/// What there are turns for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Walk,
    Read,
    Piece,
}

impl Kind {
    /// What a command needs a turn for, if it does.
    pub(super) fn of(command: &Command) -> Option<Kind> {
        match command {
            Command::List(_) | Command::Find(_) => Some(Kind::Walk),
            Command::Verify(_) => Some(Kind::Read),
            Command::Sha1s(_) => Some(Kind::Piece),
            _ => None,
        }
    }
}

/// All turns of a kind.
#[derive(Debug)]
struct Turns {
    all: Arc<Semaphore>,
    of_peer: usize,
    /// Of peers that wait or are at work.
    peers: Mutex<HashMap<Peer, Arc<Semaphore>>>,
}

/// The turns of every kind.
#[derive(Debug)]
pub(super) struct AllTurns {
    walks: Turns,
    reads: Turns,
    pieces: Turns,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _of_peer: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Turns {
    fn new([all, of_peer]: [usize; 2]) -> Turns {
        Turns {
            all: Arc::new(Semaphore::new(all)),
            of_peer,
            peers: Mutex::default(),
        }
    }

    fn share(&self, peer: Peer) -> Arc<Semaphore> {
        let mut peers = self.peers.lock();
        peers.retain(|_, share| Arc::strong_count(share) > 1);
        let share = peers.entry(peer);
        Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(self.of_peer))))
    }

    /// `None` if there is none within [`WAIT`].
    async fn take(&self, peer: Peer) -> Option<Turn> {
        let both = async {
            let of_peer = self.share(peer).acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Turn {
                _of_peer: of_peer,
                _of_all: of_all,
            })
        };
        timeout(WAIT, both).await.ok().flatten()
    }
}

impl AllTurns {
    pub(super) fn new() -> AllTurns {
        AllTurns {
            walks: Turns::new(WALKS),
            reads: Turns::new(READS),
            pieces: Turns::new(PIECES),
        }
    }

    /// The next turn of that peer, or the sentence that says why there is none.
    pub(super) async fn take(&self, kind: Kind, peer: Peer) -> Result<Turn, String> {
        let turns = match kind {
            Kind::Walk => &self.walks,
            Kind::Read => &self.reads,
            Kind::Piece => &self.pieces,
        };
        turns.take(peer).await.ok_or_else(|| {
            let what = match kind {
                Kind::Walk => "list the mailboxes",
                Kind::Read => "verify mailboxes",
                Kind::Piece => "fetch cyrus.sha1s",
            };
            format!("too many {what} at once: no turn came within {WAIT:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Peer = Peer::User(1);
    const TWO: Peer = Peer::User(2);

    #[tokio::test(start_paused = true)]
    async fn who_lists_again_and_again_keeps_no_other_peer_from_it_and_waits_a_bounded_time() {
        let all = AllTurns::new();
        let mut turns = Vec::new();
        for _ in 0..WALKS[1] {
            turns.push(all.take(Kind::Walk, ONE).await.unwrap());
        }
        let refused = all.take(Kind::Walk, ONE).await.unwrap_err();
        assert!(refused.contains("no turn came within 30s"), "{refused}");
        let other = all.take(Kind::Walk, TWO).await.unwrap();
        assert!(all.take(Kind::Read, ONE).await.is_ok());
        // What is given back is another's.
        drop(turns.pop());
        assert!(all.take(Kind::Walk, ONE).await.is_ok());
        drop((turns, other));
        let _ = all.take(Kind::Walk, TWO).await.unwrap();
        assert_eq!(all.walks.peers.lock().len(), 1);
    }
}
