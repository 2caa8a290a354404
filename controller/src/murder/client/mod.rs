//! A client of mupdate servers that only reads.
//!
//! # What it promises
//!
//! * Every wait has a bound ([`Timeouts`]).
//! * The password goes nowhere in clear, but to loopback or where that is allowed
//!   ([`Security::insecure`]), and it is in no message.
//! * Lists are streams: one entry at a time is in memory.
//!
//! # What a crash leaves
//!
//! A connection that closes; the server keeps nothing of it.

mod connection;
mod error;
mod listing;
mod locator;
mod patience;
mod updates;

use std::fmt;

use indexfile::mailbox::MailboxName;

use super::address::Address;
use super::location::Location;
use super::wire::{Banner, Command, Entry, Event, Status, shown};
use crate::login::{Password, Security, SetupError, Tls};
pub use connection::Timeouts;
use connection::{Connection, unexpected};
pub use error::{Fault, MurderError};
pub use listing::Listing;
pub use locator::Locator;
pub use patience::{Patience, connect_patiently};
pub use updates::Updates;

/// Most capability lines before a banner; a genuine server has four.
const MAX_CAPABILITIES: usize = 64;

/// What is needed to ask a mupdate server. Its files are read.
#[derive(Clone)]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// How long to wait for it.
    pub timeouts: Timeouts,
    user: String,
    password: Password,
    tls: Tls,
}

impl Settings {
    /// Puts them together; reads the CA file.
    ///
    /// # Errors
    /// The user name cannot be one; the CA file cannot be used; what `security` asks for excludes
    /// itself.
    pub fn new(
        address: Address,
        user: &str,
        password: Password,
        security: &Security,
    ) -> Result<Self, SetupError> {
        if user.is_empty() || user.contains('\0') {
            return Err(SetupError::Contradiction(
                "the user of the mupdate master has no name, or one with a NUL in it",
            ));
        }
        Ok(Self {
            address,
            timeouts: Timeouts::default(),
            user: user.to_owned(),
            password,
            tls: Tls::new(security)?,
        })
    }
}

/// Where the server has a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The backend; `None` if what the server says names none.
    pub location: Option<Location>,
    /// The name is only reserved: the mailbox is being created or moved, or a crash left this.
    pub reserved: bool,
}

/// A connection to a mupdate server on which we are logged in.
pub struct Client {
    address: Address,
    connection: Connection,
    banner: Banner,
    /// What is sent next would be answered by the rest of another answer.
    unread: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}: {})", self.address, self.banner)
    }
}

impl Client {
    /// Connects, goes on with TLS where it is offered, and logs in.
    ///
    /// # Errors
    /// Each [`Fault`].
    pub async fn connect(settings: &Settings) -> Result<Self, MurderError> {
        let opened = Self::open(settings).await;
        let (connection, banner) =
            opened.map_err(|fault| MurderError::new(&settings.address, fault))?;
        Ok(Self {
            address: settings.address.clone(),
            connection,
            banner,
            unread: false,
        })
    }

    async fn open(settings: &Settings) -> Result<(Connection, Banner), Fault> {
        let Settings { tls, user, .. } = settings;
        let mut connection = Connection::open(&settings.address, settings.timeouts).await?;
        let (mut banner, offers_tls) = greeting(&mut connection).await?;
        if tls.begins(offers_tls, connection.is_loopback)? {
            let how = tls.of(&settings.address.place.host)?;
            let command = Command::StartTls;
            let doing = command.verb();
            let tag = connection.send(&command).await?;
            match connection.done(doing, &tag).await? {
                (Status::Ok, _) => {}
                (status, text) => {
                    return Err(Fault::Answer {
                        doing,
                        status,
                        text,
                    });
                }
            }
            connection = connection.into_tls(how).await?;
            banner = greeting(&mut connection).await?.0;
        }
        let password = settings.password.bytes();
        let command = Command::AuthenticatePlain { user, password };
        let doing = command.verb();
        let tag = connection.send(&command).await?;
        match connection.done(doing, &tag).await? {
            (Status::Ok, _) => Ok((connection, banner)),
            (Status::No, _) => Err(Fault::Refused {
                user: shown(user.as_bytes()),
            }),
            (status @ Status::Bad, text) => Err(Fault::Answer {
                doing,
                status,
                text,
            }),
        }
    }

    /// Where the server is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How the server introduced itself.
    #[must_use]
    pub fn banner(&self) -> &Banner {
        &self.banner
    }

