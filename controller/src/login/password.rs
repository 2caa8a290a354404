//! A password from a file: never in an argument, a message or a log.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use indexfile::IoError;
use indexfile::dir::{OpenError, open_named, read_bounded};

use super::error::SetupError;

/// Longest password file, in bytes.
const LIMIT: u64 = 4096;

/// A password.
#[derive(Clone)]
pub struct Password(Vec<u8>);

impl Password {
    /// Reads it: all of the file but a line end behind it.
    ///
    /// # Errors
    /// The file cannot be read; every user of this host may read or write it; it is empty, longer
    /// than 4096 bytes, or has a NUL, which SASL PLAIN has no way to send.
    pub fn from_file(path: &Path) -> Result<Self, SetupError> {
        let what = "the password file";
        let file = |source| SetupError::File { what, source };
        let open = open_named(path).map_err(file)?;
        let stat = open.metadata();
        let stat = stat.map_err(|e| file(OpenError::Io(IoError::new("stat", path, e))))?;
        let mode = stat.mode() & 0o777;
        if mode & 0o007 != 0 {
            let path = path.to_owned();
            return Err(SetupError::Mode { path, mode });
        }
        let mut bytes = read_bounded(&open, path, LIMIT).map_err(file)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        let wrong = |what| SetupError::Password {
            path: path.to_owned(),
            what,
        };
        if bytes.is_empty() {
            return Err(wrong("is empty"));
        }
        if bytes.contains(&0) {
            return Err(wrong("has a NUL in it"));
        }
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use indexfile::exit::Exit;

    use super::*;

    fn of(bytes: &[u8], mode: u32) -> Result<Password, SetupError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Password::from_file(&path)
    }

    #[test]
    fn one_line_end_is_cut_and_nothing_else() {
        for (bytes, password) in [
            (&b"secret"[..], &b"secret"[..]),
            (b"secret\n", b"secret"),
            (b"secret\r\n", b"secret"),
            (b"secret\n\n", b"secret\n"),
            (b" se cret \n", b" se cret "),
        ] {
            assert_eq!(of(bytes, 0o600).unwrap().bytes(), password);
        }
        assert_eq!(of(b"secret", 0o640).unwrap().bytes(), b"secret");
    }

    #[test]
    fn a_file_that_every_user_may_read_or_write_is_refused() {
        for mode in [0o644, 0o604, 0o602, 0o666] {
            let error = of(b"secret\n", mode).unwrap_err();
            assert!(matches!(error, SetupError::Mode { .. }), "{error}");
            assert_eq!(error.exit(), Exit::Config);
            assert!(
                error.to_string().contains(&format!("(mode {mode:o})")),
                "{error}"
            );
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_can_be_no_password_is_refused() {
        for bytes in [&b""[..], b"\n", b"a\0b", &[b'x'; 4097]] {
            let error = of(bytes, 0o600).unwrap_err();
            assert_eq!(error.exit(), Exit::Config, "{error}");
        }
        let error = Password::from_file(Path::new("/nonexistent/password")).unwrap_err();
        assert_eq!(error.exit(), Exit::Config);
        assert!(
            error.to_string().contains("/nonexistent/password"),
            "{error}"
        );
    }

    #[test]
    fn a_password_is_not_in_what_debug_prints() {
        assert_eq!(
            format!("{:?}", of(b"secret", 0o600).unwrap()),
            "Password(..)"
        );
    }
}
