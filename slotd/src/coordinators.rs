//! Which coordinator works on the store: one at a time.
//!
//! A coordinator is known by the id of its journal (`REGISTER journal=ID` on each of its
//! connections), and is here for as long as one of them is open. Another journal is refused by name
//! meanwhile. A person who types commands has no journal: such a connection counts from its `LOCK`
//! or `PREPARE` until it holds nothing any more.
//!
//! A coordinator that says `LEAVE` has nothing open here. One whose connections just close may
//! have: the decisions are in its journal alone. Its id stays in the state directory
//! (`coordinators`, a line each) until it comes back and says `LEAVE`, and every other one
//! gets it in an answer. A crash leaves the old file or the new one.
//!
//! # Several controllers with one journal
//!
//! Their epoch is what distinguishes them ([`epoch`]). A higher one ends all that is here of lower
//! ones, as if their connections had closed, and no answer is given to it before the following
//! holds:
//!
//! * the number is on stable storage, so that no restart lets an older coordinator in again;
//! * no older coordinator changes a live file, and none ever will. Every command that can change
//!   one (`COMMIT`, `RELEASE`, `ROLLBACK`, `CLEAN`) or say what they are (`COMPLETE`, `REVOKE`)
//!   holds a [`ChangeGuard`] from before its first look at the transaction until its last unlock.
//!   It is given under the mutex under which the epoch rises, and to nobody whom the epoch keeps
//!   out. So a `COMMIT` of an older coordinator either has it before the epoch rises, and is waited
//!   for, or asks for it afterwards, and is refused: its rename never comes after the answer to a
//!   newer `LOCK`.
//!
//! A crash while the epoch rises leaves the number before or the one after; the one who raised it
//! had no answer, and asks again.

pub mod epoch;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexfile::IoError;
use indexfile::dir::{OpenError, limit, read_named};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::control::Control;
use crate::failpoint;
use crate::fs::rewrite;
use crate::protocol::Code;
use crate::refusal::Refusal;
use epoch::{Admission, Epoch};

const FILE_NAME: &str = "coordinators";
const EPOCH_FILE: &str = "epoch";
/// How long a newer coordinator waits for the change an older one is at. Its renames are done in
/// milliseconds; if a disk takes longer than this, the newer one gets an error and asks again.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

/// The coordinators of one store.
#[derive(Debug)]
pub struct Coordinators {
    file: PathBuf,
    epoch_file: PathBuf,
    state: Mutex<State>,
    /// Signalled when a change ends.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The connections that count.
    members: BTreeMap<u64, Member>,
    next: u64,
    /// Journals that worked here and did not say that they have nothing open; as in the file.
    left: BTreeSet<String>,
    /// As in its file.
    epoch: Epoch,
}

/// A connection that counts.
#[derive(Debug)]
struct Member {
    /// `None` for one without a journal, which counts while it holds something.
    journal: Option<String>,
    epoch: Option<u64>,
    control: Arc<Control>,
    /// It changes live files now.
    changes: bool,
    /// A higher epoch keeps it out; it is here only until its change ends.
    fenced: bool,
}

/// A connection's place among those that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(u64);

/// While it lives its connection may change live files, and no epoch that would forbid it is
/// answered.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct ChangeGuard<'a> {
    all: &'a Coordinators,
    seat: Option<Seat>,
}

impl State {
    /// The journal at work.
    fn present(&self) -> Option<&str> {
        let mut members = self.members.values().filter(|member| !member.fenced);
        members.find_map(|member| member.journal.as_deref())
    }

    fn has_unnamed(&self) -> bool {
        self.members.values().any(|member| member.journal.is_none())
    }

    fn add(&mut self, journal: Option<&str>, epoch: Option<u64>, control: &Arc<Control>) -> Seat {
        self.next += 1;
        let member = Member {
            journal: journal.map(str::to_owned),
            epoch,
            control: Arc::clone(control),
            changes: false,
            fenced: false,
        };
        self.members.insert(self.next, member);
        Seat(self.next)
    }

    /// Ends everything of lower epochs than the store's.
    fn fence(&mut self) {
        let number = self.epoch.number();
        for member in self.members.values_mut() {
            if member.epoch.unwrap_or(0) < number && !member.fenced {
                member.fenced = true;
                member.control.fence(number);
            }
        }
        self.members
            .retain(|_, member| !member.fenced || member.changes);
    }

    fn fenced(&self, epoch: Option<u64>) -> Refusal {
        Refusal::new(Code::Fenced, self.epoch.refusal(epoch))
    }
}

