//! Which pairs this controller works on, and that no other one does.
//!
//! # What it promises
//!
//! A claim is a row with an owner, an epoch and an end. All is compared with the clock of the
//! server and no other. A claim is renewed each third of its lease, on a connection of its own, so
//! that a batch that is stuck does not cost it. The epoch rises each time the claim changes hands,
//! and each time its owner does not know what became of its last transaction.
//!
//! # What a crash leaves
//!
//! A claim that ends with its lease. Then any controller may take it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::super::JournalError;
use super::super::claim::Claimed;
use super::super::columns::Query;
use super::super::queries::Value;
use super::super::sql::Of;
use super::session::{Link, Session};

/// How often a claim is asked for again whose row its owner's own transaction has locked.
const TRIES: u32 = 10;

/// A claim as this controller knows it.
struct Mine {
    name: String,
    epoch: u64,
    /// Nothing more is written by it, for this reason.
    over: Option<JournalError>,
}

/// The claims of this controller.
pub(super) struct Held {
    owner: String,
    pairs: Mutex<HashMap<i64, Mine>>,
}

impl Held {
    pub(super) fn new(owner: String) -> Self {
        Self {
            owner,
            pairs: Mutex::default(),
        }
    }

    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// Whether something may be written by this claim.
    pub(super) fn check(&self, of: Of) -> Result<(), JournalError> {
        if of.pair == 0 {
            return Ok(());
        }
        let pairs = self.pairs.lock();
        match pairs.get(&of.pair) {
            Some(mine) if Some(mine.epoch) == of.epoch => mine.over.clone().map_or(Ok(()), Err),
            known => Err(fenced(known, of)),
        }
    }

    /// Nothing more is written by this claim: another controller has taken the pair.
    pub(super) fn fence(&self, of: Of) -> JournalError {
        let mut pairs = self.pairs.lock();
        let error = fenced(pairs.get(&of.pair), of);
        if let Some(mine) = pairs
            .get_mut(&of.pair)
            .filter(|m| Some(m.epoch) == of.epoch)
        {
            mine.over.get_or_insert_with(|| error.clone());
        }
        error
    }

    /// Nothing more is written by this claim: nobody knows what became of the last transaction.
    pub(super) fn lose(&self, of: Of, why: &JournalError) {
        if let Some(mine) = self.pairs.lock().get_mut(&of.pair) {
            mine.over.get_or_insert_with(|| JournalError::Lost {
                pair: mine.name.clone(),
                first: why.to_string(),
            });
        }
    }

    fn is_over(&self, pair: i64) -> bool {
        let pairs = self.pairs.lock();
        pairs.get(&pair).is_some_and(|mine| mine.over.is_some())
    }
}

fn fenced(known: Option<&Mine>, of: Of) -> JournalError {
    JournalError::Fenced {
        pair: known.map_or_else(|| format!("number {}", of.pair), |m| m.name.clone()),
        epoch: of.epoch.unwrap_or(0),
    }
}

/// The connection for claims, and the thread that renews them. Each call can be repeated, so one
/// whose connection was closed meanwhile is.
pub(super) struct Claims {
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    link: Mutex<Link>,
    held: Arc<Held>,
    lease: Duration,
}

impl Claims {
    pub(super) fn start(link: Link, held: Arc<Held>, lease: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            link: Mutex::new(link),
            held,
            lease,
        });
        let (stop, stopped) = channel();
        let renewing = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("claims".to_owned())
            .spawn(move || {
                let pause = renewing.lease / 3;
                while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    // A server that is away is asked again; the claims may end meanwhile.
                    let _ = renewing.renew();
                }
            })?;
        Ok(Self {
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn renew(&self) -> Result<(), JournalError> {
        self.shared.renew()
    }

    /// Claims a pair, with an epoch above this one.
    pub(super) fn claim(&self, pair: i64, name: &str, above: u64) -> Result<u64, JournalError> {
        let Shared { link, held, lease } = &*self.shared;
        let mut link = link.lock();
        let bump = held.is_over(pair);
        let values = [
            pair.into(),
            held.owner().into(),
            milliseconds(*lease).into(),
            i64::from(bump).into(),
            i64::try_from(above).unwrap_or(i64::MAX).into(),
        ];
        for _ in 0..TRIES {
            let taken = link.look(async |session| take(session, &values).await)?;
            let epoch = match taken {
                Taken::Claimed(epoch) => u64::try_from(epoch).unwrap_or(0),
                Taken::By { host, pid, left_ms } => {
                    return Err(JournalError::Claimed {
                        pair: name.to_owned(),
                        host,
                        pid,
                        left_ms,
                    });
                }
                Taken::Locked => continue,
            };
            let mine = Mine {
                name: name.to_owned(),
                epoch,
                over: None,
            };
            held.pairs.lock().insert(pair, mine);
            return Ok(epoch);
        }
        Err(JournalError::Claimed {
            pair: name.to_owned(),
            host: "an unfinished transaction".to_owned(),
            pid: 0,
            left_ms: 0,
        })
    }

    /// Gives a pair back.
    pub(super) fn release(&self, name: &str) -> Result<(), JournalError> {
        let Shared { link, held, .. } = &*self.shared;
        let mut link = link.lock();
        let found = {
            let mut pairs = held.pairs.lock();
            let pair = pairs.iter().find(|(_, mine)| mine.name == name);
            let pair = pair.map(|(pair, _)| *pair);
            pair.and_then(|pair| Some((pair, pairs.remove(&pair)?.epoch)))
        };
        let Some((pair, epoch)) = found else {
            return Ok(());
        };
        let sql = "UPDATE pair SET claim_owner = NULL, claim_until = NULL \
                   WHERE id = ?1 AND claim_owner = ?2 AND claim_epoch = ?3";
        let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
        let values = [pair.into(), held.owner().into(), epoch.into()];
        link.look(async |session| session.execute(sql, &values).await)
            .map(drop)
    }
}

impl Drop for Claims {
    /// Ends the renewal and gives back what is held, if the server is there.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let Shared { link, held, .. } = &*self.shared;
        let owner = [held.owner().into()];
        let _ = link.lock().look(async |session| {
            let sql = "UPDATE pair SET claim_owner = NULL, claim_until = NULL \
                       WHERE claim_owner = ?1";
            session.execute(sql, &owner).await?;
            let sql = "DELETE FROM controller WHERE id = ?1";
            session.execute(sql, &owner).await
        });
    }
}

