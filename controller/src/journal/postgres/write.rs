//! What is written, in one transaction, and only while the claim to its pair stands.
//!
//! # What it promises
//!
//! The rows of the pairs that something is of are locked first, and the epochs of their claims
//! compared: what a controller writes that has lost a claim is refused, and no other one takes a
//! claim before the transaction is over.
//!
//! # What a crash leaves
//!
//! All of a transaction or nothing of it. If no answer comes, nobody knows which: the claims to
//! all its pairs are given up ([`Held::lose`]), and only a new claim, with a higher epoch, reads
//! their rows. To take it the row of the pair has to be locked, so it waits for the end of a
//! transaction that outlived its client.

use std::sync::Arc;

use super::super::columns::Query;
use super::super::model::Candidate;
use super::super::options::{ALL, Options};
use super::super::queries::Value;
use super::super::runs::{RunId, RunSpec, pair_names};
use super::super::sql::Op;
use super::super::work::{REOPEN, Work, at_once, notes, pause, statements};
use super::super::writer::Backend;
use super::claims::Held;
use super::schema::LOCK;
use super::session::{Link, Session};

/// The thread that writes.
pub(super) struct Committer {
    pub(super) link: Link,
    pub(super) held: Arc<Held>,
}

impl Backend for Committer {
    fn write(&mut self, group: Vec<Op>) {
        let mut standing = Vec::with_capacity(group.len());
        for op in group {
            match self.held.check(op.of) {
                Ok(()) => standing.push(op),
                Err(error) => _ = op.done.send(Err(error)),
            }
        }
        if standing.is_empty() {
            return;
        }
        let owner = self.held.owner();
        let (ops, held) = (&standing, &self.held);
        let link = &mut self.link;
        // A lazy change is durable too when it has its receipt: what a crash of the server leaves
        // has no gap, and a connection that is gone can be made again.
        let begun = link.look(async |session| session.batch("BEGIN").await);
        let commit = async |session: &mut Session| commit(session, owner, ops).await;
        match begun.and_then(|()| link.go_on(commit)) {
            Ok(numbers) => {
                for (op, number) in standing.into_iter().zip(numbers) {
                    let result = match number {
                        Some(number) => {
                            if let Some(answer) = &op.answer {
                                let _ = answer.send(number);
                            }
                            Ok(())
                        }
                        None => Err(held.fence(op.of)),
                    };
                    let _ = op.done.send(result);
                }
            }
            Err(error) => {
                for op in standing {
                    held.lose(op.of, &error);
                    let _ = op.done.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Writes these in their order, and commits. A number for each; `None` for what is fenced, and not
/// written.
async fn commit(session: &mut Session, owner: &str, ops: &[Op]) -> Query<Vec<Option<i64>>> {
    let epochs = lock(session, owner, ops).await?;
    let mut numbers = vec![None; ops.len()];
    let mut changes = Vec::new();
    for (op, number) in ops.iter().zip(&mut numbers) {
        let stands = |(pair, epoch): &(i64, i64)| {
            *pair == op.of.pair && u64::try_from(*epoch).ok() == op.of.epoch
        };
        if op.of.pair != 0 && !epochs.iter().any(stands) {
            continue;
        }
        if let Work::Change(change) = &op.work {
            changes.extend(statements(change));
            *number = Some(0);
        } else {
            session.pipeline(&std::mem::take(&mut changes)).await?;
            *number = Some(other(session, op.of.pair, &op.work).await?);
        }
    }
    session.pipeline(&changes).await?;
    session.commit().await?;
    Ok(numbers)
}

/// The pairs that these are of and this controller has claimed, with the epochs of the claims.
async fn lock(session: &mut Session, owner: &str, ops: &[Op]) -> Query<Vec<(i64, i64)>> {
    let mut pairs: Vec<i64> = ops.iter().map(|op| op.of.pair).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let sql = "SELECT id, claim_epoch FROM pair WHERE id = ANY(?1) AND claim_owner = ?2 \
               ORDER BY id FOR NO KEY UPDATE";
    let pairs = Value::Numbers(pairs.into_iter().map(Some).collect());
    let rows = session.rows(sql, &[pairs, owner.into()]).await?;
    let read = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(read).collect()
}

async fn other(session: &mut Session, pair: i64, work: &Work) -> Query<i64> {
    match work {
        Work::Change(_) | Work::Flush => {}
        Work::Pair { name, journal_id } => return new_pair(session, name, journal_id).await,
        Work::Begin { spec, now_ms } => return begin_run(session, pair, spec, *now_ms).await,
        Work::Add { run, listed } => return add(session, pair, *run, listed).await,
        Work::Listed { run } => {
            let sql = "UPDATE run_pair SET listed = 1 WHERE run = ?1 AND pair = ?2";
            session.execute(sql, &[run.0.into(), pair.into()]).await?;
        }
        Work::Finish { run, now_ms } => finish_run(session, pair, *run, *now_ms).await?,
        Work::Note { run, found } => {
            let all = notes(*run, found);
            session.pipeline(&all).await?;
        }
        Work::AtOnce { run, found } => {
            session.pipeline(&at_once(pair, *run, found)).await?;
        }
        Work::Pause { since_ms } => session.pipeline(&pause(pair, *since_ms)).await?,
        Work::GiveUp { run, now_ms } => {
            session.rows(LOCK, &[]).await?;
            for sql in [
                "UPDATE run SET finished_at = ?1 WHERE id = ?2 AND finished_at IS NULL",
                "UPDATE run_pair SET finished_at = ?1 WHERE run = ?2 AND finished_at IS NULL",
            ] {
                session
                    .execute(sql, &[(*now_ms).into(), run.0.into()])
                    .await?;
            }
        }
    }
    Ok(0)
}

async fn new_pair(session: &mut Session, name: &str, journal_id: &str) -> Query<i64> {
    session.rows(LOCK, &[]).await?;
    let other = "SELECT count(*) FROM pair WHERE (name = '') <> (?1 = '')";
    if session.number(other, &[name.into()]).await? != Some(0) {
        return Ok(0);
    }
    let sql = "INSERT INTO pair (name, journal_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    session
        .execute(sql, &[name.into(), journal_id.into()])
        .await?;
    let sql = "SELECT id FROM pair WHERE name = ?1";
    Ok(session.number(sql, &[name.into()]).await?.unwrap_or(0))
}

async fn begin_run(session: &mut Session, pair: i64, spec: &RunSpec, now_ms: i64) -> Query<i64> {
    session.rows(LOCK, &[]).await?;
    let mut values: Vec<Value> = vec![
        spec.verb.as_str().into(),
        i64::from(spec.to).into(),
        spec.undoes.map(|run| run.0).into(),
        spec.words.as_str().into(),
        spec.pairs.as_str().into(),
        pair.into(),
    ];
    let joined = "SELECT r.id FROM run r WHERE r.id = (SELECT max(id) FROM run \
         WHERE (command = 'rehearse') = (?1 = 'rehearse')) \
         AND r.finished_at IS NULL AND r.command = ?1 AND r.to_version = ?2 \
         AND r.undoes IS NOT DISTINCT FROM ?3 AND r.words = ?4 AND r.pairs = ?5 \
         AND NOT EXISTS (SELECT 1 FROM run_pair p WHERE p.run = r.id AND p.pair = ?6)";
    let run = if let Some(run) = session.number(joined, &values).await? {
        run
    } else {
        values[5] = now_ms.into();
        // Under the lock the next number is the next one, without a gap.
        let sql = "INSERT INTO run (id, command, to_version, undoes, words, pairs, started_at) \
             SELECT coalesce(max(id), 0) + 1, CAST(?1 AS text), CAST(?2 AS bigint), \
             CAST(?3 AS bigint), CAST(?4 AS text), CAST(?5 AS text), CAST(?6 AS bigint) \
             FROM run RETURNING id";
        session.number(sql, &values).await?.unwrap_or(0)
    };
    let sql = "INSERT INTO run_pair (run, pair, master, replica, master_id, replica_id, \
         selection, started_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let values = [
        run.into(),
        pair.into(),
        spec.master.as_str().into(),
        spec.replica.as_deref().into(),
        spec.master_id.as_str().into(),
        spec.replica_id.as_str().into(),
        spec.selection.as_str().into(),
        now_ms.into(),
    ];
    session.execute(sql, &values).await?;
    let sql = "UPDATE pair SET master_id = coalesce(master_id, nullif(?1, '')), \
         replica_id = coalesce(replica_id, nullif(?2, '')) WHERE id = ?3";
    let values = [
        spec.master_id.as_str().into(),
        spec.replica_id.as_str().into(),
        pair.into(),
    ];
    session.execute(sql, &values).await?;
    Ok(run)
}

/// Adds what is new, a part at a time in which no name is twice: what was added before counts.
async fn add(session: &mut Session, pair: i64, run: RunId, listed: &[Candidate]) -> Query<i64> {
    let sql = "INSERT INTO mailbox (run, pair, name, partition, named, back_master, back_replica, \
         uniqueid_master, uniqueid_replica) \
         SELECT CAST(?1 AS bigint), CAST(?2 AS bigint), u.name, u.partition, u.named, u.master, \
         u.replica, u.id_master, u.id_replica \
         FROM unnest(CAST(?3 AS text[]), CAST(?4 AS text[]), CAST(?5 AS bigint[]), \
         CAST(?6 AS bigint[]), CAST(?7 AS bigint[]), CAST(?8 AS text[]), CAST(?9 AS text[])) \
         WITH ORDINALITY AS u (name, partition, named, master, replica, id_master, id_replica, \
         place) WHERE NOT EXISTS \
         (SELECT 1 FROM mailbox m WHERE m.run = ?1 AND m.pair = ?2 AND m.name = u.name \
         AND (m.partition IS NULL OR u.partition IS NULL OR m.partition = u.partition)) \
         ORDER BY u.place";
    let mut new = 0;
    let mut left = listed;
    while !left.is_empty() {
        let mut seen = std::collections::HashSet::new();
        let once = left.iter().take_while(|one| seen.insert(&one.name)).count();
        let (part, rest) = left.split_at(once);
        left = rest;
        let version = |v: Option<u8>| v.map(i64::from);
        let values = [
            run.0.into(),
            pair.into(),
            Value::Texts(part.iter().map(|l| Some(l.name.to_string())).collect()),
            Value::Texts(part.iter().map(|l| l.partition.clone()).collect()),
            Value::Numbers(part.iter().map(|l| Some(i64::from(l.named))).collect()),
            Value::Numbers(part.iter().map(|l| version(l.back[0])).collect()),
            Value::Numbers(part.iter().map(|l| version(l.back[1])).collect()),
            Value::Texts(part.iter().map(|l| l.uniqueids[0].clone()).collect()),
            Value::Texts(part.iter().map(|l| l.uniqueids[1].clone()).collect()),
        ];
        new += session.execute(sql, &values).await?;
    }
    if new > 0 {
        session.rows(LOCK, &[]).await?;
        for sql in REOPEN {
            session.execute(sql, &[run.0.into(), pair.into()]).await?;
        }
    }
    Ok(i64::try_from(new).unwrap_or(i64::MAX))
}

/// Whether rows of the pair may be missing and this run ends that: it began afterwards, has looked
/// at every mailbox of the pair on both hosts, and what it found half done is not open any more.
/// Not so a run that is given up, or one that had only some of the mailboxes.
async fn has_looked_at_all(session: &mut Session, pair: i64, run: RunId) -> Query<bool> {
    let sql = "SELECT p.selection FROM run r JOIN run_pair p ON p.run = r.id \
         JOIN pair q ON q.id = p.pair WHERE r.id = ?2 AND q.id = ?1 AND q.rows_lost > 0 \
         AND r.id >= q.rows_lost AND p.listed = 1 \
         AND r.command IN ('upgrade', 'downgrade', 'cutover') \
         AND NOT EXISTS (SELECT 1 FROM mailbox m WHERE m.pair = ?1 \
         AND (m.state IN ('decided', 'reversing') OR m.run = ?2 AND m.state = 'pending'))";
    let rows = session.rows(sql, &[pair.into(), run.0.into()]).await?;
    let Some(row) = rows.first() else {
        return Ok(false);
    };
    let selection: String = row.try_get(0)?;
    Ok(Options::split(&selection).0 == ALL)
}

async fn finish_run(session: &mut Session, pair: i64, run: RunId, now_ms: i64) -> Query<()> {
    session.rows(LOCK, &[]).await?;
    let sql = "UPDATE run_pair SET finished_at = ?1 WHERE run = ?2 AND pair = ?3";
    let values = [now_ms.into(), run.0.into(), pair.into()];
    session.execute(sql, &values).await?;
    if has_looked_at_all(session, pair, run).await? {
        let sql = "UPDATE pair SET rows_lost = 0 WHERE id = ?1";
        session.execute(sql, &[pair.into()]).await?;
    }
    let sql = "SELECT r.pairs, (SELECT count(*) FROM run_pair p \
         WHERE p.run = r.id AND p.finished_at IS NOT NULL) FROM run r WHERE r.id = ?1";
    let rows = session.rows(sql, &[run.0.into()]).await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let (pairs, finished): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
    if usize::try_from(finished) == Ok(pair_names(&pairs).count()) {
        let sql = "UPDATE run SET finished_at = ?1 WHERE id = ?2";
        session.execute(sql, &[now_ms.into(), run.0.into()]).await?;
    }
    Ok(())
}
