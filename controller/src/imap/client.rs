//! A session with an IMAP server: commands there, responses back, each wait with its bound.

use std::io;
use std::time::Duration;

use async_imap::imap_proto::{Capability, Response, Status};
use async_imap::{Client, Session};
use tokio::time::timeout;

use super::Settings;
use super::error::Fault;
use crate::login::{LinkError, Stream, connect, handshake};

type Wire = Box<dyn Stream>;

/// A user who is logged in.
pub(super) struct LoggedIn {
    session: Session<Wire>,
    limit: Duration,
}

/// How a command ended, in the server's words, if not with OK.
pub(super) type Ended = Result<(), String>;

impl LoggedIn {
    /// Connects, goes on with TLS where it is offered, and logs in.
    pub(super) async fn begin(settings: &Settings) -> Result<Self, Fault> {
        let limit = settings.timeouts.reply;
        let address = &settings.address;
        let (stream, is_loopback) = connect(&address.place, settings.timeouts.connect).await?;
        let mut stream: Wire = Box::new(stream);
        if address.implicit_tls {
            let how = settings.tls.of(&address.place.host)?;
            let tls = handshake(stream, how, "the TLS handshake", limit).await?;
            stream = Box::new(tls);
        }
        let mut client = Client::new(stream);
        greeting(&mut client, limit).await?;
        if !address.implicit_tls {
            let asked = bound(
                "STARTTLS",
                limit,
                client.run_command_and_check_ok("STARTTLS", None),
            );
            let offered = match asked.await {
                Ok(()) => true,
                Err(Fault::Answer { .. }) => false,
                Err(fault) => return Err(fault),
            };
            if settings.tls.begins(offered, is_loopback)? {
                let how = settings.tls.of(&address.place.host)?;
                // What came in clear behind the OK is dropped with the old client.
                let stream = client.into_inner();
                client = Client::new(Box::new(handshake(stream, how, "STARTTLS", limit).await?));
            }
        }
        let password = std::str::from_utf8(settings.password.bytes());
        let password = password.map_err(|_| Fault::Unsendable)?;
        let login = async {
            let login = client.login(&settings.user, password).await;
            login.map_err(|(error, _)| error)
        };
        match bound("LOGIN", limit, login).await {
            Ok(session) => Ok(Self { session, limit }),
            Err(Fault::Answer { text, .. }) => Err(Fault::Refused {
                user: settings.user.escape_debug().to_string(),
                text,
            }),
            Err(fault) => Err(fault),
        }
    }

    /// Sends a command and gives each untagged response to `each`.
    pub(super) async fn command(
        &mut self,
        doing: &'static str,
        command: &str,
        mut each: impl FnMut(&Response<'_>),
    ) -> Result<Ended, Fault> {
        let sent = self.session.run_command(command);
        let tag = bound(doing, self.limit, sent).await?;
        loop {
            let response = next(doing, self.limit, self.session.read_response()).await?;
            match response.parsed() {
                Response::Done {
                    tag: of,
                    status,
                    outcome,
                } if of == &tag => {
                    let words = words(outcome.information.as_deref());
                    return Ok(match status {
                        Status::Ok => Ok(()),
                        _ => Err(words),
                    });
                }
                Response::Data {
                    status: Status::Bye,
                    outcome,
                } => {
                    let text = format!("BYE {}", words(outcome.information.as_deref()));
                    return Err(Fault::Answer { doing, text });
                }
                response => each(response),
            }
        }
    }

    /// Whether the server says this capability.
    pub(super) async fn has(&mut self, name: &str) -> Result<bool, Fault> {
        let mut has = false;
        let ended = self.command("CAPABILITY", "CAPABILITY", |response| {
            if let Response::Capabilities(all) = response {
                has |= all.iter().any(|capability| {
                    matches!(capability, Capability::Atom(atom) if atom.eq_ignore_ascii_case(name))
                });
            }
        });
        Ok(ended.await?.is_ok() && has)
    }

    /// Says goodbye; whether it is heard does not matter.
    pub(super) async fn end(mut self) {
        let _ = self.command("LOGOUT", "LOGOUT", |_| {}).await;
    }
}

async fn greeting(client: &mut Client<Wire>, limit: Duration) -> Result<(), Fault> {
    let doing = "the greeting";
    let response = next(doing, limit, client.read_response()).await?;
    match response.parsed() {
        Response::Data {
            status: Status::Ok, ..
        } => Ok(()),
        Response::Data { status, outcome } => Err(Fault::Answer {
            doing,
            text: format!("{status:?} {}", words(outcome.information.as_deref())),
        }),
        _ => Err(Fault::Unreadable { doing }),
    }
}

/// The next response, which has to be there within the limit.
async fn next<R>(
    doing: &'static str,
    limit: Duration,
    read: impl Future<Output = io::Result<Option<R>>>,
) -> Result<R, Fault> {
    let read = async { read.await.map_err(async_imap::error::Error::from) };
    let response = bound(doing, limit, read).await?;
    response.ok_or_else(|| LinkError::Closed { doing }.into())
}

/// Waits no longer than the limit, and says what a failure means.
async fn bound<T>(
    doing: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, async_imap::error::Error>>,
) -> Result<T, Fault> {
    use async_imap::error::Error as E;
    let done = timeout(limit, work).await;
    let done = done.map_err(|_| Fault::from(LinkError::Timeout { doing, limit }))?;
    done.map_err(|error| match error {
        E::No(text) => Fault::Answer {
            doing,
            text: format!("NO: {}", words(Some(&text))),
        },
        E::Bad(text) => Fault::Answer {
            doing,
            text: format!("BAD: {}", words(Some(&text))),
        },
        E::ConnectionLost => LinkError::Closed { doing }.into(),
        E::Validate(_) => Fault::Unsendable,
        // The parser's complaints have what was being parsed in them, and are of this kind.
        E::Io(error) if error.kind() == io::ErrorKind::Other => Fault::Unreadable { doing },
        E::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            LinkError::Closed { doing }.into()
        }
        E::Io(source) => LinkError::Io { doing, source }.into(),
        _ => Fault::Unreadable { doing },
    })
}

/// The server's words, printable and not long.
fn words(text: Option<&str>) -> String {
    let text = text.unwrap_or("(it says no more)");
    text.chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect()
}
