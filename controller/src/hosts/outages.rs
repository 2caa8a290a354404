//! Hosts that do not answer and partitions that are not mounted: what a run does meanwhile.
//!
//! # What it promises
//!
//! * A host is called away only after it was asked again, on a connection of its own, and did not
//!   answer as itself. While one is away nothing new begins, so no lock is held for it and no
//!   mailbox fails.
//! * It is asked again with pauses that double, with jitter, for at most `host_wait`. One that
//!   refuses our certificate, or whose own is refused, is not waited for: that does not pass by
//!   itself, and the run ends with that sentence. With a `host_wait` of zero a host is asked once,
//!   for that alone; where it is away the mailboxes fail.
//! * A partition that is not mounted parks its own mailboxes, decided ones too; the others go on.
//!   It is asked for in the same way, with `STATUS` of one of its mailboxes, which takes no lock.
//! * Every wait is named ([`Outages::reason`], [`Outages::parked`]) and has a bound.
//!
//! # What a crash leaves
//!
//! Nothing: what is parked is pending in the journal, or decided.

mod retry;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connect::Connect;
use crate::control::{Control, local_clock};
use crate::journal::Job;
use crate::observer::Observer;
use crate::two_phase::Side;

/// How often a partition is believed to be back before its mailboxes' own failures count.
const TIMES: u32 = 10;

/// What stands in the way of mailboxes, and since when.
#[derive(Clone, Debug)]
struct Since {
    at: Instant,
    clock: String,
    why: String,
}

impl Since {
    fn now(why: &str) -> Self {
        Self {
            at: Instant::now(),
            clock: local_clock(),
            why: why.to_owned(),
        }
    }
}

#[derive(Clone, Debug, Default)]
enum Host {
    #[default]
    There,
    /// A connection failed; it is being asked whether it is there.
    Suspect,
    Down(Since),
    /// Outages for longer than the run waits.
    Lost(Since),
    /// It does not trust us, or we not it, which does not pass by itself.
    Refuses(Since),
}

/// A host that the run does not wait for any longer.
pub(crate) struct Lost {
    /// Which, and why, in words.
    pub(crate) text: String,
    /// It is there, and one side does not trust the other.
    pub(crate) refuses: bool,
}

/// A partition as the list names it: the master's name; `None` where the list does not tell.
type Key = (Side, Option<String>);

#[derive(Clone, Debug)]
enum Mount {
    Down(Since),
    Back,
    /// Outages for longer than the run waits.
    Lost,
}

#[derive(Debug, Default)]
struct Table {
    hosts: [Host; 2],
    mounts: HashMap<Key, (Mount, u32)>,
    /// Partitions came back, or were given up, since `take_news` was last called.
    news: bool,
}

/// Everything that the questions need.
struct Inner {
    table: Mutex<Table>,
    changed: watch::Sender<u64>,
    connect: Arc<dyn Connect>,
    observer: Arc<dyn Observer>,
    control: Arc<Control>,
    ids: [String; 2],
}

/// What is away, shared by all workers of a run. The probes end when it is dropped.
pub(crate) struct Outages {
    inner: Arc<Inner>,
    asking: Mutex<JoinSet<()>>,
}

impl Outages {
    /// Everything is there. `ids` are what the hosts called themselves at the start.
    pub(crate) fn new(
        connect: Arc<dyn Connect>,
        observer: Arc<dyn Observer>,
        control: Arc<Control>,
        ids: [String; 2],
    ) -> Self {
        control.hosts_away([false; 2]);
        let inner = Inner {
            table: Mutex::default(),
            changed: watch::Sender::new(0),
            connect,
            observer,
            control,
            ids,
        };
        Self {
            inner: Arc::new(inner),
            asking: Mutex::default(),
        }
    }

    /// Tells when something changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// A connection to this host failed: starts a probe of it, unless one is under way.
    pub(crate) fn suspect(&self, side: Side, why: &str) {
        {
            let mut table = self.inner.table();
            let host = &mut table.hosts[side.index()];
            if !matches!(host, Host::There) {
                return;
            }
            *host = Host::Suspect;
        }
        self.inner.tell();
        let (inner, why) = (Arc::clone(&self.inner), why.to_owned());
        self.spawn(async move { inner.ask_host(side, why).await });
    }

    /// As [`Outages::suspect`], and waits until that is known: whether the host is away.
    pub(crate) async fn look(&self, side: Side, why: &str) -> bool {
        let mut changed = self.subscribe();
        self.suspect(side, why);
        loop {
            match self.inner.table().hosts[side.index()] {
                Host::There => return false,
                Host::Suspect => {}
                Host::Down(_) | Host::Lost(_) | Host::Refuses(_) => return true,
            }
            if changed.changed().await.is_err() {
                return true;
            }
        }
    }

