//! One pass over what is pending: begins mailboxes while places are free, and waits while none
//! is.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::attempt::{After, Done, PassPosition, attempt, pair};
use super::context::Shared;
use super::drive::Pair;
use super::queue::{Can, Next, Queue, Scope, Ticket};
use super::summary::open_names;
use crate::control::Place;
use crate::error::RunError;
use crate::hosts::BoxFuture;
use crate::journal::{Job, RunId};
use crate::stop::Stop;

/// A pass.
struct Pass<'a> {
    shared: &'a Arc<Shared>,
    queue: Queue,
    pool: Vec<Pair>,
    tasks: JoinSet<Result<Done, RunError>>,
    /// Mailboxes under way on each partition.
    busy: HashMap<Option<String>, usize>,
    /// When each place that rests may be used again (`--nice-ratio`).
    rests: Vec<Instant>,
    first_error: Option<RunError>,
    /// A place for the next mailbox, of those shared with other runs.
    place: Option<Place>,
    /// Takes one, while there is none and a mailbox could begin.
    taking: Option<BoxFuture<'static, Place>>,
    /// Mailboxes for the next pass.
    again: u64,
    /// Mailboxes on partitions that are left out.
    left_out: Cell<u64>,
    position: PassPosition,
}

/// Takes each pending mailbox of the scope once. Returns how many are to be tried again in another
/// pass.
///
/// # Errors
/// The journal failed, or a task.
pub(super) async fn one_pass(
    shared: &Arc<Shared>,
    run: RunId,
    scope: Scope,
    position: PassPosition,
) -> Result<u64, RunError> {
    let journal = Arc::clone(&shared.parts.journal);
    let in_doubt = open_names(journal.as_ref())?;
    let mut pass = Pass {
        shared,
        queue: Queue::new(journal, run, in_doubt, scope),
        pool: Vec::new(),
        tasks: JoinSet::new(),
        busy: HashMap::new(),
        rests: Vec::new(),
        first_error: None,
        place: None,
        taking: None,
        again: 0,
        left_out: Cell::new(0),
        position,
    };
    pass.run().await;
    shared.control.rests(0);
    let left_out = pass.left_out.get();
    if left_out > 0 && !position.again {
        shared.parts.observer.warn(&format!(
            "{left_out} mailbox(es) of the run are on partitions that leave-out names, and are \
             left as they are: the run is not finished while it names them"
        ));
    }
    pass.first_error.map_or(Ok(pass.again), Err)
}

