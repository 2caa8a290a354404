//! What all sessions of one slotd share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indexfile::mailbox::ImapdConf;
use indexfile::{IoContext, IoError};
use tokio::sync::watch;

use crate::activity::Activity;
use crate::client::Addr;
use crate::complete::file::CompleteFile;
use crate::coordinators::Coordinators;
use crate::drain::Drain;
use crate::fs::open_own;
use crate::intent::{IntentLog, LogError, Unreadable, Unsettled};
use crate::lease::{Lease, LeaseError};
use crate::lock::{MailboxLocks, Patience, wait};
use crate::mounts::{Mounts, TableError};
use crate::pass::PassTask;
use crate::protocol::{Code, Limits, StoreRoots};
use crate::refusal::Refusal;
use crate::served::{Served, StillRunning, Watch};
use crate::stage;
use crate::stage::cutover::Reservations;
use crate::store::{Place, Store};
use crate::tls::{self, Credentials};

/// Limits and peers.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a transaction waits for its controller's next command before slotd ends it.
    pub max_lock: Duration,
    /// How long `UPGRADE` may work while the locks are held.
    pub max_stage: Duration,
    /// The longest wait for locks that a controller may ask for.
    pub max_wait: Duration,
    /// How long a connection that holds nothing may say nothing. Its coordinator counts as gone
    /// afterwards.
    pub max_idle: Duration,
    /// In what time the first command of a connection must come, and any line end once it has
    /// begun.
    pub first_command: Duration,
    /// How many connections are served at once, if there are descriptors enough.
    pub max_connections: usize,
    /// Of these, how many may be of one peer; if none is given, all but an eighth.
    pub max_connections_peer: Option<usize>,
    /// How many mailboxes one peer may have locked at once; if none is given, one a connection.
    pub max_transactions_peer: Option<usize>,
    /// The wait for locks if the controller asks for none.
    pub default_wait: Duration,
    /// Where to fetch a missing cyrus.sha1s.
    pub sha1s_from: Option<Addr>,
    /// What is shown there.
    pub credentials: Option<Arc<Credentials>>,
    /// What its clients by TLS meet.
    pub tls: Option<Arc<tls::Server>>,
    /// The operator says that no server runs on the store.
    pub server_stopped: bool,
    /// `cyrus.conf`, if it does not lie beside `imapd.conf`.
    pub cyrus_conf: Option<PathBuf>,
}

/// What one user or address may have; see [`Options`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Shares {
    /// Connections at once.
    pub connections: Option<usize>,
    /// Mailboxes locked at once, and as many prepared.
    pub transactions: Option<usize>,
}

impl Options {
    /// What one peer may have.
    #[must_use]
    pub fn shares(&self) -> Shares {
        Shares {
            connections: self.max_connections_peer,
            transactions: self.max_transactions_peer,
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            max_lock: Duration::from_secs(5),
            max_stage: Duration::from_secs(600),
            max_wait: Duration::from_secs(60),
            max_idle: Duration::from_secs(3600),
            first_command: Duration::from_secs(60),
            max_connections: 512,
            max_connections_peer: None,
            max_transactions_peer: None,
            default_wait: Duration::from_secs(5),
            sha1s_from: None,
            credentials: None,
            tls: None,
            server_stopped: false,
            cyrus_conf: None,
        }
    }
}

