//! Two hosts before a change-over, and what is asked of them.

use slotd::protocol::FENCE_UP;

use super::fake::lock;
use super::world::World;
use crate::cutover::{Preparation, Proof, Work, prepare, verify};
use crate::error::RunError;
use crate::journal::Verb;
use crate::survey::Source;

/// Everything is at version 10, and the fence stands on both hosts.
pub fn world() -> World {
    let mut world = World::new();
    world.settings.verb = Verb::Cutover;
    world.settings.to = 16;
    for host in &world.hosts {
        let mut host = lock(host);
        host.fence = Some(FENCE_UP);
        for mailbox in host.mailboxes.values_mut() {
            mailbox.version = 10;
        }
    }
    world
}

pub fn undo(world: &mut World) {
    world.settings.verb = Verb::Undo;
    world.settings.to = 10;
}

pub fn asked(world: &World, command: &str) -> usize {
    let of = |log: &[String]| log.iter().filter(|l| l.starts_with(command)).count();
    world.hosts.iter().map(|h| of(&lock(h).log)).sum()
}

pub async fn prepared(world: &World, sources: Vec<Source>) -> (Preparation, Vec<String>) {
    let parts = world.parts();
    let work = Work {
        connect: &parts.connect,
        journal: world.journal.as_ref(),
        observer: world.witness.as_ref(),
        stop: &parts.stop,
        parallel: 2,
        to: 16,
    };
    let mut failed = Vec::new();
    let done = prepare(&work, sources, |name, failure| {
        failed.push(format!("{name}: {failure}"));
    });
    let done = done.await.unwrap();
    failed.sort();
    (done, failed)
}

pub async fn proven(world: &World, sources: Vec<Source>) -> Result<(Proof, Vec<String>), RunError> {
    let parts = world.parts();
    let work = Work {
        connect: &parts.connect,
        journal: world.journal.as_ref(),
        observer: world.witness.as_ref(),
        stop: &parts.stop,
        parallel: 2,
        to: 16,
    };
    let mut failed = Vec::new();
    let proof = verify(&work, sources, Some(1), |name, why| {
        failed.push(format!("{name}: {why}"));
    });
    let proof = proof.await?;
    failed.sort();
    Ok((proof, failed))
}

pub fn completed(world: &World) -> [Option<(u32, u32)>; 2] {
    [0, 1].map(|i| lock(&world.hosts[i]).complete)
}
