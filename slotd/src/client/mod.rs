//! The other end of the wire: one connection to one slotd.
//!
//! Every call has a deadline. After a deadline passed, or the connection broke, the connection
//! refuses further calls: a late reply would be taken for the answer to the next command. Dropping
//! the client closes the connection, and the server then rolls back what is not committed.

mod addr;
mod error;

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

pub use addr::{Addr, AddrError};
pub use error::ClientError;

use crate::protocol::{
    Clean, Cleaned, Command, Commit, Committed, Complete, Completed, Confirmed, DigestRange,
    Digests, DrainRequest, FieldError, Fields, Greeting, GuidEntry, GuidPage, GuidRange, HostDrain,
    HostFacts, HostStatus, Kicked, ListRange, Listed, Lock, MAX_LINE, MailboxFacts, Named, Prepare,
    Prepared, Reply, Revoked, Sha1sChunk, Sha1sRange, Status, Undrained, Upgrade, Upgraded,
    Verified, Verify,
};
use crate::tls::{ConnectError, Credentials, Refused};

/// How long a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to a command that should be answered at once.
    pub call: Duration,
    /// For the answer to a command that reads messages: `UPGRADE`, `PREPARE`, `VERIFY`.
    pub work: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(30),
            work: Duration::from_secs(600),
        }
    }
}

/// Anything bytes can go through both ways; a simulation brings its own.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One connection to a slotd.
pub struct Client {
    addr: Addr,
    timeouts: Timeouts,
    stream: BufReader<Box<dyn Stream>>,
    broken: bool,
    /// What came before anything was asked for.
    first: Option<Reply>,
}

impl Client {
    /// Connects, where no certificate is needed.
    ///
    /// # Errors
    /// As [`Client::connect_as`].
    pub async fn connect(addr: &Addr, timeouts: Timeouts) -> Result<Client, ClientError> {
        Client::connect_as(addr, None, timeouts).await
    }

