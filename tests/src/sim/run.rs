//! One simulated job from one seed: the real controller, two hosts, a bad day, a calm end.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::control::Limits;
use controller::journal::memory::MemoryJournal;
use controller::journal::{State, Verb};
use controller::run::Settings;

use super::epochs::Epochs;
use super::host::slotd;
use super::judge::judge;
use super::mail::Mail;
use super::operator::{Operator, Task, controller};
use super::several::{self, CONTROLLERS, Several};
use super::site::Site;
use super::storm::{END, HOSTS, Storm};
use super::world::{Mark, Shared, World, locked};

const TICK: Duration = Duration::from_millis(5);

/// What one seed came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The first promise broken, if any.
    pub broken: Option<String>,
    /// What happened.
    pub story: Vec<String>,
    /// A fingerprint of the story: the same seed has the same one.
    pub fingerprint: u64,
    /// How the mailboxes ended.
    pub ends: Vec<State>,
    /// Commands that the hosts served.
    pub served: u64,
    /// How often a host said before any lock that its peer says otherwise of a message.
    pub differ_seen: u64,
    /// Processes killed and power cuts.
    pub crashes: u32,
    /// How often both stores were called complete.
    pub completed: u32,
    /// How often a fence fell.
    pub fallen: u32,
    /// How often a controller was paused.
    pub pauses: u32,
    /// How often the journal lost its newest rows.
    pub failovers: u32,
    /// How often a host got a higher epoch.
    pub raised: u32,
}

/// Runs one seed of an upgrade.
#[must_use]
pub fn simulate(seed: u64) -> Report {
    let upgrade = |settings: Settings, _: &mut fastrand::Rng| {
        let task = Task::Run {
            settings: Box::new(settings),
            again: false,
            patience: u32::MAX,
        };
        Operator::of([task], 1)
    };
    simulate_with(seed, upgrade)
}

/// Runs one seed of a change-over: an upgrade, the fence, the change-over, its proof, and with some
/// seeds the way back, of a whole one or of one that was given up.
#[must_use]
pub fn simulate_change_over(seed: u64) -> Report {
    simulate_with(seed, |settings, dice| {
        let run = |verb, to, again, patience| Task::Run {
            settings: Box::new(Settings {
                verb,
                to,
                ..settings.clone()
            }),
            again,
            patience,
        };
        let patience = if dice.u8(0..5) == 0 { 1 } else { u32::MAX };
        let mut tasks = vec![
            run(Verb::Upgrade, 10, true, u32::MAX),
            Task::Fence,
            run(Verb::Cutover, 16, true, patience),
        ];
        if patience > 1 {
            tasks.push(Task::Verify);
        }
        if patience == 1 || dice.u8(0..3) == 0 {
            tasks.push(run(Verb::Undo, 10, true, u32::MAX));
            if dice.bool() {
                tasks.push(Task::Verify);
            }
        }
        // In one of four the upgrade has the storm, too; in the others what comes after the fence.
        let all = tasks.len();
        let storm_before = [all, all - 2, all - 2, all - 3][dice.usize(0..4)];
        Operator::of(tasks, storm_before)
    })
}

/// Runs one seed of an upgrade by three controllers on one journal, which with every other seed may
/// lose its newest rows.
#[must_use]
pub fn simulate_several(seed: u64) -> Report {
    simulate_by(CONTROLLERS.len(), seed, |_, _| Operator::none())
}

fn simulate_with(seed: u64, plan: impl FnOnce(Settings, &mut fastrand::Rng) -> Operator) -> Report {
    simulate_by(1, seed, plan)
}

