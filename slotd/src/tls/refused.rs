//! Why one end of a connection does not accept the other's certificate, in a sentence.
//!
//! In TLS 1.3 a client that connects knows nothing of what the server thinks of its certificate: an
//! alert comes with the first read.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::certificate::{Certificate, utc};

/// One end's certificate is refused. It will be so again before somebody changes a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The other end refuses ours.
    #[error("the other side refuses our certificate: {0}")]
    Ours(String),
    /// The other end has none that we accept.
    #[error("its certificate is not accepted: {0}")]
    Theirs(String),
}

impl Refused {
    /// What an error of a handshake, or of the first read after it, says about certificates; `None`
    /// if it is about something else. `own` is our certificate, if we sent one.
    #[must_use]
    pub fn of(error: &io::Error, own: Option<&Certificate>) -> Option<Refused> {
        match inner(error)? {
            Error::AlertReceived(alert) => Some(Refused::Ours(alerted(*alert, own)?)),
            Error::InvalidCertificate(error) => Some(Refused::Theirs(wrong(error))),
            Error::NoCertificatesPresented => Some(Refused::Theirs("it sent none".to_owned())),
            _ => None,
        }
    }
}

/// The error of the library in one of the system's.
pub(super) fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref::<Error>()
}

/// What the other end says of ours; `None` if its alert is about no certificate.
fn alerted(alert: AlertDescription, own: Option<&Certificate>) -> Option<String> {
    use AlertDescription as A;
    let role = "it is not one of a client, or may not be used for that (certs issue --role \
                controller)";
    Some(match alert {
        A::CertificateRequired | A::NoCertificate => "none was sent, and it demands one".to_owned(),
        A::UnknownCA => {
            "it is of an authority that the other side does not know, or of which it has no \
             revocation list (--tls-ca, --tls-crl there)"
                .to_owned()
        }
        A::CertificateExpired => match own {
            Some(own) => format!(
                "expired, or not valid yet: it is valid from {} until {}",
                utc(own.not_before),
                utc(own.not_after)
            ),
            None => "expired, or not valid yet".to_owned(),
        },
        A::CertificateRevoked => match own {
            Some(own) => format!("revoked (serial {})", own.serial),
            None => "revoked".to_owned(),
        },
        A::UnsupportedCertificate => role.to_owned(),
        A::AccessDenied => "what it is does not suffice".to_owned(),
        A::BadCertificate | A::CertificateUnknown => "it is damaged, or of no use".to_owned(),
        A::DecryptError => "its signature is wrong".to_owned(),
        _ => return None,
    })
}

/// What we say of the other end's.
pub(super) fn wrong(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "it is not for {}, but for {}",
            expected.to_str(),
            if presented.is_empty() {
                "no host".to_owned()
            } else {
                presented.join(", ")
            }
        ),
        E::UnknownIssuer => "it is of another authority than those that we know".to_owned(),
        E::UnknownRevocationStatus => {
            "no revocation list of its authority is known here, though there are lists".to_owned()
        }
        E::Revoked => "it is revoked".to_owned(),
        E::ExpiredContext {
            time: now,
            not_after,
        } => format!(
            "it expired at {}, and here it is {}",
            utc(seconds(*not_after)),
            utc(seconds(*now))
        ),
        E::NotValidYetContext {
            time: now,
            not_before,
        } => format!(
            "it is valid from {} on, and here it is {}: is a clock wrong?",
            utc(seconds(*not_before)),
            utc(seconds(*now))
        ),
        E::InvalidPurposeContext { .. } | E::InvalidPurpose => {
            "it may not be used for that: a host's serves, all others ask".to_owned()
        }
        other => other.to_string(),
    }
}

fn seconds(time: rustls::pki_types::UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