    /// Connects, and shows these credentials where there is TLS.
    ///
    /// # Errors
    /// [`ClientError::Connect`] if nobody answers there in time; [`ClientError::is_untrusted`].
    pub async fn connect_as(
        addr: &Addr,
        credentials: Option<&Credentials>,
        timeouts: Timeouts,
    ) -> Result<Client, ClientError> {
        let failed = |source| ClientError::Connect {
            addr: addr.clone(),
            source,
        };
        let open = async {
            let stream: Box<dyn Stream> = match addr {
                Addr::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(failed)?),
                Addr::Tcp { host, port } => Box::new(tcp(host, *port).await.map_err(failed)?),
                Addr::Tls { host, port } => {
                    let needed = || ClientError::NoCertificate { addr: addr.clone() };
                    let credentials = credentials.ok_or_else(needed)?;
                    let stream = tcp(host, *port).await.map_err(failed)?;
                    return Client::trusted(addr, stream, credentials, timeouts).await;
                }
            };
            Ok(Client::from_stream(stream, addr.clone(), timeouts))
        };
        match timeout(timeouts.connect, open).await {
            Ok(opened) => opened,
            Err(_) => Err(failed(std::io::ErrorKind::TimedOut.into())),
        }
    }

    /// Goes on with TLS, and asks for nothing before the other end has accepted our certificate:
    /// that is not known when the handshake is over, but with the first answer.
    async fn trusted(
        addr: &Addr,
        stream: TcpStream,
        credentials: &Credentials,
        timeouts: Timeouts,
    ) -> Result<Client, ClientError> {
        let Addr::Tls { host, .. } = addr else {
            return Err(ClientError::NoCertificate { addr: addr.clone() });
        };
        let failed = |source| ClientError::Connect {
            addr: addr.clone(),
            source,
        };
        let refused = |refused| ClientError::Certificate {
            addr: addr.clone(),
            refused,
        };
        let connected = credentials.connect(host, stream).await;
        let (stream, own) = connected.map_err(|error| match error {
            ConnectError::Refused(why) => refused(why),
            ConnectError::Io(source) => failed(source),
        })?;
        let mut client = Client::from_stream(Box::new(stream), addr.clone(), timeouts);
        match client.exchange(&Command::Hello).await {
            Ok(Reply::Ok(_)) => {}
            // It closes: what we ask for first is answered so.
            Ok(reply) => client.first = Some(reply),
            Err(ClientError::Io { source, .. }) => {
                return Err(match Refused::of(&source, Some(&own)) {
                    Some(why) => refused(why),
                    None => failed(source),
                });
            }
            Err(ClientError::Closed { .. }) => {
                let text = "it closed the connection after the handshake";
                return Err(failed(std::io::Error::other(text)));
            }
            Err(error) => return Err(error),
        }
        Ok(client)
    }

    /// Speaks over a stream that is already connected; `addr` is only for messages.
    #[must_use]
    pub fn from_stream(stream: Box<dyn Stream>, addr: Addr, timeouts: Timeouts) -> Client {
        Client {
            addr,
            timeouts,
            stream: BufReader::new(stream),
            broken: false,
            first: None,
        }
    }

    /// Where this client is connected to.
    #[must_use]
    pub fn addr(&self) -> &Addr {
        &self.addr
    }

    /// Whether further calls are refused because an earlier one was left without its answer.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends a command and waits for its reply, whatever it is.
    ///
    /// # Errors
    /// No reply came, or none that is one.
    pub async fn call(&mut self, command: &Command) -> Result<Reply, ClientError> {
        let limit = self.limit_of(command);
        self.call_within(command, limit).await
    }

    /// As [`Client::call`], with a deadline of its own.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_within(
        &mut self,
        command: &Command,
        limit: Duration,
    ) -> Result<Reply, ClientError> {
        if self.broken {
            return Err(ClientError::Broken {
                addr: self.addr.clone(),
            });
        }
        if let Some(reply) = self.first.take() {
            return Ok(reply);
        }
        // Broken until proven otherwise: also if this future is dropped half-way.
        self.broken = true;
        let reply = match timeout(limit, self.exchange(command)).await {
            Ok(reply) => reply?,
            Err(_) => {
                return Err(ClientError::Timeout {
                    addr: self.addr.clone(),
                    command: command.name(),
                    limit,
                });
            }
        };
        self.broken = false;
        Ok(reply)
    }

    async fn exchange(&mut self, command: &Command) -> Result<Reply, ClientError> {
        let name = command.name();
        let addr = self.addr.clone();
        let io = |source| ClientError::Io {
            addr: addr.clone(),
            command: name,
            source,
        };
        self.stream
            .write_all(command.to_line().as_bytes())
            .await
            .map_err(io)?;
        self.stream.flush().await.map_err(io)?;
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        (&mut self.stream)
            .take(limit)
            .read_until(b'\n', &mut line)
            .await
            .map_err(io)?;
        if line.is_empty() {
            return Err(ClientError::Closed {
                addr,
                command: name,
            });
        }
        if !line.ends_with(b"\n") && line.len() < MAX_LINE {
            return Err(ClientError::Closed {
                addr,
                command: name,
            });
        }
        Reply::parse(&line).map_err(|source| ClientError::Reply {
            addr,
            command: name,
            source,
        })
    }

    /// The deadline of a command: what it waits for by itself comes on top.
    fn limit_of(&self, command: &Command) -> Duration {
        match command {
            Command::Lock(lock) => self
                .timeouts
                .call
                .saturating_add(lock.wait.unwrap_or_default()),
            Command::Upgrade(_) | Command::Prepare(_) | Command::Verify(_) => self.timeouts.work,
            // It looks at every mailbox of the store.
            Command::Complete(_) => self.timeouts.work.saturating_mul(6),
            _ => self.timeouts.call,
        }
    }

    /// Sends a command and takes nothing but OK for an answer.
    ///
    /// # Errors
    /// No reply, `NO` as [`ClientError::Refused`], or `BAD`.
    pub async fn ask(&mut self, command: &Command) -> Result<Fields, ClientError> {
        match self.call(command).await? {
            Reply::Ok(fields) => Ok(fields),
            Reply::No { code, text } => Err(ClientError::Refused { code, text }),
            Reply::Bad(text) => Err(ClientError::Bad {
                addr: self.addr.clone(),
                command: command.name(),
                text,
            }),
        }
    }

    async fn typed<T>(
        &mut self,
        command: Command,
        read: impl Fn(&Fields) -> Result<T, FieldError>,
    ) -> Result<T, ClientError> {
        let fields = self.ask(&command).await?;
        read(&fields).map_err(|source| ClientError::Field {
            addr: self.addr.clone(),
            command: command.name(),
            source,
        })
    }

    /// `HELLO`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn hello(&mut self) -> Result<Greeting, ClientError> {
        self.typed(Command::Hello, Greeting::from_fields).await
    }

    /// `PREFLIGHT`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn preflight(&mut self) -> Result<HostFacts, ClientError> {
        self.typed(Command::Preflight, HostFacts::from_fields).await
    }

    /// `REGISTER`: this connection is one of the coordinator with that journal, and with that
    /// epoch if there is one.
    ///
    /// # Errors
    /// As [`Client::ask`]; [`crate::protocol::Code::Busy`] if another one is at work,
    /// [`crate::protocol::Code::Fenced`] if one has taken over.
    pub async fn register(
        &mut self,
        journal: &str,
        epoch: Option<u64>,
    ) -> Result<Greeting, ClientError> {
        let journal = journal.to_owned();
        let register = Command::Register { journal, epoch };
        self.typed(register, Greeting::from_fields).await
    }

    /// `LOCK`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn lock(&mut self, lock: Lock) -> Result<MailboxFacts, ClientError> {
        self.typed(Command::Lock(lock), MailboxFacts::from_fields)
            .await
    }

    /// `UPGRADE`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn upgrade(&mut self, upgrade: Upgrade) -> Result<Upgraded, ClientError> {
        self.typed(Command::Upgrade(upgrade), Upgraded::from_fields)
            .await
    }

    /// `GUIDS`, one page.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn guids(&mut self, range: GuidRange) -> Result<GuidPage, ClientError> {
        self.typed(Command::Guids(range), GuidPage::from_fields)
            .await
    }

    /// `GUIDS`, all pages.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn all_guids(&mut self) -> Result<Vec<GuidEntry>, ClientError> {
        let mut all = Vec::new();
        let mut from = 0;
        loop {
            let page = self
                .guids(GuidRange {
                    from,
                    ..GuidRange::default()
                })
                .await?;
            all.extend_from_slice(&page.entries);
            match page.next {
                // A server that does not move on would keep us here for ever.
                Some(next) if next > from => from = next,
                _ => return Ok(all),
            }
        }
    }

    /// `COMMIT`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn commit(&mut self, commit: Commit) -> Result<Committed, ClientError> {
        self.typed(Command::Commit(commit), Committed::from_fields)
            .await
    }

    /// `RELEASE`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn release(&mut self, drop_old: bool) -> Result<Committed, ClientError> {
        self.typed(Command::Release { drop_old }, Committed::from_fields)
            .await
    }

    /// `DIGESTS`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn digests(&mut self, range: DigestRange) -> Result<Digests, ClientError> {
        self.typed(Command::Digests(range), Digests::from_fields)
            .await
    }

    /// `CONFIRM`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn confirm(&mut self) -> Result<Confirmed, ClientError> {
        self.typed(Command::Confirm, Confirmed::from_fields).await
    }

    /// `ROLLBACK`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn rollback(&mut self) -> Result<(), ClientError> {
        self.typed(Command::Rollback, |_| Ok(())).await
    }

    /// `PREPARE`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn prepare(&mut self, prepare: Prepare) -> Result<Prepared, ClientError> {
        self.typed(Command::Prepare(prepare), Prepared::from_fields)
            .await
    }

    /// `LIST`, one page.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn list(&mut self, range: ListRange) -> Result<Listed, ClientError> {
        self.typed(Command::List(range), Listed::from_fields).await
    }

    /// `SHA1S`, one piece.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn sha1s(&mut self, range: Sha1sRange) -> Result<Sha1sChunk, ClientError> {
        self.typed(Command::Sha1s(range), Sha1sChunk::from_fields)
            .await
    }

    /// `STATUS`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn status(&mut self, of: Named) -> Result<Status, ClientError> {
        self.typed(Command::Status(of), Status::from_fields).await
    }

    /// `STATUS` without a mailbox
    ///
    /// # Errors
    /// As [`Client::ask`]; a server of a release that does not know it answers BAD.
    pub async fn host_status(&mut self) -> Result<HostStatus, ClientError> {
        self.typed(Command::HostStatus, HostStatus::from_fields)
            .await
    }

    /// `VERIFY`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn verify(&mut self, verify: Verify) -> Result<Verified, ClientError> {
        self.typed(Command::Verify(verify), Verified::from_fields)
            .await
    }

    /// `COMPLETE`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn complete(&mut self, complete: Complete) -> Result<Completed, ClientError> {
        self.typed(Command::Complete(complete), Completed::from_fields)
            .await
    }

    /// `REVOKE`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn revoke(&mut self) -> Result<Revoked, ClientError> {
        self.typed(Command::Revoke, Revoked::from_fields).await
    }

    /// `HOST`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn host(&mut self) -> Result<HostDrain, ClientError> {
        self.typed(Command::Host, HostDrain::from_fields).await
    }

    /// `DRAIN`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn drain(&mut self, drain: DrainRequest) -> Result<HostDrain, ClientError> {
        self.typed(Command::Drain(drain), HostDrain::from_fields)
            .await
    }

    /// `KICK`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn kick(&mut self) -> Result<Kicked, ClientError> {
        self.typed(Command::Kick, Kicked::from_fields).await
    }

    /// `UNDRAIN`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn undrain(&mut self) -> Result<Undrained, ClientError> {
        self.typed(Command::Undrain, Undrained::from_fields).await
    }

    /// `CLEAN`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn clean(&mut self, clean: Clean) -> Result<Cleaned, ClientError> {
        self.typed(Command::Clean(clean), Cleaned::from_fields)
            .await
    }
}