fn simulate_by(
    controllers: usize,
    seed: u64,
    plan: impl FnOnce(Settings, &mut fastrand::Rng) -> Operator,
) -> Report {
    let mut dice = fastrand::Rng::with_seed(seed);
    // The controller's jitter comes from here.
    fastrand::seed(seed);
    let mailboxes = dice.usize(1..=3);
    let mut sites: Vec<[Site<Mail>; 2]> = Vec::new();
    for _ in 0..mailboxes {
        sites.push(mailbox(&mut dice, controllers == 1));
    }
    let settings = settings(&mut dice, seed);
    let fault_rate = [0, 2, 10, 30][dice.usize(0..4)];
    let rough = [0, 5, 15, 40][dice.usize(0..4)];
    let operator = plan(settings.clone(), &mut dice);
    let several = Several::default();
    let journal = if controllers == 1 {
        MemoryJournal::new()
    } else {
        several.tables.only()
    };
    let world: World = Arc::new(Mutex::new(Shared {
        sites,
        journal: Arc::new(journal),
        dice,
        fault_rate: 0,
        broken: None,
        story: Vec::new(),
        served: 0,
        // As above. Only what was prepared is compared.
        peer_hashes: !seed.is_multiple_of(3),
        differ_seen: 0,
        fence: [false; 2],
        complete: [Mark::default(); 2],
        operator,
        epochs: Epochs::default(),
        several,
    }));
    if controllers > 1 {
        let mut all = locked(&world);
        all.operator.before = all.versions();
    }
    let done: Vec<_> = (0..controllers)
        .map(|_| Arc::new(Mutex::new(false)))
        .collect();
    let mut sim = turmoil::Builder::new()
        .simulation_duration(END * 2)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .tcp_capacity(1024)
        .rng_seed(seed)
        .build();
    for (side, host) in HOSTS.into_iter().enumerate() {
        let world = Arc::clone(&world);
        sim.host(host, move || slotd(Arc::clone(&world), side));
    }
    let several = (controllers > 1).then_some(&settings);
    for (which, done) in done.iter().enumerate() {
        begin(&mut sim, &world, (which, done), several);
    }
    let mut storm = Storm {
        world: Arc::clone(&world),
        done,
        loses: seed.is_multiple_of(2),
        troubles: Vec::new(),
        crashes: 0,
        rough,
        fault_rate,
    };
    let ran = storm.weather(&mut sim);
    drop(sim);
    let mut all = locked(&world);
    if let Err(what) = ran {
        all.violate(&what);
    }
    let ends = judge(&mut all);
    let mut hasher = DefaultHasher::new();
    all.story.hash(&mut hasher);
    Report {
        seed,
        broken: all.broken.clone(),
        story: std::mem::take(&mut all.story),
        fingerprint: hasher.finish(),
        ends,
        served: all.served,
        differ_seen: all.differ_seen,
        crashes: storm.crashes,
        completed: all.operator.completed,
        fallen: all.operator.fallen,
        pauses: all.several.pauses,
        failovers: all.several.failovers,
        raised: all.epochs.raised,
    }
}

/// How the controllers work.
fn settings(dice: &mut fastrand::Rng, seed: u64) -> Settings {
    Settings {
        limits: Limits {
            parallel: dice.usize(1..=2).into(),
            lock_wait: Duration::from_millis(250),
            // Not from the dice, so that a seed keeps its story where it is zero.
            host_wait: Duration::from_millis(seed % 4 * 500),
            ..Limits::default()
        },
        passes: dice.u32(1..=4),
        pass_pause: Duration::from_millis(60),
        settle_attempts: 6,
        settle_pause: Duration::from_millis(40),
        prepare: if dice.bool() {
            slotd::protocol::Write::Always
        } else {
            slotd::protocol::Write::Never
        },
        drop_old: dice.bool(),
        ..Settings::upgrade()
    }
}

/// The host of a controller: of the only one, or with settings of one of several.
fn begin(
    sim: &mut turmoil::Sim<'_>,
    world: &World,
    (which, done): (usize, &Arc<Mutex<bool>>),
    several: Option<&Settings>,
) {
    let (world, done, settings) = (Arc::clone(world), Arc::clone(done), several.cloned());
    sim.host(CONTROLLERS[which], move || {
        let (world, done, settings) = (Arc::clone(&world), Arc::clone(&done), settings.clone());
        async move {
            match settings {
                None => controller(world, done).await,
                Some(settings) => several::controller(world, which, settings, done).await,
            }
        }
    });
}

/// `unlike`: the replica may be forward from the beginning.
fn mailbox(dice: &mut fastrand::Rng, unlike: bool) -> [Site<Mail>; 2] {
    let split = dice.u8(0..3) == 0;
    let count = dice.u32(1..6);
    let lag = dice.u32(0..2);
    let expunge = dice.bool();
    let ahead = dice.u8(0..10) == 0 && unlike;
    let damaged = dice.u8(0..25) == 0;
    [0, 1].map(|side| {
        let version = if side == 1 && ahead { 10 } else { 9 };
        let mut index = Mail::new(version, 10..10 + count + if side == 0 { lag } else { 0 });
        let mut gone = Mail::new(version, 1..4);
        for record in index.records.values_mut().chain(gone.records.values_mut()) {
            record.sha1 = version >= 10;
        }
        if side == 1 && damaged {
            // The replica's copy of a message is another one.
            index.records.values_mut().take(1).for_each(|r| r.body ^= 1);
        }
        let mut site = Site::new(index, expunge.then_some(gone), split);
        site.disk.keep_births();
        site
    })
}
