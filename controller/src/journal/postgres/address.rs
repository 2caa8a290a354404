//! Where the server is, and how it is reached.

use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::super::JournalError;
use super::errors::{unfit, words};

/// How long a connection may take to come about, each host of the address.
const CONNECT: Duration = Duration::from_secs(10);
/// Where a server listens that is not given a port.
const PORT: u16 = 5432;
/// After this long without an answer the peer of a TCP connection is taken for gone.
const SILENT: Duration = Duration::from_secs(20);

/// What a session has of its own. A connection pooler in transaction mode does not pass it on,
/// which is how one is noticed.
const SETTINGS: &str = "-c client_connection_check_interval=200 -c lock_timeout=5000 \
     -c idle_in_transaction_session_timeout=60000 -c search_path=reguid";

/// Which database it is: after a failover the same system on another timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    pub(super) system: String,
    pub(super) timeline: String,
}

/// The address of a server.
pub(super) struct Address {
    pub(super) config: Config,
    /// Without the password.
    pub(super) label: PathBuf,
    /// What the first session found.
    known: Mutex<Option<Timeline>>,
}

impl Address {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE`; a directory with a socket
    /// is a host too, with `%2F` for each `/`.
    ///
    /// # Errors
    /// It is none, or would need TLS.
    pub(super) fn parse(url: &str) -> Result<Self, JournalError> {
        let scheme = "postgres://".to_owned();
        let mut config: Config = url
            .parse()
            .map_err(|error: tokio_postgres::Error| unfit(&scheme, &words(&error)))?;
        let label = label(&config);
        let asked = url.contains("sslmode=disable");
        match config.get_ssl_mode() {
            SslMode::Disable => {}
            SslMode::Prefer if !asked && config.get_hosts().iter().all(is_local) => {}
            SslMode::Prefer => {
                let what = "this release has no TLS to a database: only a Unix socket and the \
                            loopback are reached as they are; with sslmode=disable all that is \
                            sent can be read on its way";
                return Err(unfit(&label, what));
            }
            _ => {
                let what = "sslmode=require cannot be kept: this release has no TLS to a database";
                return Err(unfit(&label, what));
            }
        }
        // Where it is not in an argument that every process of the host can read.
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        let options = match config.get_options() {
            Some(own) => format!("{own} {SETTINGS}"),
            None => SETTINGS.to_owned(),
        };
        config
            .options(options)
            .application_name("reguid")
            .connect_timeout(CONNECT)
            .keepalives(true)
            .keepalives_idle(SILENT)
            .tcp_user_timeout(SILENT)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        Ok(Self {
            config,
            label: PathBuf::from(label),
            known: Mutex::new(None),
        })
    }

    pub(super) fn name(&self) -> String {
        self.label.display().to_string()
    }

    /// Compares what a session found with what the first one did.
    ///
    /// # Errors
    /// It is another system, or the same on another timeline.
    pub(super) fn same(&self, found: &Timeline) -> Result<(), JournalError> {
        let mut known = self.known.lock();
        let before = known.get_or_insert_with(|| found.clone());
        if before == found {
            return Ok(());
        }
        Err(JournalError::Timeline {
            server: self.name(),
            was: before.to_string(),
            now: found.to_string(),
        })
    }
}

impl std::fmt::Display for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let timeline = self.timeline.trim_start_matches('0');
        write!(f, "timeline {timeline} of system {}", self.system)
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback())
        }
    }
}

fn label(config: &Config) -> String {
    // One port is of all hosts.
    let ports = config.get_ports();
    let port = |at: usize| *ports.get(at).or(ports.first()).unwrap_or(&PORT);
    let hosts = config.get_hosts().iter().enumerate();
    let hosts = hosts.map(|(at, host)| match (host, port(at)) {
        (Host::Tcp(name), PORT) => name.clone(),
        (Host::Tcp(name), port) => format!("{name}:{port}"),
        (Host::Unix(path), _) => path.display().to_string(),
    });
    let hosts: Vec<String> = hosts.collect();
    let name = config.get_dbname().or(config.get_user()).unwrap_or("");
    format!("postgres://{}/{name}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        match Address::parse(url) {
            Err(JournalError::Unfit { what, .. }) => what,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("{url} was taken"),
        }
    }

    #[test]
    fn what_would_need_tls_is_refused_and_a_password_is_never_shown() {
        for url in [
            "postgres://u:secret@127.0.0.1/db",
            "postgres://u:secret@localhost:5433/db",
            "postgres://u:secret@%2Frun%2Fpg/db",
            "postgres://u:secret@db.example/db?sslmode=disable",
            "postgres://u:secret@[::1]/db",
        ] {
            let address = Address::parse(url).map(|a| a.name());
            let name = address.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(!name.contains("secret"), "{name}");
        }
        assert!(refused("postgres://u@127.0.0.1/db?sslmode=require").contains("sslmode=require"));
        for url in [
            "postgres://u:secret@db.example/db",
            "postgres://u:secret@127.0.0.1,db.example/db",
            "postgres://u:secret@127.0.0.1/db?sslmode=verify-full",
            "postgres://u:secret@127.0.0.1:none/db",
        ] {
            let what = refused(url);
            assert!(
                !what.is_empty() && !what.contains("secret"),
                "{url}: {what}"
            );
        }
    }

    #[test]
    fn another_timeline_than_that_of_the_first_session_is_an_error() {
        let address = Address::parse("postgres://u@127.0.0.1/db").unwrap_or_else(|e| panic!("{e}"));
        let on = |timeline: &str| Timeline {
            system: "7".to_owned(),
            timeline: timeline.to_owned(),
        };
        address.same(&on("00000001")).unwrap();
        address.same(&on("00000001")).unwrap();
        let changed = address.same(&on("0000000A")).unwrap_err().to_string();
        assert!(
            changed.contains("timeline 1 of") && changed.contains("timeline A of"),
            "{changed}"
        );
        assert!(address.same(&on("0000000A")).is_err(), "it stays one");
    }
}
