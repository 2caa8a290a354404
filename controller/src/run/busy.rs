//! Whether the hosts of a pair are too busy for its limits: `max-load`, `max-io`, `max-lag`.
//!
//! # What it promises
//!
//! * A host is asked while one of these limits is set, and then once in [`EVERY`], on a connection
//!   of its own, by `STATUS` without a mailbox, which takes no lock.
//! * While a host has more than a limit allows nothing new begins on its pair, and
//!   [`crate::control::Live::waiting`] names the host, what it has and the limit. Other pairs go
//!   on.
//! * What could not be looked at does not count as quiet. But a host that does not answer at all is
//!   the business of [`crate::hosts`]; and a slotd of a release that does not know the question
//!   keeps no run waiting for `max-load` and `max-io`, which then act on this machine alone, and a
//!   warning says so.
//!
//! # What a crash leaves
//!
//! Nothing.

use std::sync::Arc;
use std::time::Duration;

use slotd::client::ClientError;
use slotd::protocol::{Code, Command, HostStatus, Reply, SyncLogAge};
use tokio::task::JoinHandle;

use crate::control::{Busy, Control, Limits};
use crate::hosts::{Connect, Link, Outages, local};
use crate::observer::Observer;
use crate::two_phase::Side;

/// How often a host is asked.
const EVERY: Duration = Duration::from_secs(5);

/// Looks at the hosts while a limit is about them, until it is dropped.
pub(super) struct HostWatch {
    task: JoinHandle<()>,
    control: Arc<Control>,
}

impl HostWatch {
    /// Begins to look. While a limit is about the hosts nothing begins before the first look.
    pub(super) fn begin(
        connect: &Arc<dyn Connect>,
        observer: &Arc<dyn Observer>,
        control: &Arc<Control>,
        outages: &Arc<Outages>,
    ) -> Self {
        if control.limits().concern_hosts() {
            let looking = Busy {
                side: None,
                limit: "",
                text: "looking at the hosts".to_owned(),
            };
            control.update(|state| state.busy = vec![looking]);
        }
        let sides = Side::ALL.into_iter();
        let there = sides.filter(|side| connect.address(*side).is_some());
        let watcher = Watcher {
            hosts: there.map(|side| Host::new(side, connect)).collect(),
            observer: Arc::clone(observer),
            control: Arc::clone(control),
            outages: Arc::clone(outages),
        };
        Self {
            task: tokio::spawn(watcher.watch()),
            control: Arc::clone(control),
        }
    }
}

impl Drop for HostWatch {
    fn drop(&mut self) {
        self.task.abort();
        self.control.update(|state| state.busy.clear());
    }
}

struct Watcher {
    hosts: Vec<Host>,
    observer: Arc<dyn Observer>,
    control: Arc<Control>,
    outages: Arc<Outages>,
}

/// One of the hosts.
struct Host {
    link: Link,
    /// That its slotd does not know the question was said.
    warned: bool,
}

impl Host {
    fn new(side: Side, connect: &Arc<dyn Connect>) -> Self {
        Self {
            link: Link::new(side, connect),
            warned: false,
        }
    }
}

impl Watcher {
    async fn watch(mut self) {
        let mut changed = self.control.subscribe();
        loop {
            let limits = changed.borrow_and_update().limits.clone();
            let mut busy = Vec::new();
            if limits.concern_hosts() {
                for host in &mut self.hosts {
                    let looked = look_at(host, &limits, &self.observer, &self.outages);
                    busy.extend(looked.await);
                }
            }
            self.control.update(|state| {
                // They may have been changed meanwhile; then it is looked again at once.
                if state.limits == limits {
                    state.busy = busy;
                }
            });
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = changed.wait_for(|state| state.limits != limits) => {}
            }
        }
    }
}

