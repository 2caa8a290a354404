//! The server: connections in, sessions driven off the reactor, an orderly end.
//!
//! Every connection is a task; what blocks runs on tokio's blocking threads. A controller that goes
//! away or stalls is noticed here: its session is cancelled, and rolls back or releases. SIGTERM
//! stops new connections and new locks, lets open transactions come to their end within `max_lock`,
//! and then ends what is left.

mod arrive;
mod caller;
mod connection;
mod listen;
mod places;
mod socket;
mod turns;
mod users;

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use arrive::Met;
pub use listen::{Access, ListenError, Listener};
pub use socket::bind_private;
pub use users::Users;

use crate::host::Host;
use crate::protocol::{Code, Reply};
use places::Places;

/// What one connection may have open: its socket, three directories, three live files twice while
/// one is being looked for again, two staged ones twice, a cache and a few messages.
const FILES_A_CONNECTION: u64 = 24;
/// How many clients are refused with patience at once: what they say is read, so that the reason
/// reaches them. Others get it too, unless what they say comes across it.
const REFUSING: usize = 32;
/// For the log, the listening socket, the rest of the process, and connections without a place.
const FILES_APART: u64 = 64 + REFUSING as u64 + places::FILES_BESIDE;
/// With fewer connections than this no run goes on.
const MIN_CONNECTIONS: u64 = 4;
/// What an open transaction gets beyond `max_lock` when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// The system allows this process too few descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "slotd may have {have} open files, and needs {}: raise `ulimit -n`, or LimitNOFILE= of \
     the unit",
    FILES_APART + MIN_CONNECTIONS * FILES_A_CONNECTION
)]
pub struct TooFewFiles {
    have: u64,
}

/// How many connections of those wanted this process can serve at once; asks for as many
/// descriptors as it may have.
///
/// # Errors
/// There are not enough for any work.
pub fn capacity(wanted: usize) -> Result<usize, TooFewFiles> {
    let limits = getrlimit(Resource::Nofile);
    let files = (wanted as u64).max(MIN_CONNECTIONS) * FILES_A_CONNECTION + FILES_APART;
    let most = limits.maximum.unwrap_or(u64::MAX).min(files);
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
    if connections < MIN_CONNECTIONS {
        return Err(TooFewFiles { have });
    }
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    if connections < wanted {
        tracing::info!("{connections} connections are served at once, not {wanted}: {have} files");
    }
    Ok(connections.min(wanted).max(1))
}

/// Serves until `stop` turns true; then drains and returns.
pub async fn serve(host: Arc<Host>, listener: Listener, stop: watch::Receiver<bool>) {
    let places = capacity(host.options.max_connections).unwrap_or_else(|error| {
        tracing::error!("{error}");
        1
    });
    serve_at_most(places, host, listener, stop).await;
}

/// The same, with at most `places` connections at once; [`places`] says who is served, and who is
/// refused.
pub async fn serve_at_most(
    places: usize,
    host: Arc<Host>,
    listener: Listener,
    mut stop: watch::Receiver<bool>,
) {
    host.offer(places.max(1));
    let places = Places::new(host.changing_limits());
    let refusing = Arc::new(Semaphore::new(REFUSING));
    let mut connections = JoinSet::new();
    let (drain, draining) = watch::channel(false);
    loop {
        tokio::select! {
            () = places.ready() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        let arrived = tokio::select! {
            arrived = listener.accept() => arrived,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match arrived {
            Ok((arrived, peer)) => {
                let (host, draining) = (Arc::clone(&host), draining.clone());
                let (places, refusing) = (Arc::clone(&places), Arc::clone(&refusing));
                let first = places.take(peer);
                connections.spawn(async move {
                    let place = match places.enter(peer, first).await {
                        Ok(place) => place,
                        Err(text) => {
                            host.activity.refuses();
                            let patience = refusing.try_acquire();
                            // By TLS the reason can be said after a handshake, and not before.
                            if (patience.is_ok() || !arrived.is_tls())
                                && let Some(stream) = arrived.meet().await.into_stream()
                            {
                                let full = Reply::no(Code::Full, text);
                                connection::refuse(stream, &full, patience.is_ok()).await;
                            }
                            return;
                        }
                    };
                    if arrived.is_tls() {
                        place.arrives();
                    }
                    // Who says nothing in its handshake keeps nobody out either.
                    let met = tokio::select! {
                        biased;
                        met = arrived.meet() => met,
                        () = place.sent_away() => return,
                    };
                    match met {
                        Met::Caller(stream, caller) => {
                            let counted = host.activity.connection();
                            let other = connection::Other { stream, caller };
                            Box::pin(connection::serve(host, other, draining, place)).await;
                            drop(counted);
                        }
                        Met::Refused(stream, why) => {
                            drop(place);
                            host.activity.refuses();
                            let patience = refusing.try_acquire();
                            connection::refuse(stream, &why, patience.is_ok()).await;
                        }
                        Met::Gone => {}
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
    // At once, as it ends while connections do.
    host.pass.stop();
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
    let ended = Arc::clone(&host);
    // What it has not written by then is hashed again by the next one.
    let _ = tokio::task::spawn_blocking(move || ended.pass.end(GRACE)).await;
    if let Err(error) = host.log.flush() {
        tracing::error!("{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Options;
    use crate::protocol::MAX_COMMAND;
    use crate::queries::KEPT;
    use crate::tls::{BUFFERED, MAX_CHAIN, MAX_RECORD};

    /// What slotd may come to.
    const LIMIT: usize = 64 << 20;
    /// Of a connection by TLS that holds nothing: as much as thousands of them were seen to take.
    const BARE: usize = 12 << 10;
    /// As TLS reads of the system.
    const TLS_READ: usize = 4 << 10;
    /// Of slotd itself: a release was seen to take a tenth less.
    const PROGRAM: usize = 8 << 20;

    #[test]
    fn what_all_connections_can_hold_at_once_is_below_64_mib() {
        // A line without its end, or what came behind a command that is not answered yet.
        let commands = MAX_COMMAND.max(16 << 10) + connection::READ;
        let certificates = 2 * MAX_CHAIN;
        let one = BARE + certificates + (MAX_RECORD + TLS_READ) + commands + BUFFERED;
        let connections = Options::default().max_connections + places::LEAVING + REFUSING;
        let all = connections * one + places::UNREAD + KEPT + PROGRAM;
        assert!(all < LIMIT, "{one} bytes each, {all} in all");
    }
}
