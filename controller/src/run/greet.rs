//! The first look at the hosts: does each answer, and is it another one than the other?

use std::sync::Arc;

use super::away::hello;
use super::connect::Connect;
use super::settings::RunError;
use crate::two_phase::Side;

/// Looks whether each slotd answers and is one that we understand, and not the same one twice.
pub(super) async fn greet_hosts(connect: &Arc<dyn Connect>) -> Result<[String; 2], RunError> {
    greet(connect).await.map(|(ids, _)| ids)
}

/// The same, with how many connections each serves at once, where it says so.
pub(super) async fn greet(
    connect: &Arc<dyn Connect>,
) -> Result<([String; 2], [Option<u32>; 2]), RunError> {
    let mut ids = [String::new(), String::new()];
    let mut capacities = [None; 2];
    for side in Side::ALL {
        if connect.address(side).is_some() {
            let greeting = hello(connect, side).await?;
            ids[side.index()] = greeting.host_id;
            capacities[side.index()] = greeting.capacity;
        }
    }
    if !ids[0].is_empty() && ids[0] == ids[1] {
        return Err(RunError::Config(format!(
            "master and replica are the same store ({}); if one host was cloned from the other, stop its slotd, remove \
             reguid.store from its configdirectory and start it again",
            ids[0]
        )));
    }
    Ok((ids, capacities))
}
