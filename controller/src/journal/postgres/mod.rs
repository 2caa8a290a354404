//! The journal in `PostgreSQL`, for several controllers.
//!
//! # What it is for
//!
//! Many controllers work on the pairs of one fleet: each claims pairs ([`claims`]), and a pair
//! whose controller has died is taken by another one.
//!
//! # What it promises
//!
//! As the journal in a file: what has its receipt is on the server's disk, and what is written is
//! in order. A controller writes only to pairs that it has claimed, and nothing once it has lost a
//! claim ([`JournalError::Fenced`]). A server whose COMMIT would not be durable is refused. A
//! server that was replaced by a standby under a running controller is noticed
//! ([`JournalError::Timeline`]): what was decided last may be missing there.
//!
//! # What a crash leaves
//!
//! Of each pair every change up to some point, in order, and none after it. If the server does not
//! answer, the claims to the pairs whose changes were under way are over ([`JournalError::Lost`]),
//! and the other pairs go on; [`super::JournalStore::pair`] claims such a pair again, with a higher
//! epoch, and then its rows say what was decided.
//!
//! There is no TLS: see [`address`].

mod address;
mod claims;
pub(super) mod errors;
mod schema;
mod session;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::JournalError;
use super::claim::{Claim, Claimed};
use super::columns::Query;
use super::queries::{Ask, Value};
use super::sql::{Op, Sql, Store, View};
use super::writer::Writer;
use address::Address;
use claims::{Claims, Held};
use session::{Link, Session};
use write::Committer;

/// How long a claim lasts without being renewed.
pub const LEASE: Duration = Duration::from_secs(30);

/// Tables on a server.
pub struct Postgres {
    address: Arc<Address>,
    /// Ends before the claims are given back.
    writer: Option<Writer>,
    claims: Option<Claims>,
    reader: Mutex<Link>,
    warnings: Vec<String>,
}

/// The journals of all pairs, on a server.
pub type PostgresStore = Store<Postgres>;

/// A journal on a server: one pair's of a [`PostgresStore`].
pub type PostgresJournal = View<Postgres>;

/// Whether this names a server, and not a file.
#[must_use]
pub fn is_postgres(state: &str) -> bool {
    state.starts_with("postgres://") || state.starts_with("postgresql://")
}

impl PostgresStore {
    /// Opens the journals on a server, and makes the tables if there are none. Claims end after
    /// `lease` if they are not renewed, which this does by itself.
    ///
    /// # Errors
    /// The server does not answer, or cannot carry a journal; or the tables are of another version.
    pub fn open(url: &str, lease: Duration) -> Result<Self, JournalError> {
        let address = Arc::new(Address::parse(url)?);
        let mut reader = Link::new(Arc::clone(&address))?;
        reader.run(async |session| schema::prepare(session, true).await)?;
        let (owner, warnings) = reader.run(async |session| enter(session).await)?;
        let thread = |error: std::io::Error| JournalError::Io {
            path: address.label.clone(),
            kind: error.kind(),
            text: error.to_string(),
        };
        let held = Arc::new(Held::new(owner));
        let link = Link::new(Arc::clone(&address))?;
        let claims = Claims::start(link, Arc::clone(&held), lease).map_err(thread)?;
        let link = Link::new(Arc::clone(&address))?;
        let writer = Writer::start(Committer { link, held }).map_err(thread)?;
        Ok(Self(Arc::new(Postgres {
            address: Arc::clone(&address),
            writer: Some(writer),
            claims: Some(claims),
            reader: Mutex::new(reader),
            warnings,
        })))
    }

    /// Opens the journals on a server for reading.
    ///
    /// # Errors
    /// As [`PostgresStore::open`], or there are no tables.
    pub fn open_read_only(url: &str) -> Result<Self, JournalError> {
        let address = Arc::new(Address::parse(url)?);
        let mut reader = Link::new(Arc::clone(&address))?;
        reader.run(async |session| schema::prepare(session, false).await)?;
        Ok(Self(Arc::new(Postgres {
            address,
            writer: None,
            claims: None,
            reader: Mutex::new(reader),
            warnings: Vec::new(),
        })))
    }

    /// What an operator should know of this server, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Claims a pair, with an epoch above `above`: a slotd may have seen a higher one than a
    /// database that was brought back from a copy. [`super::JournalStore::pair`] claims too, above
    /// 0; a journal that it gave before writes nothing more if the epoch has risen.
    ///
    /// # Errors
    /// Another controller has it, or the server does not answer.
    pub fn claim(&self, pair: &str, above: u64) -> Result<Claim, JournalError> {
        let of = super::sql::view(Arc::clone(&self.0), pair)?.pair();
        let Some(claims) = &self.0.claims else {
            return Err(read_only());
        };
        Ok(Claim {
            pair: pair.to_owned(),
            epoch: claims.claim(of, pair, above)?,
        })
    }

