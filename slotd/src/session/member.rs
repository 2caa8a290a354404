//! For whom a connection works, as [`Coordinators`] counts it.

use crate::coordinators::Coordinators;
use crate::protocol::Code;
use crate::refusal::Refusal;

/// For whom a connection works.
#[derive(Debug, Default)]
pub(super) enum Member {
    /// Nobody yet.
    #[default]
    Nobody,
    /// Somebody who gave no journal, while something is held.
    Unnamed,
    /// The coordinator with this journal.
    Of(String),
}

impl Member {
    /// `REGISTER`: from now on the coordinator with that journal; gives the journals that left
    /// something open. `holds`: the connection holds something.
    pub(super) fn register(
        &mut self,
        all: &Coordinators,
        journal: String,
        holds: bool,
    ) -> Result<Option<String>, Refusal> {
        if holds || matches!(self, Member::Of(known) if *known != journal) {
            let text = "this connection works for somebody already";
            return Err(Refusal::new(Code::State, text));
        }
        self.end(all);
        let left = all.register(&journal)?;
        *self = Member::Of(journal);
        Ok(left)
    }

    /// `LEAVE`: nothing of its coordinator's is open here.
    pub(super) fn leave(&self, all: &Coordinators) -> Result<(), Refusal> {
        match self {
            Member::Of(journal) => all.leave(journal),
            _ => Err(Refusal::new(Code::State, "LEAVE comes after REGISTER")),
        }
    }

    /// Before anything is held.
    pub(super) fn enter(&mut self, all: &Coordinators) -> Result<(), Refusal> {
        if matches!(self, Member::Nobody) {
            all.enter()?;
            *self = Member::Unnamed;
        }
        Ok(())
    }

    /// Nothing is held any more: a client without a journal no longer counts.
    pub(super) fn exit(&mut self, all: &Coordinators) {
        if matches!(self, Member::Unnamed) {
            self.end(all);
        }
    }

    /// The connection is closed.
    pub(super) fn end(&mut self, all: &Coordinators) {
        match std::mem::take(self) {
            Member::Of(journal) => all.disconnected(&journal),
            Member::Unnamed => all.exit(),
            Member::Nobody => {}
        }
    }
}
