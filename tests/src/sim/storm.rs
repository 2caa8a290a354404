//! The bad day: processes die, power goes, networks fail, owners change their mail all the while.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::disk::Which;
use super::intent::is_over;
use super::mail::{Mail, Record, body_of};
use super::several::CONTROLLERS;
use super::site::{LIVE, Site};
use super::world::{World, locked};

/// The hosts, master first.
pub(super) const HOSTS: [&str; 2] = ["master", "replica"];
/// How long bad things happen.
pub(super) const STORM: Duration = Duration::from_millis(1_500);
/// When it has to be over.
pub(super) const END: Duration = Duration::from_secs(90);
/// What lingers must be gone after so much quiet.
const QUIET: Duration = Duration::from_millis(900);
/// The session number under which Cyrus holds a lock for a while.
const OWNER: u8 = 254;

/// Sets a flag that two hosts share.
pub(super) fn set(flag: &Mutex<bool>, value: bool) {
    if let Ok(mut flag) = flag.lock() {
        *flag = value;
    }
}

/// Something that will be over.
pub(super) struct Trouble {
    over: Duration,
    what: What,
}

pub(super) enum What {
    /// Process number: the hosts', then the controller's.
    Down(usize),
    /// The network between a controller and a host.
    Cut(usize, usize),
    Held(usize, usize),
    Paused(usize),
    Locked(usize, usize),
    Fallen(usize),
}

/// What is going on.
pub(super) struct Storm {
    pub(super) world: World,
    /// By controller.
    pub(super) done: Vec<Arc<Mutex<bool>>>,
    /// The journal may lose its newest rows.
    pub(super) loses: bool,
    pub(super) troubles: Vec<Trouble>,
    pub(super) crashes: u32,
    /// In how many of a thousand steps something happens.
    pub(super) rough: u32,
    /// How likely an op is to fail, in thousandths.
    pub(super) fault_rate: u32,
}

fn process(number: usize) -> &'static str {
    HOSTS
        .get(number)
        .copied()
        .unwrap_or_else(|| CONTROLLERS[number - HOSTS.len()])
}

impl Storm {
    /// Steps through the simulation until it is over and quiet.
    pub(super) fn weather(&mut self, sim: &mut turmoil::Sim<'_>) -> Result<(), String> {
        let mut quiet_since = None;
        loop {
            sim.step()
                .map_err(|error| format!("the simulation failed: {error}"))?;
            let now = sim.elapsed();
            if locked(&self.world).broken.is_some() {
                return Ok(());
            }
            let (storming, calm) = {
                let mut all = locked(&self.world);
                let storming = all.operator.storms(now);
                all.fault_rate = if storming { self.fault_rate } else { 0 };
                (storming, all.operator.is_calm(now))
            };
            if storming {
                self.trouble(sim, now);
                self.lower(now);
                self.pause(sim, now);
            }
            if !calm {
                self.owners(now);
            }
            self.reboot(sim, now, storming);
            self.relieve(sim, now, !storming);
            let done = self.done.iter().all(|done| done.lock().is_ok_and(|d| *d));
            if storming || !done || self.is_unsettled() || !self.troubles.is_empty() {
                quiet_since = None;
                if now > END {
                    return Err("it does not end".to_owned());
                }
                continue;
            }
            if now > *quiet_since.get_or_insert(now) + QUIET {
                return Ok(());
            }
        }
    }

    /// A slotd has something left to settle, and comes back to it.
    fn is_unsettled(&self) -> bool {
        let all = locked(&self.world);
        let mut sites = all.sites.iter().flatten();
        sites.any(|site| site.log.open().is_some())
    }

    fn is_down(&self, number: usize) -> bool {
        self.troubles
            .iter()
            .any(|t| matches!(t.what, What::Down(n) if n == number))
    }

    fn trouble(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration) {
        let (hit, kind, number, long) = {
            let mut all = locked(&self.world);
            let hit = all.dice.u32(0..1000) < self.rough;
            (
                hit,
                all.dice.u8(0..10),
                all.dice.usize(0..2),
                all.dice.u64(5..500),
            )
        };
        if !hit {
            return;
        }
        let over = now + Duration::from_millis(long);
        let which = self.any_controller();
        let several = self.done.len() > 1;
        match kind {
            0..=2 if !self.is_down(number) => self.kill(sim, number, false, over),
            3..=4 if !self.is_down(number) => self.kill(sim, number, true, over),
            5..=6 if !self.is_down(2 + which) => self.kill_controller(sim, which, over),
            7 => {
                sim.partition(CONTROLLERS[which], HOSTS[number]);
                self.note(now, || {
                    format!("the network to the {} is cut", HOSTS[number])
                });
                self.troubles.push(Trouble {
                    over,
                    what: What::Cut(which, number),
                });
            }
            8 => {
                sim.hold(CONTROLLERS[which], HOSTS[number]);
                self.note(now, || {
                    format!("the network to the {} holds everything back", HOSTS[number])
                });
                self.troubles.push(Trouble {
                    over,
                    what: What::Held(which, number),
                });
            }
            9 if several && self.loses && long < 250 => self.fail_over(now),
            9 if !several && long < 100 => {
                locked(&self.world).journal.break_down();
                self.note(now, || "the journal's disk is full".to_owned());
            }
            _ => {}
        }
    }

