//! One connection, and what it has to be before anything is believed to be durable.
//!
//! # What it promises
//!
//! A session that was opened is to a server that writes to disk before it answers a COMMIT, and is
//! the one that the first session was to. Every wait has a bound. A session that did not answer is
//! never used again: the next one is new.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Row, Socket, Statement};

use super::super::JournalError;
use super::super::columns::{Fault, Query};
use super::super::queries::Value;
use super::address::{Address, Timeline};
use super::errors::{failed as failure, unfit};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How many statements are on their way at once.
const AT_ONCE: usize = 256;
/// The first version with `client_connection_check_interval`.
const OLDEST: i64 = 140_000;

/// A connection that can be made again.
pub(super) struct Link {
    address: Arc<Address>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    session: Option<Session>,
}

impl Drop for Link {
    /// A runtime that waits for its end must not be dropped by another one's thread; this one has
    /// nothing to wait for.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Link {
    pub(super) fn new(address: Arc<Address>) -> Result<Self, JournalError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| JournalError::Io {
                path: address.label.clone(),
                kind: error.kind(),
                text: error.to_string(),
            })?;
        Ok(Self {
            address,
            runtime: Some(runtime),
            session: None,
        })
    }

    /// Does some work in a session, which is made if there is none. After an error of which nobody
    /// knows what it left the session is closed.
    pub(super) fn run<T: Send>(
        &mut self,
        mut work: impl AsyncFnMut(&mut Session) -> Query<T> + Send,
    ) -> Result<T, JournalError> {
        let Self {
            address,
            runtime,
            session,
        } = self;
        let address = &**address;
        let runtime = runtime.as_ref().ok_or_else(super::super::writer_ended)?;
        off_runtime(|| {
            runtime.block_on(async {
                let taken = session.take().filter(|s| !s.client.is_closed());
                let mut open = match taken {
                    Some(open) => open,
                    None => Session::open(address).await?,
                };
                match tokio::time::timeout(ANSWER, work(&mut open)).await {
                    Ok(Ok(value)) => {
                        *session = Some(open);
                        Ok(value)
                    }
                    Ok(Err(fault)) => {
                        open.close().await;
                        Err(fault.into_error(&address.label))
                    }
                    Err(_) => {
                        open.close().await;
                        Err(JournalError::Postgres {
                            server: address.name(),
                            text: format!("no answer for {} s", ANSWER.as_secs()),
                        })
                    }
                }
            })
        })
    }

    /// As [`Link::run`], in the session of the last call or not at all: in a transaction.
    pub(super) fn go_on<T: Send>(
        &mut self,
        work: impl AsyncFnMut(&mut Session) -> Query<T> + Send,
    ) -> Result<T, JournalError> {
        if self.session.as_ref().is_none_or(|s| s.client.is_closed()) {
            return Err(JournalError::Postgres {
                server: self.address.name(),
                text: "the connection was closed in a transaction".to_owned(),
            });
        }
        self.run(work)
    }

    /// As [`Link::run`], for what can be repeated: a connection that was closed meanwhile is made
    /// again, once.
    pub(super) fn look<T: Send>(
        &mut self,
        mut work: impl AsyncFnMut(&mut Session) -> Query<T> + Send,
    ) -> Result<T, JournalError> {
        let had = self.session.is_some();
        match self.run(&mut work) {
            Err(JournalError::Postgres { .. }) if had => self.run(work),
            result => result,
        }
    }
}

/// Blocks the thread: a runtime's own thread may not, so there another one does.
fn off_runtime<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if tokio::runtime::Handle::try_current().is_err() {
        return work();
    }
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A connection.
pub(super) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    statements: HashMap<String, Statement>,
    /// A COMMIT was answered before all that was to have it had it.
    doubted: Arc<AtomicBool>,
    pub(super) timeline: Timeline,
}

impl Session {
    async fn open(address: &Address) -> Result<Self, JournalError> {
        let failed = |error: tokio_postgres::Error| failure(&address.label, &error);
        let connect = address.config.connect(NoTls);
        let Ok(connected) = tokio::time::timeout(ANSWER, connect).await else {
            return Err(JournalError::Postgres {
                server: address.name(),
                text: format!("no connection within {} s", ANSWER.as_secs()),
            });
        };
        let (client, connection) = connected.map_err(failed)?;
        let doubted = Arc::new(AtomicBool::new(false));
        let driver = tokio::spawn(drive(connection, Arc::clone(&doubted)));
        let checks = check(&client, address);
        let Ok(timeline) = tokio::time::timeout(ANSWER, checks).await else {
            return Err(JournalError::Postgres {
                server: address.name(),
                text: format!("no answer for {} s", ANSWER.as_secs()),
            });
        };
        let timeline = timeline?;
        address.same(&timeline)?;
        Ok(Self {
            client,
            driver,
            statements: HashMap::new(),
            doubted,
            timeline,
        })
    }

    /// Closes the connection at once, so that the server ends its transaction.
    async fn close(self) {
        self.driver.abort();
        let _ = self.driver.await;
    }

