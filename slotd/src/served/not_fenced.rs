//! Why the fence does not stand: one sentence each, with the path, the process or the port.

use std::net::SocketAddr;
use std::path::PathBuf;

use indexfile::IoError;

use super::stopped::Holder;

/// Why the fence does not stand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotFenced {
    /// There is no place for `msg/shutdown`.
    #[error("imapd.conf names no configdirectory, in which msg/shutdown would be")]
    NoConfigDirectory,
    /// `msg/shutdown` is not there.
    #[error("{} is not there: a Cyrus that is started would serve the store", path.display())]
    NoShutdown {
        /// Where it should be.
        path: PathBuf,
    },
    /// It is a link, a directory or the like.
    #[error("{} is not a regular file", path.display())]
    OddShutdown {
        /// Where it is.
        path: PathBuf,
    },
    /// It was replaced or rewritten meanwhile.
    #[error("{} was changed while slotd looked at what runs", path.display())]
    Changed {
        /// Where it is.
        path: PathBuf,
    },
    /// A process has a file of the store open.
    #[error("{0}")]
    Open(Holder),
    /// Processes that may be the server's could not be looked at.
    #[error(
        "{count} of the processes of the server's user could not be looked at, {pid} the first of \
         them: slotd must run as root or as that user"
    )]
    Unseen {
        /// How many.
        count: usize,
        /// The first one.
        pid: u32,
    },
    /// Processes could not be looked at although slotd is root.
    #[error(
        "{count} processes could not be looked at, {pid} the first of them, although slotd runs as \
         root: it needs CAP_SYS_PTRACE"
    )]
    UnseenByRoot {
        /// How many.
        count: usize,
        /// The first one.
        pid: u32,
    },
    /// slotd's user can look at no process of the server.
    #[error(
        "slotd runs as user {user} and cannot look at processes of user {server}, to which {} \
         belongs: it must run as root or as that user", path.display()
    )]
    User {
        /// slotd's.
        user: u32,
        /// The server's.
        server: u32,
        /// A directory of the store.
        path: PathBuf,
    },
    /// `/proc` is mounted with `hidepid`.
    #[error("{} hides the processes of other users: slotd must run as root", path.display())]
    Hidden {
        /// `/proc`.
        path: PathBuf,
    },
    /// No process could be looked at.
    #[error("no process could be looked at: {why}")]
    NoProcesses {
        /// The system's answer.
        why: String,
    },
    /// A process has bound a socket in the store's configdirectory.
    #[error("a process has the socket {} bound", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
    },
    /// A Cyrus master runs that serves the store.
    #[error("{name} (process {pid}) is a Cyrus master that serves this store")]
    Master {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// A Cyrus master runs that may serve the store.
    #[error(
        "{name} (process {pid}) is a Cyrus master, and which imapd.conf it serves could not be \
         found out"
    )]
    UnknownMaster {
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// The process that a master's pid file names runs.
    #[error("{} names {name} (process {pid}), which runs", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// The process.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// A port of `cyrus.conf` is listened on.
    #[error(
        "{address} is listened on, which {} gives to the service {service}", conf.display()
    )]
    Port {
        /// What is listened on.
        address: SocketAddr,
        /// The service's name.
        service: String,
        /// `cyrus.conf`.
        conf: PathBuf,
    },
    /// A socket of `cyrus.conf` is bound.
    #[error(
        "the socket {} is bound, which {} gives to the service {service}",
        path.display(), conf.display()
    )]
    ServiceSocket {
        /// The socket.
        path: PathBuf,
        /// The service's name.
        service: String,
        /// `cyrus.conf`.
        conf: PathBuf,
    },
    /// It is not known which port a service has.
    #[error(
        "{}: the service {service} listens on {on:?}, and no port of that name is known",
        conf.display()
    )]
    UnknownPort {
        /// The service's name.
        service: String,
        /// What it listens on.
        on: String,
        /// `cyrus.conf`.
        conf: PathBuf,
    },
    /// `cyrus.conf` does not say what is listened on.
    #[error("{} has no section SERVICES that ends", conf.display())]
    NoServices {
        /// `cyrus.conf`.
        conf: PathBuf,
    },
    /// A later Cyrus has opened the store.
    #[error("a Cyrus of 2.4 or later has opened the store: {why}")]
    Opened {
        /// What it left.
        why: String,
    },
    /// Whether a later Cyrus has opened the store is not known.
    #[error("it is not known whether a Cyrus of 2.4 or later has opened the store: {why}")]
    MayBeOpened {
        /// What could not be looked at.
        why: String,
    },
    /// Something could not be read.
    #[error(transparent)]
    Io(#[from] IoError),
}
