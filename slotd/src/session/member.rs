//! For whom a connection works, as [`Coordinators`] counts it.

use std::sync::Arc;

use crate::control::Control;
use crate::coordinators::{Coordinators, Seat};
use crate::protocol::Code;
use crate::refusal::Refusal;

/// For whom a connection works.
#[derive(Debug, Default)]
pub(super) enum Member {
    /// Nobody yet.
    #[default]
    Nobody,
    /// Somebody who gave no journal, while something is held.
    Unnamed(Seat),
    /// The coordinator with this journal.
    Of(String, Seat),
}

impl Member {
    /// `REGISTER`: from now on the coordinator with that journal; gives the journals that left
    /// something open. `holds`: the connection holds something.
    pub(super) fn register(
        &mut self,
        all: &Coordinators,
        (journal, epoch): (String, Option<u64>),
        holds: bool,
        control: &Arc<Control>,
    ) -> Result<Option<String>, Refusal> {
        if holds || matches!(self, Member::Of(known, _) if *known != journal) {
            let text = "this connection works for somebody already";
            return Err(Refusal::new(Code::State, text));
        }
        self.end(all);
        let (seat, left) = all.register(&journal, epoch, control)?;
        *self = Member::Of(journal, seat);
        Ok(left)
    }

    /// `LEAVE`: nothing of its coordinator's is open here.
    pub(super) fn leave(&self, all: &Coordinators) -> Result<(), Refusal> {
        match self {
            Member::Of(_, seat) => all.leave(Some(*seat)),
            _ => Err(Refusal::new(Code::State, "LEAVE comes after REGISTER")),
        }
    }

    /// Before anything is held.
    pub(super) fn enter(
        &mut self,
        all: &Coordinators,
        control: &Arc<Control>,
    ) -> Result<(), Refusal> {
        if matches!(self, Member::Nobody) {
            *self = Member::Unnamed(all.enter(control)?);
        }
        Ok(())
    }

    /// Its place among those that count.
    pub(super) fn seat(&self) -> Option<Seat> {
        match self {
            Member::Nobody => None,
            Member::Unnamed(seat) | Member::Of(_, seat) => Some(*seat),
        }
    }

    /// The journal that it gave.
    pub(super) fn journal(&self) -> Option<&str> {
        match self {
            Member::Of(journal, _) => Some(journal),
            Member::Nobody | Member::Unnamed(_) => None,
        }
    }

    /// Nothing is held any more: a client without a journal no longer counts.
    pub(super) fn exit(&mut self, all: &Coordinators) {
        if matches!(self, Member::Unnamed(_)) {
            self.end(all);
        }
    }

    /// The connection is closed.
    pub(super) fn end(&mut self, all: &Coordinators) {
        match std::mem::take(self) {
            Member::Of(_, seat) | Member::Unnamed(seat) => all.end(seat),
            Member::Nobody => {}
        }
    }
}
