//! Two mailboxes on the same hosts, searched to the end.
//!
//! A state of two mailboxes is a pair, and there are tens of millions of pairs; but each mailbox
//! has only some ten thousands of states of its own. So a state here is what the two share, and the
//! names of two [`Part`](super::Part)s; and what the steps of a mailbox come to is worked out once
//! for each of its states, by [`World::after`], and looked up from then on. No step and no order of
//! steps is left out by that: every pair that can be reached is visited, and every promise is
//! looked at in each of them.
//!
//! What this relies on:
//! 1. A step that belongs to one mailbox ([`Step::mailbox`]) leaves the other as it is. Checked
//!    each time one is worked out.
//! 2. Which steps of its own a mailbox has, and what comes of them, depends on its part, on what is
//!    shared, and, of the other mailbox, only on the hosts on which that still recovers: a host
//!    serves when nothing on it does.
//! 3. Which steps there are of whole hosts and of the controller depends on what is shared and on
//!    both mailboxes' [`Facts`](super::part::Facts). What such a step makes of a mailbox depends on
//!    what is shared and on its part; what it makes of what is shared, on the hosts on which either
//!    recovers afterwards.
//!
//! And how it is held to that: of every Nth state (of all, where a test can afford it), the world
//! is put together, all of its steps are taken as [`Fleet`](super::Fleet) takes them, and what
//! comes of each must be what comes of the pair (see `audit`). Smaller configurations are searched
//! both ways: they have the same worlds and the same number of steps.
//!
//! Two mailboxes that begin alike may change places, as nothing orders them. Of two such pairs only
//! one is searched.

use std::sync::Arc;

use stateright::{Model, Property};

use super::calm::{self, Calm};
use super::names::{Name, Names, Table, quick};
use super::part::Shared;
use super::properties::{self, Held, Judged};
use super::{Broken, Config, End, Step, World};
use crate::sim::site::Mutation;

/// Of this many states, one is remembered as ending well: walks are that much longer, and the
/// memory that much smaller.
const REMEMBERED: u64 = 8;

/// A world of two mailboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// What they share.
    pub shared: Shared,
    /// What each has of its own, by name.
    pub parts: [Name; 2],
}

/// A step and where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    /// The step.
    pub step: Step,
    /// Whether it happens without any fault.
    pub calm: bool,
    /// The world after it.
    pub to: Pair,
}

/// A mailbox's own step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    step: Step,
    calm: bool,
    shared: Shared,
    pub(super) part: Name,
}

/// Whose step, with what is shared, its part, and where the other one recovers.
type OwnKey = (usize, Shared, Name, u64);

/// What is shared, with the numbers of both mailboxes' facts.
type BothKey = (Shared, [u64; 2]);

/// The model of one configuration with two mailboxes.
#[derive(Debug)]
pub struct Two {
    /// What is searched.
    pub config: Config,
    /// Of this many states, one is audited.
    pub audited: u64,
    /// Whether two that change places are one.
    pub symmetric: bool,
    calm: Calm,
    names: Names,
    pub(super) own: Table<OwnKey, Arc<[Own]>>,
    pub(super) both: Table<BothKey, Arc<[(Step, bool)]>>,
    parts_after: Table<(usize, Shared, Name, Step), Name>,
    shared_after: Table<(Shared, Step, [u64; 2]), Shared>,
}

