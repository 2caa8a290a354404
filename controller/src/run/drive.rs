//! Carries out what one coordinator asks for: the thin layer between the pure machine and the
//! sockets, the journal and the clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::away::Away;
use super::connect::BoxFuture;
use super::heard::Heard;
use super::peer::{Learned, Peer, Target};
use super::settings::{Settings, Stop, StopSignal};
use crate::journal::{Change, Durability, Figures, Journal, MailboxId};
use crate::two_phase::{
    Action, Answer, Coordinator, Entry, Event, Failure, Merger, Outcome, Reason, Request, Side,
};

/// Longest pause between two attempts to settle a decided transaction.
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(5);

type Asked = BoxFuture<'static, (Box<Peer>, Event, Learned)>;
type Compared = BoxFuture<'static, ([Box<Peer>; 2], Event, u64)>;

/// The connections of one worker.
pub(super) struct Pair {
    slots: [Option<Box<Peer>>; 2],
    make: Box<dyn Fn(Side) -> Peer + Send + Sync>,
}

impl Pair {
    pub(super) fn new(make: impl Fn(Side) -> Peer + Send + Sync + 'static) -> Self {
        Self {
            slots: [None, None],
            make: Box::new(make),
        }
    }

    fn take(&mut self, side: Side) -> Box<Peer> {
        self.slots[side.index()]
            .take()
            .unwrap_or_else(|| Box::new((self.make)(side)))
    }

    fn put(&mut self, side: Side, peer: Box<Peer>) {
        self.slots[side.index()] = Some(peer);
    }
}

/// How the work on a transaction ended.
pub(super) enum End {
    /// The machine came to its end.
    Came(Outcome),
    /// It is decided, and a partition that it needs is not mounted: nothing is locked, the decision stays open in
    /// the journal, and it is taken up from there as after a restart.
    Waits(Side, Failure),
}

/// What a transaction came to.
pub(super) struct Driven {
    pub(super) end: End,
    pub(super) figures: Figures,
    pub(super) heard: Heard,
    /// Told to the operator while it ran; at most once.
    pub(super) alert: Option<Failure>,
}

/// Everything a transaction needs beside its machine and its connections.
pub(super) struct Surroundings<'a> {
    pub(super) journal: &'a Arc<dyn Journal>,
    pub(super) settings: &'a Settings,
    pub(super) away: &'a Away,
    pub(super) stop: StopSignal,
}

/// Drives a machine from [`Event::Start`] to its end.
pub(super) async fn drive(
    mut machine: Coordinator,
    mailbox: MailboxId,
    target: Target,
    pair: &mut Pair,
    mut around: Surroundings<'_>,
) -> Driven {
    let target = Arc::new(target);
    let mut todo: VecDeque<Action> = machine.step(Event::Start).into();
    let mut asked: [Option<Asked>; 2] = [None, None];
    let mut compared: Option<Compared> = None;
    let mut recorded: Option<BoxFuture<'static, Event>> = None;
    let mut paused: Option<BoxFuture<'static, ()>> = None;
    let mut figures = Figures::default();
    let mut heard = Heard::default();
    let (mut alert, mut told) = (None, false);
    let mut unmounted = None;
    loop {
        while let Some(action) = todo.pop_front() {
            match action {
                Action::Send(side, request) => {
                    let target = Arc::clone(&target);
                    asked[side.index()] = Some(ask(pair.take(side), target, request));
                }
                Action::Disconnect(side) => {
                    // Dropping the connection closes it; the slotd then rolls back.
                    asked[side.index()] = None;
                    compared = None;
                    drop(pair.take(side));
                }
                Action::Compare => {
                    let peers = Side::ALL.map(|side| pair.take(side));
                    compared = Some(Box::pin(compare(peers, machine.compares_content())));
                }
                Action::Record(entry) => {
                    recorded = Some(record(around.journal, change(mailbox, entry)));
                }
                Action::Note(entry) => {
                    around
                        .journal
                        .submit(change(mailbox, entry), Durability::Lazy);
                }
                Action::Wait { attempt } => {
                    // Only decided transactions pause, and with nothing locked. Further attempts at a partition
                    // that is not there would only bring it nearer to "in doubt".
                    if let Some((side, failure)) = unmounted.take() {
                        return Driven {
                            end: End::Waits(side, failure),
                            figures,
                            heard,
                            alert,
                        };
                    }
                    paused = Some(pause(&around, attempt.into()));
                }
                Action::Alert(failure) => alert = Some(failure),
                Action::Finished(outcome) => {
                    return Driven {
                        end: End::Came(outcome),
                        figures,
                        heard,
                        alert,
                    };
                }
            }
        }
        let [of_master, of_replica] = &mut asked;
        let event = tokio::select! {
            biased; // in a fixed order, so that a seed of the simulation can be repeated
            (peer, event, learned) = poll(of_master), if of_master.is_some() => {
                *of_master = None;
                pair.put(Side::Master, peer);
                note(&mut figures, Side::Master, &learned);
                heard.note(Side::Master, &learned);
                event
            }
            (peer, event, learned) = poll(of_replica), if of_replica.is_some() => {
                *of_replica = None;
                pair.put(Side::Replica, peer);
                note(&mut figures, Side::Replica, &learned);
                heard.note(Side::Replica, &learned);
                event
            }
            ([master, replica], event, lag) = poll(&mut compared), if compared.is_some() => {
                compared = None;
                pair.put(Side::Master, master);
                pair.put(Side::Replica, replica);
                figures.lag = lag;
                event
            }
            event = poll(&mut recorded), if recorded.is_some() => {
                recorded = None;
                event
            }
            () = poll(&mut paused), if paused.is_some() => {
                paused = None;
                Event::Waited
            }
            () = around.stop.reached(Stop::Now), if !told => {
                told = true;
                Event::Abort
            }
        };
        if let Event::Lost(side, why) = &event {
            around.away.suspect(*side, why);
        }
        unmounted = refused_unmounted(&event).or(unmounted);
        todo.extend(machine.step(event));
    }
}

