//! What must hold in every state, and what must be possible at all.

use stateright::Property;

use super::{Broken, End, Fleet, World};
use crate::sim::disk::{Disk, Name, Role, Which};
use crate::sim::image::{Image, Tiny};
use crate::sim::site::{LIVE, Site};

/// Every property of the model.
pub fn all() -> Vec<Property<Fleet>> {
    vec![
        Property::always(
            "the decision is durable before the first COMMIT",
            |_, w: &World| w.broken != Some(Broken::CommitBeforeDecision),
        ),
        Property::always(
            "nothing is renamed without a decision, or after the end",
            |_, w: &World| w.broken != Some(Broken::RenameWithoutDecision),
        ),
        Property::always("no lock is kept over a pause", |_, w: &World| {
            w.broken != Some(Broken::LockOverPause)
        }),
        Property::always(
            "what is reported as upgraded or rolled back is so",
            |_, w: &World| !matches!(w.broken, Some(Broken::UntrueReport(_))),
        ),
        Property::always(
            "in doubt only when damage, the operator or every attempt forbade an end",
            |_, w: &World| w.broken != Some(Broken::NeedlessDoubt),
        ),
        Property::always(
            "in doubt is told, loudly, and nothing else is",
            |_, w: &World| w.broken != Some(Broken::SilentDoubt),
        ),
        Property::always(
            "nothing that an owner wrote is ever lost",
            |_, w: &World| {
                w.sites
                    .iter()
                    .flatten()
                    .all(|site| every_cut(site, keeps_truth))
            },
        ),
        Property::always(
            "the expunge file's version is never below the index's",
            |_, w: &World| {
                w.sites
                    .iter()
                    .flatten()
                    .all(|site| every_cut(site, in_order))
            },
        ),
        Property::always(
            "a calm day ends well: unlocked, alike, clean",
            |model: &Fleet, w: &World| model.calm.ends_well(&model.config, w),
        ),
        Property::sometimes("it upgrades", |_, w: &World| ends(w, End::Upgraded)),
        Property::sometimes("it rolls back", |_, w: &World| ends(w, End::RolledBack)),
    ]
}

fn ends(world: &World, end: End) -> bool {
    (0..world.sites.len()).all(|m| world.runner(m).is_some_and(|r| r.end == Some(end)))
}

/// Now, and after a power cut at this instant, however it falls.
fn every_cut(site: &Site<Tiny>, holds: fn(&Site<Tiny>, &Disk<Tiny>) -> bool) -> bool {
    let settled = site.disk.unsynced() == [0, 0];
    holds(site, &site.disk) && (settled || site.disk.cuts().all(|cut| holds(site, &cut)))
}

fn keeps_truth(site: &Site<Tiny>, disk: &Disk<Tiny>) -> bool {
    Which::ALL.into_iter().all(|file| {
        let live = disk.read(Name::new(file, Role::Live));
        live.map(Tiny::facts) == site.truth[file as usize]
    })
}

fn in_order(_: &Site<Tiny>, disk: &Disk<Tiny>) -> bool {
    let [index, expunge] = LIVE.map(|name| disk.read(name).map(|i| i.version));
    expunge.is_none_or(|expunge| index.is_some_and(|index| expunge >= index))
}
