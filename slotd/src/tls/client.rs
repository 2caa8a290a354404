//! The client's end: what it shows, and whom it believes.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::alpn::ALPN;
use super::certificate::Certificate;
use super::files::{Files, FilesError};
use super::refused::{Refused, inner};
use crate::protocol::Role;

/// What counts until a file is replaced.
#[derive(Clone)]
struct Now {
    config: Arc<ClientConfig>,
    own: Certificate,
    stamp: Vec<Option<(u64, u64, i64, i64)>>,
}

/// What a client shows to slotds, and whom it believes. Files that are replaced count from the next
/// connection on.
pub struct Credentials {
    files: Files,
    now: Mutex<Now>,
}

/// Why there is no connection by TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn open(files: Files) -> Result<Credentials, FilesError> {
        let now = Mutex::new(read(&files)?);
        Ok(Credentials { files, now })
    }

    /// What our own certificate says.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.current().own
    }

    /// What counts now. Files of which one cannot be used, as in the middle of a replacement, are
    /// left for the next time.
    fn current(&self) -> Now {
        let mut now = self.now.lock();
        if now.stamp != self.files.stamp() {
            match read(&self.files) {
                Ok(new) => *now = new,
                Err(error) => tracing::warn!("{error}; the certificate of before is used"),
            }
        }
        now.clone()
    }

    /// Does the handshake, by which the other end proves to be the slotd of that host. Whether it
    /// accepts our certificate is known with the first answer.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Certificate), ConnectError> {
        let now = self.current();
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| Refused::Theirs(format!("{host}: {error}")))?;
        let connector = TlsConnector::from(now.config);
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| failed(error, &now.own))?;
        let state = stream.get_ref().1;
        if state.alpn_protocol() != Some(ALPN) {
            let text = "what answers there is no slotd: it does not speak reguid/1";
            return Err(io::Error::other(text).into());
        }
        let theirs = state.peer_certificates().and_then(<[_]>::first);
        let role = theirs.and_then(|one| Certificate::of(one).ok()?.role);
        if role != Some(Role::Slotd) {
            let text = "it is no certificate of a host".to_owned();
            return Err(Refused::Theirs(text).into());
        }
        Ok((stream, now.own))
    }
}

fn failed(error: io::Error, own: &Certificate) -> ConnectError {
    if let Some(refused) = Refused::of(&error, Some(own)) {
        return refused.into();
    }
    let text = match inner(&error) {
        Some(rustls::Error::InvalidMessage(_)) => "what answers there speaks no TLS".to_owned(),
        Some(other) => format!("no TLS: {other}"),
        None => return error.into(),
    };
    io::Error::other(text).into()
}

fn read(files: &Files) -> Result<Now, FilesError> {
    // Before they are read: what is replaced meanwhile is read again.
    let stamp = files.stamp();
    let material = files.read()?;
    let own = material.own;
    if own.role.is_none() {
        let text = "it says not what its holder is (certs issue --role controller)";
        return Err(FilesError::contents(&files.cert, &text));
    }
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(material.roots, Arc::clone(&provider))
            .with_crls(material.crls)
            .build();
    let lists = files.crl.as_ref().unwrap_or(&files.ca);
    let verifier = verifier.map_err(|error| FilesError::contents(lists, &error))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map(|builder| builder.with_webpki_verifier(verifier))
        .and_then(|builder| builder.with_client_auth_cert(material.chain, material.key));
    let mut config = config.map_err(|error| FilesError::contents(&files.key, &error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Now {
        config: Arc::new(config),
        own,
        stamp,
    })
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
