//! Measuring `precompute run` against what people would use instead, in one run on one store.
//!
//! A store of generated mail is made in a scratch directory; every contender goes over the same
//! files, round after round in turn, so that a busy moment of the machine hits all of them. The
//! figure of a contender is its best round. Everything lies below the scratch directory, which is
//! removed.

pub mod contenders;
pub mod limit;
pub mod scale;
pub mod store;
pub mod table;

use std::io;
use std::path::{Path, PathBuf};

use contenders::{Cache, Contender, Cost};
use store::{Set, Store};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the store is made; a subdirectory of its own is used and removed.
    pub dir: PathBuf,
    /// Which kinds of mail.
    pub sets: Vec<Set>,
    /// A set ends after this many bytes of mail,
    pub bytes: u64,
    /// or after this many files.
    pub files: usize,
    /// Rounds with the page cache warm, and with it dropped before each contender (root only).
    pub warm: u32,
    /// See `warm`.
    pub cold: u32,
    /// Rounds of the slow contenders, those that are no part of a limit; at most `warm` and `cold`.
    pub others: u32,
    /// Threads of the pass.
    pub jobs: usize,
    /// The program that is measured.
    pub program: PathBuf,
}

/// The best time of each contender on one set.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The kind of mail.
    pub set: Set,
    /// Files and bytes.
    pub files: u64,
    /// See `files`.
    pub bytes: u64,
    /// Whether the page cache was warm or cold.
    pub cache: Cache,
    /// Time to read the files and to hash their bytes as fast as all cores can.
    pub limit: Cost,
    /// Contenders and their best times.
    pub times: Vec<(Contender, Cost)>,
}

impl Measured {
    /// The best time of a contender, if it could be run.
    #[must_use]
    pub fn of(&self, contender: Contender) -> Option<Cost> {
        let found = self.times.iter().find(|(c, _)| *c == contender);
        found.map(|(_, time)| *time)
    }
}

/// Everything that one run of the benchmark found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Bytes a second that one core hashes, with 1 to 4 lanes.
    pub lanes: Vec<(usize, f64)>,
    /// Cores.
    pub cores: usize,
    /// Threads of the pass.
    pub jobs: usize,
    /// Load average of the machine at the beginning and at the end.
    pub load: (String, String),
    /// A line for each set and state of the page cache.
    pub measured: Vec<Measured>,
}

/// Measures everything; `say` gets what is being done.
///
/// # Errors
/// If the store cannot be made or a contender not be run.
pub fn run(plan: &Plan, say: &dyn Fn(&str)) -> io::Result<Report> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let before = load();
    say("hash rate of one core");
    let lanes = limit::lane_rates();
    let mut measured = Vec::new();
    for set in &plan.sets {
        say(&format!("making the {} set", set.name()));
        let mut store = Store::make(&plan.dir, *set, plan.bytes, plan.files)?;
        for (cache, rounds) in [(Cache::Warm, plan.warm), (Cache::Cold, plan.cold)] {
            if rounds > 0 {
                measured.push(measure(plan, &mut store, cache, rounds, cores, say)?);
            }
        }
    }
    Ok(Report {
        lanes,
        cores,
        jobs: plan.jobs,
        load: (before, load()),
        measured,
    })
}

fn measure(
    plan: &Plan,
    store: &mut Store,
    cache: Cache,
    rounds: u32,
    cores: usize,
    say: &dyn Fn(&str),
) -> io::Result<Measured> {
    let mut times: Vec<(Contender, Cost)> = Vec::new();
    for round in 1..=rounds {
        for contender in Contender::all() {
            if !contender.available() || contender.is_other() && round > plan.others {
                continue;
            }
            say(&format!(
                "{} set, {}, round {round} of {rounds}: {}",
                store.set.name(),
                cache.name(),
                contender.name()
            ));
            let time = contender.time(plan, store, cache, cores)?;
            match times.iter_mut().find(|(c, _)| *c == contender) {
                Some((_, best)) => *best = time.best(*best),
                None => times.push((contender, time)),
            }
        }
    }
    let best = |wanted: &[Contender]| {
        let found = times.iter().filter(|(c, _)| wanted.contains(c));
        found
            .map(|(_, cost)| *cost)
            .reduce(Cost::best)
            .unwrap_or_default()
    };
    // The harder of the two: more threads read a cold disk faster and a warm cache slower.
    let reading = best(&[Contender::ReadOnly, Contender::ReadOnCores]);
    let hashing = best(&[Contender::HashOnly]);
    Ok(Measured {
        set: store.set,
        files: store.files.len() as u64,
        bytes: store.bytes,
        cache,
        limit: Cost {
            wall: reading.wall + hashing.wall,
            cpu: reading.cpu + hashing.cpu,
        },
        times,
    })
}

fn load() -> String {
    let text = std::fs::read_to_string(Path::new("/proc/loadavg")).unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
