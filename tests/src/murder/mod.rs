//! A real Cyrus Murder of Debian's packages (3.6.1) on loopback: a mupdate master, two backends and
//! a frontend's mupdate.
//!
//! Each host has an address of its own in 127.0.0.0/8 and its files in a temporary directory. They
//! find each other by an `/etc/hosts`, and the port by an `/etc/services`, that only they see:
//! Debian's has no `mupdate`, and Cyrus takes no number. Backends are used by IMAP on Unix sockets;
//! each has a second `imapd` that knows of no master, for what happens behind its back.
//!
//! Needs root, and the packages cyrus-imapd, cyrus-murder, sasl2-bin and openssl.

mod host;
mod tls;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cyrus36::user;
pub use host::Host;
pub use writer::Writer;

/// The administrator of the master and of the frontend's mupdate.
pub const ADMIN: &str = "mupdateadmin";

/// The options by which a controller asks the mupdate server at that host and port.
#[must_use]
pub fn options(address: &str, password_file: &Path) -> Vec<String> {
    [
        "--murder",
        &format!("mupdate://{address}"),
        "--murder-user",
        ADMIN,
        "--password-file",
        &password_file.display().to_string(),
    ]
    .map(str::to_owned)
    .to_vec()
}
/// Its password.
pub const PASSWORD: &str = "secret";

/// All hosts. Dropped, they end.
pub struct Murder {
    /// Offers no TLS.
    pub master: Host,
    /// `be1.test` and `be2.test`.
    pub backends: [Host; 2],
    /// Offers TLS.
    pub frontend: Host,
    /// Signed the frontend's certificate.
    pub ca_file: PathBuf,
    dir: tempfile::TempDir,
}

impl Murder {
    /// Starts them, the master first.
    ///
    /// # Panics
    /// If anything is missing, or one does not come up.
    #[must_use]
    pub fn start() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        // Other tests, and other runs of this one, have other addresses.
        let (pid, first) = (
            std::process::id(),
            STARTED.fetch_add(4, Ordering::Relaxed) % 200,
        );
        let address = |n: u32| format!("127.{}.{}.{}", 1 + pid / 250 % 250, pid % 250, first + n);
        let names = ["mupdate.test", "be1.test", "be2.test", "fe.test"];
        let hosts = (9..)
            .zip(names)
            .map(|(n, name)| format!("{} {name}\n", address(n)));
        let hosts = format!("127.0.0.1 localhost\n{}", hosts.collect::<String>());
        fs::write(root.join("hosts"), hosts).unwrap();
        let services = fs::read_to_string("/etc/services").unwrap_or_default();
        fs::write(
            root.join("services"),
            format!("{services}\nmupdate 3905/tcp\n"),
        )
        .unwrap();
        let ca_file = tls::certificates(root, "fe.test", &address(12));
        let host = |n: u32, name: &str| Host::new(root, name, &address(n));
        let mut murder = Self {
            master: host(9, "mupdate.test"),
            backends: [host(10, "be1.test"), host(11, "be2.test")],
            frontend: host(12, "fe.test"),
            ca_file,
            dir,
        };
        user::give_to_cyrus(murder.dir.path());
        murder.master.start_mupdate(true);
        murder.backends.iter_mut().for_each(Host::start_imap);
        murder.frontend.start_mupdate(false);
        murder
    }

    /// A file with that password, that only its owner may read.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn password_file(&self, password: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.path().join("password");
        fs::write(&path, format!("{password}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}
