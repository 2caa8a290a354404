//! Several controllers on one journal, each as a process of its own: claims with leases,
//! take-overs, pauses that are longer than a lease, and a journal that loses its newest rows.
//!
//! What runs is the controller of production on the journal in memory, whose claims follow the
//! rules of the one in `PostgreSQL`. A controller that is paused is one of which nothing comes to
//! the hosts, nor anything to it, and that renews nothing; when it wakes up all of it comes at
//! once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::error::RunError;
use controller::journal::memory::{Claimant, MemoryStore};
use controller::journal::{JournalStore, MailboxId};
use controller::run::{Settings, higher_epoch};
use tokio::time::sleep;

use super::operator::{is_over, run_all};
use super::storm::set;
use super::world::{World, locked};

/// The controllers' hosts.
pub(super) const CONTROLLERS: [&str; 3] = ["controller", "controller-2", "controller-3"];
/// How long a claim lasts that is not renewed.
pub(super) const LEASE: Duration = Duration::from_millis(250);
/// Between two looks at a pair that another controller has.
const PAUSE: Duration = Duration::from_millis(60);

/// What several controllers share.
#[derive(Default)]
pub struct Several {
    /// The tables of their journal.
    pub tables: MemoryStore,
    /// Which of them are paused.
    pub paused: [bool; 3],
    /// How often one was.
    pub pauses: u32,
    /// How often the journal lost its newest rows.
    pub failovers: u32,
    /// How many processes there were.
    started: u32,
}

/// One of them: gives the same command until a run is finished, and the weather calm.
pub(super) async fn controller(
    world: World,
    number: usize,
    settings: Settings,
    done: Arc<Mutex<bool>>,
) -> turmoil::Result {
    let started = {
        let several = &mut locked(&world).several;
        several.started += 1;
        several.started
    };
    let who = Claimant {
        name: format!("{} {started}", CONTROLLERS[number]),
        lease: LEASE,
        clock: Arc::new(|| turmoil::sim_elapsed().unwrap_or_default()),
    };
    loop {
        let store = Arc::new(locked(&world).several.tables.open(who.clone()));
        let renewing = tokio::task::spawn_local(renew(Arc::clone(&world), number, store.clone()));
        let over = work(&world, &store, &settings, number).await;
        renewing.abort();
        store.release();
        if over {
            set(&done, true);
            std::future::pending::<()>().await;
        }
        sleep(PAUSE).await;
    }
}

/// Renews what it has each third of the lease, unless it is paused.
async fn renew(world: World, number: usize, store: Arc<MemoryStore>) {
    loop {
        sleep(LEASE / 3).await;
        if !locked(&world).several.paused[number] {
            store.renew();
        }
    }
}

/// Claims the pair and works on it; tells whether nothing is left to do, in calm weather.
async fn work(world: &World, store: &MemoryStore, settings: &Settings, number: usize) -> bool {
    let mut raised = false;
    let mut above = 0;
    loop {
        let journal = match store.pair_above("", above) {
            Ok(journal) => journal,
            Err(error) => {
                locked(world).tell(|| format!("{}: {error}", CONTROLLERS[number]));
                return false;
            }
        };
        let epoch = journal.owner().ok().and_then(|owner| owner.epoch);
        locked(world).tell(|| format!("{} has epoch {epoch:?}", CONTROLLERS[number]));
        let finished = |calm: bool| {
            let run = journal.last_run().ok().flatten();
            let open = journal.open_transactions(MailboxId(0), 1);
            let over = run.is_some_and(|run| run.finished_ms.is_some());
            // One in doubt is settled by the same command, given again.
            calm && over && open.is_ok_and(|open| open.is_empty())
        };
        let is_calm = || {
            let now = turmoil::sim_elapsed().unwrap_or_default();
            locked(world).operator.is_calm(now)
        };
        // Another one has finished it.
        if finished(is_calm()) {
            return true;
        }
        let result = run_all(world, settings.clone(), Arc::clone(&journal)).await;
        locked(world).tell(|| match &result {
            Ok(s) => format!(
                "{}: {} upgraded, {} unchanged, {} rolled back, {} in doubt, taken over {:?}",
                CONTROLLERS[number],
                s.upgraded,
                s.unchanged,
                s.rolled_back,
                s.in_doubt,
                s.taken_over
            ),
            Err(error) => format!("{}: {error}", CONTROLLERS[number]),
        });
        if let Err(RunError::TakenOver(said)) = &result
            && !raised
            && let Ok(Some(epochs)) = higher_epoch(journal.as_ref(), said)
        {
            (above, raised) = (epochs.host, true);
            continue;
        }
        return result.is_ok_and(|s| is_over(&s)) && finished(is_calm());
    }
}