/// Why a slotd cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The intent log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The table of mounts.
    #[error(transparent)]
    Mounts(#[from] TableError),
    /// The lease on the store.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The server is said to be stopped, and is not.
    #[error(transparent)]
    StillRunning(#[from] StillRunning),
    /// Another slotd has the state directory.
    #[error("another slotd uses the state directory {}", path.display())]
    Busy {
        /// The state directory.
        path: PathBuf,
    },
}

/// One host's store, log and limits.
#[derive(Debug)]
pub struct Host {
    /// The mail store.
    pub store: Store,
    /// The intent log.
    pub log: IntentLog,
    /// Limits and peers.
    pub options: Options,
    /// Names the store.
    pub host_id: String,
    /// Where its index files lay when it was opened.
    pub roots: StoreRoots,
    /// Who serves the store.
    pub served: Watch,
    /// Who works on it.
    pub coordinators: Coordinators,
    /// What recovery is to come back to.
    pub unsettled: Unsettled,
    /// Mailboxes that are prepared for a change-over just now, or are in one.
    pub reservations: Reservations,
    /// By which a later server may start.
    pub complete: CompleteFile,
    /// The pass that hashes messages ahead, if one was begun.
    pub pass: PassTask,
    /// What it has done and is doing.
    pub activity: Arc<Activity>,
    /// Whether users get in.
    pub drained: Drain,
    draining: AtomicBool,
    limits: watch::Sender<Limits>,
    _lease: Lease,
    _state_lock: std::fs::File,
}

impl Host {
    /// Opens the state directory, which is made if it is not there, for this process alone.
    ///
    /// # Errors
    /// [`HostError`]
    pub fn open(conf: ImapdConf, state_dir: &Path, options: Options) -> Result<Host, HostError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir);
        made.io_context("create", state_dir)?;
        let lock_path = state_dir.join("slotd.lock");
        let lock = open_own(&lock_path, true).io_context("open", &lock_path)?;
        if !wait::try_lock(&lock).io_context("lock", &lock_path)? {
            return Err(HostError::Busy {
                path: state_dir.to_path_buf(),
            });
        }
        let lease = Lease::take(&conf, state_dir)?;
        let log = IntentLog::open(state_dir)?;
        lease.bind(state_dir, !log.open_intents().is_empty())?;
        let mounts = Mounts::open(state_dir)?;
        let store = Store::new(conf, mounts);
        for shared in indexfile::walk::shared_roots(store.conf()) {
            tracing::warn!("imapd.conf: {shared}");
        }
        let roots = store.roots();
        for warning in store
            .mounts()
            .note_roots(roots.iter().map(PathBuf::as_path))?
        {
            tracing::warn!("{warning}");
        }
        for warning in store.mounts().learn()? {
            tracing::warn!("{warning}");
        }
        let index_roots = store.index_roots();
        let mounted = |root: &&PathBuf| store.mounts().check(root).is_ok();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let index_roots = StoreRoots::look(
            boot.unwrap_or_default().trim().to_owned(),
            index_roots.iter().filter(mounted).map(PathBuf::as_path),
        );
        let served = Watch::begin(store.conf(), &roots, state_dir, options.server_stopped)?
            .with_cyrus_conf(options.cyrus_conf.clone());
        if options.server_stopped {
            let scan = served.verify_stopped()?;
            if let Some(why) = scan.failed {
                tracing::warn!("the server is said to be stopped; {why}");
            } else if !scan.unseen.is_empty() {
                tracing::warn!(
                    "the server is said to be stopped; {} processes could not be looked at",
                    scan.unseen.len()
                );
            }
        } else if served.served() != Served::Cyrus23 {
            tracing::warn!("no mailbox of this store is locked: {}", served.reasons());
        }
        Ok(Host {
            complete: CompleteFile::of(store.conf()),
            drained: Drain::of(store.conf(), state_dir, &roots),
            store,
            log,
            options,
            host_id: lease.host_id.clone(),
            roots: index_roots,
            served,
            coordinators: Coordinators::open(state_dir)?,
            unsettled: Unsettled::default(),
            reservations: Reservations::default(),
            pass: PassTask::default(),
            activity: Arc::default(),
            _lease: lease,
            draining: AtomicBool::new(false),
            limits: watch::Sender::new(Limits::default()),
            _state_lock: lock,
        })
    }

    /// Takes all the locks of a mailbox, or none: once it is known that they keep its server out,
    /// and if that still holds under them.
    ///
    /// # Errors
    /// [`Code::Served`] if they do not; [`Code::Damaged`] if a damaged record of the intent log is,
    /// or may be, about the mailbox. Else as [`MailboxLocks::take`]; [`Code::NoMailbox`] only if
    /// nothing of the mailbox is left.
    pub fn lock(&self, place: Place, patience: Patience<'_>) -> Result<MailboxLocks, Refusal> {
        let (mailbox, partition) = (place.mailbox.clone(), place.partition.clone());
        self.served.admit(&place)?;
        if self.log.concerns(mailbox.as_str()) {
            let text = format!(
                "the intent log has a record that this release does not understand and that may \
                 be about {mailbox}: start \
                 the slotd that wrote it"
            );
            return Err(Refusal::new(Code::Damaged, text));
        }
        let damaged = self.log.unreadable().next();
        let named = |record: &&Unreadable| record.mailbox.as_deref() == Some(mailbox.as_str());
        if let Some(record) = self.log.unreadable().find(named) {
            let what = format!("it is about {mailbox}");
            return Err(unreadable(record, &what));
        }
        let began = Instant::now();
        let taken = MailboxLocks::take(place, patience);
        match &taken {
            Ok(locks) => self.activity.waited(locks.waited()),
            Err(refusal) if refusal.code == Code::Locked => self.activity.waited(began.elapsed()),
            Err(_) => {}
        }
        let mut locks = taken.map_err(|refusal| match refusal.code {
            Code::NoMailbox => self.store.why_not_there(&mailbox, &partition),
            _ => refusal,
        })?;
        locks.counts_as(self.activity.hold());
        self.served.admit_locked(&locks)?;
        if let Some(record) = damaged
            && !self.log.explains(mailbox.as_str())
            && let Some(sign) = stage::sign_of_an_open_rename(&locks)?
        {
            let what = format!("it may be about {mailbox}: {sign}");
            return Err(unreadable(record, &what));
        }
        Ok(locks)
    }

    /// What a client may have of this slotd; nothing to speak of before a server has begun.
    #[must_use]
    pub fn limits(&self) -> Limits {
        *self.limits.borrow()
    }

    /// The same, as it changes.
    pub(crate) fn changing_limits(&self) -> watch::Receiver<Limits> {
        self.limits.subscribe()
    }

    /// This many connections are served at once: what a client may have then.
    pub fn offer(&self, connections: usize) -> Limits {
        self.offer_shares(connections, self.options.shares())
    }

    /// The same, with other shares of a peer than those that it began with. What is under way goes
    /// on.
    pub fn offer_shares(&self, connections: usize, shares: Shares) -> Limits {
        let options = &self.options;
        let share = connections - connections / 8;
        let of_peer = shares.connections.unwrap_or(share).min(connections);
        let locked = shares.transactions.unwrap_or(of_peer).min(of_peer);
        let number = |n: usize| u32::try_from(n.max(1)).unwrap_or(u32::MAX);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let limits = Limits {
            connections: number(connections),
            connections_peer: number(of_peer),
            transactions_peer: number(locked),
            first_command_ms: ms(options.first_command),
            max_idle_ms: ms(options.max_idle),
            ..Limits::default()
        };
        self.limits.send_replace(limits);
        limits
    }

    /// Takes no new mailbox from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

fn unreadable(record: &Unreadable, what: &str) -> Refusal {
    let text = format!(
        "{record} is a damaged record of the intent log, and {what}; nobody knows what was open. \
         See that index and \
         expunge file are at one version and no .NEW is left, then move {} away",
        record.copy.display()
    );
    Refusal::new(Code::Damaged, text)
}
