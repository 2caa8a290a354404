//! TLS to another server: what its certificate is checked against, and the handshake.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexfile::dir::read_named;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::{LinkError, SetupError};

/// Where Debian has the certificates of the public authorities.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Longest file of certificates, in bytes.
const LIMIT: u64 = 16 << 20;

/// How the connection is to be protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// The authorities that may have signed the server's certificate, PEM; else those of the
    /// system.
    pub ca_file: Option<PathBuf>,
    /// A server that offers no STARTTLS is refused, also on loopback.
    pub demanded: bool,
    /// Neither is a certificate checked nor is a password in clear refused.
    pub insecure: bool,
}

/// A [`Security`] with its files read.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) demanded: bool,
    pub(crate) insecure: bool,
    config: Result<Arc<ClientConfig>, String>,
}

impl Tls {
    /// # Errors
    /// The CA file cannot be read, or has no certificate; or what is asked for excludes itself.
    /// That the system has no certificates is an error only where they are needed.
    pub(crate) fn new(security: &Security) -> Result<Self, SetupError> {
        let Security {
            ca_file,
            demanded,
            insecure,
        } = security;
        if *insecure && (*demanded || ca_file.is_some()) {
            return Err(SetupError::Contradiction(
                "a server cannot be asked insecurely with TLS demanded or a CA file given",
            ));
        }
        let provider = Arc::new(ring::default_provider());
        let config = if *insecure {
            let unchecked = Arc::new(Unchecked(Arc::clone(&provider)));
            let builder = versions(provider)?.dangerous();
            let builder = builder.with_custom_certificate_verifier(unchecked);
            Ok(Arc::new(builder.with_no_client_auth()))
        } else {
            let roots = match ca_file {
                Some(path) => Ok(roots(path)?),
                None => roots(Path::new(SYSTEM)).map_err(|error| error.to_string()),
            };
            match roots {
                Ok(roots) => {
                    let builder = versions(provider)?.with_root_certificates(roots);
                    Ok(Arc::new(builder.with_no_client_auth()))
                }
                Err(text) => Err(text),
            }
        };
        Ok(Self {
            demanded: *demanded,
            insecure: *insecure,
            config,
        })
    }

    /// Whether to begin TLS before the password is sent.
    ///
    /// # Errors
    /// The password must not be sent.
    pub(crate) fn begins(&self, offered: bool, is_loopback: bool) -> Result<bool, LinkError> {
        if offered {
            Ok(true)
        } else if self.demanded {
            Err(LinkError::NoTls)
        } else if self.insecure || is_loopback {
            Ok(false)
        } else {
            Err(LinkError::Clear)
        }
    }

    /// What a handshake with `host` takes.
    ///
    /// # Errors
    /// There are no authorities, or no certificate can have that name.
    pub(crate) fn of(
        &self,
        host: &str,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), LinkError> {
        let config = self.config.clone().map_err(LinkError::Certificate)?;
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| LinkError::Certificate(format!("{host}: {error}")))?;
        Ok((config, name))
    }
}

/// Goes on with TLS.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    (config, name): (Arc<ClientConfig>, ServerName<'static>),
    doing: &'static str,
    limit: Duration,
) -> Result<TlsStream<S>, LinkError> {
    let connector = TlsConnector::from(config);
    match timeout(limit, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => {
            let inner = source.get_ref().and_then(|e| e.downcast_ref());
            Err(match inner {
                Some(rustls::Error::InvalidCertificate(error)) => {
                    LinkError::Certificate(error.to_string())
                }
                Some(error) => LinkError::Tls(error.to_string()),
                None if source.kind() == io::ErrorKind::UnexpectedEof => {
                    LinkError::Closed { doing }
                }
                None => LinkError::Io { doing, source },
            })
        }
        Err(_) => Err(LinkError::Timeout { doing, limit }),
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn versions(provider: Arc<CryptoProvider>) -> Result<Builder, SetupError> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| SetupError::Contradiction("this build has no version of TLS"))
}

/// The certificates of a PEM file.
fn roots(path: &Path) -> Result<RootCertStore, SetupError> {
    let what = "the CA file";
    let pem = read_named(path, LIMIT).map_err(|source| SetupError::File { what, source })?;
    let wrong = |text: String| SetupError::Ca {
        path: path.to_owned(),
        text,
    };
    let mut roots = RootCertStore::empty();
    let mut last = "it is no PEM".to_owned();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        // One that is broken or outdated does not make the others of no use.
        if let Err(error) = roots.add(certificate) {
            last = error.to_string();
        }
    }
    if roots.is_empty() {
        return Err(wrong(last));
    }
    Ok(roots)
}

/// Accepts every certificate, as asked; that the server has its key is checked all the same.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use indexfile::exit::Exit;

    use super::*;

    fn tls(demanded: bool, insecure: bool) -> Tls {
        let security = Security {
            demanded,
            insecure,
            ca_file: None,
        };
        Tls::new(&security).unwrap()
    }

    #[test]
    fn a_password_goes_in_clear_to_loopback_or_where_that_is_allowed_and_nowhere_else() {
        for (demanded, insecure) in [(false, false), (true, false), (false, true)] {
            for is_loopback in [false, true] {
                let tls = tls(demanded, insecure);
                assert!(tls.begins(true, is_loopback).unwrap());
            }
        }
        assert!(matches!(
            tls(false, false).begins(false, false),
            Err(LinkError::Clear)
        ));
        assert!(matches!(
            tls(true, false).begins(false, false),
            Err(LinkError::NoTls)
        ));
        assert!(matches!(
            tls(true, false).begins(false, true),
            Err(LinkError::NoTls)
        ));
        assert!(!tls(false, false).begins(false, true).unwrap());
        assert!(!tls(false, true).begins(false, false).unwrap());
    }

    #[test]
    fn what_excludes_itself_is_refused() {
        for (demanded, ca_file) in [(true, None), (false, Some(PathBuf::from(SYSTEM)))] {
            let security = Security {
                demanded,
                ca_file,
                insecure: true,
            };
            let error = Tls::new(&security).err().unwrap();
            assert_eq!(error.exit(), Exit::Config, "{error}");
        }
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let begin = "-----BEGIN CERTIFICATE-----\n";
        let end = "-----END CERTIFICATE-----\n";
        for text in ["", "no PEM\n", begin, &format!("{begin}AAAA\n{end}")] {
            std::fs::write(&path, text).unwrap();
            let security = Security {
                ca_file: Some(path.clone()),
                ..Security::default()
            };
            let error = Tls::new(&security).err().unwrap();
            assert_eq!(error.exit(), Exit::Config, "{error}");
            assert!(error.to_string().contains("ca.pem"), "{error}");
        }
    }
}
