//! The files that one end of a connection has: its certificate, its key, the authorities that it
//! believes, and their lists of revoked certificates. All PEM.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::dir::{OpenError, open_named, read_bounded, read_named};
use indexfile::exit::Exit;
use indexfile::{IoContext as _, IoError};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::certificate::Certificate;

/// Longest of these files, in bytes.
const LIMIT: u64 = 16 << 20;

/// Which files they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Our certificate, and what of its chain the other end may not have.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities that may have signed the other end's.
    pub ca: PathBuf,
    /// Their lists of revoked certificates; without, none is revoked.
    pub crl: Option<PathBuf>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// One cannot be read.
    #[error("{what}: {source}")]
    Open {
        /// The option that names it.
        what: &'static str,
        /// Why.
        source: OpenError,
    },
    /// Others may read or write the key.
    #[error(
        "the key {} may be read or written by every user of this host (mode {mode:03o}): \
         chmod o= it",
        path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// One is not what it should be.
    #[error("{}: {text}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
}

impl FilesError {
    /// The exit code that fits: 78, and 77 where we may not read a file.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            FilesError::Open {
                source: OpenError::Denied(_),
                ..
            } => Exit::Denied,
            _ => Exit::Config,
        }
    }

    pub(super) fn contents(path: &Path, text: &dyn std::fmt::Display) -> FilesError {
        FilesError::Contents {
            path: path.to_owned(),
            text: text.to_string(),
        }
    }
}

/// What is in the files.
pub(super) struct Material {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) crls: Vec<CertificateRevocationListDer<'static>>,
    /// What our own certificate says.
    pub(super) own: Certificate,
}

impl Files {
    /// Reads all of them.
    pub(super) fn read(&self) -> Result<Material, FilesError> {
        let chain = certificates(&read("--tls-cert", &self.cert)?, &self.cert)?;
        let own = chain.first().map(|first| Certificate::of(first));
        let own = match own {
            Some(Ok(own)) => own,
            Some(Err(error)) => return Err(FilesError::contents(&self.cert, &error)),
            None => return Err(FilesError::contents(&self.cert, &"it has no certificate")),
        };
        let key = PrivateKeyDer::from_pem_slice(&key(&self.key)?);
        let key = key
            .map_err(|error| FilesError::contents(&self.key, &format!("it has no key: {error}")))?;
        let mut crls = Vec::new();
        if let Some(path) = &self.crl {
            let pem = read("--tls-crl", path)?;
            for list in CertificateRevocationListDer::pem_slice_iter(&pem) {
                crls.push(list.map_err(|error| FilesError::contents(path, &error))?);
            }
            if crls.is_empty() {
                return Err(FilesError::contents(path, &"it has no revocation list"));
            }
        }
        Ok(Material {
            chain,
            key,
            roots: Arc::new(self.roots()?),
            crls,
            own,
        })
    }

    fn roots(&self) -> Result<RootCertStore, FilesError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&read("--tls-ca", &self.ca)?, &self.ca)? {
            let added = roots.add(certificate);
            added.map_err(|error| FilesError::contents(&self.ca, &error))?;
        }
        if roots.is_empty() {
            return Err(FilesError::contents(&self.ca, &"it has no certificate"));
        }
        Ok(roots)
    }

    /// What tells that one of them was replaced: inode, size and time of each.
    pub(super) fn stamp(&self) -> Vec<Option<(u64, u64, i64, i64)>> {
        let all = [
            Some(&self.cert),
            Some(&self.key),
            Some(&self.ca),
            self.crl.as_ref(),
        ];
        let stamp = |path: &PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
        };
        all.into_iter().flatten().map(stamp).collect()
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, FilesError> {
    read_named(path, LIMIT).map_err(|source| FilesError::Open { what, source })
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, FilesError> {
    Certificate::in_pem(pem).map_err(|error| FilesError::contents(path, &error))
}

/// A key, unless it is no secret.
fn key(path: &Path) -> Result<Vec<u8>, FilesError> {
    let what = "--tls-key";
    let open = |source| FilesError::Open { what, source };
    let io = |error: IoError| open(OpenError::Io(error));
    let file = open_named(path).map_err(open)?;
    let mode = file.metadata().io_context("look at", path).map_err(io)?;
    let mode = mode.mode() & 0o777;
    if mode & 0o007 != 0 {
        let path = path.to_owned();
        return Err(FilesError::Mode { path, mode });
    }
    read_bounded(&file, path, LIMIT).map_err(open)
}
