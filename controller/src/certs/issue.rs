//! Certificates for hosts, controllers and viewers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use slotd::protocol::Role;
use slotd::tls::Certificate;

use super::authority::{Authority, Readers, certificate, key_pair, made_wrong, params, write};
use super::error::CertsError;

/// How long a certificate lasts if nothing else is said, in days.
pub const DAYS: u32 = 365;

/// Longest name of a host or holder, in bytes: that of the DNS.
const NAME_MAX: usize = 253;

/// What is to be issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What its holder is.
    pub role: Role,
    /// Of a slotd all names and addresses under which it is reached; else the one name of the
    /// holder.
    pub names: Vec<String>,
    /// How long it lasts, in days.
    pub days: u32,
    /// What its files are called, without `.pem` and `.key`; `None` for the first of its names.
    pub file: Option<String>,
}

/// What was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The file of the certificate.
    pub certificate: PathBuf,
    /// The file of its key, its owner's alone.
    pub key: PathBuf,
    /// What the certificate says.
    pub facts: Certificate,
}

impl Authority {
    /// Issues a certificate, with a key of its own.
    ///
    /// A slotd's serves, and fetches `cyrus.sha1s` of another slotd; the others can only ask, so
    /// that who has one of these can pose as no host.
    ///
    /// # Errors
    /// A name cannot be one, the authority ends before the certificate would, or a file of that
    /// name is there.
    pub fn issue(&self, wanted: &Wanted) -> Result<Issued, CertsError> {
        let Some(first) = wanted.names.first() else {
            return Err(CertsError::Wanted("a certificate needs a name".to_owned()));
        };
        let is_host = wanted.role == Role::Slotd;
        if !is_host && wanted.names.len() > 1 {
            let text = format!("a {} has one name, that of its holder", wanted.role);
            return Err(CertsError::Wanted(text));
        }
        for name in &wanted.names {
            check_name(name, is_host)?;
        }
        let base = wanted.file.as_ref().unwrap_or(first);
        check_name(base, false)?;
        let now = SystemTime::now();
        let left = self.facts().days_left(now);
        if i64::from(wanted.days) > left {
            let text = format!(
                "the authority ends in {left} days, before the certificate would: give --days, or \
                 make a new authority"
            );
            return Err(CertsError::Wanted(text));
        }
        let mut params = params(first, wanted.days);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if is_host {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
            for name in &wanted.names {
                params.subject_alt_names.push(match name.parse::<IpAddr>() {
                    Ok(address) => SanType::IpAddress(address),
                    Err(_) => SanType::DnsName(ascii(name)?),
                });
            }
        }
        let uri = SanType::URI(ascii(&wanted.role.uri())?);
        params.subject_alt_names.push(uri);
        let key = key_pair()?;
        let signed = params.signed_by(&key, self.issuer());
        let pem = signed.map_err(|error| made_wrong(&error))?.pem();
        let path = |extension: &str| self.dir().join(format!("{base}.{extension}"));
        let issued = (path("pem"), path("key"));
        if issued.0.symlink_metadata().is_ok() {
            let advice = "it may be in use; give another name for the new files (--file)";
            return Err(CertsError::Exists {
                path: issued.0,
                advice,
            });
        }
        write(&issued.1, &key.serialize_pem(), Readers::Owner)?;
        write(&issued.0, &pem, Readers::All)?;
        let (_, facts) = certificate(&issued.0)?;
        Ok(Issued {
            certificate: issued.0,
            key: issued.1,
            facts,
        })
    }
}

fn ascii(text: &str) -> Result<rcgen::string::Ia5String, CertsError> {
    text.try_into().map_err(|error| made_wrong(&error))
}

/// A host's name or address, or what may be the name of a holder and of files.
fn check_name(name: &str, is_host: bool) -> Result<(), CertsError> {
    let wrong = |what: &str| {
        let text = format!("{name:?} can be no name of a certificate: {what}");
        Err(CertsError::Wanted(text))
    };
    if name.is_empty() || name.len() > NAME_MAX {
        return wrong("it has 1 to 253 characters");
    }
    if is_host && name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_address = name.parse::<IpAddr>().is_ok();
    if !is_address && !name.chars().all(plain) {
        return wrong("letters, digits and . _ - are allowed");
    }
    if name.starts_with('.') || name.starts_with('-') {
        return wrong("it begins with a letter or a digit");
    }
    if ["ca", "crl"].contains(&name) {
        return wrong("the authority's own files are called so");
    }
    Ok(())
}

/// Now, in seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
