//! What may stand on the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use super::tls::TlsArgs;
use crate::client::Addr;
use crate::metrics::MetricsAddr;

/// The per-host agent of reguid: locks, stages and commits one mailbox a connection, as a
/// controller orders.
#[derive(Debug, Parser)]
#[command(name = "slotd", version, max_term_width = 100)]
pub(super) struct Args {
    /// Say more; twice, much more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Where messages go
    #[arg(
        long,
        global = true,
        value_name = "WHERE",
        value_enum,
        default_value = "stderr"
    )]
    pub log_to: LogArg,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Where messages go.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum LogArg {
    #[default]
    Stderr,
    Syslog,
    Journald,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Serve this host's mailboxes
    Serve(Box<Serve>),
    /// Finish or undo what a crash left, then exit
    Recover(Recover),
    /// Show or change what is known about the mounts that hold the mail
    Mount(Mount),
    /// Show what configuration counts
    Config(indexfile::config::ShowArgs),
}

/// Where the store and slotd's own state lie.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// Cyrus's imapd.conf
    #[arg(long, value_name = "FILE")]
    pub imapd_conf: PathBuf,
    /// Directory of slotd's own state: intent log, known mounts; `serve` makes it
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Stay root if root starts this; otherwise it goes on as the user to whom the store belongs
    #[arg(long)]
    pub allow_root: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "serve --imapd-conf /etc/imapd.conf --state /var/lib/slotd --listen unix:/run/slotd.sock"
    "serve --imapd-conf /etc/imapd.conf --state /var/lib/slotd --listen tls://imap1:4711 \\
      --tls-cert host.pem --tls-key host.key --tls-ca ca.pem"
    ; "  69  another slotd has the store, or the state directory"
))]
pub(super) struct Serve {
    #[command(flatten)]
    pub at: Where,
    /// `unix:/path`, `tls://HOST:PORT` with the --tls options, or `HOST:PORT` of the loopback with
    /// --insecure-tcp (port 0: any free one)
    #[arg(long, value_name = "ADDR")]
    pub listen: Addr,
    /// Listen on TCP, which is not protected: everybody on this machine can then order anything
    #[arg(long)]
    pub insecure_tcp: bool,
    #[command(flatten)]
    pub tls: TlsArgs,
    /// The Unix socket may be used by this group too; each user of it needs --allow-user besides
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,
    /// A user who may order anything through the Unix socket, besides root and slotd's own: each
    /// controller of another user, and of ssh the account that it comes by; several times
    #[arg(long = "allow-user", value_name = "USER")]
    pub allow_users: Vec<String>,
    /// Where to fetch a mailbox's cyrus.sha1s if it is missing here
    #[arg(long, value_name = "ADDR")]
    pub sha1s_from: Option<Addr>,
    /// The mail server is stopped, and stays so: mailboxes of a Cyrus of 2.4 or later, whose locks
    /// are not slotd's, may then be worked on. slotd looks that no process has a file of the store
    /// open
    #[arg(long)]
    pub server_stopped: bool,
    /// Cyrus's cyrus.conf, if it does not lie beside imapd.conf: nothing may listen on its ports
    /// during a change-over to Cyrus 2.4 or later
    #[arg(long, value_name = "FILE")]
    pub cyrus_conf: Option<PathBuf>,
    /// Serve metrics for Prometheus here, at /metrics: PORT of the loopback, or ADDRESS:PORT
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    pub metrics: Option<MetricsAddr>,
    /// Write metrics into FILE (NAME.prom) every 15 seconds, for `node_exporter`
    #[arg(long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,
    /// End a transaction whose controller says nothing for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub max_lock: f64,
    /// End an UPGRADE that works for so long while the mailbox is locked
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    pub max_stage: f64,
    /// Wait for locks at most so long, whatever a controller asks for
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub max_wait: f64,
    #[command(flatten)]
    pub limits: Limits,
}

/// What clients may have.
#[derive(Debug, clap::Args)]
pub(super) struct Limits {
    /// Serve at most this many connections at once; fewer where `ulimit -n` allows no more
    #[arg(long, value_name = "N", default_value = "512")]
    pub max_connections: NonZeroUsize,
    /// Of these, at most this many of one user (Unix socket) or address (TCP) [default: all but an
    /// eighth]
    #[arg(long, value_name = "N")]
    pub max_connections_peer: Option<NonZeroUsize>,
    /// Let one user or address have at most this many mailboxes locked at once, and as many
    /// prepared [default: one a connection]
    #[arg(long, value_name = "N")]
    pub max_transactions_peer: Option<NonZeroUsize>,
    /// Close a connection whose first command does not come within this time, or a line whose end
    /// does not
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub first_command: f64,
    /// Close a connection that has nothing locked and says nothing for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 3600.0)]
    pub max_idle: f64,
}

#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "recover --imapd-conf /etc/imapd.conf --state /var/lib/slotd"
    ; "  69  another slotd has the store, or the state directory"
      "  75  some mailboxes are locked, not mounted or out of room; the same command goes on"
))]
pub(super) struct Recover {
    #[command(flatten)]
    pub at: Where,
    /// As for `serve`
    #[arg(long)]
    pub server_stopped: bool,
    /// As for `serve`
    #[arg(long, value_name = "FILE")]
    pub cyrus_conf: Option<PathBuf>,
    /// Wait for each mailbox's locks at most so long
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub wait: f64,
}

#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "mount --imapd-conf /etc/imapd.conf --state /var/lib/slotd list"
    "mount --imapd-conf /etc/imapd.conf --state /var/lib/slotd state /mail offline"
    "mount --imapd-conf /etc/imapd.conf --state /var/lib/slotd state '/snap/*' ignore"
    ;
))]
pub(super) struct Mount {
    #[command(flatten)]
    pub at: Where,
    #[command(subcommand)]
    pub verb: MountVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum MountVerb {
    /// Show the known mounts, their states and whether they are mounted, and the roots on them
    List,
    /// Note on which mount a root or directory lies now
    Add {
        /// A partition root or a mount point
        path: PathBuf,
    },
    /// Forget a mount; it is noted anew when it is next seen
    Remove {
        /// A mount point, a root or a wildcard
        path: PathBuf,
    },
    /// Show the states of all mounts but those that are ignored; show, or set, that of one
    State {
        /// A mount point or a root on it; with ignore, also a wildcard such as '/snap/*'
        path: Option<PathBuf>,
        /// online: must be mounted; offline: refuse its mailboxes; failover: likewise, and believe
        /// the other host's mail, so that no run begins on the pair; ignore: do not look
        state: Option<StateArg>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum StateArg {
    Online,
    Offline,
    Failover,
    Ignore,
}
