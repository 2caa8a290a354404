//! Carries out what one coordinator asks for: the thin layer between the pure machine and the
//! sockets, the journal and the clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use slotd::protocol::Rehashed;
use tokio::time::Instant;

use super::participant::{Ask, Learned, Participant, Target};
use super::settings::Settings;
use super::warnings::Observed;
use crate::hosts::{BoxFuture, Outages, backoff};
use crate::journal::{Change, Durability, Figures, Journal, JournalError, MailboxId};
use crate::stop::{Stop, StopSignal};
use crate::two_phase::{
    Action, Answer, Coordinator, Entry, Event, Failure, Finder, ListError, Outcome, Reason, Side,
    Want,
};

/// Longest pause between two attempts to settle a decided transaction.
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often a side that has locks and waits for the other is asked whether it still has them; more
/// often where its lease is short.
const PULSE: Duration = Duration::from_secs(1);
/// But not more often than this.
const PULSE_MIN: Duration = Duration::from_millis(20);

/// When it is time to ask again.
struct Pulse {
    every: Duration,
    next: Instant,
}

impl Pulse {
    fn new() -> Self {
        Self {
            every: PULSE,
            next: Instant::now() + PULSE,
        }
    }

    /// A participant that hears nothing for its lease ends the transaction.
    fn heed(&mut self, learned: &Learned) {
        if let Some(lease) = learned.lease {
            self.every = self.every.min(lease / 4).max(PULSE_MIN);
            self.next = self.next.min(Instant::now() + self.every);
        }
    }

    /// Returns when it is.
    async fn beat(&mut self) {
        tokio::time::sleep_until(self.next).await;
        self.next = Instant::now() + self.every;
    }
}

type Asking = BoxFuture<'static, (Box<Participant>, Event, Learned)>;
type Compared = BoxFuture<'static, ([Box<Participant>; 2], Event, u64)>;

/// The connections of one worker.
pub(super) struct Pair {
    slots: [Option<Box<Participant>>; 2],
    make: Box<dyn Fn(Side) -> Participant + Send + Sync>,
}

impl Pair {
    pub(super) fn new(make: impl Fn(Side) -> Participant + Send + Sync + 'static) -> Self {
        Self {
            slots: [None, None],
            make: Box::new(make),
        }
    }

    pub(super) fn take(&mut self, side: Side) -> Box<Participant> {
        self.slots[side.index()]
            .take()
            .unwrap_or_else(|| Box::new((self.make)(side)))
    }

    pub(super) fn put(&mut self, side: Side, peer: Box<Participant>) {
        self.slots[side.index()] = Some(peer);
    }
}

/// How the work on a transaction ended.
pub(super) enum End {
    /// The machine came to its end.
    Came(Outcome),
    /// It is decided, and a partition that it needs is not mounted: nothing is locked, the decision
    /// stays open in the journal, and it is taken up from there as after a restart.
    Waits(Side, Failure),
}

/// What a transaction came to.
pub(super) struct Driven {
    pub(super) end: End,
    pub(super) figures: Figures,
    pub(super) observed: Observed,
    /// What the last comparison of GUIDs with messages found, by side.
    pub(super) rehashed: [Option<Rehashed>; 2],
    /// Raised while it ran; at most once.
    pub(super) alert: Option<Failure>,
    /// Decisions that were made durable.
    pub(super) decisions: u64,
}

/// What a transaction came to so far.
#[derive(Default)]
struct SoFar {
    figures: Figures,
    observed: Observed,
    rehashed: [Option<Rehashed>; 2],
    alert: Option<Failure>,
    decisions: u64,
    /// Of the longer of the two lists.
    messages: u64,
}

impl SoFar {
    fn learn(&mut self, side: Side, learned: &Learned, rehearses: bool) {
        note(&mut self.figures, side, learned);
        // Of what failed in a run these are no lock times of work that was done.
        if let Some(held) = learned.rolled_back.filter(|_| rehearses) {
            note_held(&mut self.figures, side, held);
        }
        self.observed.note(side, learned);
        if let Some(up) = &learned.upgraded {
            self.rehashed[side.index()].clone_from(&up.rehash);
        }
        let messages = learned.upgraded.as_ref().map_or(0, |up| up.messages.into());
        self.messages = self.messages.max(messages);
    }

