//! The model: every state that the two machines, three hosts and one network can reach.
//!
//! The coordinator is [`controller::two_phase::Coordinator`] and the participants are
//! [`slotd::transaction::Transaction`], the code that production runs. Around them everything is
//! small and hashable: connections that may break at any point, processes that may die, hosts whose
//! power may go, journals and directories that forget what was not synced, disks that refuse, locks
//! that expire, and owners who change their mailboxes whenever they are unlocked.
//!
//! Faults are counted: a configuration allows a number of them, and within that number every order
//! of everything is tried. What is promised is in [`World`]'s properties, see `properties`.
//!
//! [`Fleet`] searches whole worlds, [`Two`] those of two mailboxes by their parts.

mod attempt;
mod audit;
mod calm;
mod fence;
mod hashed;
mod journal;
mod names;
mod pair;
mod part;
mod properties;
mod step;
mod wire;
mod world;

use stateright::{Model, Property};

use controller::two_phase::Plan;

pub use attempt::{End, Row, Runner};
pub use calm::Calm;
pub use fence::OlderStep;
pub use hashed::Hashed;
pub use pair::{Move, Pair, Two};
pub use part::{Part, Shared};
pub use properties::{Held, Judged};
pub use step::Step;
pub use world::{Broken, Conn, Up, World, plan};

use crate::sim::image::Tiny;
use crate::sim::site::{Mutation, Site};

/// The version of a change-over.
pub const OVER: u8 = 16;

/// What one exhaustive search covers.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent facts
pub struct Config {
    /// How many mailboxes go through the transaction at the same time.
    pub mailboxes: usize,
    /// What the coordinators are to do.
    pub plan: Plan,
    /// Index and expunge file of master and replica.
    pub initial: [(Tiny, Option<Tiny>); 2],
    /// By side: it was changed over from there to version 16.
    pub over: [bool; 2],
    /// The same of the second mailbox, if it is another kind.
    pub second: Option<[(Tiny, Option<Tiny>); 2]>,
    /// The expunge file has a directory of its own.
    pub split: bool,
    /// How many faults may happen.
    pub faults: u8,
    /// How many times owners change something.
    pub writes: u8,
    /// Owners expunge, and write to the expunge file, too.
    pub rich_owner: bool,
    /// Hosts were given their peer's SHA-1s, so that a message of which it says otherwise is found.
    pub peer_hashes: bool,
    /// Of the changes that are counted, none is an owner's: all are what a peer says.
    pub owners_rest: bool,
    /// Pauses may be over before a host that is down is up again.
    pub impatient: bool,
    /// A rule that is broken on purpose.
    pub mutation: Option<Mutation>,
    /// How many times a rolled back mailbox is taken up again.
    pub retries: u8,
    /// How many times, for each mailbox or for both, so much time passes that a side that waits is
    /// asked whether it is alive.
    pub ticks: u8,
    /// How many times another controller takes the pair over from one that is paused and wakes up.
    pub takeovers: u8,
    /// The journal has lost its newest rows before the first step: what is forward on one side was
    /// committed by a decision of which nothing is left.
    pub lost: bool,
}

impl Config {
    /// One mailbox, version 9 to 10, index and expunge in one directory.
    #[must_use]
    pub fn upgrade(faults: u8) -> Self {
        let old = (Tiny::new(9, false), Some(Tiny::new(9, false)));
        Self {
            mailboxes: 1,
            plan: plan(10),
            initial: [old, old],
            over: [false; 2],
            second: None,
            split: false,
            faults,
            writes: 1,
            rich_owner: false,
            peer_hashes: false,
            owners_rest: false,
            impatient: false,
            mutation: None,
            retries: 0,
            ticks: 0,
            takeovers: 0,
            lost: false,
        }
    }

    /// The mailbox as it is at first on that side.
    #[must_use]
    pub fn site(&self, m: usize, side: usize) -> Hashed<Site<Tiny>> {
        let (index, expunge) = self.initial(m)[side];
        let mut site = if self.over[side] {
            Site::changed_over(index, expunge, OVER, self.split)
        } else {
            Site::new(index, expunge, self.split)
        };
        site.mutation = self.mutation;
        site.into()
    }

    /// Index and expunge file of that mailbox, on master and replica.
    #[must_use]
    pub fn initial(&self, m: usize) -> &[(Tiny, Option<Tiny>); 2] {
        self.second
            .as_ref()
            .filter(|_| m > 0)
            .unwrap_or(&self.initial)
    }
}

/// The model of one configuration.
#[derive(Debug)]
pub struct Fleet {
    /// What is searched.
    pub config: Config,
    /// States from which a calm day is known to end well.
    pub calm: Calm,
}

impl Fleet {
    /// The model of that configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            calm: Calm::default(),
        }
    }
}

impl Model for Fleet {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.config)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        // A broken promise is reported with the trace that leads to it, not with what follows.
        if world.broken.is_none() {
            world.calm(&self.config, steps);
            world.stormy(&self.config, steps);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        Some(world.after(&self.config, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Judged for Fleet {
    fn broken(&self, world: &World) -> Option<Broken> {
        world.broken
    }

    fn every_site(&self, world: &World, holds: Held) -> bool {
        world.sites.iter().flatten().all(|site| holds.of(site))
    }

    fn ends_well(&self, world: &World) -> bool {
        self.calm.ends_well(&self.config, world)
    }

    fn ended(&self, world: &World, end: End) -> bool {
        (0..world.sites.len()).all(|m| world.runner(m).is_some_and(|r| r.end == Some(end)))
    }
}