impl Two {
    /// The model of that configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            symmetric: config.second.is_none(),
            config: Config {
                mailboxes: 2,
                ..config
            },
            audited: 1_000,
            calm: Calm::default(),
            names: Names::default(),
            own: Table::default(),
            both: Table::default(),
            parts_after: Table::default(),
            shared_after: Table::default(),
        }
    }

    /// How many states one mailbox has.
    #[must_use]
    pub fn states_of_one(&self) -> usize {
        self.names.len()
    }

    /// The pair that stands for that world.
    pub fn pair(&self, world: World) -> Pair {
        let (shared, parts) = world.split();
        let parts = parts.each_ref().map(|part| self.names.name(part));
        self.standing(Pair { shared, parts })
    }

    /// Of two pairs that differ only in whose turn it is to be called first, the one that is
    /// searched.
    fn standing(&self, mut pair: Pair) -> Pair {
        if self.symmetric {
            pair.parts.sort_unstable();
        }
        pair
    }

    /// The world that the pair stands for.
    #[must_use]
    pub fn world(&self, pair: &Pair) -> World {
        let [one, other] = pair.parts.map(|name| self.names.part(name));
        World::join(pair.shared, [&one, &other])
    }

    /// Whether the step is one of a mailbox's own.
    fn owner(&self, step: Step) -> Option<usize> {
        let batch = self.config.mutation == Some(Mutation::WakeWholeBatch);
        step.mailbox()
            .filter(|_| !(batch && matches!(step, Step::Journal(_))))
    }

    /// Mailboxes that begin alike are one kind.
    fn kind(&self, m: usize) -> usize {
        if self.symmetric { 0 } else { m }
    }

    pub(super) fn own_key(&self, pair: &Pair, m: usize) -> OwnKey {
        let there = pair.parts[1 - m].recovering();
        (self.kind(m), pair.shared, pair.parts[m], there)
    }

    fn own(&self, pair: &Pair, m: usize) -> Arc<[Own]> {
        let key = self.own_key(pair, m);
        if let Some(own) = self.own.get(&key) {
            return own;
        }
        let world = self.world(pair);
        let after = |(step, calm): (Step, bool)| {
            let after = world.after(&self.config, step).split();
            let (shared, parts) = (
                after.0,
                after.1.each_ref().map(|part| self.names.name(part)),
            );
            assert_eq!(
                parts[1 - m],
                pair.parts[1 - m],
                "{step:?} changes the other mailbox"
            );
            Own {
                step,
                calm,
                shared,
                part: parts[m],
            }
        };
        let steps = self.every_step(&world).into_iter();
        let own = steps.filter(|(step, _)| self.owner(*step) == Some(m));
        self.own.put(key, own.map(after).collect())
    }

    fn both(&self, pair: &Pair) -> Arc<[(Step, bool)]> {
        let key = both_key(pair);
        if let Some(both) = self.both.get(&key) {
            return both;
        }
        let steps = self.every_step(&self.world(pair)).into_iter();
        let both = steps.filter(|(step, _)| self.owner(*step).is_none());
        self.both.put(key, both.collect())
    }

    /// Each with whether it happens without any fault; these come first.
    pub(super) fn every_step(&self, world: &World) -> Vec<(Step, bool)> {
        let (mut calm, mut stormy) = (Vec::new(), Vec::new());
        world.calm(&self.config, &mut calm);
        world.stormy(&self.config, &mut stormy);
        let calm = calm.into_iter().map(|step| (step, true));
        calm.chain(stormy.into_iter().map(|step| (step, false)))
            .collect()
    }

    /// Everything that can happen next. A broken promise is reported with what led to it, not with
    /// what follows.
    #[must_use]
    pub fn moves(&self, pair: &Pair) -> Vec<Move> {
        let mut moves = Vec::new();
        if pair.shared.broken.is_some() {
            return moves;
        }
        for m in 0..2 {
            for own in self.own(pair, m).iter() {
                moves.push(self.own_move(pair, m, own));
            }
        }
        for (step, calm) in self.both(pair).iter() {
            moves.push(self.move_of_both(pair, *step, *calm));
        }
        moves
    }

    fn move_of_both(&self, pair: &Pair, step: Step, calm: bool) -> Move {
        let to = self.looked_up(pair, step);
        let to = to.unwrap_or_else(|| self.worked_out(pair, step));
        let to = self.standing(to);
        Move { step, calm, to }
    }

    fn looked_up(&self, pair: &Pair, step: Step) -> Option<Pair> {
        let part = |m| self.parts_after.get(&self.part_key(pair, m, step));
        let parts = [part(0)?, part(1)?];
        let key = (pair.shared, step, parts.map(Name::recovering));
        let shared = self.shared_after.get(&key)?;
        Some(Pair { shared, parts })
    }

    fn part_key(&self, pair: &Pair, m: usize, step: Step) -> (usize, Shared, Name, Step) {
        (self.kind(m), pair.shared, pair.parts[m], step)
    }

    fn worked_out(&self, pair: &Pair, step: Step) -> Pair {
        let (shared, parts) = self.world(pair).after(&self.config, step).split();
        let parts = parts.each_ref().map(|part| self.names.name(part));
        // Whose promise was broken is not kept; nor what a step does that may concern anything.
        if shared.broken.is_none() && step.mailbox().is_none() {
            for (m, part) in parts.into_iter().enumerate() {
                self.parts_after.put(self.part_key(pair, m, step), part);
            }
            let key = (pair.shared, step, parts.map(Name::recovering));
            self.shared_after.put(key, shared);
        }
        Pair { shared, parts }
    }

    fn own_move(&self, pair: &Pair, m: usize, own: &Own) -> Move {
        let mut parts = pair.parts;
        parts[m] = own.part;
        Move {
            step: own.step.of_mailbox(m),
            calm: own.calm,
            to: self.standing(Pair {
                shared: own.shared,
                parts,
            }),
        }
    }

    /// What happens next on a calm day; nothing if all is over.
    #[must_use]
    pub fn calm_move(&self, pair: &Pair) -> Option<Move> {
        let own = [0, 1].map(|m| self.own(pair, m));
        let both = self.both(pair);
        let first = |m: usize| own[m].iter().find(|own| own.calm);
        let rank = |step: Step| calm_rank(step);
        let ours = (0..2).filter_map(|m| Some((m, first(m)?)));
        let ours = ours.min_by_key(|(m, own)| rank(own.step.of_mailbox(*m)));
        let theirs = both.iter().find(|(_, calm)| *calm).map(|(step, _)| *step);
        match (ours, theirs) {
            (None, None) => None,
            (Some((m, own)), theirs)
                if theirs.is_none_or(|step| rank(own.step.of_mailbox(m)) <= rank(step)) =>
            {
                Some(self.own_move(pair, m, own))
            }
            (_, Some(step)) => Some(self.move_of_both(pair, step, true)),
            (Some((m, own)), None) => Some(self.own_move(pair, m, own)),
        }
    }

    /// Whether a calm day ends well from here, and if not, what is wrong at its end.
    ///
    /// # Errors
    /// As [`Calm::walk`].
    pub fn walk(&self, pair: &Pair) -> Result<(), String> {
        let worth = |key: u64| (key >> 32) & (REMEMBERED - 1) == 0;
        self.calm.follow(pair, worth, quick, |pair| {
            if pair.shared.broken.is_some() {
                return Ok(None);
            }
            match self.calm_move(pair) {
                Some(next) => Ok(Some(next.to)),
                None => calm::at_rest(&self.config, &self.world(pair)).map(|()| None),
            }
        })
    }
}