    /// Whether the connection is by TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.connection.is_tls
    }

    /// Begins a list of everything, or of what is on the backend with that `servername`.
    ///
    /// # Errors
    /// Each [`Fault`].
    pub async fn list(&mut self, server: Option<&str>) -> Result<Listing<'_>, MurderError> {
        let tag = self.begin(&Command::List { server }).await?;
        Ok(Listing::new(self, tag))
    }

    /// Where a mailbox is; `None` if the server has none of that name.
    ///
    /// # Errors
    /// Each [`Fault`].
    pub async fn find(&mut self, name: &MailboxName) -> Result<Option<Placed>, MurderError> {
        let command = Command::Find { name };
        let tag = self.begin(&command).await?;
        let doing = command.verb();
        let limit = self.connection.short();
        let mut found = None;
        loop {
            let event = self.event(doing, limit).await?;
            match &event {
                Event::Entry { tag: of, entry }
                    if *of == tag
                        && found.is_none()
                        && entry.name() == name.as_str().as_bytes()
                        && entry.location().is_some() =>
                {
                    found = Some(Placed {
                        location: entry.location().and_then(Location::from_bytes),
                        reserved: matches!(entry, Entry::Reserve { .. }),
                    });
                }
                Event::Done { tag: of, .. } if *of == tag => {
                    self.ended(doing, event)?;
                    return Ok(found);
                }
                _ => return Err(self.error(unexpected(doing, &event))),
            }
        }
    }

    /// Whether it still answers.
    ///
    /// # Errors
    /// Each [`Fault`].
    pub async fn noop(&mut self) -> Result<(), MurderError> {
        self.short(&Command::Noop).await
    }

    /// Says goodbye. The connection is closed whether it is answered or not.
    ///
    /// # Errors
    /// Each [`Fault`].
    pub async fn logout(mut self) -> Result<(), MurderError> {
        self.short(&Command::Logout).await
    }

    /// Begins the stream of everything and then of every change.
    ///
    /// # Errors
    /// Each [`Fault`].
    pub async fn update(mut self) -> Result<Updates, MurderError> {
        let tag = self.begin(&Command::Update).await?;
        Ok(Updates::new(self, tag))
    }

    async fn short(&mut self, command: &Command<'_>) -> Result<(), MurderError> {
        let tag = self.begin(command).await?;
        let doing = command.verb();
        let event = self.event(doing, self.connection.short()).await?;
        match &event {
            Event::Done { tag: of, .. } if *of == tag => self.ended(doing, event),
            _ => Err(self.error(unexpected(doing, &event))),
        }
    }

    /// Sends a command; its answer is unread until [`Client::ended`].
    async fn begin(&mut self, command: &Command<'_>) -> Result<String, MurderError> {
        if std::mem::replace(&mut self.unread, true) {
            return Err(self.error(Fault::Unread));
        }
        let sent = self.connection.send(command).await;
        sent.map_err(|fault| self.error(fault))
    }

    async fn event(
        &mut self,
        doing: &'static str,
        limit: connection::Limit,
    ) -> Result<Event, MurderError> {
        let event = self.connection.event(doing, limit).await;
        event.map_err(|fault| self.error(fault))
    }

    /// What the end of the command says.
    fn ended(&mut self, doing: &'static str, event: Event) -> Result<(), MurderError> {
        self.unread = false;
        match event {
            Event::Done {
                status: Status::Ok, ..
            } => Ok(()),
            Event::Done { status, text, .. } => Err(self.error(Fault::Answer {
                doing,
                status,
                text,
            })),
            other => Err(self.error(unexpected(doing, &other))),
        }
    }

    fn error(&self, fault: Fault) -> MurderError {
        MurderError::new(&self.address, fault)
    }
}

/// The banner, and whether STARTTLS stands before it.
async fn greeting(connection: &mut Connection) -> Result<(Banner, bool), Fault> {
    let doing = "the banner";
    let limit = connection.short();
    let mut offers_tls = false;
    for _ in 0..MAX_CAPABILITIES {
        match connection.event(doing, limit).await? {
            Event::Capability { name, .. } => offers_tls |= name == "STARTTLS",
            Event::Banner(banner) => return Ok((banner, offers_tls)),
            event => return Err(unexpected(doing, &event)),
        }
    }
    let what = "capabilities without end".to_owned();
    Err(Fault::Unexpected { doing, what })
}

#[cfg(test)]
mod tests;
