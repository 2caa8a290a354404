//! The server: connections in, sessions driven off the reactor, an orderly end.
//!
//! Every connection is a task; what blocks runs on tokio's blocking threads. A controller that goes
//! away or stalls is noticed here: its session is cancelled, and rolls back or releases. SIGTERM
//! stops new connections and new locks, lets open transactions come to their end within `max_lock`,
//! and then ends what is left.

mod connection;
mod listen;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

pub use listen::{ListenError, Listener};
pub use socket::bind_private;

use crate::host::Host;

/// How many connections are served at once, if there are descriptors enough.
const MAX_CONNECTIONS: usize = 1024;
/// What one connection may have open: its socket, three directories, three live files twice while
/// one is being looked for again, two staged ones twice, a cache and a few messages.
const FILES_A_CONNECTION: u64 = 24;
/// For the log, the listening socket and the rest of the process.
const FILES_APART: u64 = 64;
/// What an open transaction gets beyond `max_lock` when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// How long a client that connects when all places are taken waits for an idle connection to end,
/// before it is refused: longer than it takes to call one idle.
const ROOM_WAIT: Duration = Duration::from_secs(3);
/// How many clients wait for a place, or are being refused one, at once; others wait in the
/// socket's queue.
const WAITING: usize = 16;

/// How many connections this process can serve at once; asks for as many descriptors as it may
/// have.
#[must_use]
pub fn capacity() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let wanted = MAX_CONNECTIONS as u64 * FILES_A_CONNECTION + FILES_APART;
    let most = limits.maximum.unwrap_or(u64::MAX).min(wanted);
    let mut have = limits.current.unwrap_or(u64::MAX);
    if have < most {
        let raised = Rlimit {
            current: Some(most),
            ..limits
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => have = most,
            Err(errno) => tracing::warn!("only {have} open files: {errno}"),
        }
    }
    let connections = have.saturating_sub(FILES_APART) / FILES_A_CONNECTION;
    usize::try_from(connections).map_or(MAX_CONNECTIONS, |n| n.clamp(1, MAX_CONNECTIONS))
}

/// The places for connections.
#[derive(Clone)]
struct Slots {
    slots: Arc<Semaphore>,
    /// One permit for each connection that waits for a place: the one that has been idle for the
    /// longest takes it, and ends.
    wanted: Arc<Semaphore>,
}

impl Slots {
    /// A place; `None` if there is none, and no idle connection gives its up.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(slot);
        }
        let slot = Arc::clone(&self.slots).acquire_owned();
        self.wanted.add_permits(1);
        let slot = tokio::time::timeout(ROOM_WAIT, slot).await;
        // If nobody took it, nobody is to end for it any more.
        if let Ok(permit) = self.wanted.try_acquire() {
            permit.forget();
        }
        slot.ok()?.ok()
    }
}

/// Serves until `stop` turns true; then drains and returns.
pub async fn serve(host: Arc<Host>, listener: Listener, stop: watch::Receiver<bool>) {
    serve_at_most(capacity(), host, listener, stop).await;
}

/// The same, with at most `places` connections at once. When all places are taken, a connection
/// that has nothing locked and has been idle is closed for a new one; if there is none, the new one
/// is refused and closed.
pub async fn serve_at_most(
    places: usize,
    host: Arc<Host>,
    listener: Listener,
    mut stop: watch::Receiver<bool>,
) {
    let places = places.max(1);
    host.set_capacity(places);
    let slots = Slots {
        slots: Arc::new(Semaphore::new(places)),
        wanted: Arc::new(Semaphore::new(0)),
    };
    let queue = Arc::new(Semaphore::new(WAITING));
    let mut connections = JoinSet::new();
    let (drain, draining) = watch::channel(false);
    loop {
        let waiting = tokio::select! {
            waiting = Arc::clone(&queue).acquire_owned() => waiting,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match stream {
            Ok(stream) => {
                let (host, draining) = (Arc::clone(&host), draining.clone());
                let slots = slots.clone();
                connections.spawn(async move {
                    match slots.slot().await {
                        Some(slot) => {
                            drop(waiting);
                            let counted = host.activity.connection();
                            let serving = connection::serve(host, stream, draining, &slots.wanted);
                            Box::pin(serving).await;
                            drop((slot, counted));
                        }
                        None => {
                            host.activity.refuses();
                            connection::refuse(stream, places).await;
                        }
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, mostly: others must end first.
                tracing::error!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    host.drain();
    drop(listener);
    let _ = drain.send(true);
    let limit = host.options.max_lock + GRACE;
    if tokio::time::timeout(limit, async {
        while connections.join_next().await.is_some() {}
    })
    .await
    .is_err()
    {
        // Their sessions end when they are dropped.
        connections.shutdown().await;
    }
    if let Err(error) = host.log.flush() {
        tracing::error!("{error}");
    }
}