pub(super) fn both_key(pair: &Pair) -> BothKey {
    (pair.shared, pair.parts.map(Name::facts))
}

/// The order in which [`World::calm`] gives its steps, between two mailboxes and what concerns
/// both.
fn calm_rank(step: Step) -> (usize, usize) {
    match step {
        Step::Restart(side) => (side.index(), 0),
        Step::Recover(m, side)
        | Step::Op(m, side, _)
        | Step::Deliver(m, side, _)
        | Step::Eof(m, side, _) => (side.index(), 1 + m),
        Step::Reboot(..) => (3, 0),
        Step::Rerun(m) => (4, m),
        step => (2, step.mailbox().unwrap_or(0)),
    }
}

impl Model for Two {
    type State = Pair;
    type Action = Move;

    fn init_states(&self) -> Vec<Pair> {
        vec![self.pair(World::new(&self.config))]
    }

    fn actions(&self, pair: &Pair, moves: &mut Vec<Move>) {
        *moves = self.moves(pair);
    }

    fn next_state(&self, _: &Pair, next: Move) -> Option<Pair> {
        Some(next.to)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::all();
        properties.push(Property::always(
            "what is put together of parts is what the whole does",
            |two: &Self, pair| !two.is_audited(pair) || two.audit(pair).is_ok(),
        ));
        properties
    }
}

impl Judged for Two {
    fn broken(&self, pair: &Pair) -> Option<Broken> {
        pair.shared.broken
    }

    fn every_site(&self, pair: &Pair, held: Held) -> bool {
        pair.parts.iter().all(|name| name.holds(held))
    }

    fn ends_well(&self, pair: &Pair) -> bool {
        self.walk(pair).is_ok()
    }

    fn ended(&self, pair: &Pair, end: End) -> bool {
        pair.parts.iter().all(|name| name.ended(end))
    }
}
