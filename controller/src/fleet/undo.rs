//! What a rollback over pairs takes back on each of them: found once for all, so that `last` is the
//! same run everywhere, and a pair where it never began hinders no other. And the end of such a
//! rollback, for pairs that had nothing to bring back.

use indexfile::mailbox::MailboxName;

use crate::error::RunError;
use crate::journal::{JournalError, JournalStore, RunId, RunOfPairs, Verb};
use crate::run::{Undo, all_runs, names_of_runs, runs_since};

/// What is to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The run of this number.
    Run(RunId),
    /// The newest run of these pairs that is neither a rollback nor a rehearsal.
    Last,
    /// Every run that began at that moment (milliseconds since 1970) or later.
    Since(i64),
    /// Every run.
    All,
}

/// For each pair, in the order given: the rollbacks that it needs, in their order, or why there is
/// nothing to take back there.
///
/// # Errors
/// There is nothing to take back on any of them; the names are not known; or the journal cannot be
/// read.
pub fn to_undo(
    store: &dyn JournalStore,
    pairs: &[&str],
    wanted: Wanted,
    names: &[MailboxName],
) -> Result<Vec<Result<Vec<Undo>, String>>, RunError> {
    let one = match wanted {
        Wanted::Run(run) => Some(store.run(run)?.ok_or_else(|| {
            let text = format!("there is no run {}", run.0);
            RunError::Nothing(text)
        })?),
        Wanted::Last => Some(last(store, pairs)?),
        Wanted::Since(_) | Wanted::All => None,
    };
    let mut found = Vec::with_capacity(pairs.len());
    for pair in pairs {
        // A file of the other kind is refused here.
        let journal = store.pair(pair)?;
        let undos = match (&one, wanted) {
            (Some(run), _) => of_run(run, pair, names),
            (None, Wanted::Since(since)) => runs_since(journal.as_ref(), since)
                .and_then(|runs| names_of_runs(journal.as_ref(), &runs, names)),
            (None, _) => all_runs(journal.as_ref()).map(|_| vec![undo(None, names)]),
        };
        found.push(match undos {
            Ok(undos) => Ok(undos),
            Err(RunError::Nothing(why)) => Err(why),
            Err(error) => return Err(error.of_pair(pair)),
        });
    }
    match found.first() {
        Some(Err(why)) if found.iter().all(Result::is_err) => Err(RunError::Nothing(why.clone())),
        _ => Ok(found),
    }
}

fn undo(run: Option<RunId>, names: &[MailboxName]) -> Undo {
    let names = names.to_vec();
    Undo { run, names }
}

fn of_run(run: &RunOfPairs, pair: &str, names: &[MailboxName]) -> Result<Vec<Undo>, RunError> {
    if has_begun(run, pair) {
        return Ok(vec![undo(Some(run.id), names)]);
    }
    let text = format!(
        "run {} did not begin here, so nothing of it is to be undone",
        run.id.0
    );
    Err(RunError::Nothing(text))
}

fn has_begun(run: &RunOfPairs, pair: &str) -> bool {
    let mut pairs = run.pairs.iter();
    pairs.any(|of| of.name == pair && of.is_started())
}

/// The same words mean the same run when a rollback is taken up again: rollbacks do not count.
fn last(store: &dyn JournalStore, pairs: &[&str]) -> Result<RunOfPairs, RunError> {
    let newest = store.last_run()?.map_or(0, |run| run.id.0);
    for number in (1..=newest).rev() {
        let Some(run) = store.run(RunId(number))? else {
            continue;
        };
        let counts = run.verb != Verb::Rollback && !run.verb.rehearses();
        if counts && pairs.iter().any(|pair| has_begun(&run, pair)) {
            return Ok(run);
        }
    }
    Err(RunError::Nothing("there is no run to undo".to_owned()))
}

