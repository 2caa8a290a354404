//! The places for connections: how many there are, whose they are, and who leaves for whom.
//!
//! A client that comes is let in, waits for a short time, or is refused, and never anything else.
//! Where there is no place, or its peer has its share already, one that is of less use leaves for
//! it: of those that have never said a whole command the oldest, then of those that work for nobody
//! the one that has been silent the longest, then one of a coordinator that has been silent for a
//! second. One that is at work, or has a mailbox locked, stays. So neither thousands of silent
//! connections nor those of another peer keep anybody out. Of handshakes the oldest leaves as soon
//! as there are too many, and so does, of answers that nobody reads, the one that has waited
//! longest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::turns::{AllTurns, Kind, Turn};
use crate::peer::Peer;
use crate::protocol::Limits;

/// A connection of a coordinator that has nothing locked leaves for another when it has said
/// nothing for this long.
const IDLE: Duration = Duration::from_secs(1);
/// How long a client waits for a place before it is refused: longer than it takes to call one idle.
const ROOM_WAIT: Duration = Duration::from_secs(3);
/// Between two looks whether there is a place.
const LOOK: Duration = Duration::from_millis(50);
/// How many clients wait for a place at once: of one peer, and all together. Others are refused at
/// once.
const WAITING_PEER: usize = 16;
const WAITING: usize = 64;
/// How many that have been sent away may be closing their connections beyond the places.
pub(super) const LEAVING: usize = 64;

/// How many may be in their handshakes at once. One that behaves is done long before as many have
/// come after it.
const ARRIVING: usize = 128;

/// Bytes of all answers that are being sent: of more, the one that has waited for its reader the
/// longest is not, and its connection ends.
pub(super) const UNREAD: usize = 4 << 20;

/// Descriptors for those that are no connection's of a place.
pub(super) const FILES_BESIDE: u64 = (WAITING + LEAVING) as u64;

/// What a connection does just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Is in its handshake.
    Arriving,
    /// Has not yet said one whole command.
    New,
    /// Nothing; is nobody's.
    Idle,
    /// Nothing, for a coordinator, or with something prepared.
    Engaged,
    /// A command, or it has a mailbox locked.
    Work,
}

#[derive(Debug)]
struct Seat {
    peer: Peer,
    doing: Doing,
    since: Instant,
    /// It was sent away, and does not count any more.
    leaves: bool,
    /// Bytes of the answer that is being sent, and since when.
    answer: Option<(Instant, usize)>,
    told: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, Default)]
struct OfPeer {
    connections: usize,
    transactions: usize,
    prepared: usize,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    seats: BTreeMap<u64, Seat>,
    peers: HashMap<Peer, OfPeer>,
    leaving: usize,
    waiting: usize,
    /// Bytes of all answers that are being sent.
    unread: usize,
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    /// As they are now; those that are over a limit that was lowered stay while they are at work.
    limits: watch::Receiver<Limits>,
    inner: Mutex<Inner>,
    /// One of those that were sent away is gone.
    gone: Notify,
    turns: AllTurns,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: Arc<Places>,
    id: u64,
    peer: Peer,
    told: Arc<Notify>,
    /// Whether it has one of each [`Share`].
    has: [bool; 2],
}

/// Of what a peer may have some at once, by `--max-transactions-peer`.
#[derive(Clone, Copy, Debug)]
enum Share {
    Locked,
    Prepared,
}

impl Share {
    fn word(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Prepared => "prepared",
        }
    }

    fn count(self, of_peer: &mut OfPeer) -> &mut usize {
        match self {
            Self::Locked => &mut of_peer.transactions,
            Self::Prepared => &mut of_peer.prepared,
        }
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Peer,
}

impl Places {
    pub(super) fn new(limits: watch::Receiver<Limits>) -> Arc<Places> {
        Arc::new(Places {
            limits,
            inner: Mutex::default(),
            gone: Notify::new(),
            turns: AllTurns::new(),
        })
    }

    /// Returns when one more can be sent away: before the next connection is accepted, so that a
    /// burst of them is not refused for those that are just closing. These are gone within the time
    /// for their last words.
    pub(super) async fn ready(&self) {
        while self.inner.lock().leaving >= LEAVING {
            self.gone.notified().await;
        }
    }

