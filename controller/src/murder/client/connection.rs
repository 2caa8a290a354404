//! A connection to a mupdate server: bytes there, events back, each wait with its bound.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::Fault;
use crate::login::{LinkError, Stream, connect, handshake};
use crate::murder::address::Address;
use crate::murder::wire::{Command, Decoder, Event, Status};

/// Bytes read at once.
const BUFFER: usize = 16 << 10;

/// How long to wait for a mupdate server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For each of its addresses, until a connection is made.
    pub connect: Duration,
    /// For the whole answer to a command that brings little, for the banner, a handshake, and until
    /// a command is sent. A wrong password alone takes a genuine master 3 s.
    pub reply: Duration,
    /// Between two pieces of a list. A genuine master that has nothing on a server goes silently
    /// through all that it has: 1.2 s for 100,000 names.
    pub idle: Duration,
    /// For the whole of a list.
    pub list: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            reply: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            list: Duration::from_secs(3600),
        }
    }
}

/// Until when an answer has to be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    until: Instant,
    whole: Duration,
    idle: Duration,
}

impl Limit {
    pub(super) fn new(whole: Duration, idle: Duration) -> Self {
        Self {
            until: Instant::now() + whole,
            whole,
            idle,
        }
    }
}

/// A connection.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    buffer: Box<[u8]>,
    /// Of the buffer, what is not decoded yet.
    from: usize,
    to: usize,
    tags: u64,
    pub(super) timeouts: Timeouts,
    pub(super) is_loopback: bool,
    pub(super) is_tls: bool,
}

impl Connection {
    /// Connects to the first of the host's addresses where somebody listens.
    pub(super) async fn open(address: &Address, timeouts: Timeouts) -> Result<Self, Fault> {
        let (stream, is_loopback) = connect(&address.place, timeouts.connect).await?;
        Ok(Self {
            stream: Box::new(stream),
            decoder: Decoder::default(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            from: 0,
            to: 0,
            tags: 0,
            timeouts,
            is_loopback,
            is_tls: false,
        })
    }

    /// The bound of an answer that brings little.
    pub(super) fn short(&self) -> Limit {
        Limit::new(self.timeouts.reply, self.timeouts.reply)
    }

    /// The bound of a list.
    pub(super) fn long(&self) -> Limit {
        Limit::new(self.timeouts.list, self.timeouts.idle)
    }

    /// Sends a command; returns its tag.
    pub(super) async fn send(&mut self, command: &Command<'_>) -> Result<String, Fault> {
        self.tags += 1;
        let tag = self.tags.to_string();
        let mut bytes = Vec::new();
        command.encode(&tag, &mut bytes);
        let doing = command.verb();
        let limit = self.timeouts.reply;
        let sent = timeout(limit, async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        });
        match sent.await {
            Ok(Ok(())) => Ok(tag),
            Ok(Err(source)) => Err(LinkError::Io { doing, source }.into()),
            Err(_) => Err(LinkError::Timeout { doing, limit }.into()),
        }
    }

    /// The next thing that the server says.
    pub(super) async fn event(
        &mut self,
        doing: &'static str,
        limit: Limit,
    ) -> Result<Event, Fault> {
        loop {
            let mut input = &self.buffer[self.from..self.to];
            let event = self.decoder.decode(&mut input);
            self.from = self.to - input.len();
            match event.map_err(|source| Fault::Wire { doing, source })? {
                Some(Event::Bye { text }) => return Err(Fault::Bye { doing, text }),
                Some(event) => return Ok(event),
                None => self.fill(doing, limit).await?,
            }
        }
    }

    async fn fill(&mut self, doing: &'static str, limit: Limit) -> Result<(), Fault> {
        let idle = Instant::now() + limit.idle;
        let read = self.stream.read(&mut self.buffer);
        match timeout_at(limit.until.min(idle), read).await {
            Ok(Ok(0)) => Err(LinkError::Closed { doing }.into()),
            Ok(Ok(n)) => {
                (self.from, self.to) = (0, n);
                Ok(())
            }
            // A TLS connection that ends without its own end is one that was closed.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(LinkError::Closed { doing }.into())
            }
            Ok(Err(source)) => Err(LinkError::Io { doing, source }.into()),
            Err(_) => {
                let limit = if limit.until < idle {
                    limit.whole
                } else {
                    limit.idle
                };
                Err(LinkError::Timeout { doing, limit }.into())
            }
        }
    }

    /// The end of a command that brings nothing else.
    pub(super) async fn done(
        &mut self,
        doing: &'static str,
        tag: &str,
    ) -> Result<(Status, String), Fault> {
        match self.event(doing, self.short()).await? {
            Event::Done {
                tag: of,
                status,
                text,
            } if of == tag => Ok((status, text)),
            event => Err(unexpected(doing, &event)),
        }
    }

    /// Goes on with TLS.
    pub(super) async fn into_tls(
        self,
        how: (Arc<ClientConfig>, ServerName<'static>),
    ) -> Result<Self, Fault> {
        let doing = "STARTTLS";
        // What came in clear must not be taken for what comes by TLS.
        if self.from < self.to || !self.decoder.is_between() {
            let what = "more than its OK, in clear".to_owned();
            return Err(Fault::Unexpected { doing, what });
        }
        let stream = handshake(self.stream, how, doing, self.timeouts.reply).await?;
        Ok(Self {
            stream: Box::new(stream),
            is_tls: true,
            ..self
        })
    }
}

/// What does not belong here, printable.
pub(super) fn unexpected(doing: &'static str, event: &Event) -> Fault {
    let what = match event {
        Event::Capability { name, .. } => format!("a capability, {name}"),
        Event::Banner(_) => "a banner".to_owned(),
        Event::Bye { .. } => "BYE".to_owned(),
        Event::Continue => "it waits for more".to_owned(),
        Event::Entry { tag, .. } => format!("an entry with the tag {tag}"),
        Event::Done { tag, text, .. } => format!("the end of a command {tag}: {text}"),
    };
    Fault::Unexpected { doing, what }
}