    fn end(self, end: End) -> Driven {
        Driven {
            end,
            figures: self.figures,
            observed: self.observed,
            rehashed: self.rehashed,
            alert: self.alert,
            decisions: self.decisions,
        }
    }
}

/// Everything a transaction needs besides its machine and its connections.
pub(super) struct Surroundings<'a> {
    pub(super) journal: &'a Arc<dyn Journal>,
    pub(super) settings: &'a Settings,
    pub(super) away: &'a Outages,
    pub(super) stop: StopSignal,
}

/// Drives a machine from [`Event::Start`] to its end.
#[allow(clippy::too_many_lines)] // all that may happen to a transaction, in one place
pub(super) async fn drive(
    mut machine: Coordinator,
    mailbox: MailboxId,
    target: Target,
    pair: &mut Pair,
    mut around: Surroundings<'_>,
) -> Driven {
    let target = Arc::new(target);
    let mut todo: VecDeque<Action> = machine.step(Event::Start).into();
    let mut awaited: [Option<Asking>; 2] = [None, None];
    let mut uniqueids = target.uniqueids.clone();
    let mut compared: Option<Compared> = None;
    let mut recorded: Option<BoxFuture<'static, Event>> = None;
    let mut paused: Option<BoxFuture<'static, ()>> = None;
    let mut so_far = SoFar::default();
    let (mut pulse, mut aborted, mut unmounted) = (Pulse::new(), false, None);
    let mut deciding = false;
    loop {
        while let Some(action) = todo.pop_front() {
            match action {
                Action::Send(side, request) => {
                    let target = Arc::clone(&target);
                    let what = Ask {
                        request,
                        decided: machine.is_decided(),
                        uniqueid: uniqueids[side.index()].clone(),
                    };
                    awaited[side.index()] = Some(ask(pair.take(side), target, what));
                }
                Action::Disconnect(side) => {
                    // Dropping the connection closes it; the slotd then rolls back.
                    awaited[side.index()] = None;
                    compared = None;
                    drop(pair.take(side));
                }
                Action::Compare => {
                    let peers = Side::ALL.map(|side| pair.take(side));
                    compared = Some(compare(peers, so_far.messages, machine.compares_content()));
                }
                Action::Record(entry) => {
                    deciding = matches!(entry, Entry::Decided { .. } | Entry::Assumed);
                    if deciding {
                        // In order before it, so durable with it.
                        let uniqueids = uniqueids.clone();
                        let change = Change::Identify { mailbox, uniqueids };
                        around.journal.submit(change, Durability::Lazy);
                    }
                    recorded = Some(record(around.journal, change(mailbox, entry)));
                }
                Action::Note(entry) => {
                    around
                        .journal
                        .submit(change(mailbox, entry), Durability::Lazy);
                }
                Action::Wait { attempt } => {
                    // Only decided transactions pause, and with nothing locked. Further attempts at
                    // a partition that is not there would only bring it nearer to "in doubt".
                    if let Some((side, failure)) = unmounted.take() {
                        return so_far.end(End::Waits(side, failure));
                    }
                    paused = Some(pause(&around, attempt.into()));
                }
                Action::Alert(failure) => so_far.alert = Some(failure),
                Action::Finished(outcome) => return so_far.end(End::Came(outcome)),
            }
        }
        let [of_master, of_replica] = &mut awaited;
        let mut learned = None;
        let event = tokio::select! {
            biased; // in a fixed order, so that a seed of the simulation can be repeated
            (peer, event, news) = poll(of_master), if of_master.is_some() => {
                *of_master = None;
                pair.put(Side::Master, peer);
                learned = Some((Side::Master, news));
                event
            }
            (peer, event, news) = poll(of_replica), if of_replica.is_some() => {
                *of_replica = None;
                pair.put(Side::Replica, peer);
                learned = Some((Side::Replica, news));
                event
            }
            ([master, replica], event, lag) = poll(&mut compared), if compared.is_some() => {
                compared = None;
                pair.put(Side::Master, master);
                pair.put(Side::Replica, replica);
                so_far.figures.lag = lag;
                event
            }
            event = poll(&mut recorded), if recorded.is_some() => {
                recorded = None;
                so_far.decisions += u64::from(deciding && matches!(event, Event::Recorded));
                event
            }
            () = poll(&mut paused), if paused.is_some() => {
                paused = None;
                Event::Waited
            }
            () = around.stop.reached(Stop::Now), if !aborted => {
                aborted = true;
                // What is written down here is a decision, or comes after one. A panic has all
                // attempts made to settle that; a second signal, which is in a hurry, only one.
                if around.stop.panic().is_some() && (machine.is_decided() || recorded.is_some()) {
                    continue;
                }
                Event::Abort
            }
            () = pulse.beat() => Event::Tick,
        };
        if let Some((side, learned)) = learned {
            so_far.learn(side, &learned, machine.rehearses());
            pulse.heed(&learned);
            let known = &mut uniqueids[side.index()];
            *known = learned.uniqueid.or(known.take());
        }
        if let Event::Lost(side, why) = &event {
            around.away.suspect(*side, why);
        }
        unmounted = refused_unmounted(&event).or(unmounted);
        todo.extend(machine.step(event));
    }
}

