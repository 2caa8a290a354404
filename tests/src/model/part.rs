//! A world of two mailboxes, taken apart: what belongs to each of them alone, and what they share.
//!
//! Promise: nothing is left out. [`World::split`] and [`World::join`] are each other's inverse, as
//! both name every field of [`World`].

use std::hash::{Hash, Hasher};

use controller::two_phase::Side;

use super::Hashed;
use super::attempt::{Row, Runner};
use super::step::Step;
use super::world::{Broken, Conn, Up, World};
use crate::sim::image::Tiny;
use crate::sim::site::Site;

/// What the mailboxes have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// As in [`World`], as all of these.
    pub up: [Up; 2],
    /// Faults left.
    pub faults: u8,
    /// Owners' changes left.
    pub writes: u8,
    /// Retries left.
    pub retries: u8,
    /// Ticks left.
    pub ticks: u8,
    /// Runs of `recover` so far.
    pub reruns: u8,
    /// Take-overs left.
    pub takeovers: u8,
    /// The controller's.
    pub epoch: u8,
    /// What slotd knows of epochs.
    pub highest: [u8; 2],
    /// And of whom one was answered.
    pub answered: [u8; 2],
    /// The first promise broken.
    pub broken: Option<Broken>,
}

// By the hundred million: one word instead of a dozen.
impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let broken = self.broken.map_or(0, |broken| match broken {
            Broken::UntrueReport(end) => 1 + end as u8,
            Broken::CommitBeforeDecision => 11,
            Broken::RenameWithoutDecision => 12,
            Broken::LockOverPause => 13,
            Broken::NeedlessDoubt => 14,
            Broken::SilentDoubt => 15,
            Broken::DecidedUnconfirmed => 16,
            Broken::TouchedWhatDiffers => 17,
            Broken::FencedTookEffect => 18,
        });
        let [one, other] = self.up.map(|up| up as u8);
        state.write_u64(u64::from_le_bytes([
            one,
            other,
            self.faults,
            self.writes,
            self.retries,
            self.reruns,
            broken,
            self.ticks,
        ]));
        // In most searches there are none.
        if self.epoch > 0 {
            let ([a, b], [c, d]) = (self.highest, self.answered);
            let word = [self.takeovers, self.epoch, a, b, c, d, 0, 0];
            state.write_u64(u64::from_le_bytes(word));
        }
    }
}

/// What belongs to one mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// Its coordinator; `None` while the controller is dead.
    pub runner: Option<Hashed<Runner>>,
    /// The one of a controller from which another took over.
    pub older: Option<Hashed<Runner>>,
    /// Its rows in the journal.
    pub row: Row,
    /// Its connections by side.
    pub conns: [Vec<Conn>; 2],
    /// Its files by side.
    pub sites: [Hashed<Site<Tiny>>; 2],
}

/// All of a [`Part`] that decides which steps of whole hosts, or of the controller, there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    alive: bool,
    /// Something of the journal is not synced.
    notes: bool,
    /// A row waits to be synced.
    record: bool,
    /// By side.
    hosts: [HostFacts; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct HostFacts {
    shut_down: bool,
    /// Whether its intent log is usable, and whether it is uncertain.
    log: [bool; 2],
    idle: bool,
    unsynced: [usize; 2],
}

impl Part {
    /// What steps that concern both mailboxes ask of this one.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let host = |side: Side| {
            let site = &self.sites[side.index()];
            HostFacts {
                shut_down: site.shut_down,
                log: [site.log.is_usable(), site.log.is_uncertain()],
                idle: self.conns[side.index()].is_empty(),
                unsynced: site.disk.unsynced(),
            }
        };
        Facts {
            alive: self.runner.is_some(),
            notes: !self.row.notes.is_empty() || self.row.closed.is_some(),
            record: self.runner.as_ref().is_some_and(|r| r.record.is_some()),
            hosts: Side::ALL.map(host),
        }
    }

    /// On which hosts its recovery is still under way: these do not serve yet.
    #[must_use]
    pub fn recovering(&self) -> [bool; 2] {
        Side::ALL.map(|side| self.sites[side.index()].starter.is_some())
    }
}

