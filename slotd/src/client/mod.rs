//! The other end of the wire: one connection to one slotd.
//!
//! Every call has a deadline. After a deadline passed, or the connection broke, the connection
//! refuses further calls: a late reply would be taken for the answer to the next command. Dropping
//! the client closes the connection, and the server then rolls back what is not committed.

mod addr;
mod commands;
mod error;

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

pub use addr::{Addr, AddrError};
pub use error::ClientError;

use crate::protocol::{Command, Fields, MAX_LINE, Reply};
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
        let failed = |source| ClientError::unconnected(addr.clone(), source);
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
        let failed = |source| ClientError::unconnected(addr.clone(), source);
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
}
