//! No lock for ever, and always a way to done: from every state, without further faults, to the
//! end.
//!
//! A calm day takes, of everything that can happen without a fault, always the first. From every
//! state that the search finds, that walk has to reach a state in which nothing is left to do, and
//! there all must be well. States of walks that ended well are remembered, so each is walked
//! through once.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::Mutex;

use controller::two_phase::Side;

use super::names::{Quick, quick};
use super::{Config, End, World};
use crate::sim::disk::{Name, Role, Which};
use crate::sim::image::Tiny;
use crate::sim::site::{LIVE, Site};

/// Longer than any calm day.
const LIMIT: usize = 2_000;

const SHARDS: usize = 64;

/// States known to end well.
#[derive(Debug)]
pub struct Calm {
    good: Vec<Mutex<HashSet<u64, BuildHasherDefault<Quick>>>>,
}

impl Default for Calm {
    fn default() -> Self {
        Self {
            good: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Calm {
    fn shard(&self, key: u64) -> &Mutex<HashSet<u64, BuildHasherDefault<Quick>>> {
        &self.good[usize::try_from(key % SHARDS as u64).unwrap_or(0)]
    }

    fn knows(&self, key: u64) -> bool {
        self.shard(key).lock().is_ok_and(|set| set.contains(&key))
    }

    /// Whether a calm day ends well from here.
    #[must_use]
    pub fn ends_well(&self, config: &Config, world: &World) -> bool {
        self.walk(config, world).is_ok()
    }

    /// The same, with what is wrong at the end of the walk.
    ///
    /// # Errors
    /// What is not as it should be where the walk ends, or that it does not end.
    pub fn walk(&self, config: &Config, world: &World) -> Result<(), String> {
        let mut steps = Vec::new();
        self.follow(
            world,
            |_| true,
            quick,
            |world| {
                if world.broken.is_some() {
                    // Reported as such.
                    return Ok(None);
                }
                steps.clear();
                world.calm(config, &mut steps);
                match steps.first() {
                    Some(step) => Ok(Some(world.after(config, *step))),
                    None => at_rest(config, world).map(|()| None),
                }
            },
        )
    }

    /// Walks from state to state until there is no next one, or one is met that is known to end
    /// well. Of the states on the way, those with a key that is worth it are known from then on.
    pub(super) fn follow<S>(
        &self,
        from: &S,
        worth: impl Fn(u64) -> bool,
        key: impl Fn(&S) -> u64,
        mut next: impl FnMut(&S) -> Result<Option<S>, String>,
    ) -> Result<(), String> {
        let mut seen = Vec::new();
        let mut here = None;
        for _ in 0..LIMIT {
            let state = here.as_ref().unwrap_or(from);
            let key = key(state);
            if worth(key) {
                if self.knows(key) {
                    self.remember(&seen);
                    return Ok(());
                }
                seen.push(key);
            }
            here = next(state)?;
            if here.is_none() {
                self.remember(&seen);
                return Ok(());
            }
        }
        Err("it does not end".to_owned())
    }

    fn remember(&self, keys: &[u64]) {
        for key in keys {
            if let Ok(mut set) = self.shard(*key).lock() {
                set.insert(*key);
            }
        }
    }
}

/// What must be true when nothing is left to do.
///
/// # Errors
/// What is not.
pub fn at_rest(config: &Config, world: &World) -> Result<(), String> {
    for (m, sites) in world.sites.iter().enumerate() {
        let runner = world.runner(m).ok_or("the controller does not run")?;
        let end = runner
            .end
            .ok_or_else(|| format!("mailbox {m} is not over: {runner:?}"))?;
        let damaged = sites.iter().any(|s| s.damaged);
        if end == End::InDoubt && !damaged {
            return Err(format!("mailbox {m} stays in doubt and nothing is damaged"));
        }
        if end == End::RolledBack && world.is_unlike(config, m) && !damaged {
            return Err(format!(
                "mailbox {m} is rolled back, and its hosts are unlike"
            ));
        }
        if !world.is_true(config, m, end) {
            return Err(format!("mailbox {m}: {end:?} is not so: {sites:?}"));
        }
        for side in Side::ALL {
            let site = &sites[side.index()];
            site_at_rest(site).map_err(|what| format!("mailbox {m} on the {side}: {what}"))?;
        }
    }
    Ok(())
}

fn site_at_rest(site: &Site<Tiny>) -> Result<(), String> {
    if site.lock.is_some() {
        return Err(format!("locked by {:?}", site.lock));
    }
    if !site.sessions.is_empty() {
        return Err(format!("sessions are left: {:?}", site.sessions));
    }
    for file in Which::ALL {
        for role in [Role::New, Role::Prev] {
            if site.disk.has(Name::new(file, role)) {
                return Err(format!("a stray {role:?} of {file:?}"));
            }
        }
    }
    let [index, expunge] = LIVE.map(|name| site.disk.read(name));
    let index = index.ok_or("no index, or garbage")?;
    if expunge.is_some_and(|e| e.version != index.version) && !site.damaged {
        return Err(format!(
            "index and expunge out of step: {index:?} {expunge:?}"
        ));
    }
    Ok(())
}