    /// A place for a client of that peer, whose `first` look found none, or the sentence that says
    /// why there is none.
    pub(super) async fn enter(
        self: &Arc<Self>,
        peer: Peer,
        first: Result<Place, Full>,
    ) -> Result<Place, String> {
        let full = match first {
            Ok(place) => return Ok(place),
            Err(full) => full,
        };
        let Some(_waits) = Waits::begin(self, peer) else {
            return Err(self.sentence(full));
        };
        let deadline = tokio::time::Instant::now() + ROOM_WAIT;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.take(peer) {
                Ok(place) => return Ok(place),
                Err(full) if tokio::time::Instant::now() >= deadline => {
                    return Err(self.sentence(full));
                }
                Err(_) => {}
            }
        }
    }

    fn sentence(&self, full: Full) -> String {
        let Limits {
            connections,
            connections_peer,
            ..
        } = *self.limits.borrow();
        match full {
            Full::All => format!(
                "all {connections} connections that this slotd serves at once are at work; use \
                 fewer (--parallel)"
            ),
            Full::Peer => format!(
                "all {connections_peer} connections that one user or address may have here are \
                 at work; use fewer (--parallel)"
            ),
        }
    }

    /// A place for a client of that peer, if there is one or another leaves its own.
    pub(super) fn take(self: &Arc<Self>, peer: Peer) -> Result<Place, Full> {
        let limits = *self.limits.borrow();
        let inner = &mut *self.inner.lock();
        // More than one leaves where a limit was lowered.
        while let Some(full) = inner.full(peer, &limits) {
            let leaver = (inner.leaving < LEAVING).then(|| {
                let whose = (full == Full::Peer).then_some(peer);
                inner.leaver(whose, Instant::now())
            });
            inner.send_away(leaver.flatten().ok_or(full)?);
        }
        let (id, told) = (inner.next, Arc::new(Notify::new()));
        inner.next += 1;
        let seat = Seat {
            peer,
            doing: Doing::New,
            since: Instant::now(),
            leaves: false,
            answer: None,
            told: Arc::clone(&told),
        };
        inner.seats.insert(id, seat);
        inner.peers.entry(peer).or_default().connections += 1;
        Ok(Place {
            all: Arc::clone(self),
            id,
            peer,
            told,
            has: [false; 2],
        })
    }
}

impl Inner {
    /// Why there is no place for one more of that peer.
    fn full(&self, peer: Peer, limits: &Limits) -> Option<Full> {
        let own = self.peers.get(&peer).map_or(0, |of| of.connections);
        let seated = self.seats.len() - self.leaving;
        if own >= at_least_one(limits.connections_peer) {
            Some(Full::Peer)
        } else if seated >= at_least_one(limits.connections) {
            Some(Full::All)
        } else {
            None
        }
    }

    /// Who is to leave first, of that peer or of all.
    fn leaver(&self, whose: Option<Peer>, now: Instant) -> Option<u64> {
        let rank = |seat: &Seat| match seat.doing {
            _ if seat.leaves => None,
            Doing::Arriving | Doing::New => Some(0),
            Doing::Idle => Some(1),
            Doing::Engaged if now.saturating_duration_since(seat.since) >= IDLE => Some(2),
            Doing::Engaged | Doing::Work => None,
        };
        let all = self.seats.iter();
        let some = all.filter(|(_, seat)| whose.is_none_or(|peer| seat.peer == peer));
        let ranked = some.filter_map(|(id, seat)| Some((rank(seat)?, seat.since, *id)));
        ranked.min().map(|(_, _, id)| id)
    }

    /// Whose answer has waited for its reader the longest.
    fn slowest_reader(&self) -> Option<u64> {
        let all = self.seats.iter();
        let waiting = all.filter_map(|(id, seat)| Some((seat.answer?.0, *id)));
        waiting.min().map(|(_, id)| id)
    }

    /// The answer of one that was sent away counts no more.
    fn send_away(&mut self, id: u64) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.leaves = true;
            seat.told.notify_one();
            self.unread -= seat.answer.take().map_or(0, |(_, bytes)| bytes);
            self.leaving += 1;
            let peer = seat.peer;
            self.change(peer, |peer| peer.connections -= 1);
        }
    }

    /// Changes what a peer has; one that has nothing any more is forgotten.
    fn change(&mut self, peer: Peer, change: impl FnOnce(&mut OfPeer)) {
        let of_peer = self.peers.entry(peer).or_default();
        change(of_peer);
        let OfPeer {
            connections,
            transactions,
            prepared,
            waiting,
        } = *of_peer;
        if [connections, transactions, prepared, waiting] == [0; 4] {
            self.peers.remove(&peer);
        }
    }
}

impl Place {
    /// Its handshake begins: the one that has been in its own the longest leaves if there are too
    /// many.
    pub(super) fn arrives(&self) {
        self.now(Doing::Arriving);
        let inner = &mut *self.all.inner.lock();
        let arriving = |seat: &Seat| seat.doing == Doing::Arriving && !seat.leaves;
        if inner.seats.values().filter(|seat| arriving(seat)).count() > ARRIVING {
            let oldest = inner.seats.iter().find(|(_, seat)| arriving(seat));
            if let Some(id) = oldest.map(|(id, _)| *id) {
                inner.send_away(id);
            }
        }
    }

    /// Its handshake is over.
    pub(super) fn arrived(&self) {
        self.now(Doing::New);
    }