fn ask(mut peer: Box<Participant>, target: Arc<Target>, call: Ask) -> Asking {
    Box::pin(async move {
        let (event, learned) = peer.ask(&target, &call).await;
        (peer, event, learned)
    })
}

/// Writes it down durably.
fn record(journal: &Arc<dyn Journal>, change: Change) -> BoxFuture<'static, Event> {
    let receipt = journal.submit(change, Durability::Durable);
    Box::pin(async move {
        match receipt.wait().await {
            Ok(()) => Event::Recorded,
            Err(error @ JournalError::Fenced { .. }) => Event::TakenOver(error.to_string()),
            Err(error) => Event::RecordFailed(error.to_string()),
        }
    })
}

/// Whether that side said that the mailbox's partition is not mounted there.
fn refused_unmounted(event: &Event) -> Option<(Side, Failure)> {
    let Event::Reply(side, Answer::No(refusal)) = event else {
        return None;
    };
    let failure = Failure::new(Some(*side), Reason::Unmounted, refusal.text.clone());
    (refusal.reason == Reason::Unmounted).then_some((*side, failure))
}

/// The pause before attempt number `attempt` to settle: at a host that is away, another one would
/// only bring it nearer to "in doubt".
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
        Entry::Assumed => Change::Decide {
            mailbox,
            before: [None; 2],
        },
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
        note_held(figures, side, held);
    }
}

fn note_held(figures: &mut Figures, side: Side, held: Duration) {
    let us = u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
    let lock = &mut figures.lock_us[side.index()];
    *lock = Some(lock.map_or(us, |before| before.max(us)));
}

/// Finds where the lists differ, both sides asked at once.
fn compare(mut peers: [Box<Participant>; 2], messages: u64, by_content: bool) -> Compared {
    Box::pin(async move {
        let mut finder = Finder::new(messages, by_content);
        while let Some(want) = finder.wants() {
            if let Err(event) = answer(&mut finder, &mut peers, want).await {
                return (peers, event, 0);
            }
        }
        let comparison = finder.into_comparison();
        let lag = comparison.master_only + comparison.replica_only;
        (peers, Event::Compared(comparison), lag)
    })
}

/// Asks for what is wanted next.
async fn answer(
    finder: &mut Finder,
    [master, replica]: &mut [Box<Participant>; 2],
    want: Want,
) -> Result<(), Event> {
    let odd = |error: ListError| Event::Lost(error.side(), error.to_string());
    match want {
        Want::Digests(range) => {
            let (a, b) = tokio::join!(master.digests(range), replica.digests(range));
            finder.digests([&a?, &b?]).map_err(odd)
        }
        Want::Lists { from, to } => {
            let page = |peer, from: Option<u32>| async move {
                match from {
                    Some(from) => Participant::guids(peer, from, to).await.map(Some),
                    None => Ok(None),
                }
            };
            let [of_master, of_replica] = from;
            let (a, b) = tokio::join!(
                page(master.as_mut(), of_master),
                page(replica.as_mut(), of_replica)
            );
            for (side, page) in [(Side::Master, a?), (Side::Replica, b?)] {
                if let Some((items, ended)) = page {
                    finder.page(side, &items, ended).map_err(odd)?;
                }
            }
            Ok(())
        }
    }
}
