//! The operator: which commands are given, one after the other, and each again until it has ended.
//!
//! What was given and what came of it is the operator's own memory; it outlives the controller.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::control::Places;
use controller::cutover::{Proof, Work, verify};
use controller::error::RunError;
use controller::journal::{Journal, RunId};
use controller::run::{Alerts, Connect, Parts, Settings, Silent, Source, Summary, run, stop_pair};
use tokio::time::sleep;

use super::disk::Which;
use super::image::Image;
use super::mail::Mail;
use super::net::Net;
use super::site::{LIVE, Site};
use super::storm::{STORM, set};
use super::world::{Shared, World, locked, name_of};

/// How often a run is given again for mailboxes that were rolled back.
const AGAIN: u32 = 2;

/// One command, or what a person does between two.
#[derive(Clone, Debug)]
pub enum Task {
    /// A run of the controller.
    Run {
        /// How it works.
        settings: Box<Settings>,
        /// It is given again while mailboxes are rolled back.
        again: bool,
        /// It is given up after this many attempts that did not end it.
        patience: u32,
    },
    /// The servers are stopped once the replica has everything, and the fence is put up.
    Fence,
    /// `cutover --verify`, until a store is complete, or it is calm and there is an answer.
    Verify,
}

/// What the operator remembers.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    /// What is to be done yet, the first of it now.
    pub tasks: VecDeque<Task>,
    /// The storm begins before this many of them.
    pub storm_before: usize,
    /// When it began.
    pub storm: Option<Duration>,
    /// How often the first task was tried.
    pub attempts: u32,
    /// A run that is given up.
    abandon: Option<RunId>,
    /// The version of every index before the last run.
    pub before: Vec<[u8; 2]>,
    /// What the last `--verify` said.
    pub proven: Option<bool>,
    /// How often a fence fell.
    pub fallen: u32,
    /// How often both stores were called complete.
    pub completed: u32,
}

impl Operator {
    /// One who does all this; the storm begins when `storm_before` of it are left.
    #[must_use]
    pub fn of(tasks: impl Into<VecDeque<Task>>, storm_before: usize) -> Self {
        Self {
            tasks: tasks.into(),
            storm_before,
            ..Self::default()
        }
    }

    /// Nobody: the controllers know what to do, and the storm begins at once.
    #[must_use]
    pub fn none() -> Self {
        Self {
            storm: Some(Duration::ZERO),
            ..Self::default()
        }
    }

    /// Whether the weather is bad at that time.
    #[must_use]
    pub fn storms(&self, now: Duration) -> bool {
        self.storm.is_some_and(|begun| now < begun + STORM)
    }

    /// Whether it will not be bad any more.
    #[must_use]
    pub fn is_calm(&self, now: Duration) -> bool {
        self.storm.is_some_and(|begun| now >= begun + STORM)
    }

    fn next(&mut self) {
        self.tasks.pop_front();
        self.attempts = 0;
    }
}

/// The controller's host: does what the operator wants, until there is nothing more.
pub(super) async fn controller(world: World, done: Arc<Mutex<bool>>) -> turmoil::Result {
    loop {
        let task = {
            let mut all = locked(&world);
            let now = turmoil::sim_elapsed().unwrap_or_default();
            if all.operator.tasks.len() <= all.operator.storm_before {
                all.operator.storm.get_or_insert(now);
            }
            all.operator.tasks.front().cloned()
        };
        let Some(task) = task else {
            set(&done, true);
            std::future::pending::<()>().await;
            unreachable!("that never ends");
        };
        let over = match task {
            Task::Run {
                settings,
                again,
                patience,
            } => {
                let over = give(&world, *settings, again).await;
                over || locked(&world).operator.attempts >= patience
            }
            Task::Fence => {
                raise_fence(&mut locked(&world));
                true
            }
            Task::Verify => prove(&world).await,
        };
        if over {
            locked(&world).operator.next();
        } else {
            sleep(Duration::from_millis(150)).await;
        }
    }
}

/// Runs a controller on all mailboxes, once.
pub(super) async fn run_all(
    world: &World,
    settings: Settings,
    journal: Arc<dyn Journal>,
) -> Result<Summary, RunError> {
    let parts = Parts {
        settings,
        connect: Arc::new(Net),
        journal,
        observer: Arc::new(Silent),
        alerts: Alerts::default(),
        stop: stop_pair().1,
        places: Places::default(),
    };
    let names = (0..locked(world).sites.len()).map(name_of).collect();
    run(parts, &[Source::Names(names)]).await
}