impl Shared {
    fn renew(&self) -> Result<(), JournalError> {
        let mut link = self.link.lock();
        let values: [Value; 2] = [self.held.owner().into(), milliseconds(self.lease).into()];
        let rows = link.look(async |session| renew(session, &values).await)?;
        let mut pairs = self.held.pairs.lock();
        for (pair, mine) in pairs.iter_mut() {
            let stands =
                |(id, epoch): &(i64, i64)| id == pair && u64::try_from(*epoch) == Ok(mine.epoch);
            if !rows.iter().any(stands) {
                mine.over.get_or_insert_with(|| JournalError::Fenced {
                    pair: mine.name.clone(),
                    epoch: mine.epoch,
                });
            }
        }
        Ok(())
    }
}

async fn renew(session: &mut Session, values: &[Value]) -> Query<Vec<(i64, i64)>> {
    let sql = "UPDATE controller SET seen = now() WHERE id = ?1";
    session.execute(sql, &values[..1]).await?;
    let sql = "UPDATE pair SET claim_until = now() + CAST(?2 AS bigint) * interval '1 ms' \
               WHERE claim_owner = ?1 RETURNING id, claim_epoch";
    let rows = session.rows(sql, values).await?;
    let read = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(read).collect()
}

enum Taken {
    Claimed(i64),
    /// Another controller has it.
    By {
        host: String,
        pid: i64,
        left_ms: i64,
    },
    /// Nobody has it, or this controller itself, and its row is locked.
    Locked,
}

/// Takes a claim that nobody has, whose lease is over, or that this controller has. A claim that
/// has to be above a higher epoch than the row's shows that the database went back. A row that
/// another controller's transaction has locked is not waited for; one of an own transaction that
/// nobody knows the end of is.
async fn take(session: &mut Session, values: &[Value]) -> Query<Taken> {
    let sql = |locked: &str| {
        format!(
            "UPDATE pair SET rows_lost = CASE WHEN claim_epoch < CAST(?5 AS bigint) \
             THEN 1 + (SELECT coalesce(max(id), 0) FROM run) ELSE rows_lost END, \
             claim_epoch = CASE WHEN claim_owner = ?2 \
             AND CAST(?4 AS bigint) = 0 AND claim_epoch > CAST(?5 AS bigint) THEN claim_epoch \
             ELSE greatest(claim_epoch, CAST(?5 AS bigint)) + 1 END, claim_owner = ?2, \
             claim_until = now() + CAST(?3 AS bigint) * interval '1 ms' WHERE id = (SELECT id \
             FROM pair WHERE id = ?1 AND (claim_owner IS NULL OR claim_owner = ?2 \
             OR claim_until < now()) FOR UPDATE {locked}) RETURNING claim_epoch"
        )
    };
    if let Some(epoch) = session.number(&sql("SKIP LOCKED"), values).await? {
        return Ok(Taken::Claimed(epoch));
    }
    let who = "SELECT c.host, c.pid, CAST(extract(epoch FROM p.claim_until - now()) * 1000 AS \
               bigint) FROM pair p LEFT JOIN controller c ON c.id = p.claim_owner \
               WHERE p.id = ?1 AND p.claim_owner <> ?2 AND p.claim_until >= now()";
    let rows = session.rows(who, &values[..2]).await?;
    if let Some(row) = rows.first() {
        return Ok(Taken::By {
            host: row.try_get::<_, Option<String>>(0)?.unwrap_or_default(),
            pid: row.try_get::<_, Option<i64>>(1)?.unwrap_or(0),
            left_ms: row.try_get::<_, Option<i64>>(2)?.unwrap_or(0),
        });
    }
    let waited = session.number(&sql(""), values).await?;
    Ok(waited.map_or(Taken::Locked, Taken::Claimed))
}

/// Who works on what.
pub(super) async fn claims(session: &mut Session) -> Query<Vec<Claimed>> {
    let sql = "SELECT p.name, p.claim_epoch, c.host, c.pid, \
               CAST(extract(epoch FROM p.claim_until - now()) * 1000 AS bigint) \
               FROM pair p LEFT JOIN controller c ON c.id = p.claim_owner ORDER BY p.name";
    let rows = session.rows(sql, &[]).await?;
    let read = |row: &tokio_postgres::Row| {
        let host: Option<String> = row.try_get(2)?;
        let pid: Option<i64> = row.try_get(3)?;
        Ok(Claimed {
            pair: row.try_get(0)?,
            epoch: u64::try_from(row.try_get::<_, i64>(1)?).unwrap_or(0),
            by: host.zip(pid),
            left_ms: row.try_get(4)?,
        })
    };
    rows.iter().map(read).collect()
}

fn milliseconds(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}
