//! Which coordinators the simulated slotds let in, by slotd's own rule: the highest epoch outlives
//! a slotd, what older ones have open is ended as if their connections had closed, and the newer
//! one is answered once no older one is in the midst of a change.

use std::collections::BTreeMap;

use slotd::coordinators::epoch::{Admission, Epoch};
use slotd::coordinators::taken_over;
use slotd::protocol::{Code, Reply};
use slotd::transaction::Event;

use super::op::{Op, Purpose};
use super::world::Shared;

/// What the slotds know of coordinators, by side.
#[derive(Debug, Default)]
pub struct Epochs {
    known: [Epoch; 2],
    /// The highest of which a coordinator was answered.
    answered: [u64; 2],
    /// The connections that registered with an epoch.
    members: BTreeMap<u64, Member>,
    next: u64,
    /// How often a higher one came.
    pub raised: u32,
}

#[derive(Debug)]
struct Member {
    side: usize,
    epoch: u64,
    /// The mailbox and session that it has.
    at: Option<(usize, u8)>,
}

impl Epochs {
    /// A number for a connection.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The connection is on that mailbox now.
    pub fn moves_to(&mut self, number: u64, at: (usize, u8)) {
        if let Some(member) = self.members.get_mut(&number) {
            member.at = Some(at);
        }
    }

    /// The connection is no more.
    pub fn forget(&mut self, number: u64) {
        self.members.remove(&number);
    }

    /// The answer to a connection that a newer coordinator has ended.
    #[must_use]
    pub fn refusal(&self, number: u64) -> Option<Reply> {
        let member = self.members.get(&number)?;
        let highest = self.known[member.side].number();
        (member.epoch < highest).then(|| taken_over(highest).to_reply())
    }
}

impl Shared {
    /// A connection of that journal's coordinator with this epoch.
    ///
    /// # Errors
    /// The answer to one that is kept out.
    pub fn admit(
        &mut self,
        side: usize,
        number: u64,
        (journal, epoch): (&str, u64),
    ) -> Result<(), Reply> {
        let known = &self.epochs.known[side];
        match known.admit(Some(journal), Some(epoch)) {
            Admission::Granted => {}
            Admission::Raises => {
                self.epochs.known[side] = Epoch::raised(journal, epoch);
                self.epochs.raised += 1;
                self.tell(|| format!("host {side}: epoch {epoch}"));
                let older: Vec<(usize, u8)> = self.older(side).filter_map(|m| m.at).collect();
                for (m, id) in older {
                    self.sites[m][side].tell(id, Event::Disconnect);
                }
            }
            Admission::Fenced => return Err(Reply::no(Code::Fenced, known.refusal(Some(epoch)))),
        }
        let at = None;
        let member = Member { side, epoch, at };
        self.epochs.members.insert(number, member);
        Ok(())
    }

    /// Whether a connection that was admitted may be answered: no older one changes anything.
    pub fn may_answer(&mut self, number: u64) -> bool {
        let Some(Member { side, epoch, .. }) = self.epochs.members.get(&number) else {
            return true;
        };
        let (side, epoch) = (*side, *epoch);
        let changes = |(m, id): (usize, u8)| {
            let op = self.sites[m][side].next_op(id);
            op.is_some_and(|op| *op != Op::TakeLocks)
        };
        if self.older(side).filter_map(|m| m.at).any(changes) {
            return false;
        }
        let answered = &mut self.epochs.answered[side];
        *answered = epoch.max(*answered);
        true
    }

    fn older(&self, side: usize) -> impl Iterator<Item = &Member> {
        let highest = self.epochs.known[side].number();
        let mut all = self.epochs.members.values();
        std::iter::from_fn(move || all.find(|m| m.side == side && m.epoch < highest))
    }

    /// A live name is about to change by what a coordinator said after a newer one was answered.
    pub fn judge_fence(&mut self, side: usize, number: u64, op: Op) {
        let changes = matches!(
            op,
            Op::File(Purpose::Commit | Purpose::PutBack, step) if step.op.changes_live()
        );
        let answered = self.epochs.answered[side];
        let member = self.epochs.members.get(&number);
        if changes && member.is_some_and(|member| member.epoch < answered) {
            self.violate("what a fenced coordinator said took effect");
        }
    }
}
