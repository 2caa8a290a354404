//! What certificates there are, and how long they last.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use indexfile::IoContext as _;
use indexfile::dir::OpenError;
use serde::Serialize;
use slotd::tls::Certificate;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::authority::{certificate, list_path};
use super::error::CertsError;
use super::revoke::{list_der, revoked};

/// Whether a certificate counts, as far as this directory knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It does.
    Valid,
    /// It has ended.
    Expired,
    /// It has not begun: a clock is wrong.
    NotYet,
    /// It is on the list of the revoked.
    Revoked,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its file.
    pub file: PathBuf,
    /// `authority`, `slotd`, `controller` or `viewer`; `None` if it is for nothing of ours.
    pub role: Option<String>,
    /// Whose it is.
    pub holder: String,
    /// The hosts that it is for.
    pub names: Vec<String>,
    /// Its number, hexadecimal.
    pub serial: String,
    /// Its last moment, seconds since 1970.
    pub not_after: i64,
    /// Whole days until then; negative after it.
    pub days_left: i64,
    /// Whether it counts.
    pub standing: Standing,
}

/// Looks at a certificate, or at all of a directory, in the order of their files. A list of revoked
/// certificates beside them is looked into.
///
/// # Errors
/// A file cannot be read, or is none; there is no certificate in the directory.
pub fn show(path: &Path, now: SystemTime) -> Result<Vec<Shown>, CertsError> {
    if !path.is_dir() {
        let dir = path.parent().unwrap_or(Path::new("."));
        return Ok(vec![shown(path, &revoked_of(dir)?, now)?]);
    }
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(path).io_context("read", path)? {
        let file = entry.io_context("read", path)?.path();
        if file.extension().is_some_and(|e| e == "pem") && file != list_path(path) {
            files.insert(file);
        }
    }
    if files.is_empty() {
        let text = "no certificate (*.pem) is there".to_owned();
        let path = path.to_owned();
        return Err(CertsError::Contents { path, text });
    }
    let revoked = revoked_of(path)?;
    let each = files.iter().map(|file| shown(file, &revoked, now));
    each.collect()
}

/// Issuer and serial number of what a directory's list has.
type Revoked = BTreeSet<(Vec<u8>, Vec<u8>)>;

fn revoked_of(dir: &Path) -> Result<Revoked, CertsError> {
    let path = list_path(dir);
    let der = match list_der(&path) {
        Err(CertsError::Open(OpenError::Missing { .. })) => return Ok(Revoked::new()),
        der => der?,
    };
    let (_, list) =
        CertificateRevocationList::from_der(&der).map_err(|_| CertsError::Contents {
            path,
            text: "it is no revocation list".to_owned(),
        })?;
    let issuer = list.issuer().as_raw().to_vec();
    let serials = revoked(&list).into_keys();
    Ok(serials.map(|serial| (issuer.clone(), serial)).collect())
}

fn shown(file: &Path, revoked: &Revoked, now: SystemTime) -> Result<Shown, CertsError> {
    let (der, facts) = certificate(file)?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| CertsError::Contents {
        path: file.to_owned(),
        text: "it is no certificate".to_owned(),
    })?;
    let key = (
        parsed.issuer().as_raw().to_vec(),
        parsed.raw_serial().to_vec(),
    );
    let days_left = facts.days_left(now);
    let standing = if revoked.contains(&key) {
        Standing::Revoked
    } else if !facts.is_outside(now) {
        Standing::Valid
    } else if days_left < 0 {
        Standing::Expired
    } else {
        Standing::NotYet
    };
    let Certificate {
        holder,
        role,
        names,
        serial,
        is_authority,
        not_after,
        ..
    } = facts;
    let role = if is_authority {
        Some("authority".to_owned())
    } else {
        role.map(|role| role.to_string())
    };
    Ok(Shown {
        file: file.to_owned(),
        role,
        holder,
        names,
        serial,
        not_after,
        days_left,
        standing,
    })
}
