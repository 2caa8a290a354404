//! Counts what a run does: rates, the slowest locks, how many mailboxes at once there may be, and
//! when it ends.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::Instant as Clock;

use super::congestion::{Congestion, Sample as Attempt};
use super::limits::LIMITS;
use super::{ControlState, HostLive, Live, Sampled, Steered};
use crate::journal::{AtOnce, Ended, Figures, Totals};
use crate::longest::Longest;
use crate::two_phase::{Failure, Side};

/// Seconds that the rate looks back.
const WINDOW: usize = 60;
/// How many of the slowest are kept.
pub(super) const SLOWEST: usize = 5;
/// What of the sample has to be done, as a share, before anything is said from it.
const ENOUGH: f64 = 0.02;

#[derive(Debug)]
pub(super) struct Tally {
    under_way: usize,
    /// Places that rest (`--nice-ratio`).
    pub(super) resting: usize,
    /// Finds how many at once, where no number was given.
    congestion: Option<Congestion>,
    /// The fewest and the most that it found in this invocation.
    found: Option<(usize, usize)>,
    /// What it goes by.
    clock: Clock,
    /// Why the run itself begins nothing: a host that is away, a pause between passes.
    pub(super) holds: Option<String>,
    /// Partitions that are away while the others go on.
    pub(super) parked: Vec<String>,
    run: i64,
    mailboxes: u64,
    done: u64,
    failed: u64,
    messages: u64,
    begun: Instant,
    /// What ended in each of the last seconds; `latest` is the second that the newest counts.
    seconds: [Second; WINDOW],
    latest: u64,
    slowest: Longest<String>,
    sample: Sample,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    mailboxes: u64,
    messages: u64,
    hosts: [Locks; 2],
}

/// Locks of one host.
#[derive(Clone, Copy, Debug, Default)]
struct Locks {
    count: u64,
    sum_us: u64,
    longest_us: u64,
}

impl Locks {
    fn add(&mut self, us: u64) {
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.longest_us = self.longest_us.max(us);
    }

    fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            sum_us: self.sum_us.saturating_add(other.sum_us),
            longest_us: self.longest_us.max(other.longest_us),
        }
    }
}

/// Some of what was to be done, looked at beforehand, to tell how much it is.
#[derive(Debug, Default)]
struct Sample {
    /// Not done yet: messages and bytes of each.
    open: HashMap<String, (f64, f64)>,
    all: (f64, f64),
    done: (f64, f64),
    /// How many mailboxes it stands for, and how many messages were done by then.
    of: f64,
    count: f64,
    before: u64,
}

