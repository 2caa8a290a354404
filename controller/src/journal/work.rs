//! What is written: one thing at a time, of one pair.

use super::at_once::AtOnce;
use super::disagreements::Disagreement;
use super::model::{Candidate, Change, Ended, State};
use super::queries::Value;
use super::runs::{RunId, RunSpec};
use crate::two_phase::{Reason, Side};

/// Something to be written. Each has a number for an answer.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A change to a mailbox; 0.
    Change(Change),
    /// A pair with this name is made if it is new, with this id for its journal; its number, or 0
    /// if the store has pairs of the other kind.
    Pair { name: String, journal_id: String },
    /// A run begins or is joined; its number.
    Begin { spec: Box<RunSpec>, now_ms: i64 },
    /// Mailboxes of a run, which is open again if it was finished; how many are new.
    Add { run: RunId, listed: Vec<Candidate> },
    /// All of the pair's mailboxes have been added; 0.
    Listed { run: RunId },
    /// Nothing is left to do on the pair; 0.
    Finish { run: RunId, now_ms: i64 },
    /// The run is given up for all its pairs; 0.
    GiveUp { run: RunId, now_ms: i64 },
    /// What the comparison with a Murder's list found; 0.
    Note {
        run: RunId,
        found: Vec<Disagreement>,
    },
    /// The pair is paused since then, or no longer; 0.
    Pause { since_ms: Option<i64> },
    /// How many mailboxes at once the last start of the run found on the pair; 0.
    AtOnce { run: RunId, found: AtOnce },
    /// Nothing; what came before is durable when this is; 0.
    Flush,
}

/// A run that has mailboxes to do again on a pair is not finished: of the run and of the pair. The
/// run goes second, and has no value of its own.
pub(super) const REOPEN: [&str; 2] = [
    "UPDATE run_pair SET finished_at = NULL \
     WHERE run = ?1 AND pair = ?2 AND finished_at IS NOT NULL",
    "UPDATE run SET finished_at = NULL WHERE id = ?1 AND finished_at IS NOT NULL \
     AND EXISTS (SELECT 1 FROM run_pair WHERE run = ?1 AND pair = ?2)",
];

/// The statements of a change, in their order, with their values.
pub(super) fn statements(change: &Change) -> Vec<(&'static str, Vec<Value>)> {
    let one = |sql, values: Vec<Value>| vec![(sql, values)];
    let version = |v: Option<u8>| Value::Number(v.map(i64::from));
    match change {
        Change::Decide { mailbox, before } => one(
            "UPDATE mailbox SET state = 'decided', in_doubt = 0, before_master = ?1, \
             before_replica = ?2, forward_master = 0, forward_replica = 0 WHERE id = ?3",
            vec![version(before[0]), version(before[1]), mailbox.0.into()],
        ),
        Change::Identify { mailbox, uniqueids } => one(
            "UPDATE mailbox SET uniqueid_master = ?1, uniqueid_replica = ?2 WHERE id = ?3",
            vec![
                uniqueids[0].as_deref().into(),
                uniqueids[1].as_deref().into(),
                mailbox.0.into(),
            ],
        ),
        Change::Forward { mailbox, side } => one(
            match side {
                Side::Master => "UPDATE mailbox SET forward_master = 1 WHERE id = ?1",
                Side::Replica => "UPDATE mailbox SET forward_replica = 1 WHERE id = ?1",
            },
            vec![mailbox.0.into()],
        ),
        Change::Reverse { mailbox } => one(
            "UPDATE mailbox SET state = 'reversing' WHERE id = ?1",
            vec![mailbox.0.into()],
        ),
        Change::Requeue { mailbox } => one(
            "UPDATE mailbox SET state = 'pending' \
             WHERE id = ?1 AND state IN ('rolled_back', 'gone')",
            vec![mailbox.0.into()],
        ),
        Change::Finish { mailbox, attempt } => {
            let side: Value = attempt.side.map(Side::as_str).into();
            let reason: Value = attempt.reason.map(Reason::as_str).into();
            let f = &attempt.figures;
            let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let [lock_master, lock_replica] = f.lock_us.map(|us| Value::Number(us.map(count)));
            let row = vec![
                mailbox.0.into(),
                attempt.started_ms.into(),
                attempt.finished_ms.into(),
                attempt.ended.as_str().into(),
                reason.clone(),
                side.clone(),
                attempt.detail.as_str().into(),
                lock_master.clone(),
                lock_replica.clone(),
            ];
            let state = vec![
                attempt.ended.state().map(State::as_str).into(),
                i64::from(attempt.ended == Ended::InDoubt).into(),
                reason,
                side,
                attempt.detail.as_str().into(),
                count(f.messages).into(),
                count(f.altered).into(),
                count(f.cached).into(),
                count(f.hashed).into(),
                count(f.lag).into(),
                lock_master,
                lock_replica,
                attempt.finished_ms.into(),
                mailbox.0.into(),
            ];
            vec![
                (
                    "INSERT INTO attempt (mailbox, started_at, finished_at, outcome, reason, \
                     side, detail, lock_us_master, lock_us_replica) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                    row,
                ),
                (
                    "UPDATE mailbox SET state = coalesce(?1, state), in_doubt = ?2, \
                     attempts = attempts + 1, reason = ?3, side = ?4, detail = ?5, \
                     messages = ?6, altered = ?7, cached = ?8, hashed = ?9, lag = ?10, \
                     lock_us_master = ?11, lock_us_replica = ?12, finished_at = ?13 \
                     WHERE id = ?14",
                    state,
                ),
            ]
        }
    }
}

/// The statement by which a pair is paused, or no longer.
pub(super) fn pause(pair: i64, since_ms: Option<i64>) -> Vec<(&'static str, Vec<Value>)> {
    let one = match since_ms {
        Some(since) => (
            "INSERT INTO pause (pair, since) VALUES (?1, ?2) ON CONFLICT (pair) DO NOTHING",
            vec![pair.into(), since.into()],
        ),
        None => ("DELETE FROM pause WHERE pair = ?1", vec![pair.into()]),
    };
    vec![one]
}

/// The statement by which it is kept how many at once a run had on a pair.
pub(super) fn at_once(pair: i64, run: RunId, found: &AtOnce) -> Vec<(&'static str, Vec<Value>)> {
    let sql = "INSERT INTO at_once (run, pair, at_once, bound, fewest, most, why) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (run, pair) DO UPDATE SET \
         at_once = excluded.at_once, bound = excluded.bound, fewest = excluded.fewest, \
         most = excluded.most, why = excluded.why";
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX).into();
    let values = vec![
        run.0.into(),
        pair.into(),
        count(found.at_once),
        found.of.as_str().into(),
        count(found.least),
        count(found.most),
        found.why.as_str().into(),
    ];
    vec![(sql, values)]
}

/// The statements by which the disagreements of a run are kept. Several controllers may do so at
/// once: in the same order, and each kind anew.
pub(super) fn notes(run: RunId, found: &[Disagreement]) -> Vec<(&'static str, Vec<Value>)> {
    let sql = "INSERT INTO disagreement (run, code, findings, examples) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (run, code) DO UPDATE SET findings = excluded.findings, \
         examples = excluded.examples";
    let mut found: Vec<&Disagreement> = found.iter().collect();
    found.sort_by_key(|one| &one.code);
    let values = |one: &Disagreement| {
        vec![
            run.0.into(),
            one.code.as_str().into(),
            i64::try_from(one.findings).unwrap_or(i64::MAX).into(),
            one.first.join("\n").as_str().into(),
        ]
    };
    found.into_iter().map(|one| (sql, values(one))).collect()
}
