//! The server's end: whose certificates are accepted, now and after files were replaced.

use std::io;
use std::net::SocketAddr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{Error, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::alpn::ALPN;
use super::bounded::Bounded;
use super::certificate::Certificate;
use super::cut::Cut;
use super::files::{Files, FilesError};
use super::refused::{Refused, inner, wrong};
use super::sparing::Sparing;
use crate::audit;
use crate::peer::Who;
use crate::protocol::Role;

/// How long a client has for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a client that is refused has to read the alert.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes of a handshake that are read, with those of the first commands that may come behind it.
const MAX_HANDSHAKE: u64 = 16 << 10;

/// Most bytes of the certificates that a client may show: TLS keeps them as long as the connection,
/// and [`Standing`] does.
pub(crate) const MAX_CHAIN: usize = 8 << 10;

/// The longest record of TLS 1.3 as it comes, in bytes.
#[cfg(test)]
pub(crate) const MAX_RECORD: usize = 5 + (16 << 10) + 256;

/// Bytes of an answer that lie in TLS's own buffers while the system takes no more: else the whole
/// of it, beside the answer itself.
pub(crate) const BUFFERED: usize = 4 << 10;

/// Most bytes that are read of a refused client.
const DISCARDED: u64 = 1 << 20;

/// What counts at a moment.
struct Now {
    config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    own: Certificate,
}

/// The server's end of all its connections.
pub struct Server {
    files: Files,
    /// Lines about those who did not get in.
    failed: Arc<Sparing>,
    now: watch::Sender<Arc<Now>>,
}

/// A client whose certificate was accepted.
pub(crate) struct Accepted {
    /// The connection. It ends as if the client had closed it once its certificate counts no more.
    pub(crate) stream: Cut<TlsStream<Bounded<TcpStream>>>,
    /// Who holds the certificate.
    pub(crate) who: Who,
    /// What the certificate says that this is; `None` if it does not.
    pub(crate) role: Option<Role>,
    /// How long all that it showed is.
    pub(crate) chain_bytes: usize,
    /// Whether it still counts.
    pub(crate) standing: Standing,
}

/// Why a handshake came to nothing: a sentence for the log.
pub(crate) enum NoHandshake {
    /// The client's certificate is not accepted, or it has none.
    Refused(String),
    /// Anything else.
    Other(String),
}

/// A certificate that was accepted, and what was read since.
#[derive(Clone)]
pub(crate) struct Standing {
    changed: watch::Receiver<Arc<Now>>,
    /// Of what the client showed, what is needed: its own first.
    chain: Arc<[CertificateDer<'static>]>,
    /// That it has ended since is no reason to refuse it.
    when: UnixTime,
}

impl Standing {
    /// Why it would be refused now; looks only where files were read since.
    pub(crate) fn refused(&mut self) -> Option<String> {
        let is_same = !self.changed.has_changed().unwrap_or(false);
        if is_same { None } else { self.look() }
    }

    fn look(&mut self) -> Option<String> {
        let now = Arc::clone(&self.changed.borrow_and_update());
        let (first, rest) = self.chain.split_first()?;
        let verified = now.verifier.verify_client_cert(first, rest, self.when);
        let why = match verified {
            Ok(_) => return None,
            Err(Error::InvalidCertificate(error)) => wrong(&error),
            Err(error) => error.to_string(),
        };
        // It stays refused, however often it is asked for.
        self.changed.mark_changed();
        Some(why)
    }

    /// Returns once it would be refused, with the reason.
    async fn until_refused(mut self) -> String {
        loop {
            // Also by what was read during the handshake.
            if let Some(why) = self.look() {
                return why;
            }
            if self.changed.changed().await.is_err() {
                // The server goes; it ends its connections itself.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Server {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used, or the certificate is none of a host that is valid now.
    pub fn open(files: Files) -> Result<Server, FilesError> {
        let now = read(&files)?;
        in_time(&files, &now.own)?;
        let now = Arc::new(now);
        Ok(Server {
            files,
            failed: Arc::default(),
            now: watch::Sender::new(now),
        })
    }

    /// Reads the files anew. New connections get what they say then; open ones go on, but for those
    /// whose certificate would be refused now. That our own certificate has expired meanwhile keeps
    /// no list of revoked ones from counting.
    ///
    /// # Errors
    /// As of [`Server::open`]; then all stays as it was.
    pub fn reload(&self) -> Result<(), FilesError> {
        let now = read(&self.files)?;
        if !self.certificate().is_outside(SystemTime::now()) {
            in_time(&self.files, &now.own)?;
        }
        self.now.send_replace(Arc::new(now));
        Ok(())
    }

    /// What our own certificate says.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.now.borrow().own.clone()
    }

    /// Where lines about connections that came to nothing go, so that they are few.
    pub(crate) fn failed(&self) -> &Arc<Sparing> {
        &self.failed
    }

    /// Does the handshake. Nothing but that is possible before it is over.
    ///
    /// # Errors
    /// Why it came to nothing; the client hears no more than TLS's alert.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<Accepted, NoHandshake> {
        let other = |why: &str| NoHandshake::Other(why.to_owned());
        let now = Arc::clone(&self.now.borrow());
        let changed = self.now.subscribe();
        let acceptor = TlsAcceptor::from(Arc::clone(&now.config));
        let bounded = Bounded::new(stream, MAX_HANDSHAKE);
        let handshake = acceptor.accept(bounded).into_fallible();
        let stream = match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(mut stream)) => {
                let (bounded, state) = stream.get_mut();
                bounded.unbound();
                state.set_buffer_limit(Some(BUFFERED));
                stream
            }
            Ok(Err((error, mut bounded))) => {
                let is_too_long = bounded.unbound();
                let _ = tokio::time::timeout(LINGER, until_read(bounded)).await;
                return Err(if is_too_long {
                    other(&format!("no handshake within {MAX_HANDSHAKE} bytes"))
                } else {
                    why(&error)
                });
            }
            Err(_) => return Err(other(&format!("no handshake within {HANDSHAKE:?}"))),
        };
        let state = stream.get_ref().1;
        if state.alpn_protocol() != Some(ALPN) {
            return Err(other(
                "it does not ask for reguid/1, and may be no client of ours",
            ));
        }
        let chain = state.peer_certificates().unwrap_or_default();
        let chain_bytes = chain.iter().map(|one| one.len()).sum();
        let Some((first, rest)) = chain.split_first() else {
            return Err(NoHandshake::Refused("it sent no certificate".to_owned()));
        };
        let certificate =
            Certificate::of(first).map_err(|error| NoHandshake::Refused(error.to_string()))?;
        let when = UnixTime::now();
        // TLS keeps all of them; what it would do without is not kept twice.
        let alone = rest.is_empty() || now.verifier.verify_client_cert(first, &[], when).is_ok();
        let needed = if alone { slice::from_ref(first) } else { chain };
        let standing = Standing {
            changed,
            chain: needed.iter().map(|one| one.clone().into_owned()).collect(),
            when,
        };
        let role = certificate.role;
        let who = Who::Holder {
            name: certificate.holder,
            role,
            serial: certificate.serial,
            address,
        };
        let (until, whose) = (standing.clone(), who.clone());
        let until = async move {
            let why = until.until_refused().await;
            audit::turned_away(&whose, ("CONNECTION", &why));
        };
        Ok(Accepted {
            stream: Cut::new(stream, until),
            who,
            role,
            chain_bytes,
            standing,
        })
    }
}

/// Reads what a refused client has sent: closed before that, the connection would be reset, and the
/// alert lost on its way.
async fn until_read(mut stream: Bounded<TcpStream>) {
    let _ = stream.shutdown().await;
    let _ = tokio::io::copy(&mut stream.take(DISCARDED), &mut tokio::io::sink()).await;
}

/// Why a handshake failed.
fn why(error: &io::Error) -> NoHandshake {
    match Refused::of(error, None) {
        Some(theirs @ Refused::Theirs(_)) => return NoHandshake::Refused(theirs.to_string()),
        Some(ours @ Refused::Ours(_)) => return NoHandshake::Other(ours.to_string()),
        None => {}
    }
    NoHandshake::Other(match inner(error) {
        Some(Error::PeerIncompatible(why)) => format!("it does not speak TLS 1.3: {why:?}"),
        Some(Error::InvalidMessage(_)) => "what it sends is no TLS".to_owned(),
        _ => format!("no handshake: {error}"),
    })
}

fn in_time(files: &Files, own: &Certificate) -> Result<(), FilesError> {
    if own.is_outside(SystemTime::now()) {
        let (from, until) = own.period();
        let text = format!("it is valid from {from} until {until}, and not now");
        return Err(FilesError::contents(&files.cert, &text));
    }
    Ok(())
}

fn read(files: &Files) -> Result<Now, FilesError> {
    let material = files.read()?;
    let own = material.own;
    if own.role != Some(Role::Slotd) {
        let text = "it is no certificate of a host (certs issue --role host)";
        return Err(FilesError::contents(&files.cert, &text));
    }
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(material.roots, Arc::clone(&provider))
            .with_crls(material.crls)
            .build();
    let lists = files.crl.as_ref().unwrap_or(&files.ca);
    let verifier = verifier.map_err(|error| FilesError::contents(lists, &error))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map(|builder| builder.with_client_cert_verifier(Arc::clone(&verifier)))
        .and_then(|builder| builder.with_single_cert(material.chain, material.key));
    let mut config = config.map_err(|error| FilesError::contents(&files.key, &error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Each connection shows its certificate.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Now {
        config: Arc::new(config),
        verifier,
        own,
    })
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
