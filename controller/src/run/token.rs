//! By what name the hosts know a run, and which way a rollback goes.
//!
//! A slotd keeps the identifiers that an upgrade replaced under the name of the run, and the way back of that run asks for these and
//! no others. The name is the time at which the run began: no two runs of a store have the same, and the journal has it.

use slotd::protocol::Rehash;

use crate::journal::{Journal, JournalError, RunId, RunSpec, Verb};

/// What the commands of one run say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Token {
    /// The run's own name.
    pub(super) own: u64,
    /// Whose changes are taken back by old identifiers: those of the run undone, 0 for those of every run; else its own.
    pub(super) old: u64,
    /// Old identifiers come back. Not in a rollback of a downgrade, or of a rollback: there SHA-1s come back.
    pub(super) restores: bool,
    /// What `UPGRADE` says of GUIDs that are no old-style ones, wherever SHA-1s are looked for. A wrong GUID does not show that it is
    /// one, so who takes back that such came back says it too.
    pub(super) rehash: Option<Rehash>,
}

impl Token {
    /// Of a run.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn of(
        journal: &dyn Journal,
        run: RunId,
        spec: &RunSpec,
    ) -> Result<Self, JournalError> {
        let name = |run| -> Result<u64, JournalError> {
            let started = journal.run(run)?.map_or(0, |info| info.started_ms);
            Ok(u64::try_from(started).unwrap_or(0))
        };
        let own = name(run)?;
        let (old, restores) = match (spec.verb, spec.undoes) {
            (Verb::Rollback, Some(undone)) => {
                let verb = journal.run(undone)?.map(|info| info.spec.verb);
                (name(undone)?, verb == Some(Verb::Upgrade))
            }
            (Verb::Rollback, None) => (0, true),
            _ => (own, false),
        };
        Ok(Self {
            own,
            // What does not restore is itself taken back by what it replaced.
            old: if restores { old } else { own },
            restores,
            rehash: rehash(journal, spec)?,
        })
    }
}

fn rehash(journal: &dyn Journal, spec: &RunSpec) -> Result<Option<Rehash>, JournalError> {
    let of = |run: RunId| -> Result<Option<Rehash>, JournalError> {
        match journal.run(run)? {
            // Only an earlier run is undone, so this comes to an end.
            Some(info) => Ok(rehash(journal, &info.spec)?.filter(|r| *r == Rehash::Fix)),
            None => Ok(None),
        }
    };
    match (spec.verb, spec.undoes) {
        (Verb::Rollback, Some(undone)) => of(undone),
        (Verb::Rollback, None) => {
            let last = journal.last_run()?.map_or(0, |info| info.id.0);
            for run in 1..=last {
                let Some(info) = journal.run(RunId(run))? else {
                    continue;
                };
                if info.spec.rehash() == Some(Rehash::Fix) {
                    return Ok(Some(Rehash::Fix));
                }
            }
            Ok(None)
        }
        _ => Ok(spec.rehash()),
    }
}