    /// Executes statements that have no parameters.
    pub(super) async fn batch(&self, sql: &str) -> Query<()> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Commits.
    ///
    /// # Errors
    /// It may be committed all the same.
    pub(super) async fn commit(&self) -> Query<()> {
        self.batch("COMMIT").await?;
        if self.doubted.load(Ordering::Acquire) {
            return Err(Fault::Doubted);
        }
        Ok(())
    }

    pub(super) async fn rows(&mut self, sql: &str, values: &[Value]) -> Query<Vec<Row>> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, &references(values)).await?)
    }

    /// The number in the first column of the first row.
    pub(super) async fn number(&mut self, sql: &str, values: &[Value]) -> Query<Option<i64>> {
        let rows = self.rows(sql, values).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(row.try_get(0)?)
    }

    /// How many rows a statement has changed.
    pub(super) async fn execute(&mut self, sql: &str, values: &[Value]) -> Query<u64> {
        let statement = self.statement(sql).await?;
        Ok(self.client.execute(&statement, &references(values)).await?)
    }

    /// Executes statements in their order without waiting for each one's answer.
    pub(super) async fn pipeline(&mut self, all: &[(&'static str, Vec<Value>)]) -> Query<()> {
        for some in all.chunks(AT_ONCE) {
            let mut statements = Vec::with_capacity(some.len());
            for (sql, values) in some {
                statements.push((self.statement(sql).await?, references(values)));
            }
            let client = &self.client;
            let sent = statements
                .iter()
                .map(|(statement, values)| client.execute(statement, values));
            in_order(sent.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    async fn statement(&mut self, sql: &str) -> Query<Statement> {
        if let Some(known) = self.statements.get(sql) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(&translated(sql)).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// The journal's SQL, as `PostgreSQL` has it.
fn translated(sql: &str) -> String {
    let mut out = sql.replace('?', "$").replace("CROSS JOIN", "JOIN");
    for index in ["mailbox_walk", "mailbox_state"] {
        out = out.replace(&format!("INDEXED BY {index} "), "");
    }
    out
}

/// Each is sent when it is polled for the first time, so in this order; then all are awaited.
async fn in_order<F: Future<Output = Result<u64, tokio_postgres::Error>>>(
    sent: Vec<F>,
) -> Query<()> {
    let mut waiting: Vec<Pin<Box<F>>> = sent.into_iter().map(Box::pin).collect();
    let mut first = None;
    poll_fn(|context| {
        waiting.retain_mut(|one| match one.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                first = first.take().or(result.err());
                false
            }
        });
        if waiting.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    first.map_or(Ok(()), |error| Err(error.into()))
}

/// Does the work of a connection until it ends, and sees what the server warns of. A COMMIT that
/// was cancelled while it waited for a standby is answered as if it were done.
async fn drive<T>(mut connection: Connection<Socket, T>, doubted: Arc<AtomicBool>)
where
    T: tokio_postgres::tls::TlsStream + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notice(notice) = message
            && notice.code().code() == "01000"
        {
            doubted.store(true, Ordering::Release);
        }
    }
}

/// Sees that what this server calls durable is.
async fn check(client: &Client, address: &Address) -> Result<Timeline, JournalError> {
    let failed = |error: tokio_postgres::Error| failure(&address.label, &error);
    let name = address.name();
    let sql = "SELECT current_setting('server_version_num')::bigint, pg_is_in_recovery(), \
               current_setting('fsync'), current_setting('full_page_writes'), \
               current_setting('synchronous_commit'), \
               coalesce(current_setting('client_connection_check_interval', true), '')";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    let text = |column: usize| row.try_get::<_, String>(column).map_err(failed);
    let version: i64 = row.try_get(0).map_err(failed)?;
    if version < OLDEST {
        return Err(unfit(&name, "it is older than PostgreSQL 14"));
    }
    if row.try_get(1).map_err(failed)? {
        return Err(unfit(&name, "it is a standby"));
    }
    for (column, setting) in [(2, "fsync"), (3, "full_page_writes")] {
        if text(column)? != "on" {
            let what = format!("{setting} is off: a crash would lose decisions or the database");
            return Err(unfit(&name, &what));
        }
    }
    if text(5)? != "200ms" {
        let what = "the settings of a session do not reach it: a connection pooler in between \
                    cannot be used, give the address of PostgreSQL itself";
        return Err(unfit(&name, what));
    }
    // What waits for a standby besides stays as it is.
    if !["on", "remote_apply"].contains(&text(4)?.as_str()) {
        let on = "SET synchronous_commit = on";
        client.batch_execute(on).await.map_err(failed)?;
    }
    let sql = "SELECT system_identifier::text, \
               substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM pg_control_system()";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    Ok(Timeline {
        system: row.try_get(0).map_err(failed)?,
        timeline: row.try_get(1).map_err(failed)?,
    })
}

fn references(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|v| v as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Value {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Number(number) => number.to_sql(of, out),
            Self::Text(text) => text.to_sql(of, out),
            Self::Numbers(numbers) => numbers.to_sql(of, out),
            Self::Texts(texts) => texts.to_sql(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        [Type::INT8, Type::TEXT, Type::INT8_ARRAY, Type::TEXT_ARRAY].contains(of)
    }

    to_sql_checked!();
}
