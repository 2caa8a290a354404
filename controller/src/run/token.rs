//! By what name the hosts know a run, which way a rollback goes, and with which options.
//!
//! A slotd keeps the identifiers that an upgrade replaced under the name of the run, and the way
//! back of that run asks for these and no others. The name is the time at which the run began: no
//! two runs of a store have the same, and the journal has it.

use slotd::protocol::Rehash;

use crate::journal::{Journal, JournalError, RunId, RunSpec, Verb};

/// What the commands of one run say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Token {
    /// The run's own name.
    pub(super) own: u64,
    /// Whose changes are taken back by old identifiers: those of the run undone, 0 for those of
    /// every run; else its own.
    pub(super) old: u64,
    /// Old identifiers come back. Not in a rollback of a downgrade, or of a rollback: there SHA-1s
    /// come back.
    pub(super) restores: bool,
    /// What `UPGRADE` says of GUIDs that are no old-style ones, wherever SHA-1s are looked for. A
    /// wrong GUID does not show that it is one, so who takes back that such came back says it too.
    pub(super) rehash: Option<Rehash>,
    /// On the way forward no UUID comes back: below version 10 GUIDs are cut.
    pub(super) cut: bool,
    /// Without `.OLD` files once both sides are done.
    pub(super) drop_old: bool,
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
        let options = spec.options();
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
            cut: options.cut,
            drop_old: options.drop_old,
        })
    }
}

/// What a run asks of GUIDs that are no old-style ones, or had replaced by those that it undoes.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory::MemoryJournal;

    fn spec(verb: Verb, undoes: Option<RunId>, selection: &str) -> RunSpec {
        RunSpec {
            verb,
            to: 10,
            undoes,
            master: String::new(),
            replica: None,
            master_id: String::new(),
            replica_id: String::new(),
            selection: selection.to_owned(),
            words: String::new(),
            pairs: String::new(),
        }
    }

    #[test]
    fn what_is_undone_says_what_comes_back_and_how_that_would_be_taken_back() {
        let journal = MemoryJournal::new();
        let token = |spec: &RunSpec, now| {
            let run = journal.begin_run(spec, now).unwrap();
            (run, Token::of(&journal, run, spec).unwrap())
        };
        let (fix, of_fix) = token(&spec(Verb::Upgrade, None, "all --rehash=fix"), 100);
        assert_eq!((of_fix.old, of_fix.rehash), (100, Some(Rehash::Fix)));
        let (back, of_back) = token(&spec(Verb::Rollback, Some(fix), "all"), 200);
        assert!(of_back.restores);
        assert_eq!((of_back.old, of_back.rehash), (100, Some(Rehash::Fix)));
        // What a rollback of it replaces, it has replaced itself.
        let (_, again) = token(&spec(Verb::Rollback, Some(back), "all"), 300);
        assert!(!again.restores);
        assert_eq!((again.old, again.rehash), (300, Some(Rehash::Fix)));
        let (_, all) = token(&spec(Verb::Rollback, None, "all"), 400);
        assert_eq!((all.old, all.rehash), (0, Some(Rehash::Fix)));

        let (report, of_report) = token(&spec(Verb::Upgrade, None, "all --rehash=report"), 500);
        assert_eq!(of_report.rehash, Some(Rehash::Report));
        let (_, of_back) = token(&spec(Verb::Rollback, Some(report), "all"), 600);
        assert_eq!(of_back.rehash, None);
        let (_, plain) = token(&spec(Verb::Upgrade, None, "all of --rehash"), 700);
        assert_eq!(plain.rehash, None);
    }
}
