//! A slotd of the simulation, from its start to its death: it settles what a crash left, then
//! serves. The real wire, the real machine, a disk that forgets.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use turmoil::net::TcpListener;

use super::connection::Connection;
use super::op::Op;
use super::world::{World, locked};

/// The port of every slotd.
pub const PORT: u16 = 1109;

/// How long each op takes.
pub(super) const STEP: Duration = Duration::from_millis(3);
/// How long until what the start could not settle is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// slotd on one host: recovers, then serves until it is killed.
///
/// # Errors
/// The simulated network's.
pub async fn slotd(world: World, side: usize) -> turmoil::Result {
    let mailboxes = locked(&world).sites.len();
    for m in 0..mailboxes {
        recover(&world, m, side).await;
    }
    // What could not be settled is tried again while it serves.
    let again = Arc::clone(&world);
    tokio::task::spawn_local(async move {
        for m in 0..mailboxes {
            while locked(&again).sites[m][side].log.open().is_some() {
                sleep(PAUSE).await;
                recover(&again, m, side).await;
            }
        }
    });
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let world = Arc::clone(&world);
        tokio::task::spawn_local(async move {
            let mut connection = Connection::new(world, side);
            connection.serve(stream).await;
        });
    }
}

/// Settles one mailbox, or fails to.
async fn recover(world: &World, m: usize, side: usize) {
    locked(world).sites[m][side].begin_recovery();
    // It waits for locks, for as long as it takes here.
    while locked(world).sites[m][side].starter.is_some() {
        sleep(STEP).await;
        let mut all = locked(world);
        let rate = all.fault_rate;
        let fault = all.chance(rate);
        let site = &mut all.sites[m][side];
        let op = site.starter.as_ref().and_then(|s| s.ops.front().copied());
        let busy = op == Some(Op::TakeLocks) && site.lock.is_some();
        if !busy {
            let how = op.filter(|o| fault && *o != Op::TakeLocks);
            let how = how.and_then(|o| o.failings().first().copied());
            site.step_recovery(how);
            all.tell(|| format!("host {side} mailbox {m}: recovery {op:?} {how:?}"));
            all.check(m, side);
        }
    }
}