impl Sample {
    fn done(&mut self, name: &str) {
        if let Some((messages, bytes)) = self.open.remove(name) {
            self.done.0 += messages;
            self.done.1 += bytes;
        }
    }
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            under_way: 0,
            resting: 0,
            congestion: None,
            found: None,
            clock: Clock::now(),
            holds: None,
            parked: Vec::new(),
            run: 0,
            mailboxes: 0,
            done: 0,
            failed: 0,
            messages: 0,
            begun: Instant::now(),
            seconds: [Second::default(); WINDOW],
            latest: 0,
            slowest: Longest::new(SLOWEST),
            sample: Sample::default(),
        }
    }

    pub(super) fn begins(&mut self, run: i64, totals: &Totals) {
        self.run = run;
        (self.mailboxes, self.done) = (totals.mailboxes, totals.done());
        self.found = None;
        self.finds();
        self.begun = Instant::now();
        self.seconds = [Second::default(); WINDOW];
        self.latest = 0;
    }

    #[allow(clippy::cast_precision_loss)] // an estimate
    pub(super) fn expects(&mut self, of: u64, sampled: Vec<Sampled>) {
        let mut sample = Sample {
            of: of as f64,
            count: sampled.len() as f64,
            before: self.messages,
            ..Sample::default()
        };
        for one in sampled {
            let size = (one.messages as f64, one.bytes as f64);
            sample.all = (sample.all.0 + size.0, sample.all.1 + size.1);
            sample.open.insert(one.name, size);
        }
        self.sample = sample;
    }

    pub(super) fn finished(
        &mut self,
        name: &str,
        ended: Ended,
        failure: Option<&Failure>,
        figures: &Figures,
        took: Duration,
    ) {
        if let Some(congestion) = &mut self.congestion {
            let sample = Attempt {
                held_us: figures.lock_us,
                messages: figures.messages,
                took,
                worked: matches!(ended, Ended::Upgraded | Ended::Rehearsed),
            };
            congestion.finished(self.clock.elapsed(), &sample);
            self.finds();
        }
        let second = self.advance();
        if let Some(us) = figures.longest_lock_us() {
            self.slowest.offer(us, || name.to_owned());
            for side in Side::ALL {
                if let Some(us) = figures.lock_us[side.index()] {
                    self.seconds[second].hosts[side.index()].add(us);
                }
            }
        }
        if matches!(ended, Ended::Again | Ended::Waits) {
            return;
        }
        self.sample.done(name);
        self.done += 1;
        self.messages += figures.messages;
        self.failed += u64::from(failure.is_some() && ended != Ended::Gone);
        self.seconds[second].mailboxes += 1;
        self.seconds[second].messages += figures.messages;
    }

    /// Finds the number at once by what these limits say, or no longer.
    pub(super) fn steer(&mut self, state: &ControlState) {
        let (now, under_way) = (self.clock.elapsed(), self.under_way);
        match (state.limits.steering(state.most), &mut self.congestion) {
            (None, congestion) => *congestion = None,
            (Some(steering), Some(congestion)) => congestion.steer(steering, now),
            (Some(steering), congestion @ None) => {
                *congestion = Some(Congestion::new(steering, now, under_way));
            }
        }
        self.finds();
    }

    fn finds(&mut self) {
        let Some(now) = self.congestion.as_ref().map(Congestion::at_once) else {
            return;
        };
        let (least, most) = self.found.unwrap_or((now, now));
        self.found = Some((least.min(now), most.max(now)));
    }

    /// How many at once.
    pub(super) fn allowed(&self, state: &ControlState) -> usize {
        // The limits may have changed since that state; the smaller one counts.
        let most = state.limits.parallel.most().min(state.most).max(1);
        let found = self.congestion.as_ref().map_or(most, Congestion::at_once);
        found.min(most)
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    pub(super) fn starts(&mut self) {
        self.works_on(self.under_way + 1);
    }

    pub(super) fn ends(&mut self) {
        self.works_on(self.under_way.saturating_sub(1));
    }

    fn works_on(&mut self, under_way: usize) {
        self.under_way = under_way;
        if let Some(congestion) = &mut self.congestion {
            congestion.working(self.clock.elapsed(), under_way);
        }
    }

    /// How many at once there are now and why, if that is found.
    fn steered(&self, state: &ControlState) -> Option<Steered> {
        let congestion = self.congestion.as_ref()?;
        let target = state.limits.steering(state.most)?.target;
        let at_once = self.allowed(state);
        let (least, most) = self.found.unwrap_or((at_once, at_once));
        let count = |n| u64::try_from(n).unwrap_or(u64::MAX);
        Some(Steered {
            now: AtOnce {
                at_once: count(at_once),
                of: state.limits.parallel.to_string(),
                least: count(least),
                most: count(most),
                why: congestion.why(),
            },
            lock_p99_ms: congestion.p99().map(|us| us / 1000.0),
            target_lock_ms: target.map(|time| time.as_secs_f64() * 1000.0),
        })
    }

    /// Moves the ring on to now; the slot of this second.
    fn advance(&mut self) -> usize {
        let now = self.begun.elapsed().as_secs();
        let window = WINDOW as u64;
        for second in (self.latest + 1).max(now.saturating_sub(window - 1))..=now {
            self.seconds[slot(second)] = Second::default();
        }
        self.latest = self.latest.max(now);
        slot(self.latest)
    }

    #[allow(clippy::cast_precision_loss)] // for a person to read
    pub(super) fn live(&mut self, state: &ControlState) -> Live {
        self.advance();
        let looked_back = self.begun.elapsed().as_secs_f64().clamp(1.0, WINDOW as f64);
        let per_second = |n: u64| n as f64 / looked_back;
        let rate = per_second(self.seconds.iter().map(|s| s.mailboxes).sum());
        let messages_rate = per_second(self.seconds.iter().map(|s| s.messages).sum());
        let left = self.mailboxes.saturating_sub(self.done) as f64;
        let (messages_left, bytes_eta) = self.sizes(left, messages_rate);
        let hosts = Side::ALL
            .into_iter()
            .filter_map(|side| {
                let locks = self.seconds.iter().map(|s| s.hosts[side.index()]);
                let locks = locks.fold(Locks::default(), Locks::and);
                (locks.count > 0).then(|| HostLive {
                    side: side.as_str(),
                    rate: per_second(locks.count),
                    mean_lock_ms: ms(locks.sum_us) / locks.count as f64,
                    longest_lock_ms: ms(locks.longest_us),
                })
            })
            .collect();
        Live {
            run: self.run,
            mailboxes: self.mailboxes,
            done: self.done,
            failed: self.failed,
            under_way: self.under_way,
            messages: self.messages,
            rate,
            messages_rate,
            eta_seconds: seconds(left / rate),
            eta_messages_seconds: messages_left.and_then(|left| seconds(left / messages_rate)),
            eta_bytes_seconds: bytes_eta.and_then(seconds),
            paused: state.paused,
            waiting: self.waiting(state),
            parked: self.parked.clone(),
            parallel: state.limits.parallel.most().min(state.most),
            allowed: self.allowed(state),
            steered: self.steered(state),
            limits: LIMITS
                .iter()
                .map(|limit| (limit.name, limit.get(&state.limits)))
                .collect(),
            hosts,
            slowest: self
                .slowest
                .kept()
                .map(|(us, name)| (name.clone(), ms(*us)))
                .collect(),
        }
    }

    /// Messages that are left, and seconds for the bytes that are left, both as the sample tells.
    #[allow(clippy::cast_precision_loss)] // an estimate
    fn sizes(&self, mailboxes_left: f64, messages_rate: f64) -> (Option<f64>, Option<f64>) {
        let sample = &self.sample;
        if sample.count < 1.0 || sample.all.0 <= 0.0 {
            return (None, None);
        }
        let mean = sample.all.0 / sample.count;
        let done = self.messages.saturating_sub(sample.before) as f64;
        let expected = mean * sample.of;
        // More was done than expected: what is left counts as it did on average.
        let left = if expected > done {
            expected - done
        } else {
            mean * mailboxes_left
        };
        let share = sample.done.1 / sample.all.1.max(1.0);
        let bytes = (share >= ENOUGH && done > 0.0).then(|| {
            let bytes_rate = messages_rate * share / done;
            (1.0 - share) / bytes_rate
        });
        (Some(left), bytes)
    }

    /// Why nothing new begins, the most deliberate reason first.
    fn waiting(&self, state: &ControlState) -> Option<String> {
        if state.paused {
            return Some("paused".to_owned());
        }
        let busy: Vec<&str> = state.busy.iter().map(|host| host.text.as_str()).collect();
        let busy = (!busy.is_empty()).then(|| busy.join("; "));
        self.holds
            .clone()
            .or_else(|| state.waiting.clone())
            .or(busy)
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % WINDOW as u64).unwrap_or(0)
}

fn seconds(seconds: f64) -> Option<u64> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .map(|d| d.as_secs())
}

#[allow(clippy::cast_precision_loss)] // for a person to read
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}
