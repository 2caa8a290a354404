//! The server: connections in, sessions driven off the reactor, an orderly end.
//!
//! Every connection is a task; what blocks runs on tokio's blocking threads. A controller that goes away or
//! stalls is noticed here: its session is told, and rolls back or releases. SIGTERM stops new connections and
//! new locks, lets open transactions come to their end within `max_lock`, and then ends what is left.

mod connection;
mod listen;

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use listen::{ListenError, Listener};

use crate::host::Host;

/// How many connections are served at once, if there are descriptors enough.
const MAX_CONNECTIONS: usize = 1024;
/// What one connection may have open: its socket, three directories, three live files twice while one is being
/// looked for again, two staged ones twice, a cache and a few messages.
const FILES_A_CONNECTION: u64 = 24;
/// For the log, the listening socket and the rest of the process.
const FILES_APART: u64 = 64;
/// What an open transaction gets beyond `max_lock` when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// How many connections this process can serve at once; asks for as many descriptors as it may have. Whoever
/// comes when all are taken waits in the socket's queue.
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

/// Serves until `stop` turns true; then drains and returns.
pub async fn serve(host: Arc<Host>, listener: Listener, mut stop: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(capacity()));
    let mut connections = JoinSet::new();
    let (drain, draining) = watch::channel(false);
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match (slot, stream) {
            (Ok(slot), Ok(stream)) => {
                let (host, draining) = (Arc::clone(&host), draining.clone());
                connections.spawn(async move {
                    connection::serve(host, stream, draining).await;
                    drop(slot);
                });
            }
            (_, Err(error)) => {
                // Out of descriptors, mostly: others must end first.
                tracing::error!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (Err(_), _) => break,
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
