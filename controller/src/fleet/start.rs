//! Which pairs a start has something to do for: the run over all pairs, as the journal knows it, is
//! gone on with, begun, or given up.
//!
//! A run is its verb, its target, its pairs and its selection; a start that asks for another one,
//! while the last is not finished, is refused. Changes nothing but for a run that is given up.

use crate::error::{OtherRun, RunError};
use crate::journal::{JournalError, JournalStore, RunId, RunInfo, RunOfPairs, RunSpec};
use crate::run::{FleetRun, Settings};

/// What is to be done for a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It is worked on.
    Work,
    /// It was finished in this run, which another pair has still to finish.
    Finished(RunId),
}

/// What each pair of the run has to do, in the order of their names.
///
/// # Errors
/// The last run was stopped and is another one; or the journal cannot be read, or written.
pub fn begin(
    store: &dyn JournalStore,
    settings: &Settings,
    fleet: &FleetRun,
    now_ms: i64,
) -> Result<Vec<Begin>, RunError> {
    let names = || fleet.pairs.split(',');
    if let Some(id) = settings.abandon {
        if store.run(id)?.is_none() {
            let text = format!("there is no run {} to be given up", id.0);
            return Err(RunError::Nothing(text));
        }
        store.give_up(id, now_ms)?;
    }
    let open = store
        .last_of(settings.verb)?
        .filter(|run| run.finished_ms.is_none());
    let Some(run) = open else {
        return Ok(names().map(|_| Begin::Work).collect());
    };
    if !is_same(&run, settings, fleet) {
        return Err(RunError::Other(Box::new(other(store, &run)?)));
    }
    let finished = |pair: &crate::journal::PairRun| match pair.finished_ms {
        Some(_) => Begin::Finished(run.id),
        None => Begin::Work,
    };
    Ok(run.pairs.iter().map(finished).collect())
}

/// Whether that run is the one that is asked for.
fn is_same(run: &RunOfPairs, settings: &Settings, fleet: &FleetRun) -> bool {
    let pairs = run.pairs.iter().map(|pair| pair.name.as_str());
    run.verb == settings.verb
        && run.to == settings.to
        && run.undoes == settings.undoes
        && run.words == fleet.words
        && pairs.eq(fleet.pairs.split(','))
}

/// The run that is asked for, if another controller has finished it on that pair since: in a run
/// after `before`.
///
/// # Errors
/// The journal cannot be read.
pub fn finished_since(
    store: &dyn JournalStore,
    settings: &Settings,
    fleet: &FleetRun,
    pair: &str,
    before: i64,
) -> Result<Option<RunId>, JournalError> {
    let run = store.last_of(settings.verb)?;
    let run = run.filter(|run| run.id.0 > before && is_same(run, settings, fleet));
    Ok(run.and_then(|run| {
        let mut pairs = run.pairs.iter();
        let done = pairs.any(|of| of.name == pair && of.finished_ms.is_some());
        done.then_some(run.id)
    }))
}

fn other(store: &dyn JournalStore, run: &RunOfPairs) -> Result<OtherRun, RunError> {
    let mut left = 0;
    for pair in run.pairs.iter().filter(|pair| pair.is_started()) {
        left += store.pair(&pair.name)?.totals(run.id)?.pending;
    }
    let names: Vec<&str> = run.pairs.iter().map(|pair| pair.name.as_str()).collect();
    Ok(OtherRun {
        left,
        left_out_others: false,
        run: RunInfo {
            id: run.id,
            spec: RunSpec {
                verb: run.verb,
                to: run.to,
                undoes: run.undoes,
                master: String::new(),
                replica: None,
                master_id: String::new(),
                replica_id: String::new(),
                // Each pair has its own; that there is one is known.
                selection: "of pairs".to_owned(),
                words: run.words.clone(),
                pairs: names.join(","),
            },
            started_ms: run.started_ms,
            finished_ms: run.finished_ms,
            list_complete: run.pairs.iter().all(|pair| pair.listed),
        },
    })
}
