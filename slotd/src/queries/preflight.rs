//! What this host can do: room, limits, privileges, mounts. Looks only, and takes no lock.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use indexfile::mailbox::ImapdConf;
use rustix::fs::{Access, AtFlags, CWD};
use rustix::process::{Resource, getrlimit};

use crate::host::Host;
use crate::protocol::{Code, FENCE_UP, HostFacts, IndexRoot, RootFacts};

/// Whether this process may give a file to another owner.
pub(super) fn may_chown() -> bool {
    const CAP_CHOWN: u64 = 1;
    // What the kernel says counts; where /proc is missing, being root.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.map_or_else(
        || rustix::process::geteuid().is_root(),
        |caps| caps & CAP_CHOWN != 0,
    )
}

/// `PREFLIGHT`.
#[must_use]
pub fn preflight(host: &Host) -> HostFacts {
    let store = &host.store;
    let (roots, written) = (store.roots(), store.index_roots());
    let (conf, naming) = (store.conf(), store.conf().naming());
    let mut troubles = Vec::new();
    HostFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nofile: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        chown: may_chown(),
        roots: roots
            .iter()
            .map(|root| {
                let (facts, trouble) = root_facts(host, root, written.contains(root));
                troubles.extend(trouble);
                facts
            })
            .collect(),
        troubles,
        index_roots: store
            .index_roots_by_partition()
            .into_iter()
            .map(|(partition, root)| IndexRoot {
                partition,
                path: root.to_string_lossy().into_owned(),
            })
            .collect(),
        open: crate::served::holder(&roots).map(|holder| holder.to_string()),
        fence: Some(match host.served.fence() {
            Ok(()) => FENCE_UP.to_owned(),
            Err(why) => why.to_string(),
        }),
        servername: Some(servername(conf)),
        clock: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_millis()).ok()),
        slashes: Some(naming.slashes),
        domains: Some(naming.domains),
        default_domain: naming.default_domain,
    }
}

/// What Cyrus calls this server.
pub(super) fn servername(conf: &ImapdConf) -> String {
    let set = conf.setting("servername");
    set.map_or_else(hostname, str::to_owned)
}

/// What Cyrus calls a server whose `imapd.conf` has no `servername`.
fn hostname() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

/// Also, in words, why mailboxes on it would be refused, if they would.
fn root_facts(host: &Host, root: &Path, written: bool) -> (RootFacts, Option<String>) {
    let mut facts = RootFacts {
        path: root.to_string_lossy().into_owned(),
        device: 0,
        free: 0,
        written,
        trouble: None,
    };
    // First, since it has a bound: what follows hangs where the file system does.
    if let Err(refusal) = host.store.mounts().check(root) {
        facts.trouble = Some(refusal.code);
        return (facts, Some(refusal.text));
    }
    let mut trouble = None;
    let writable = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if rustix::fs::accessat(CWD, root, writable, AtFlags::EACCESS).is_err() {
        facts.trouble = Some(Code::Denied);
        trouble = Some(format!("{} cannot be written by slotd", facts.path));
    }
    match (rustix::fs::stat(root), rustix::fs::statvfs(root)) {
        (Ok(stat), Ok(room)) => {
            facts.device = stat.st_dev;
            facts.free = room.f_bavail.saturating_mul(room.f_frsize);
        }
        (Err(error), _) | (_, Err(error)) if facts.trouble.is_none() => {
            facts.trouble = Some(Code::Io);
            trouble = Some(format!("{} cannot be looked at: {error}", facts.path));
        }
        _ => {}
    }
    (facts, trouble)
}
