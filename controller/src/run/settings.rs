//! What a run does, and how.

use std::time::Duration;

use slotd::protocol::{Rehash, Write};

use super::breaker::MaxFailures;
use super::token::Token;
use crate::control::Limits;
use crate::journal::{Disagreement, Options, RunId, Verb};
use crate::survey::LeaveOut;
use crate::two_phase::{Plan, Side};

/// How a run works. Checked by the command line; fixed while it runs.
#[allow(clippy::struct_excessive_bools)] // independent switches of the command line
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What to do.
    pub verb: Verb,
    /// The index version wanted; in a rollback 0, as each mailbox has its own.
    pub to: u8,
    /// The run that a rollback undoes.
    pub undoes: Option<RunId>,
    /// How hard it may work at its start.
    pub limits: Limits,
    /// Passes over what failed for a reason that may pass; 1 is no second pass.
    pub passes: u32,
    /// The pause before the second pass; it doubles with each one. Jitter is added.
    pub pass_pause: Duration,
    /// Further attempts for a decided transaction before it is reported as in doubt.
    pub settle_attempts: u8,
    /// The pause before the first of them; it doubles with each one, up to five seconds.
    pub settle_pause: Duration,
    /// Whether new files are written before the locks are taken. Messages are hashed before in any
    /// case.
    pub prepare: Write,
    /// A UID on one side only is a failure.
    pub require_in_sync: bool,
    /// Remove the `.OLD` files once both sides are committed. Of a run that is begun: one that is
    /// taken up keeps its own, see [`Options`].
    pub drop_old: bool,
    /// How many failures the run goes on with.
    pub max_failures: MaxFailures,
    /// The run that is given up, if it is the one that was stopped and another one is wanted.
    pub abandon: Option<RunId>,
    /// On the way down no UUID comes back: GUIDs are cut, on both hosts alike. Of a run that is
    /// begun, as above.
    pub cut: bool,
    /// The operator says that the servers of both hosts are stopped: a process that has a file of a
    /// store open refuses the run.
    pub servers_stopped: bool,
    /// In an upgrade to version 10, every GUID is compared with its message.
    pub rehash: Option<Rehash>,
    /// The run of a fleet that this is one pair's part of; `None` without a fleet file.
    pub fleet: Option<FleetRun>,
    /// Partitions on which nothing is begun, whatever the journal has to do there. What is decided
    /// is brought to its end.
    pub leave_out: LeaveOut,
    /// What the comparison with a Murder's list found, for the report of the run.
    pub disagreements: Vec<Disagreement>,
}

/// A run over several pairs: what all of them have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetRun {
    /// Its pairs, as [`crate::journal::RunSpec::pairs`] has them.
    pub pairs: String,
    /// What the whole run is of, as it was given on the command line.
    pub words: String,
}

impl Settings {
    /// Whether it makes indexes that servers before 2.3.10 damage.
    #[must_use]
    pub fn is_too_new_for_2_3_9(&self) -> bool {
        self.verb == Verb::Upgrade && self.to >= 10 && self.rehash != Some(Rehash::Report)
    }

    /// An upgrade to version 10 with the defaults of the command line.
    #[must_use]
    pub fn upgrade() -> Self {
        Self {
            verb: Verb::Upgrade,
            to: 10,
            undoes: None,
            limits: Limits::default(),
            passes: 3,
            pass_pause: Duration::from_secs(2),
            settle_attempts: 8,
            settle_pause: Duration::from_millis(100),
            prepare: Write::Auto,
            require_in_sync: false,
            drop_old: false,
            max_failures: MaxFailures::default(),
            abandon: None,
            cut: false,
            servers_stopped: false,
            rehash: None,
            fleet: None,
            leave_out: LeaveOut::default(),
            disagreements: Vec::new(),
        }
    }

    /// The options that say what is done to a mailbox, as they are given: with others it is another
    /// run.
    #[must_use]
    pub fn part_of_the_run(&self) -> Vec<String> {
        let options = Options {
            cut: self.cut,
            drop_old: self.drop_old,
            rehash: self.rehash,
        };
        options.words()
    }

    /// The plan of one transaction of a run of that verb: to bring both sides to version `to`, or
    /// in a rollback those to their versions before that have one. `token`: of that run, whose
    /// options count here, and not those of this start.
    pub(super) fn plan(
        &self,
        (verb, to): (Verb, u8),
        replica: bool,
        back: [Option<u8>; 2],
        token: &Token,
    ) -> Plan {
        let before = back.into_iter().flatten().next();
        let only = match back {
            [Some(_), None] if replica => Some(Side::Master),
            [None, Some(_)] => Some(Side::Replica),
            _ => None,
        };
        Plan {
            to: before.unwrap_or(to),
            master: true,
            replica,
            only,
            uuids_old: before.is_some() && token.restores,
            undo: verb == Verb::Undo,
            rehearse: verb.rehearses(),
            // What is prepared are new GUIDs, and files; there is nothing new in what comes back.
            prepare: before.is_none()
                && verb != Verb::Undo
                && (to >= 10 || self.prepare != Write::Never),
            require_in_sync: self.require_in_sync,
            // They are the way back, and the only one.
            drop_old: token.drop_old && !verb.crosses(),
            settle_attempts: self.settle_attempts,
            rows_lost: false,
        }
    }
}