/// Finishes what is left open by pairs that had nothing to bring back, and so began no rollback:
/// the rollback that other pairs made, and the run that was undone, for pairs where it never began.
/// A run of which some mailboxes were taken back stays as it is. `over`: the pairs that came to
/// their end.
///
/// # Errors
/// The journal cannot be read or written.
pub fn end_undone(
    store: &dyn JournalStore,
    undone: &[Undo],
    over: &[&str],
    now_ms: i64,
) -> Result<(), JournalError> {
    let newest = store.last_run()?.map_or(0, |run| run.id.0);
    for number in 1..=newest {
        let run = store.run(RunId(number))?;
        let Some(run) = run.filter(|run| run.finished_ms.is_none()) else {
            continue;
        };
        let is_meant = undone.iter().any(|undo| match run.verb {
            Verb::Rollback => run.undoes == undo.run,
            Verb::Upgrade | Verb::Downgrade => {
                undo.names.is_empty() && undo.run.is_none_or(|undone| undone == run.id)
            }
            _ => false,
        });
        let mut pairs = run.pairs.iter();
        let is_over = pairs.all(|pair| {
            let never = !pair.is_started() && over.contains(&pair.name.as_str());
            never || pair.finished_ms.is_some()
        });
        if is_meant && is_over {
            store.give_up(run.id, now_ms)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory::MemoryStore;
    use crate::journal::{RunSpec, Verb};

    fn begin(store: &MemoryStore, verb: Verb, undoes: Option<i64>, pairs: &str, on: &[&str]) {
        let spec = RunSpec {
            verb,
            to: 10,
            undoes: undoes.map(RunId),
            master: "m".to_owned(),
            replica: None,
            master_id: String::new(),
            replica_id: String::new(),
            selection: "all".to_owned(),
            words: String::new(),
            pairs: pairs.to_owned(),
        };
        for pair in on {
            let journal = store.pair(pair).unwrap();
            journal.begin_run(&spec, 5).unwrap();
        }
    }

    fn finish(store: &MemoryStore, run: i64, pairs: &[&str]) {
        for pair in pairs {
            let journal = store.pair(pair).unwrap();
            journal.finish_run(RunId(run), 6).unwrap();
        }
    }

    fn is_finished(store: &MemoryStore, run: i64) -> bool {
        let run = store.run(RunId(run)).unwrap().unwrap();
        run.finished_ms.is_some()
    }

    /// The run that is undone on each of them; 0 for all runs.
    fn undone(store: &MemoryStore, pairs: &[&str], wanted: Wanted) -> Vec<Option<i64>> {
        let found = to_undo(store, pairs, wanted, &[]).unwrap();
        let one =
            |undos: Result<Vec<Undo>, String>| Some(undos.ok()?[0].run.map_or(0, |run| run.0));
        found.into_iter().map(one).collect()
    }

    #[test]
    fn the_last_run_is_the_same_one_on_all_pairs() {
        let store = MemoryStore::new();
        let (both, one) = (["p1", "p2"], ["p1"]);
        begin(&store, Verb::Upgrade, None, "p1,p2", &both);
        finish(&store, 1, &both);
        begin(&store, Verb::Upgrade, None, "p1", &one);
        finish(&store, 2, &one);
        begin(&store, Verb::Rehearse, None, "p1,p2", &both);
        begin(&store, Verb::Rollback, Some(2), "p1", &one);
        assert_eq!(undone(&store, &both, Wanted::Last), [Some(2), None]);
        assert_eq!(undone(&store, &["p2"], Wanted::Last), [Some(1)]);
        assert_eq!(undone(&store, &both, Wanted::Run(RunId(1))), [Some(1); 2]);
        assert_eq!(undone(&store, &both, Wanted::All), [Some(0); 2]);
        let none = to_undo(&store, &["p2"], Wanted::Run(RunId(2)), &[]).unwrap_err();
        assert!(
            none.to_string().contains("run 2 did not begin here"),
            "{none}"
        );
    }

    #[test]
    fn a_pair_without_a_run_hinders_no_other() {
        let store = MemoryStore::new();
        begin(&store, Verb::Upgrade, None, "p1,p2", &["p1"]);
        let both = ["p1", "p2"];
        for (wanted, run) in [
            (Wanted::Last, 1),
            (Wanted::Run(RunId(1)), 1),
            (Wanted::Since(1), 1),
            (Wanted::All, 0),
        ] {
            assert_eq!(
                undone(&store, &both, wanted),
                [Some(run), None],
                "{wanted:?}"
            );
            let none = to_undo(&store, &["p2"], wanted, &[]);
            assert!(matches!(none, Err(RunError::Nothing(_))), "{wanted:?}");
        }
    }

    #[test]
    fn what_pairs_with_nothing_to_bring_back_leave_open_is_finished() {
        let back = |names: Vec<MailboxName>| {
            [Undo {
                run: Some(RunId(1)),
                names,
            }]
        };
        let store = MemoryStore::new();
        // Of three pairs one has something to bring back, one nothing, and one never began.
        let all = ["p1", "p2", "p3"];
        begin(&store, Verb::Upgrade, None, "p1,p2,p3", &["p1", "p2"]);
        begin(&store, Verb::Rollback, Some(1), "p1,p2", &["p1"]);
        finish(&store, 1, &["p1", "p2"]);
        end_undone(&store, &back(Vec::new()), &all, 7).unwrap();
        assert!(!is_finished(&store, 2), "p1 is not done");
        assert!(is_finished(&store, 1));
        finish(&store, 2, &["p1"]);
        end_undone(&store, &back(Vec::new()), &["p1", "p3"], 7).unwrap();
        assert!(!is_finished(&store, 2), "p2 was not there");
        end_undone(&store, &back(Vec::new()), &["p1", "p2", "p3"], 7).unwrap();
        assert!(is_finished(&store, 2));
        // Some mailboxes are not the run, and another run is not meant.
        let store = MemoryStore::new();
        begin(&store, Verb::Upgrade, None, "p1,p2", &["p1"]);
        finish(&store, 1, &["p1"]);
        let name = MailboxName::parse("user.a").unwrap();
        end_undone(&store, &back(vec![name]), &all, 7).unwrap();
        let run = Some(RunId(9));
        end_undone(
            &store,
            &[Undo {
                run,
                names: Vec::new(),
            }],
            &all,
            7,
        )
        .unwrap();
        assert!(!is_finished(&store, 1));
    }
}
