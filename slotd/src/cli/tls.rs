//! The options by which this end of a connection is known, and knows the other: of `slotd` and of
//! `controller`.

use std::path::PathBuf;

use crate::tls::Files;

/// The files of this end.
#[derive(Clone, Debug, Default, clap::Args)]
#[allow(clippy::struct_field_names)] // clap makes the options of them
pub struct TlsArgs {
    /// For tls:// our certificate, PEM: docs/security.md
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The authorities that may have signed the other side's certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// The lists of certificates that these have revoked
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_crl: Option<PathBuf>,
}

impl TlsArgs {
    /// The files, if there are some.
    #[must_use]
    pub fn files(&self) -> Option<Files> {
        Some(Files {
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            ca: self.tls_ca.clone()?,
            crl: self.tls_crl.clone(),
        })
    }

    /// The arguments again, for a hint.
    #[must_use]
    pub fn spelled(&self) -> Vec<String> {
        let all = [
            ("--tls-cert", &self.tls_cert),
            ("--tls-key", &self.tls_key),
            ("--tls-ca", &self.tls_ca),
            ("--tls-crl", &self.tls_crl),
        ];
        let given = all
            .into_iter()
            .filter_map(|(option, path)| Some((option, path.as_ref()?)));
        given
            .map(|(option, path)| format!("{option} {}", path.display()))
            .collect()
    }
}