impl Pass<'_> {
    async fn run(&mut self) {
        let mut turned = self.shared.control.subscribe();
        let mut away = self.shared.outages.subscribe();
        let mut stop = self.shared.parts.stop.clone();
        loop {
            turned.mark_unchanged();
            away.mark_unchanged();
            self.wake();
            if let Some(text) = turned.borrow().unusable.clone() {
                self.fails(RunError::Config(text));
            }
            let mut over = self.first_error.is_some()
                || stop.level() != Stop::No
                || self.shared.outages.lost().is_some()
                || self.shared.breaker.is_tripped();
            if !over {
                self.begin();
                over = self.first_error.is_some() || self.queue.is_empty();
            }
            if over {
                self.leave_places();
            }
            self.tell();
            if over && self.tasks.is_empty() {
                break;
            }
            let rest = self.rests.iter().min().copied();
            tokio::select! {
                biased; // in a fixed order, so that a seed of the simulation can be repeated
                joined = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.shared.control.ends();
                    match joined {
                        Some(Ok(Ok(done))) => self.ended(done),
                        Some(Ok(Err(error))) => self.fails(error),
                        Some(Err(error)) => {
                            let text = format!("a mailbox's task failed: {error}");
                            self.fails(RunError::Config(text));
                        }
                        None => {}
                    }
                }
                // Limits may have been changed, or what was waited for may be over.
                _ = turned.changed(), if !over => {}
                _ = away.changed(), if !over => {}
                place = taken(&mut self.taking), if self.taking.is_some() => {
                    self.taking = None;
                    self.place = Some(place);
                }
                () = stop.reached(Stop::Finish), if !over => {}
                () = until(rest), if !over && rest.is_some() => {}
            }
        }
        self.shared.control.holds(None);
    }

    /// Begins what can begin.
    fn begin(&mut self) {
        let shared = self.shared;
        let each = shared.control.limits().parallel_partition;
        while shared.control.free() > 0 && !shared.outages.holds() {
            if !self.has_place() {
                return;
            }
            let (busy, left_out) = (&self.busy, &self.left_out);
            let can = |job: &Job| {
                let under_way = busy.get(&job.partition).copied().unwrap_or(0);
                let partition = job.partition.as_deref();
                if shared.parts.settings.leave_out.may_have(partition) {
                    left_out.update(|count| count + 1);
                    Can::Skip
                } else if shared.outages.is_parked(job) {
                    Can::Skip
                } else if each.is_some_and(|most| under_way >= most) {
                    Can::Later
                } else {
                    Can::Begin
                }
            };
            match self.queue.next(can) {
                Ok(Next::Begin(ticket)) => self.start(ticket),
                Ok(Next::Later | Next::Nothing) => break,
                Err(error) => {
                    // What is under way still comes to its end.
                    self.fails(error.into());
                    break;
                }
            }
        }
        self.leave_places();
    }

    /// Whether there is a place for the next mailbox; if not, one is waited for.
    fn has_place(&mut self) -> bool {
        let places = &self.shared.parts.places;
        if self.place.is_none() && self.taking.is_none() {
            self.place = places.try_take();
        }
        if self.place.is_none() && self.taking.is_none() {
            self.taking = Some(Box::pin(places.take()));
        }
        self.place.is_some()
    }

    /// Nothing can begin: other runs may have the place.
    fn leave_places(&mut self) {
        (self.place, self.taking) = (None, None);
    }

    fn start(&mut self, ticket: Ticket) {
        let partition = ticket.job.partition.clone();
        *self.busy.entry(partition).or_default() += 1;
        let shared = Arc::clone(self.shared);
        let pair = self.pool.pop().unwrap_or_else(|| pair(&shared.parts));
        let position = self.position;
        let place = self.place.take();
        shared.control.starts();
        self.tasks.spawn(async move {
            let done = attempt(&shared, ticket, pair, position).await;
            drop(place);
            done
        });
    }

    fn ended(&mut self, done: Done) {
        self.pool.push(done.pair);
        if let Some(n) = self.busy.get_mut(&done.ticket.job.partition) {
            *n = n.saturating_sub(1);
        }
        let nice = self.shared.control.limits().nice_ratio;
        if nice > 0.0 {
            self.rests.push(Instant::now() + done.took.mul_f64(nice));
        }
        match done.after {
            After::Over | After::Parked => {}
            After::Again => self.again += 1,
            After::Back => self.queue.back(done.ticket),
        }
    }

    fn fails(&mut self, error: RunError) {
        self.first_error.get_or_insert(error);
    }

    /// Places that have rested enough are free again; all of them, once nobody asks for rests.
    fn wake(&mut self) {
        let now = Instant::now();
        if self.shared.control.limits().nice_ratio > 0.0 {
            self.rests.retain(|until| *until > now);
        } else {
            self.rests.clear();
        }
        self.shared.control.rests(self.rests.len());
    }

    /// Names what the run waits for.
    fn tell(&self) {
        let Shared {
            control, outages, ..
        } = self.shared.as_ref();
        control.holds(outages.reason().or_else(|| {
            if self.tasks.is_empty() && self.taking.is_some() {
                return Some("other pairs have all places of the fleet or of a host".to_owned());
            }
            let ratio = control.limits().nice_ratio;
            (self.tasks.is_empty() && !self.rests.is_empty())
                .then(|| format!("resting {ratio} times as long as it worked (nice-ratio)"))
        }));
        control.parks(outages.parked());
    }
}

/// The place that is being taken, once it is free.
async fn taken(taking: &mut Option<BoxFuture<'static, Place>>) -> Place {
    match taking {
        Some(taking) => taking.await,
        None => std::future::pending().await,
    }
}

/// Returns at that time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