impl World {
    /// Takes a world of two mailboxes apart.
    ///
    /// # Panics
    /// If there are not two.
    #[must_use]
    pub fn split(self) -> (Shared, [Part; 2]) {
        let Self {
            controller,
            rows,
            conns,
            sites,
            up,
            faults,
            writes,
            retries,
            ticks,
            reruns,
            takeovers,
            older,
            epoch,
            highest,
            answered,
            acts: _,
            broken,
        } = self;
        let runners: Vec<Option<Hashed<Runner>>> = match controller {
            Some(runners) => runners.into_iter().map(Some).collect(),
            None => vec![None; rows.len()],
        };
        let older: Vec<Option<Hashed<Runner>>> = match older {
            Some(runners) => runners.into_iter().map(Some).collect(),
            None => vec![None; rows.len()],
        };
        let parts: Vec<Part> = runners
            .into_iter()
            .zip(older)
            .zip(rows)
            .zip(conns)
            .zip(sites)
            .map(|((((runner, older), row), conns), sites)| Part {
                runner,
                older,
                row,
                conns,
                sites,
            })
            .collect();
        let shared = Shared {
            up,
            faults,
            writes,
            retries,
            ticks,
            reruns,
            takeovers,
            epoch,
            highest,
            answered,
            broken,
        };
        (shared, parts.try_into().expect("two mailboxes"))
    }

    /// Puts one together.
    #[must_use]
    pub fn join(shared: Shared, parts: [&Part; 2]) -> Self {
        let Shared {
            up,
            faults,
            writes,
            retries,
            ticks,
            reruns,
            takeovers,
            epoch,
            highest,
            answered,
            broken,
        } = shared;
        Self {
            controller: parts.iter().map(|p| p.runner.clone()).collect(),
            rows: parts.iter().map(|p| p.row.clone()).collect(),
            conns: parts.iter().map(|p| p.conns.clone()).collect(),
            sites: parts.iter().map(|p| p.sites.clone()).collect(),
            up,
            faults,
            writes,
            retries,
            ticks,
            reruns,
            takeovers,
            older: parts.iter().map(|p| p.older.clone()).collect(),
            epoch,
            highest,
            answered,
            acts: false,
            broken,
        }
    }
}

impl Step {
    /// The mailbox that the step belongs to; `None` if it concerns a whole host or the controller.
    #[must_use]
    pub fn mailbox(mut self) -> Option<usize> {
        self.mailbox_mut().copied()
    }

    /// The same step of that mailbox.
    #[must_use]
    pub fn of_mailbox(mut self, m: usize) -> Self {
        if let Some(own) = self.mailbox_mut() {
            *own = m;
        }
        self
    }

    fn mailbox_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Recover(m, _)
            | Self::Op(m, ..)
            | Self::Deliver(m, ..)
            | Self::Eof(m, ..)
            | Self::Reply(m, _)
            | Self::NoticeLoss(m, _)
            | Self::Journal(m)
            | Self::Compared(m)
            | Self::Waited(m)
            | Self::Tick(m)
            | Self::Rerun(m)
            | Self::OwnerWrites(m, ..)
            | Self::OwnerReplaces(m, _)
            | Self::Retry(m)
            | Self::OpFails(m, ..)
            | Self::Expire(m, ..)
            | Self::Cut(m, _)
            | Self::Missed(m, ..)
            | Self::PeerDiffers(m, ..)
            | Self::RecoveryFails(m, ..)
            | Self::JournalFails(m, _)
            | Self::Abort(m)
            | Self::Differ(m) => Some(m),
            Self::Older(step) => Some(step.mailbox_mut()),
            Self::Restart(_)
            | Self::StartController
            | Self::Reboot(..)
            | Self::Dies(..)
            | Self::PowerCut(..)
            | Self::TakeOver { .. }
            | Self::ControllerDies(_) => None,
        }
    }
}