async fn look_at(
    host: &mut Host,
    limits: &Limits,
    observer: &Arc<dyn Observer>,
    outages: &Outages,
) -> Option<Busy> {
    let side = host.link.side();
    let unknown = |why: String| {
        Some(Busy {
            side: Some(side),
            limit: limits.first_for_hosts(),
            text: format!("{side}: what it is doing is not known: {why}"),
        })
    };
    match host.link.call_again(&Command::HostStatus).await {
        Ok(Reply::Ok(fields)) => match HostStatus::from_fields(&fields) {
            Ok(status) => too_busy(limits, side, &status),
            Err(error) => unknown(error.to_string()),
        },
        Ok(Reply::Bad(_)) => unanswered(host, limits, observer),
        // The run ends with it, and not here.
        Err(ClientError::Refused {
            code: Code::Fenced, ..
        }) => None,
        Ok(Reply::No { code, text }) | Err(ClientError::Refused { code, text }) => {
            unknown(format!("[{code}] {text}"))
        }
        Err(error) if error.is_local() => unknown(local(&error)),
        Err(error) => {
            outages.suspect(side, &error.to_string());
            None
        }
    }
}

/// Its slotd is of a release that does not know the question.
fn unanswered(host: &mut Host, limits: &Limits, observer: &Arc<dyn Observer>) -> Option<Busy> {
    let side = host.link.side();
    if limits.max_lag.is_some() {
        return Some(Busy {
            side: Some(side),
            limit: "max-lag",
            text: format!(
                "{side}: its slotd is of a release that does not tell of sync logs (max-lag)"
            ),
        });
    }
    if !std::mem::replace(&mut host.warned, true) {
        observer.warn(&format!(
            "WARNING: the {side}'s slotd is of a release that does not say what its host is \
             doing: max-load and max-io do not act there"
        ));
    }
    None
}

/// The first limit that a host exceeds, or of which that is not known.
fn too_busy(limits: &Limits, side: Side, status: &HostStatus) -> Option<Busy> {
    let number = |limit, what, unit, most: Option<f64>, has: Option<f64>, error| {
        let text = exceeds(what, unit, most?, has, error)?;
        Some((limit, text))
    };
    let load = (status.load, status.load_error.as_ref());
    let io = (status.io, status.io_error.as_ref());
    let (limit, text) = number("max-load", "load", "", limits.max_load, load.0, load.1)
        .or_else(|| number("max-io", "disk pressure", " %", limits.max_io, io.0, io.1))
        .or_else(|| Some(("max-lag", lags(limits.max_lag?, status)?)))?;
    Some(Busy {
        side: Some(side),
        limit,
        text: format!("{side} {}: {text}", status.servername),
    })
}

/// In words, by how much a number is over its limit, or why nobody knows that it is not.
fn exceeds(
    what: &str,
    unit: &str,
    most: f64,
    has: Option<f64>,
    error: Option<&String>,
) -> Option<String> {
    match (has, error) {
        (Some(has), _) if has <= most => None,
        (Some(has), _) => Some(format!("{what} {has}{unit} over {most}{unit}")),
        (None, Some(why)) => Some(format!("its {what} is not known: {why}")),
        (None, None) => Some(format!("its kernel does not count the {what}")),
    }
}

/// The same of its sync logs.
fn lags(most: f64, status: &HostStatus) -> Option<String> {
    match (status.sync_log, &status.sync_log_error) {
        (Some(SyncLogAge::NoLog), _) => None,
        #[allow(clippy::cast_precision_loss)] // an age in seconds
        (Some(SyncLogAge::Seconds(age)), _) if age as f64 <= most => None,
        (Some(SyncLogAge::Seconds(age)), _) => {
            let file = status.sync_log_file.as_deref().unwrap_or("a sync log");
            Some(format!("{file} not worked off for {age} s, over {most} s"))
        }
        (None, Some(why)) => Some(format!("its sync logs could not be looked for: {why}")),
        (None, None) => Some("it does not tell of its sync logs".to_owned()),
    }
}