impl Coordinators {
    /// Reads what earlier ones left.
    ///
    /// # Errors
    /// A file cannot be read, or the epoch's is not what was written.
    pub fn open(state_dir: &Path) -> Result<Coordinators, IoError> {
        let (file, epoch_file) = (state_dir.join(FILE_NAME), state_dir.join(EPOCH_FILE));
        let text = read(&file)?.unwrap_or_default();
        let left = text.lines().filter(|l| !l.is_empty()).map(str::to_owned);
        let epoch = match read(&epoch_file)? {
            None => Epoch::default(),
            Some(text) => Epoch::parse(&text).ok_or_else(|| {
                let what = "it has no epoch and journal, and without them any coordinator could \
                            come in";
                let source = std::io::Error::new(std::io::ErrorKind::InvalidData, what);
                IoError::new("read", &epoch_file, source)
            })?,
        };
        let state = State {
            left: left.collect(),
            epoch,
            ..State::default()
        };
        Ok(Coordinators {
            file,
            epoch_file,
            state: Mutex::new(state),
            ended: Condvar::new(),
        })
    }

    /// A connection of this journal's coordinator, with that epoch if it has one; gives the other
    /// journals that left something behind, if any.
    ///
    /// # Errors
    /// [`Code::Busy`] while the coordinator of another journal is here; [`Code::Fenced`] if the
    /// epoch is too low; or the state directory cannot be written.
    pub fn register(
        &self,
        journal: &str,
        epoch: Option<u64>,
        control: &Arc<Control>,
    ) -> Result<(Seat, Option<String>), Refusal> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        match state.present() {
            Some(other) if other != journal => return Err(busy(other)),
            _ if state.has_unnamed() => {
                return Err(Refusal::new(
                    Code::Busy,
                    "somebody who gave no journal has a mailbox locked or prepared on this store",
                ));
            }
            _ => {}
        }
        self.admit(state, journal, epoch)?;
        if state.left.insert(journal.to_owned())
            && let Err(error) = self.keep(&state.left)
        {
            state.left.remove(journal);
            return Err(error.into());
        }
        let seat = state.add(Some(journal), epoch, control);
        let others = state.left.iter().filter(|left| *left != journal);
        let others: Vec<&str> = others.map(String::as_str).collect();
        let others = (!others.is_empty()).then(|| others.join(","));
        if let Err(refusal) = self.older_turns_end(&mut guard) {
            guard.members.remove(&seat.0);
            return Err(refusal);
        }
        Ok((seat, others))
    }

    /// The coordinator of this connection has that epoch by now.
    ///
    /// # Errors
    /// As [`Coordinators::register`]; [`Code::State`] if the connection has no journal.
    pub fn raise(&self, seat: Option<Seat>, epoch: u64) -> Result<(), Refusal> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let member = seat.and_then(|seat| state.members.get(&seat.0));
        let Some(journal) = member.and_then(|member| member.journal.clone()) else {
            let text = "epoch= comes after REGISTER: it is one of a journal's";
            return Err(Refusal::new(Code::State, text));
        };
        if state.epoch.admit(Some(&journal), Some(epoch)) == Admission::Fenced {
            return Err(state.fenced(Some(epoch)));
        }
        let member = seat.and_then(|seat| state.members.get_mut(&seat.0));
        let before = member.map(|member| member.epoch.replace(epoch));
        if let Err(refusal) = self.admit(state, &journal, Some(epoch)) {
            let member = seat.and_then(|seat| state.members.get_mut(&seat.0));
            if let (Some(member), Some(before)) = (member, before) {
                member.epoch = before;
            }
            return Err(refusal);
        }
        self.older_turns_end(&mut guard)
    }

    /// Looks whether that coordinator may work. A higher epoch is durable, and known to every older
    /// connection, when this returns.
    fn admit(&self, state: &mut State, journal: &str, epoch: Option<u64>) -> Result<(), Refusal> {
        match (state.epoch.admit(Some(journal), epoch), epoch) {
            (Admission::Raises, Some(number)) => {
                self.keep_epoch(state, Epoch::raised(journal, number))?;
                state.fence();
                Ok(())
            }
            (Admission::Granted, _) => Ok(()),
            _ => Err(state.fenced(epoch)),
        }
    }

    /// Waits until no older coordinator changes anything.
    fn older_turns_end(&self, guard: &mut MutexGuard<'_, State>) -> Result<(), Refusal> {
        let deadline = Instant::now() + CHANGE_LIMIT;
        while guard.members.values().any(|member| member.fenced) {
            if self.ended.wait_until(guard, deadline).timed_out() {
                return Err(Refusal::new(
                    Code::Busy,
                    "an older coordinator's COMMIT was at work when this one took over, and has \
                     not come to its end yet",
                ));
            }
        }
        Ok(())
    }

    /// A connection is closed, or holds nothing any more.
    pub fn end(&self, seat: Seat) {
        self.state.lock().members.remove(&seat.0);
        self.ended.notify_all();
    }

    /// Lets a connection change live files. One that has no seat has nothing to change.
    ///
    /// # Errors
    /// [`Code::Fenced`]
    pub fn begin_change(&self, seat: Option<Seat>) -> Result<ChangeGuard<'_>, Refusal> {
        if let Some(seat) = seat {
            let mut state = self.state.lock();
            match state.members.get_mut(&seat.0) {
                Some(member) if !member.fenced => member.changes = true,
                _ => return Err(taken_over(state.epoch.number())),
            }
        }
        Ok(ChangeGuard { all: self, seat })
    }

    /// The coordinator of this connection has nothing open on this store.
    ///
    /// # Errors
    /// [`Code::Fenced`], or the state directory cannot be written; then it counts as before.
    pub fn leave(&self, seat: Option<Seat>) -> Result<(), Refusal> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let member = seat.and_then(|seat| state.members.get(&seat.0));
        let journal = match member.filter(|member| !member.fenced) {
            Some(member) => member.journal.clone().unwrap_or_default(),
            None => return Err(taken_over(state.epoch.number())),
        };
        if state.left.remove(&journal)
            && let Err(error) = self.keep(&state.left)
        {
            state.left.insert(journal);
            return Err(error.into());
        }
        match state.epoch.left(&journal) {
            Some(epoch) => self.keep_epoch(state, epoch),
            None => Ok(()),
        }
    }

    /// A connection without a journal is about to hold something.
    ///
    /// # Errors
    /// [`Code::Busy`] while a coordinator is here; [`Code::Fenced`] where one needs an epoch.
    pub fn enter(&self, control: &Arc<Control>) -> Result<Seat, Refusal> {
        let mut state = self.state.lock();
        if let Some(other) = state.present() {
            return Err(busy(other));
        }
        match state.epoch.admit(None, None) {
            Admission::Granted => Ok(state.add(None, None, control)),
            _ => Err(state.fenced(None)),
        }
    }

    fn keep(&self, left: &BTreeSet<String>) -> Result<(), IoError> {
        let write = |file: &mut std::fs::File| {
            left.iter()
                .try_for_each(|journal| writeln!(file, "{journal}"))
        };
        rewrite(&self.file, write).map(drop)
    }

    /// What it says is on stable storage before anybody acts on it.
    fn keep_epoch(&self, state: &mut State, epoch: Epoch) -> Result<(), Refusal> {
        let failed = |error| IoError::new("write", &self.epoch_file, error);
        failpoint::hit("epoch.begin").map_err(failed)?;
        rewrite(&self.epoch_file, |file| {
            write!(file, "{epoch}")?;
            failpoint::hit("epoch.write")
        })?;
        failpoint::hit("epoch.durable").map_err(failed)?;
        state.epoch = epoch;
        Ok(())
    }
}

impl Drop for ChangeGuard<'_> {
    fn drop(&mut self) {
        let Some(seat) = self.seat else { return };
        let mut state = self.all.state.lock();
        if let Some(member) = state.members.get_mut(&seat.0) {
            member.changes = false;
            if member.fenced {
                state.members.remove(&seat.0);
            }
        }
        drop(state);
        self.all.ended.notify_all();
    }
}

fn read(path: &Path) -> Result<Option<String>, IoError> {
    match read_named(path, limit::STATE) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(OpenError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The refusal of a connection that was open when a coordinator with that epoch took over.
#[must_use]
pub fn taken_over(epoch: u64) -> Refusal {
    let text = format!(
        "epoch={epoch} a coordinator with epoch {epoch} has taken this store over, and what this \
         connection had open has ended as if it had been closed"
    );
    Refusal::new(Code::Fenced, text)
}

fn busy(other: &str) -> Refusal {
    Refusal::new(
        Code::Busy,
        format!(
            "the coordinator with journal {other} is at work on this store; another one can begin \
             when its connections \
             are closed"
        ),
    )
}