    /// A fence that is up falls for a while.
    fn lower(&mut self, now: Duration) {
        let mut all = locked(&self.world);
        let side = all.dice.usize(0..2);
        if !all.fence[side] || all.dice.u32(0..4000) >= self.rough {
            return;
        }
        all.fence[side] = false;
        all.operator.fallen += 1;
        let over = now + Duration::from_millis(all.dice.u64(5..300));
        drop(all);
        self.note(now, || format!("the fence of the {} falls", HOSTS[side]));
        self.troubles.push(Trouble {
            over,
            what: What::Fallen(side),
        });
    }

    fn note(&self, now: Duration, what: impl FnOnce() -> String) {
        locked(&self.world)
            .story
            .push(format!("{:>7.3} {}", now.as_secs_f64(), what()));
    }

    fn kill(&mut self, sim: &mut turmoil::Sim<'_>, number: usize, power: bool, over: Duration) {
        sim.crash(HOSTS[number]);
        self.crashes += 1;
        let mut all = locked(&self.world);
        for m in 0..all.sites.len() {
            let [most_index, most_expunge] = all.sites[m][number].disk.unsynced();
            let kept = [
                all.dice.usize(0..=most_index),
                all.dice.usize(0..=most_expunge),
            ];
            let log_kept = all.dice.bool();
            let site = &mut all.sites[m][number];
            let owner = site.lock.filter(|id| *id == OWNER && !power);
            if power {
                site.power_cut(kept, log_kept);
            } else {
                site.process_dies(log_kept);
                site.lock = owner;
            }
            all.check(m, number);
        }
        let how = if power {
            "loses its power"
        } else {
            "loses its slotd"
        };
        drop(all);
        self.note(sim.elapsed(), || format!("the {} {how}", HOSTS[number]));
        self.troubles.push(Trouble {
            over,
            what: What::Down(number),
        });
    }

    /// One of the controllers.
    fn any_controller(&self) -> usize {
        match self.done.len() {
            1 => 0,
            several => locked(&self.world).dice.usize(0..several),
        }
    }

    /// One of several controllers is paused, mostly for longer than its lease.
    fn pause(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration) {
        if self.done.len() == 1 {
            return;
        }
        let (hit, which, long) = {
            let mut all = locked(&self.world);
            let hit = all.dice.u32(0..2000) < self.rough;
            let which = all.dice.usize(0..self.done.len());
            (hit, which, all.dice.u64(200..900))
        };
        if !hit || self.is_down(2 + which) {
            return;
        }
        for host in HOSTS {
            sim.hold(CONTROLLERS[which], host);
        }
        {
            let several = &mut locked(&self.world).several;
            several.paused[which] = true;
            several.pauses += 1;
        }
        self.note(now, || format!("{} is paused", CONTROLLERS[which]));
        self.troubles.push(Trouble {
            over: now + Duration::from_millis(long),
            what: What::Paused(which),
        });
    }

    /// A standby takes over that does not have the newest rows.
    fn fail_over(&self, now: Duration) {
        let missing = {
            let mut all = locked(&self.world);
            let missing = all.dice.usize(0..8);
            all.several.tables.fail_over(missing);
            all.several.failovers += 1;
            missing
        };
        self.note(now, || format!("the journal loses {missing} rows"));
    }

    fn kill_controller(&mut self, sim: &mut turmoil::Sim<'_>, which: usize, over: Duration) {
        sim.crash(CONTROLLERS[which]);
        self.crashes += 1;
        set(&self.done[which], false);
        let mut all = locked(&self.world);
        let kept = all.dice.bool();
        if self.done.len() > 1 {
            if !kept {
                all.several.tables.lose_what_is_lazy();
            }
        } else if !kept {
            all.journal = Arc::new(all.journal.after_crash());
        }
        drop(all);
        self.note(sim.elapsed(), || {
            let name = CONTROLLERS[which];
            format!("{name} is killed, unsynced notes kept: {kept}")
        });
        self.troubles.push(Trouble {
            over,
            what: What::Down(2 + which),
        });
    }

