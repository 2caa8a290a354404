//! The fence: whether it is proven that no server runs on the store, none will serve it if it is
//! started, and no later Cyrus ever opened it.
//!
//! A change-over moves `cyrus.expunge` away, which is right only while nobody serves the mailbox.
//! So the operator says that servers are to stay away, by Cyrus's own `msg/shutdown`, and slotd
//! looks whether they do: at the processes that have files of the store open, at sockets, masters
//! and ports. What cannot be looked at is a doubt, and a doubt refuses.
//!
//! What is not seen: processes of another machine or of another PID namespace, and, unless slotd is
//! root, files that a process of neither slotd's user nor the server's has open.
//!
//! Looks only. What was proven is believed for a second, and never across a change of
//! `msg/shutdown`.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indexfile::dir::{limit, read_named};
use indexfile::mailbox::ImapdConf;
use indexfile::{IoContext, IoError};
use parking_lot::Mutex;

use super::cyrus_conf::{self, Listen, Place};
use super::evidence::{Evidence, reasons};
use super::masters::{self, Master, Serves};
use super::not_fenced::NotFenced;
use super::stopped::{self, Scan, Unseen};
use super::{FRESH, gather, sockets};

/// Where to look.
#[derive(Debug)]
pub(super) struct Fence {
    /// `/`, but in tests.
    pub(super) root: PathBuf,
    conf: ImapdConf,
    /// The roots of the partitions.
    partitions: Vec<PathBuf>,
    /// `cyrus.conf`, if the operator names it.
    pub(super) cyrus_conf: Option<PathBuf>,
    proven: Mutex<Option<Proven>>,
    /// It was said that there is no `cyrus.conf`.
    warned: AtomicBool,
}

/// What was proven, and when.
#[derive(Clone, Copy, Debug)]
struct Proven {
    shutdown: Stamp,
    /// That no server runs.
    at: Instant,
    /// That no later Cyrus left anything, and how long that look took.
    looked: (Instant, Duration),
}

/// Looking for what a later Cyrus left takes at most one part in this many of the time: a fifth of
/// a second where there are 20,000 users. None can leave anything while no server runs.
const LOOK_SHARE: u32 = 20;

