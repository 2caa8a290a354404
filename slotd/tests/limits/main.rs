//! What slotd lets its clients have, and that who has it keeps nobody out without a word. Most of
//! the time passes in waiting, so it is one program.

#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod of_a_peer;
mod of_all;

use std::sync::Arc;

use common::Served;
use slotd::client::Addr;
use slotd::host::Host;
use slotd::server::{self, Listener};
use tokio::sync::watch;

/// Serves at most that many connections at once.
async fn serve_at(addr: &Addr, most: usize, host: Arc<Host>) -> Served {
    let listener = Listener::bind(addr, true).await.unwrap();
    let addr = listener.addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let serving = server::serve_at_most(most, Arc::clone(&host), listener, stopped);
    Served {
        addr,
        stop,
        task: tokio::spawn(serving),
        host,
    }
}
