//! The list of certificates that count no more.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexfile::IoContext as _;
use indexfile::dir::read_named;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use slotd::tls::Certificate;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::authority::{Authority, LIMIT, certificate, made_wrong};
use super::error::CertsError;
use super::issue::now;
use crate::whole_file::{Before, WholeFile};

/// What became of a certificate that was to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its file.
    pub path: PathBuf,
    /// What it says.
    pub facts: Certificate,
    /// Whether it was on the list before.
    pub already: bool,
}

/// The list as it is: the number of this edition, and when each certificate came on it, in seconds
/// since 1970, by serial number.
#[derive(Default)]
pub(super) struct List {
    number: u64,
    revoked: BTreeMap<Vec<u8>, i64>,
}

impl Authority {
    /// Revokes certificates, all of them or none.
    ///
    /// # Errors
    /// One is not of this authority, or the list cannot be replaced.
    pub fn revoke(&self, files: &[PathBuf]) -> Result<Vec<Revocation>, CertsError> {
        // Two at once would each leave out what the other adds.
        let dir = self.dir();
        self.key_file().lock().io_context("lock", dir)?;
        let mut list = self.list()?;
        let mut revocations = Vec::with_capacity(files.len());
        for path in files {
            let (der, facts) = certificate(path)?;
            let wrong = |text: &str| CertsError::Contents {
                path: path.clone(),
                text: text.to_owned(),
            };
            let parsed = X509Certificate::from_der(&der);
            let (_, parsed) = parsed.map_err(|_| wrong("it is no certificate"))?;
            let (_, own) = X509Certificate::from_der(self.der())
                .map_err(|_| wrong("its authority is no certificate"))?;
            if facts.is_authority || parsed.verify_signature(Some(own.public_key())).is_err() {
                return Err(wrong("it was not issued by this authority"));
            }
            let serial = parsed.raw_serial().to_vec();
            let already = list.revoked.contains_key(&serial);
            let at = i64::try_from(now()).unwrap_or(i64::MAX);
            list.revoked.entry(serial).or_insert(at);
            revocations.push(Revocation {
                path: path.clone(),
                facts,
                already,
            });
        }
        if revocations.iter().any(|one| !one.already) {
            list.number += 1;
            self.write_list(&list, Before::Replaced)?;
        }
        self.key_file().unlock().io_context("unlock", dir)?;
        Ok(revocations)
    }

    /// The first edition, of nothing.
    pub(super) fn begin_list(&self) -> Result<(), CertsError> {
        let list = List {
            number: 1,
            ..List::default()
        };
        self.write_list(&list, Before::Kept)
    }

    fn list(&self) -> Result<List, CertsError> {
        let path = self.list_path();
        let wrong = |text: &str| CertsError::Contents {
            path: path.clone(),
            text: text.to_owned(),
        };
        let der = list_der(&path)?;
        let (_, parsed) = CertificateRevocationList::from_der(&der)
            .map_err(|_| wrong("it is no revocation list"))?;
        let (_, own) = X509Certificate::from_der(self.der())
            .map_err(|_| wrong("its authority is no certificate"))?;
        if parsed.verify_signature(own.public_key()).is_err() {
            return Err(wrong("it is not signed by this authority"));
        }
        let number = parsed.crl_number().and_then(|n| u64::try_from(n).ok());
        Ok(List {
            number: number.ok_or_else(|| wrong("it has no number"))?,
            revoked: revoked(&parsed),
        })
    }

    fn write_list(&self, list: &List, before: Before) -> Result<(), CertsError> {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let at = |seconds: i64| epoch + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let params = CertificateRevocationListParams {
            this_update: epoch + Duration::from_secs(now()),
            // It is not the list that ends, but the authority: one that was fetched stays right
            // until there is a newer one.
            next_update: at(self.facts().not_after),
            crl_number: SerialNumber::from(list.number),
            issuing_distribution_point: None,
            revoked_certs: list
                .revoked
                .iter()
                .map(|(serial, when)| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time: at(*when),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = params.signed_by(self.issuer());
        let pem = signed.and_then(|list| list.pem());
        let pem = pem.map_err(|error| made_wrong(&error))?;
        let path = self.list_path();
        let mut file = WholeFile::create(&path)?;
        file.write_all(pem.as_bytes()).io_context("write", &path)?;
        file.for_all()?;
        Ok(file.publish(before)?)
    }
}

/// The list of a PEM file.
pub(super) fn list_der(path: &Path) -> Result<CertificateRevocationListDer<'static>, CertsError> {
    let pem = read_named(path, LIMIT)?;
    let der = CertificateRevocationListDer::from_pem_slice(&pem);
    der.map_err(|error| CertsError::Contents {
        path: path.to_owned(),
        text: format!("it has no revocation list: {error}"),
    })
}

/// When each certificate came on a list, in seconds since 1970, by serial number.
pub(super) fn revoked(list: &CertificateRevocationList<'_>) -> BTreeMap<Vec<u8>, i64> {
    let each = list.iter_revoked_certificates();
    each.map(|one| (one.raw_serial().to_vec(), one.revocation_date.timestamp()))
        .collect()
}