/// Which `msg/shutdown` it is, and in which state: device, inode, size, mtime, ctime.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Fence {
    pub(super) fn new(conf: &ImapdConf, partitions: &[PathBuf]) -> Fence {
        Fence {
            root: PathBuf::from("/"),
            conf: conf.clone(),
            partitions: partitions.to_vec(),
            cyrus_conf: None,
            proven: Mutex::new(None),
            warned: AtomicBool::new(false),
        }
    }

    /// Whether it stands. `known`: what is known already of who serves the store.
    pub(super) fn verify(&self, known: &[Evidence]) -> Result<(), NotFenced> {
        let dir = self.conf.config_directory();
        let dir = dir.ok_or(NotFenced::NoConfigDirectory)?;
        let shutdown = dir.join("msg/shutdown");
        let raised = stamp(&shutdown)?;
        never_opened(known)?;
        let mut proven = self.proven.lock();
        let before = proven.take().filter(|before| before.shutdown == raised);
        if let Some(before) = before
            && before.at.elapsed() <= FRESH
        {
            *proven = Some(before);
            return Ok(());
        }
        let at = Instant::now();
        self.no_server(dir)?;
        let looked = before.map(|before| before.looked);
        let looked = match looked {
            Some((when, took)) if when.elapsed() <= took * LOOK_SHARE => (when, took),
            _ => self.look()?,
        };
        if stamp(&shutdown)? != raised {
            return Err(NotFenced::Changed { path: shutdown });
        }
        *proven = Some(Proven {
            shutdown: raised,
            at,
            looked,
        });
        Ok(())
    }

    /// Whether a later Cyrus left nothing.
    fn look(&self) -> Result<(Instant, Duration), NotFenced> {
        let at = Instant::now();
        never_opened(&gather::look(&self.conf, &self.partitions))?;
        Ok((at, at.elapsed()))
    }

    /// Whether nothing of a server runs.
    fn no_server(&self, dir: &Path) -> Result<(), NotFenced> {
        let proc = self.root.join("proc");
        let mut all = self.partitions.clone();
        all.push(dir.to_path_buf());
        let user = rustix::process::geteuid().as_raw();
        let server = dir.metadata().io_context("stat", dir)?.uid();
        nothing_open(stopped::scan(&proc, &all), (&proc, dir), (user, server))?;
        let bound = sockets::unix(&proc)?;
        if let Some(path) = bound.iter().find(|path| is_below(path, dir)) {
            return Err(NotFenced::Socket { path: path.clone() });
        }
        for Master { pid, name, serves } in masters::running(&self.root, &self.conf)? {
            match serves {
                Serves::Ours => return Err(NotFenced::Master { pid, name }),
                Serves::Unknown => return Err(NotFenced::UnknownMaster { pid, name }),
                Serves::Other => {}
            }
        }
        if let Some((path, master)) = masters::by_pid_file(&self.root, &self.conf)
            && master.serves != Serves::Other
        {
            let Master { pid, name, .. } = master;
            return Err(NotFenced::PidFile { path, pid, name });
        }
        self.no_service(&proc, &bound)
    }

    /// Whether nothing of `cyrus.conf` is listened on.
    fn no_service(&self, proc: &Path, bound: &[PathBuf]) -> Result<(), NotFenced> {
        let beside = || Some(self.conf.file()?.with_file_name("cyrus.conf"));
        let conf = match &self.cyrus_conf {
            Some(named) => Some(named.clone()),
            None => beside().filter(|path| path.symlink_metadata().is_ok()),
        };
        let Some(conf) = conf else {
            if !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "there is no cyrus.conf beside imapd.conf: whether its ports are listened on \
                     is not looked at; name it with --cyrus-conf"
                );
            }
            return Ok(());
        };
        let text = read_named(&conf, limit::CONF).map_err(IoError::from)?;
        let Some(listens) = cyrus_conf::listens(&String::from_utf8_lossy(&text)) else {
            return Err(NotFenced::NoServices { conf });
        };
        let services = read_named(&self.root.join("etc/services"), limit::CONF);
        let services = services.unwrap_or_default();
        let services = String::from_utf8_lossy(&services);
        let listening = sockets::listening(proc)?;
        for Listen { service, on } in listens {
            match cyrus_conf::place(&on, &services) {
                None => return Err(NotFenced::UnknownPort { service, on, conf }),
                Some(Place::Socket(path)) => {
                    if bound.iter().any(|other| is_same(other, &path)) {
                        return Err(NotFenced::ServiceSocket {
                            path,
                            service,
                            conf,
                        });
                    }
                }
                Some(Place::Port { host, ports }) => {
                    let is_it = |at: &&SocketAddr| {
                        let ip = at.ip();
                        let here = host.is_none_or(|host| ip == host || ip.is_unspecified());
                        here && ports.contains(&at.port())
                    };
                    if let Some(&address) = listening.iter().find(is_it) {
                        return Err(NotFenced::Port {
                            address,
                            service,
                            conf,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

fn stamp(shutdown: &Path) -> Result<Stamp, NotFenced> {
    let path = shutdown.to_path_buf();
    match shutdown.symlink_metadata() {
        Ok(meta) if meta.is_file() => Ok((
            meta.dev(),
            meta.ino(),
            meta.size(),
            (meta.mtime(), meta.mtime_nsec()),
            (meta.ctime(), meta.ctime_nsec()),
        )),
        Ok(_) => Err(NotFenced::OddShutdown { path }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(NotFenced::NoShutdown { path }),
        Err(e) => Err(Err::<(), _>(e)
            .io_context("stat", shutdown)
            .unwrap_err()
            .into()),
    }
}

/// An index of a later version that slotd put there itself is no evidence: see [`gather`]. A line
/// of `imapd.conf`, or a directory made for it, does not show that a server ran.
fn never_opened(evidence: &[Evidence]) -> Result<(), NotFenced> {
    let left = evidence.iter().filter(|e| e.is_lasting());
    let left: Vec<Evidence> = left.cloned().collect();
    if !left.is_empty() {
        let why = reasons(&left);
        return Err(NotFenced::Opened { why });
    }
    let unseen = evidence.iter().find(|e| matches!(e, Evidence::Unseen(..)));
    unseen.map_or(Ok(()), |unseen| {
        let why = unseen.to_string();
        Err(NotFenced::MayBeOpened { why })
    })
}

/// Whether no process has a file of the store open, and all that may be the server's were seen.
/// `user`: slotd's; `dir`: the configdirectory, which belongs to the user `server`.
fn nothing_open(
    scan: Scan,
    (proc, dir): (&Path, &Path),
    (user, server): (u32, u32),
) -> Result<(), NotFenced> {
    if let Some(holder) = scan.holders.into_iter().next() {
        return Err(NotFenced::Open(holder));
    }
    if let Some(why) = scan.failed {
        return Err(NotFenced::NoProcesses { why });
    }
    if user != 0 && user != server {
        let path = dir.to_path_buf();
        return Err(NotFenced::User { user, server, path });
    }
    // Process 1 is there, but with `hidepid`.
    if user != 0 && !proc.join("1").exists() {
        let path = proc.to_path_buf();
        return Err(NotFenced::Hidden { path });
    }
    none_unseen(&scan.unseen, (user, server))
}

/// Whether all processes that may be the server's were seen. One that is root's alone is none:
/// Cyrus's services refuse to run as root, and every container has a process 1 that its root cannot
/// look at. As another user slotd sees its own only.
fn none_unseen(unseen: &[Unseen], (user, server): (u32, u32)) -> Result<(), NotFenced> {
    let may_be = |p: &&Unseen| match (p.users.as_slice(), user) {
        ([], _) => true,
        (users, 0) => users.iter().any(|user| *user != 0),
        (users, _) => users.contains(&server),
    };
    let mut doubtful = unseen.iter().filter(may_be);
    let Some(Unseen { pid, .. }) = doubtful.next() else {
        return Ok(());
    };
    let (count, pid) = (1 + doubtful.count(), *pid);
    Err(if user == 0 {
        NotFenced::UnseenByRoot { count, pid }
    } else {
        NotFenced::Unseen { count, pid }
    })
}

/// Whether a socket, which has the name that it was bound to, lies below a directory.
fn is_below(socket: &Path, dir: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    socket.starts_with(dir)
        || real(dir).is_some_and(|dir| {
            socket.starts_with(&dir)
                || socket
                    .parent()
                    .and_then(real)
                    .is_some_and(|parent| parent.starts_with(&dir))
        })
}

/// Whether two names are of one socket.
fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| {
        Some((
            path.parent()?.canonicalize().ok()?,
            path.file_name()?.to_owned(),
        ))
    };
    a == b || real(a).is_some_and(|found| real(b) == Some(found))
}

#[cfg(test)]
mod tests;
