//! What a certificate says: for whom it is, what its holder is, and when it ends.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use indexfile::hex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::protocol::{Role, visible};

/// A day, in seconds.
const DAY: i64 = 86_400;

/// What there is to say about a certificate. That somebody trusts it is not said. No text of it has
/// a control character: what stands there in its place is its escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of its holder; empty if it has none.
    pub holder: String,
    /// What the holder is; `None` if it does not say so, or says more than one thing.
    pub role: Option<Role>,
    /// The host names and addresses that it is for.
    pub names: Vec<String>,
    /// Its number, hexadecimal, unique among those of one authority.
    pub serial: String,
    /// Whether it is an authority's own.
    pub is_authority: bool,
    /// Its first moment, seconds since 1970.
    pub not_before: i64,
    /// Its last moment, seconds since 1970.
    pub not_after: i64,
}

/// It is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no certificate: {0}")]
pub struct Unreadable(String);

impl Certificate {
    /// Reads it, DER.
    ///
    /// # Errors
    /// It is none.
    pub fn of(der: &[u8]) -> Result<Certificate, Unreadable> {
        let fail = |error: &dyn std::fmt::Display| Unreadable(visible(&error.to_string()));
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| fail(&error))?;
        let mut holder = parsed.subject().iter_common_name();
        let holder = holder.next().and_then(|name| name.as_str().ok());
        let (mut names, mut roles) = (Vec::new(), Vec::new());
        let alternative = parsed.subject_alternative_name();
        let alternative = alternative.map_err(|error| fail(&error))?;
        for name in alternative.iter().flat_map(|all| &all.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.push(visible(name)),
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                GeneralName::URI(uri) => roles.extend(Role::of_uri(uri)),
                _ => {}
            }
        }
        Ok(Certificate {
            holder: visible(holder.unwrap_or_default()),
            role: match roles.as_slice() {
                [role] => Some(*role),
                _ => None,
            },
            names,
            serial: hex(parsed.raw_serial()),
            is_authority: parsed.is_ca(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }

    /// Those of a file, DER.
    ///
    /// # Errors
    /// One is not as PEM has it.
    pub fn in_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unreadable> {
        let each = CertificateDer::pem_slice_iter(pem);
        each.map(|one| one.map_err(|error| Unreadable(visible(&error.to_string()))))
            .collect()
    }

    /// Whole days until it ends; negative once it has.
    #[must_use]
    pub fn days_left(&self, now: SystemTime) -> i64 {
        (self.not_after - seconds(now)).div_euclid(DAY)
    }

    /// Its first and its last moment, for a sentence.
    #[must_use]
    pub fn period(&self) -> (String, String) {
        (utc(self.not_before), utc(self.not_after))
    }

    /// Whether it is before its first moment or after its last.
    #[must_use]
    pub fn is_outside(&self, now: SystemTime) -> bool {
        !(self.not_before..=self.not_after).contains(&seconds(now))
    }
}

/// A moment, seconds since 1970, for a sentence.
pub(super) fn utc(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(sixteen).to_string())
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |s| -s),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn made(uris: &[&str]) -> Certificate {
        let names = [
            "imap1.test".to_owned(),
            "::1".to_owned(),
            "10.0.0.1".to_owned(),
        ];
        let mut params = CertificateParams::new(names).unwrap();
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI((*uri).try_into().unwrap()));
        }
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 11);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::of(made.der()).unwrap()
    }

    #[test]
    fn a_certificate_has_one_role_or_none() {
        assert_eq!(made(&["reguid:viewer"]).role, Some(Role::Viewer));
        assert_eq!(made(&["other:x", "reguid:slotd"]).role, Some(Role::Slotd));
        assert_eq!(made(&[]).role, None);
        assert_eq!(made(&["reguid:viewer", "reguid:controller"]).role, None);
    }

    #[test]
    fn its_names_and_its_end_are_told() {
        let of = made(&["reguid:slotd"]);
        assert_eq!(of.names, ["imap1.test", "::1", "10.0.0.1"]);
        let at = |day: i64| {
            let since = u64::try_from(of.not_before + day * DAY).unwrap();
            UNIX_EPOCH + Duration::from_secs(since)
        };
        assert_eq!(of.days_left(at(0)), 10);
        assert_eq!(of.days_left(at(10)), 0);
        assert_eq!(of.days_left(at(11)), -1);
        assert!(!of.is_outside(at(10)) && of.is_outside(at(11)) && of.is_outside(at(-1)));
        assert!(!of.serial.is_empty());
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(Certificate::of(b"").is_err());
        assert!(Certificate::of(b"\x30\x03\x02\x01\x01").is_err());
    }
}