fn ask(mut peer: Box<Peer>, target: Arc<Target>, request: Request) -> Asked {
    Box::pin(async move {
        let (event, learned) = peer.ask(&target, request).await;
        (peer, event, learned)
    })
}

/// Writes it down durably.
fn record(journal: &Arc<dyn Journal>, change: Change) -> BoxFuture<'static, Event> {
    let receipt = journal.submit(change, Durability::Durable);
    Box::pin(async move {
        match receipt.wait().await {
            Ok(()) => Event::Recorded,
            Err(error) => Event::RecordFailed(error.to_string()),
        }
    })
}

/// Whether that side said that the mailbox's partition is not mounted there.
fn refused_unmounted(event: &Event) -> Option<(Side, Failure)> {
    let Event::Reply(side, Answer::No(refusal)) = event else {
        return None;
    };
    let failure = Failure {
        side: Some(*side),
        reason: Reason::Unmounted,
        text: refusal.text.clone(),
    };
    (refusal.reason == Reason::Unmounted).then_some((*side, failure))
}

/// The pause before attempt number `attempt` to settle: at a host that is away, another one would only bring it
/// nearer to "in doubt".
fn pause(around: &Surroundings<'_>, attempt: u32) -> BoxFuture<'static, ()> {
    let pause = backoff(around.settings.settle_pause, attempt, SETTLE_PAUSE_MAX);
    let back = around.away.back();
    let mut stop = around.stop.clone();
    Box::pin(async move {
        tokio::time::sleep(pause).await;
        tokio::select! {
            biased;
            () = back => {}
            () = stop.reached(Stop::Finish) => {}
        }
    })
}

/// Awaits what is in the slot; the caller has looked that there is something.
async fn poll<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn change(mailbox: MailboxId, entry: Entry) -> Change {
    match entry {
        Entry::Decided { before } => Change::Decide { mailbox, before },
        Entry::Forward(side) => Change::Forward { mailbox, side },
        Entry::Reversing => Change::Reverse { mailbox },
    }
}

fn note(figures: &mut Figures, side: Side, learned: &Learned) {
    if let Some(up) = &learned.upgraded {
        if side == Side::Master || figures.messages == 0 {
            figures.messages = up.messages.into();
        }
        figures.altered += u64::from(up.altered);
        figures.cached += u64::from(up.cached);
        figures.hashed += u64::from(up.hashed);
    }
    if let Some(held) = learned.held {
        let us = u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
        let lock = &mut figures.lock_us[side.index()];
        *lock = Some(lock.map_or(us, |before| before.max(us)));
    }
}

/// Fetches both lists page by page and compares them.
async fn compare(mut peers: [Box<Peer>; 2], by_content: bool) -> ([Box<Peer>; 2], Event, u64) {
    let mut merger = if by_content {
        Merger::by_content()
    } else {
        Merger::new()
    };
    while let Some((side, from)) = merger.wants() {
        let page = peers[side.index()].guids(from).await;
        let event = match page {
            Ok((items, last)) => match merger.page(side, &items, last) {
                Ok(()) => continue,
                Err(error) => Event::Lost(side, error.to_string()),
            },
            Err(event) => event,
        };
        return (peers, event, 0);
    }
    let comparison = merger.into_comparison();
    let lag = comparison.master_only + comparison.replica_only;
    (peers, Event::Compared(comparison), lag)
}

/// The pause before attempt number `attempt` (1 is the first), with up to half of it as jitter.
pub(super) fn backoff(first: Duration, attempt: u32, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let pause = doubled.min(longest);
    pause.mul_f64(1.0 + fastrand::f64() / 2.0)
}
