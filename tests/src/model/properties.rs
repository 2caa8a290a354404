//! What must hold in every state, and what must be possible at all.

use stateright::{Model, Property};

use super::{Broken, End, Hashed};
use crate::sim::disk::Disk;
use crate::sim::image::Tiny;
use crate::sim::site::Site;

/// What can be said of every state, however it is put together.
pub trait Judged: Model + Sized {
    /// The first promise broken on the way there.
    fn broken(&self, state: &Self::State) -> Option<Broken>;
    /// Whether every mailbox on every host is so, now and after a power cut at this instant.
    fn every_site(&self, state: &Self::State, holds: Held) -> bool;
    /// Whether a calm day ends well.
    fn ends_well(&self, state: &Self::State) -> bool;
    /// Whether every mailbox has come to that end.
    fn ended(&self, state: &Self::State, end: End) -> bool;
}

/// What must hold of the files of every mailbox on every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// All that its owner wrote is there.
    Truth,
    /// Index and expunge file are in order; see [`Site::is_in_order`].
    Order,
}

impl Held {
    /// Now, and after a power cut at this instant, however it falls.
    #[must_use]
    pub fn of(self, site: &Hashed<Site<Tiny>>) -> bool {
        let judge = |site: &Site<Tiny>| {
            [Site::is_kept, Site::is_in_order].map(|holds| every_cut(site, holds))
        };
        let [truth, order] = site.holds(judge);
        match self {
            Self::Truth => truth,
            Self::Order => order,
        }
    }
}

/// Every property of the model.
pub fn all<M: Judged>() -> Vec<Property<M>> {
    vec![
        Property::always(
            "the decision is durable before the first COMMIT",
            |m: &M, s| m.broken(s) != Some(Broken::CommitBeforeDecision),
        ),
        Property::always(
            "nothing is decided before both sides said that they hold what they staged",
            |m: &M, s| m.broken(s) != Some(Broken::DecidedUnconfirmed),
        ),
        Property::always(
            "nothing is renamed without a decision, or after the end",
            |m: &M, s| m.broken(s) != Some(Broken::RenameWithoutDecision),
        ),
        Property::always("no lock is kept over a pause", |m: &M, s| {
            m.broken(s) != Some(Broken::LockOverPause)
        }),
        Property::always(
            "what is reported as upgraded or rolled back is so",
            |m: &M, s| !matches!(m.broken(s), Some(Broken::UntrueReport(_))),
        ),
        Property::always(
            "in doubt only when damage, the operator or every attempt forbade an end",
            |m: &M, s| m.broken(s) != Some(Broken::NeedlessDoubt),
        ),
        Property::always(
            "in doubt is said, loudly, and nothing else is",
            |m: &M, s| m.broken(s) != Some(Broken::SilentDoubt),
        ),
        Property::always(
            "where a peer says otherwise of a message nothing is locked, written or decided",
            |m: &M, s| m.broken(s) != Some(Broken::TouchedWhatDiffers),
        ),
        Property::always(
            "nothing of a fenced coordinator takes effect after a newer one was answered",
            |m: &M, s| m.broken(s) != Some(Broken::FencedTookEffect),
        ),
        Property::always("nothing that an owner wrote is ever lost", |m: &M, s| {
            m.every_site(s, Held::Truth)
        }),
        Property::always(
            "index and expunge file are never out of order",
            |m: &M, s| m.every_site(s, Held::Order),
        ),
        Property::always(
            "a calm day ends well: unlocked, alike, clean",
            |m: &M, s| m.ends_well(s),
        ),
        Property::sometimes("it upgrades", |m: &M, s| m.ended(s, End::Upgraded)),
        Property::sometimes("it rolls back", |m: &M, s| m.ended(s, End::RolledBack)),
    ]
}

fn every_cut(site: &Site<Tiny>, holds: fn(&Site<Tiny>, &Disk<Tiny>) -> bool) -> bool {
    let settled = site.disk.unsynced() == [0, 0];
    holds(site, &site.disk) && (settled || site.disk.cuts().all(|cut| holds(site, &cut)))
}