/// Gives a run; tells whether it is over.
async fn give(world: &World, settings: Settings, again: bool) -> bool {
    let (journal, abandon) = {
        let mut all = locked(world);
        if all.operator.attempts == 0 {
            all.operator.before = all.versions();
        }
        all.operator.attempts += 1;
        (Arc::clone(&all.journal), all.operator.abandon)
    };
    let settings = Settings {
        abandon,
        ..settings
    };
    let result = run_all(world, settings, journal.clone()).await;
    let mut all = locked(world);
    all.tell(|| match &result {
        Ok(s) => format!(
            "controller: {} upgraded, {} unchanged, {} rolled back, {} in doubt",
            s.upgraded, s.unchanged, s.rolled_back, s.in_doubt
        ),
        Err(error) => format!("controller: {error}"),
    });
    match &result {
        Ok(summary) => {
            let tried = !again || all.operator.attempts > AGAIN;
            is_over(summary) && (tried || summary.rolled_back == 0)
        }
        Err(error) => {
            if let RunError::Other(other) = error {
                all.operator.abandon = Some(other.run.id);
            }
            // The process ends; the next one reads what is durable.
            all.journal = Arc::new(journal.after_crash());
            false
        }
    }
}

/// Whether nothing is left to do.
pub(super) fn is_over(summary: &Summary) -> bool {
    summary.in_doubt == 0 && summary.pending == 0 && summary.fence.is_none()
}

/// The last mail is replicated, no server runs any more, and none may start.
fn raise_fence(all: &mut Shared) {
    for pair in &mut all.sites {
        replicate(pair);
    }
    all.fence = [true; 2];
    all.tell(|| "the fence is up".to_owned());
}

/// What the master has the replica gets, where both are at one version.
fn replicate(pair: &mut [Site<Mail>; 2]) {
    let [master, replica] = [&pair[0], &pair[1]].map(|site| site.disk.read(LIVE[0]).cloned());
    let (Some(master), Some(had)) = (master, replica) else {
        return;
    };
    let bodies = |mail: &Mail| -> Vec<u64> { mail.records.values().map(|r| r.body).collect() };
    let new = bodies(&master).into_iter().zip(bodies(&had));
    let unlike = new.into_iter().any(|(one, other)| one != other);
    if pair[1].is_free() && master.version() == had.version() && !unlike {
        pair[1].owner_writes(Which::Index, |index| {
            index.records.clone_from(&master.records);
        });
    }
}

/// Gives `--verify`; tells whether there is an answer that counts.
async fn prove(world: &World) -> bool {
    let (journal, calm) = {
        let all = locked(world);
        let now = turmoil::sim_elapsed().unwrap_or_default();
        // It was calm from the beginning.
        (Arc::clone(&all.journal), all.operator.is_calm(now))
    };
    let connect: Arc<dyn Connect> = Arc::new(Net);
    let work = Work {
        connect: &connect,
        journal: journal.as_ref() as &dyn Journal,
        observer: &Silent,
        stop: &stop_pair().1,
        parallel: 2,
        to: 16,
    };
    let mut bad = Vec::new();
    let proof = verify(&work, vec![Source::Master], Some(1), |name, why| {
        bad.push(format!("{name}: {why}"));
    });
    let proof = proof.await;
    let mut all = locked(world);
    for line in bad {
        all.tell(|| line);
    }
    all.tell(|| match &proof {
        Ok(proof) => format!("controller: complete {}, {:?}", proof.complete, proof.why),
        Err(error) => format!("controller: {error}"),
    });
    let Ok(Proof { complete, .. }) = proof else {
        return false;
    };
    let there = all.complete.map(|mark| mark.there);
    if complete && there != [true; 2] {
        all.violate("--verify said that it is complete, and not both hosts say so");
    }
    if !complete && calm && there != [false; 2] {
        all.violate("--verify said that nothing is complete, and a host says that it is");
    }
    all.operator.proven = Some(complete);
    all.operator.completed += u32::from(complete);
    complete || calm
}