    /// Renews all claims of this controller, which happens each third of the lease anyway.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn renew(&self) -> Result<(), JournalError> {
        self.0.claims.as_ref().map_or(Ok(()), Claims::renew)
    }

    /// Gives the claim to a pair back, so that another controller may take it at once.
    ///
    /// # Errors
    /// The server does not answer: the claim ends with its lease.
    pub fn release(&self, pair: &str) -> Result<(), JournalError> {
        let claims = self.0.claims.as_ref();
        claims.map_or(Ok(()), |claims| claims.release(pair))
    }
}

fn read_only() -> JournalError {
    JournalError::Poisoned {
        first: "it was opened for reading only".to_owned(),
    }
}

/// Notes that a controller is there, and sees whether the server is the one of the last time.
async fn enter(session: &mut Session) -> Query<(String, Vec<String>)> {
    let mut warnings = Vec::new();
    let now = session.timeline.clone();
    let rows = session
        .rows("SELECT system_identifier, timeline FROM journal", &[])
        .await?;
    if let Some(row) = rows.first() {
        let before = address::Timeline {
            system: row.try_get(0)?,
            timeline: row.try_get(1)?,
        };
        if before != now {
            warnings.push(format!(
                "the database is {now}, and was {before}: it was restored, or a standby has taken \
                 over; what was decided last may be missing, and the hosts are asked"
            ));
            session
                .execute(
                    "UPDATE pair SET rows_lost = 1 + (SELECT coalesce(max(id), 0) FROM run)",
                    &[],
                )
                .await?;
            let sql = "UPDATE journal SET system_identifier = ?1, timeline = ?2";
            let values = [now.system.as_str().into(), now.timeline.as_str().into()];
            session.execute(sql, &values).await?;
        }
    }
    let sql = "SELECT count(*) FROM pg_stat_replication HAVING count(*) > 0 \
               AND count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) = 0";
    if let Some(standbys) = session.number(sql, &[]).await? {
        warnings.push(format!(
            "none of the {standbys} standby(s) of the database is synchronous: if one takes over, \
             the last decisions are missing there; set synchronous_standby_names"
        ));
    }
    let host = nix::unistd::gethostname().unwrap_or_default();
    let sql = "INSERT INTO controller (id, host, pid, started, seen) \
               VALUES (gen_random_uuid()::text, ?1, ?2, now(), now()) RETURNING id";
    let values: [Value; 2] = [
        host.to_string_lossy().as_ref().into(),
        i64::from(std::process::id()).into(),
    ];
    let rows = session.rows(sql, &values).await?;
    let owner = rows
        .first()
        .map_or(Ok(String::new()), |row| row.try_get(0))?;
    // Of controllers that died long ago.
    let sql = "DELETE FROM controller WHERE seen < now() - interval '7 days' \
               AND id NOT IN (SELECT claim_owner FROM pair WHERE claim_owner IS NOT NULL)";
    session.execute(sql, &[]).await?;
    Ok((owner, warnings))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // What was submitted is written while the claims stand.
        drop(self.writer.take());
    }
}

impl Sql for Postgres {
    fn path(&self) -> &Path {
        &self.address.label
    }

    fn is_writable(&self) -> bool {
        self.writer.is_some()
    }

    fn new_id(&self, _: &str) -> Result<String, JournalError> {
        let sql = "SELECT substr(replace(gen_random_uuid()::text, '-', ''), 1, 16)";
        self.reader.lock().look(async |session| {
            let rows = session.rows(sql, &[]).await?;
            Ok(rows
                .first()
                .map_or(Ok(String::new()), |row| row.try_get(0))?)
        })
    }

    fn claim(&self, pair: i64, name: &str, above: u64) -> Result<Option<u64>, JournalError> {
        let Some(claims) = &self.claims else {
            return Ok(None);
        };
        claims.claim(pair, name, above).map(Some)
    }

    fn rows_lost(&self, pair: i64) -> Result<bool, JournalError> {
        let sql = "SELECT rows_lost FROM pair WHERE id = ?1";
        let mut reader = self.reader.lock();
        let lost = reader.look(async |session| session.number(sql, &[pair.into()]).await)?;
        Ok(lost.is_some_and(|since| since > 0))
    }

    fn claims(&self) -> Result<Vec<Claimed>, JournalError> {
        let mut reader = self.reader.lock();
        reader.look(async |session| claims::claims(session).await)
    }

    fn ask<T: Send>(&self, ask: Ask<T>) -> Result<Vec<T>, JournalError> {
        self.reader.lock().look(async |session| {
            let rows = session.rows(&ask.sql, &ask.values).await?;
            rows.iter().map(|row| (ask.read)(row)).collect()
        })
    }

    fn submit(&self, op: Op) {
        match &self.writer {
            Some(writer) => writer.submit(op),
            None => _ = op.done.send(Err(read_only())),
        }
    }
}