    /// Returns when a command of that kind may be begun; the sentence that says why it may not.
    /// Until then the place is as it was, and may be another's.
    pub(super) async fn turn(&self, kind: Kind) -> Result<Turn, String> {
        self.all.turns.take(kind, self.peer).await
    }

    /// A command has come. `false` if the place is another's already: the command is not to be
    /// looked at.
    #[must_use]
    pub(super) fn works(&self) -> bool {
        self.now(Doing::Work)
    }

    /// A command has been done, and nothing is locked; `engaged`: for a coordinator, or something
    /// is prepared.
    pub(super) fn rests(&self, engaged: bool) {
        let doing = if engaged { Doing::Engaged } else { Doing::Idle };
        self.now(doing);
    }

    /// An answer of that many bytes begins to be sent. Of too many bytes that wait for their
    /// readers, those leave that have waited the longest, whatever they do.
    pub(super) fn answers(&self, bytes: usize) {
        let inner = &mut *self.all.inner.lock();
        let Some(seat) = inner.seats.get_mut(&self.id).filter(|seat| !seat.leaves) else {
            return;
        };
        seat.answer = Some((Instant::now(), bytes));
        inner.unread += bytes;
        while inner.unread > UNREAD
            && let Some(id) = inner.slowest_reader()
        {
            inner.send_away(id);
        }
    }

    /// It has been sent.
    pub(super) fn answered(&self) {
        let inner = &mut *self.all.inner.lock();
        if let Some(seat) = inner.seats.get_mut(&self.id) {
            inner.unread -= seat.answer.take().map_or(0, |(_, bytes)| bytes);
        }
    }

    fn now(&self, doing: Doing) -> bool {
        let mut inner = self.all.inner.lock();
        let Some(seat) = inner.seats.get_mut(&self.id).filter(|seat| !seat.leaves) else {
            return false;
        };
        (seat.doing, seat.since) = (doing, Instant::now());
        true
    }

    /// Returns when another client gets this place.
    pub(super) async fn sent_away(&self) {
        self.told.notified().await;
    }

    /// Before a mailbox is locked; the sentence that says why it may not be.
    pub(super) fn begin_transaction(&mut self) -> Result<(), String> {
        self.begin(Share::Locked)
    }

    /// Before a mailbox is prepared, which takes disk and time; the sentence that says why it may
    /// not be. What is prepared is counted apart from what is locked: the one becomes the other.
    pub(super) fn begin_prepare(&mut self) -> Result<(), String> {
        self.begin(Share::Prepared)
    }

    /// No mailbox is locked any more.
    pub(super) fn end_transaction(&mut self) {
        self.end(Share::Locked);
    }

    /// Nothing is prepared any more.
    pub(super) fn end_prepared(&mut self) {
        self.end(Share::Prepared);
    }

    fn begin(&mut self, share: Share) -> Result<(), String> {
        let most = at_least_one(self.all.limits.borrow().transactions_peer);
        let mut inner = self.all.inner.lock();
        let of_peer = inner.peers.entry(self.peer).or_default();
        let (count, has) = (share.count(of_peer), &mut self.has[share as usize]);
        if *count >= most && !*has {
            return Err(format!(
                "all {most} mailboxes that one user or address may have {} here at once are \
                 (--max-transactions-peer)",
                share.word()
            ));
        }
        *count += usize::from(!*has);
        *has = true;
        Ok(())
    }

    fn end(&mut self, share: Share) {
        if std::mem::take(&mut self.has[share as usize]) {
            let end = |peer: &mut OfPeer| *share.count(peer) -= 1;
            self.all.inner.lock().change(self.peer, end);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end_transaction();
        self.end_prepared();
        let mut inner = self.all.inner.lock();
        if let Some(seat) = inner.seats.remove(&self.id) {
            inner.unread -= seat.answer.map_or(0, |(_, bytes)| bytes);
            if seat.leaves {
                inner.leaving -= 1;
                self.all.gone.notify_one();
            } else {
                inner.change(self.peer, |peer| peer.connections -= 1);
            }
        }
    }
}

/// A client that waits for a place.
struct Waits<'a>(&'a Places, Peer);

impl Waits<'_> {
    fn begin(all: &Places, peer: Peer) -> Option<Waits<'_>> {
        let inner = &mut *all.inner.lock();
        let of_peer = inner.peers.entry(peer).or_default();
        if inner.waiting >= WAITING || of_peer.waiting >= WAITING_PEER {
            return None;
        }
        of_peer.waiting += 1;
        inner.waiting += 1;
        Some(Waits(all, peer))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let inner = &mut *self.0.inner.lock();
        inner.waiting -= 1;
        inner.change(self.1, |peer| peer.waiting -= 1);
    }
}

fn at_least_one(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests;
