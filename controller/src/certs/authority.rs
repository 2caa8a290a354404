//! The authority: its directory, its key and its own certificate.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indexfile::dir::{open_named, read_bounded, read_named};
use indexfile::{IoContext as _, IoError};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use slotd::tls::Certificate;

use super::error::CertsError;
use crate::whole_file::{Before, WholeFile};

/// How long an authority lasts if nothing else is said, in days.
pub const DAYS: u32 = 3650;

/// Longest file of this directory, in bytes: a revocation list has some forty for each certificate.
pub(super) const LIMIT: u64 = 16 << 20;

/// A certificate counts from so long before it is made: clocks of hosts differ.
const BEFORE: Duration = Duration::from_secs(3600);

/// A day.
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// An authority that can sign.
pub struct Authority {
    dir: PathBuf,
    /// Locked while the list of revoked certificates is changed.
    key_file: File,
    der: CertificateDer<'static>,
    facts: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one in a directory, which is made if it is not there. `name` is what its certificate
    /// is called.
    ///
    /// # Errors
    /// The directory has one already, is not its owner's alone, or cannot be written to.
    pub fn init(dir: &Path, name: &str, days: u32) -> Result<Authority, CertsError> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.io_context("make", dir)?,
        }
        check_private(dir)?;
        for path in [key_path(dir), certificate_path(dir), list_path(dir)] {
            if fs::symlink_metadata(&path).is_ok() {
                let advice = "an authority is made once; give another directory for another one";
                return Err(CertsError::Exists { path, advice });
            }
        }
        let mut params = params(name, days);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key_pair()?;
        let certificate = params.self_signed(&key).map_err(|e| made_wrong(&e))?;
        write(&key_path(dir), &key.serialize_pem(), Readers::Owner)?;
        write(&certificate_path(dir), &certificate.pem(), Readers::All)?;
        let authority = Authority::open(dir)?;
        authority.begin_list()?;
        Ok(authority)
    }

    /// Opens that of a directory.
    ///
    /// # Errors
    /// There is none, it is not its owner's alone, or its key is not that of its certificate.
    pub fn open(dir: &Path) -> Result<Authority, CertsError> {
        check_private(dir)?;
        let path = key_path(dir);
        let key_file = open_named(&path)?;
        check_private(&path)?;
        let wrong = |text: String| CertsError::Contents {
            path: path.clone(),
            text,
        };
        let pem = String::from_utf8(read_bounded(&key_file, &path, LIMIT)?);
        let pem = pem.map_err(|_| wrong("it is no PEM".to_owned()))?;
        let key = KeyPair::from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
        let (der, facts) = certificate(&certificate_path(dir))?;
        if !facts.is_authority {
            let text = "it is not an authority's certificate".to_owned();
            return Err(CertsError::Contents {
                path: certificate_path(dir),
                text,
            });
        }
        if !has_key(&der, &key) {
            return Err(wrong(format!(
                "it is not the key of {}",
                certificate_path(dir).display()
            )));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| CertsError::Contents {
            path: certificate_path(dir),
            text: error.to_string(),
        })?;
        Ok(Authority {
            dir: dir.to_owned(),
            key_file,
            der,
            facts,
            issuer,
        })
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of its certificate, which both ends of every connection get.
    #[must_use]
    pub fn certificate_path(&self) -> PathBuf {
        certificate_path(&self.dir)
    }

    /// The file of its list of revoked certificates.
    #[must_use]
    pub fn list_path(&self) -> PathBuf {
        list_path(&self.dir)
    }

    /// What its certificate says.
    #[must_use]
    pub fn facts(&self) -> &Certificate {
        &self.facts
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub(super) fn key_file(&self) -> &File {
        &self.key_file
    }
}

fn key_path(dir: &Path) -> PathBuf {
    dir.join("ca.key")
}

fn certificate_path(dir: &Path) -> PathBuf {
    dir.join("ca.pem")
}

pub(super) fn list_path(dir: &Path) -> PathBuf {
    dir.join("crl.pem")
}

/// Whether a certificate is of that key.
fn has_key(der: &CertificateDer<'_>, key: &KeyPair) -> bool {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let parsed = X509Certificate::from_der(der);
    parsed.is_ok_and(|(_, parsed)| {
        parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
    })
}

/// A key that nobody else has.
pub(super) fn key_pair() -> Result<KeyPair, CertsError> {
    KeyPair::generate().map_err(|error| made_wrong(&error))
}

/// What can only go wrong in the library, or for want of random numbers.
pub(super) fn made_wrong(error: &rcgen::Error) -> CertsError {
    CertsError::Wanted(format!("no certificate can be made of that: {error}"))
}

/// A certificate that counts from now on.
pub(super) fn params(holder: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, holder);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Duration::from_secs(now.unwrap_or_default().as_secs());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BEFORE);
    params.not_after = epoch + now + DAY * days;
    params
}

/// The first certificate of a PEM file.
pub(super) fn certificate(
    path: &Path,
) -> Result<(CertificateDer<'static>, Certificate), CertsError> {
    let wrong = |text: String| CertsError::Contents {
        path: path.to_owned(),
        text,
    };
    let pem = read_named(path, LIMIT)?;
    let der = CertificateDer::from_pem_slice(&pem);
    let der = der.map_err(|error| wrong(format!("it has no certificate: {error}")))?;
    let facts = Certificate::of(&der).map_err(|error| wrong(error.to_string()))?;
    Ok((der, facts))
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    Owner,
    All,
}

/// Writes a file that is not there yet.
pub(super) fn write(path: &Path, text: &str, readers: Readers) -> Result<(), CertsError> {
    let mut file = WholeFile::create(path)?;
    file.write_all(text.as_bytes()).io_context("write", path)?;
    if readers == Readers::All {
        file.for_all()?;
    }
    file.publish(Before::Kept)
        .map_err(|error| exists(path, error))
}

fn exists(path: &Path, error: IoError) -> CertsError {
    if error.source.kind() == ErrorKind::AlreadyExists {
        let advice = "give another name for its files (--file)";
        return CertsError::Exists {
            path: path.to_owned(),
            advice,
        };
    }
    error.into()
}

/// Refuses what anybody but its owner may use.
fn check_private(path: &Path) -> Result<(), CertsError> {
    let meta = fs::metadata(path).io_context("look at", path);
    let mode = match meta {
        Ok(meta) => meta.mode() & 0o777,
        Err(error) if error.source.kind() == ErrorKind::NotFound => {
            return Err(indexfile::dir::OpenError::Missing {
                path: path.to_owned(),
            }
            .into());
        }
        Err(error) => return Err(error.into()),
    };
    // Nothing for its group, nor for others.
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    let path = path.to_owned();
    Err(CertsError::Wide { path, mode })
}