    /// Ends once no host is away, or one has been for too long.
    pub(crate) fn back(&self) -> impl Future<Output = ()> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        async move {
            let mut changed = inner.changed.subscribe();
            let unsettled = |host: &Host| matches!(host, Host::Suspect | Host::Down(_));
            while inner.table().hosts.iter().any(unsettled) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Whether nothing new may begin.
    pub(crate) fn holds(&self) -> bool {
        let table = self.inner.table();
        table.hosts.iter().any(|h| !matches!(h, Host::There))
    }

    /// Why nothing new may begin, if a host is away.
    pub(crate) fn reason(&self) -> Option<String> {
        let table = self.inner.table();
        let texts: Vec<String> = Side::ALL
            .into_iter()
            .filter_map(|side| match &table.hosts[side.index()] {
                Host::Down(s) | Host::Lost(s) => {
                    Some(format!("{side} away since {} ({})", s.clock, s.why))
                }
                Host::Refuses(s) => Some(format!("{side} refuses since {} ({})", s.clock, s.why)),
                Host::There | Host::Suspect => None,
            })
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// The host for which the run waited long enough, or for which it is of no use to wait.
    pub(crate) fn lost(&self) -> Option<Lost> {
        let hosts = self.inner.table().hosts.clone();
        Side::ALL.into_iter().zip(hosts).find_map(|(side, host)| {
            Some(match host {
                Host::Lost(since) => Lost {
                    text: format!(
                        "the {side} was away for longer than --host-wait, since {} ({})",
                        since.clock, since.why
                    ),
                    refuses: false,
                },
                Host::Refuses(since) => Lost {
                    text: format!(
                        "there is no trust between the {side} and this controller any more, since \
                         {} ({})",
                        since.clock, since.why
                    ),
                    refuses: true,
                },
                Host::There | Host::Suspect | Host::Down(_) => return None,
            })
        })
    }

    /// A host refused this mailbox because its partition is not mounted. Whether it is parked,
    /// rather than failed.
    pub(crate) fn park(&self, side: Side, job: &Job, why: &str) -> bool {
        if self.inner.host_wait().is_zero() {
            return false;
        }
        let key: Key = (side, job.partition.clone());
        {
            let mut table = self.inner.table();
            let (mount, times) = table.mounts.entry(key.clone()).or_insert((Mount::Back, 0));
            match mount {
                Mount::Down(_) => return true,
                Mount::Lost => return false,
                Mount::Back if *times >= TIMES => return false,
                Mount::Back => {
                    *times += 1;
                    *mount = Mount::Down(Since::now(why));
                }
            }
        }
        let whose = name_of(&key);
        self.inner.observer.say(&format!(
            "{whose} is not mounted: its mailboxes wait, the others go on ({why})"
        ));
        self.inner.tell();
        let (inner, job) = (Arc::clone(&self.inner), job.clone());
        self.spawn(async move { inner.ask_mount(key, job).await });
        true
    }

    /// Whether this mailbox's partition is known to be away.
    pub(crate) fn is_parked(&self, job: &Job) -> bool {
        let table = self.inner.table();
        if table.mounts.is_empty() || job.partition.is_none() {
            return false;
        }
        Side::ALL.into_iter().any(|side| {
            let found = table.mounts.get(&(side, job.partition.clone()));
            matches!(found, Some((Mount::Down(_), _)))
        })
    }

    /// Whether nothing is known against this partition: neither away, nor given up.
    pub(crate) fn is_mounted(&self, partition: Option<&str>) -> bool {
        let table = self.inner.table();
        Side::ALL.into_iter().all(|side| {
            let found = table.mounts.get(&(side, partition.map(str::to_owned)));
            found.is_none_or(|(mount, times)| matches!(mount, Mount::Back) && *times < TIMES)
        })
    }

    /// Each partition that is away, in words.
    pub(crate) fn parked(&self) -> Vec<String> {
        let table = self.inner.table();
        let mut lines: Vec<String> = table
            .mounts
            .iter()
            .filter_map(|(key, (mount, _))| match mount {
                Mount::Down(since) => Some(format!(
                    "{} not mounted since {} ({})",
                    name_of(key),
                    since.clock,
                    since.why
                )),
                _ => None,
            })
            .collect();
        lines.sort();
        lines
    }

    /// Whether a partition came back, or was given up, since this was last asked.
    pub(crate) fn take_news(&self) -> bool {
        std::mem::take(&mut self.inner.table().news)
    }

    fn spawn(&self, question: impl Future<Output = ()> + Send + 'static) {
        let mut asking = self.asking.lock();
        while asking.try_join_next().is_some() {}
        asking.spawn(question);
    }
}

fn name_of((side, partition): &Key) -> String {
    match partition {
        Some(partition) => format!("partition {partition} of the {side}"),
        None => format!("a partition of the {side}"),
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }

    fn tell(&self) {
        let is_away = |host: &Host| !matches!(host, Host::There | Host::Suspect);
        let away = self.table().hosts.each_ref().map(is_away);
        self.control.hosts_away(away);
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn host_wait(&self) -> Duration {
        self.control.limits().host_wait
    }
}