    /// A host whose file system shut itself down is restarted by its operator.
    fn reboot(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, storming: bool) {
        for number in 0..2 {
            // A file system that shut down, or, once the storm is over, an intent log that failed:
            // slotd says that it has to be started again, and its operator does so.
            let ill = locked(&self.world)
                .sites
                .iter()
                .any(|s| s[number].shut_down || (!storming && !s[number].log.is_usable()));
            let soon = !storming || locked(&self.world).dice.u32(0..100) == 0;
            if ill && soon && !self.is_down(number) {
                self.kill(sim, number, true, now + Duration::from_millis(20));
            }
        }
    }

    /// Ends what is over, or, with `all`, everything.
    fn relieve(&mut self, sim: &mut turmoil::Sim<'_>, now: Duration, all: bool) {
        let (over, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.troubles)
            .into_iter()
            .partition(|t| all || t.over <= now);
        self.troubles = rest;
        for trouble in over {
            match trouble.what {
                What::Down(number) => {
                    sim.bounce(process(number));
                    self.note(now, || format!("{} is started", process(number)));
                }
                What::Fallen(side) => {
                    locked(&self.world).fence[side] = true;
                    self.note(now, || {
                        format!("the fence of the {} is up again", HOSTS[side])
                    });
                }
                What::Cut(which, number) => sim.repair(CONTROLLERS[which], HOSTS[number]),
                What::Held(which, number) => sim.release(CONTROLLERS[which], HOSTS[number]),
                What::Paused(which) => {
                    for host in HOSTS {
                        sim.release(CONTROLLERS[which], host);
                    }
                    locked(&self.world).several.paused[which] = false;
                    self.note(now, || format!("{} wakes up", CONTROLLERS[which]));
                }
                What::Locked(m, side) => {
                    let site = &mut locked(&self.world).sites[m][side];
                    site.lock = site.lock.filter(|id| *id != OWNER);
                }
            }
        }
    }

    /// Owners read, flag, receive and expunge mail whenever nobody has the lock.
    fn owners(&mut self, now: Duration) {
        let mut all = locked(&self.world);
        let mailboxes = all.sites.len();
        let (m, side) = (all.dice.usize(0..mailboxes), all.dice.usize(0..2));
        let (kind, which, flag) = (all.dice.u8(0..30), all.dice.usize(0..8), all.dice.u32(..));
        let fenced = all.fence[side];
        let site = &mut all.sites[m][side];
        // No server runs behind a fence; and one of 2.3 that comes with its fall does not open what
        // is changed over.
        let over = site
            .disk
            .read(LIVE[0])
            .is_some_and(|index| is_over(index.version));
        if !site.is_free() || kind > 4 || fenced || over {
            return;
        }
        match kind {
            0 | 1 => site.owner_writes(Which::Index, |index| {
                if let Some(record) = index.records.values_mut().nth(which) {
                    record.flags ^= flag;
                }
            }),
            2 => site.owner_writes(Which::Index, |index| {
                let uid = index.records.keys().next_back().map_or(10, |last| last + 1);
                let sha1 = index.version >= 10;
                index.records.insert(
                    uid,
                    Record {
                        flags: 0,
                        body: body_of(uid),
                        sha1,
                    },
                );
            }),
            3 => expunge(site, which),
            _ => {
                site.lock = Some(OWNER);
                let over = now + Duration::from_millis(u64::from(flag % 400));
                self.troubles.push(Trouble {
                    over,
                    what: What::Locked(m, side),
                });
            }
        }
        all.check(m, side);
        all.story.push(format!(
            "{:>7.3} owner {side} mailbox {m}: {kind}",
            now.as_secs_f64()
        ));
    }
}

/// Delayed expunge: into the expunge file in place, then a new index by rename.
fn expunge(site: &mut Site<Mail>, which: usize) {
    let Some(index) = site.disk.read(LIVE[0]) else {
        return;
    };
    let Some((uid, record)) = index.records.iter().nth(which).map(|(u, r)| (*u, *r)) else {
        return;
    };
    if index.records.len() < 2 || !site.disk.has(LIVE[1]) {
        return;
    }
    site.owner_writes(Which::Expunge, |gone| {
        let sha1 = record.sha1 && gone.version >= 10;
        gone.records.insert(uid, Record { sha1, ..record });
    });
    site.owner_replaces(|index| {
        index.records.remove(&uid);
    });
}
