//! Section `whole_job`: a store hashed and migrated on both hosts, from nothing done to all done;
//! beside it the flow of the first program of this kind, the seed of this one (2007).
//!
//! That flow: one thread hashes the messages of the replica alone, one after the other; then one
//! mailbox at a time is locked, written anew and renamed on both hosts, with nothing written
//! ahead, and the master asks the replica's slotd for its hashes. It runs in today's slotd, whose
//! checks and syncs it has; so it is faster than the Perl that it was.

use std::time::Instant;

use precompute::hash::Kernel;
use precompute::pass;
use slotd::protocol::Write;

use super::document::{Better, Measure, Section, Unit};
use super::fleet::{Fleet, Way};
use super::reconstruct::Reconstruct;
use super::{Bench, BenchError, float, reset};
use crate::demo::migrate;

/// The mailboxes, and the messages of each.
pub(super) const SIZE: (u32, u32) = (40, 500);
/// Sizes of messages, bytes: 11 kB on average.
const BYTES: std::ops::RangeInclusive<u32> = 400..=53_500;

/// Seconds of one round.
#[derive(Clone, Copy)]
struct Took {
    hashing: f64,
    migration: f64,
}

/// Measures one or both by turns.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<Section, BenchError> {
    let (mailboxes, messages) = bench.options.whole;
    let spec = super::plain(mailboxes, messages).message_bytes(BYTES);
    let mut fleet = Fleet::make(bench, "whole", &spec)?;
    let mut cyrus = match Reconstruct::find(bench, &fleet.master)? {
        Ok(cyrus) => Some(cyrus),
        Err(why) => {
            bench
                .not_measured
                .push(format!("reconstruct of Cyrus: {why}"));
            None
        }
    };
    let mut ours = Vec::new();
    let mut seeds = Vec::new();
    for round in 0..=bench.options.runs {
        let say = |name: &str, took: Took| {
            let (a, b) = (took.hashing, took.migration);
            (bench.note)(&format!("whole job {round}, {name}: {a:.2} s and {b:.2} s"));
        };
        let took = as_we_do(bench, &mut fleet)?;
        say("ours", took);
        if round > 0 {
            ours.push(took);
        }
        if bench.options.as_seed {
            let took = as_seed(bench, &mut fleet)?;
            say("as seed", took);
            if round > 0 {
                seeds.push(took);
            }
        }
        if let Some(cyrus) = &mut cyrus {
            fleet.put_back()?;
            cyrus.round(bench, round > 0)?;
        }
    }
    let mut section = Section::new(
        "whole_job",
        "The whole job: hashed and migrated, both hosts",
    );
    section.notes.push(format!(
        "{mailboxes} mailboxes of {messages} messages, {:.0} MB on each host, warm, durable, both \
         hosts on this machine.",
        float(fleet.bytes) / 1e6
    ));
    if bench.options.as_seed {
        section.notes.push(
            "As the seed did: one thread hashes the replica alone, then one mailbox at a time, \
             nothing written ahead, the master asks the replica for hashes; in today's slotd."
                .into(),
        );
    }
    let mut measures = figures("ours", "ours", &ours);
    if bench.options.as_seed {
        measures[0].beside = Some("as_seed".into());
        measures.extend(figures("as_seed", "as the seed did", &seeds));
    }
    if let Some(cyrus) = cyrus {
        section.notes.push(
            "Cyrus's reconstruct has a copy of one host's store, warm, which no server serves; it \
             works in one process, and says nothing to the other host."
                .into(),
        );
        bench.peers.push(cyrus.peer.clone());
        measures.extend(cyrus.measures("ours"));
    }
    section.measures = measures;
    fleet.remove();
    Ok(section)
}

/// The whole first, then its parts.
fn figures(id: &str, name: &str, took: &[Took]) -> Vec<Measure> {
    let of = |suffix: &str, part: &str, seconds: fn(&Took) -> f64| {
        let (id, name) = (format!("{id}{suffix}"), format!("{name}{part}"));
        Measure::new(id, name, Unit::Seconds, Better::Lower)
            .with(took.iter().map(seconds).collect::<Vec<f64>>())
    };
    vec![
        of("", "", |t| t.hashing + t.migration),
        of("_hashing", ": hashing", |t| t.hashing),
        of("_migration", ": migration", |t| t.migration),
    ]
}

/// Both hosts hash at once, then the usual number of mailboxes at once.
fn as_we_do(bench: &Bench<'_>, fleet: &mut Fleet) -> Result<Took, BenchError> {
    from_nothing(fleet)?;
    let start = Instant::now();
    let (signals, options) = (&bench.signals, pass::Options::default());
    let hash = |host| migrate::precompute_with(host, signals, &options);
    let hashed = std::thread::scope(|scope| {
        let replica = scope.spawn(|| hash(&fleet.replica));
        (hash(&fleet.master), replica.join())
    });
    hashed.0?;
    match hashed.1 {
        Ok(replica) => {
            replica?;
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
    let hashing = start.elapsed().as_secs_f64();
    let way = Way::new(bench.options.usual(), Write::Auto);
    let migration = fleet.plainly(bench, &way)?.seconds;
    Ok(Took { hashing, migration })
}

fn as_seed(bench: &Bench<'_>, fleet: &mut Fleet) -> Result<Took, BenchError> {
    from_nothing(fleet)?;
    let start = Instant::now();
    let options = pass::Options {
        jobs: 1,
        kernel: Kernel::detect().with_lanes(1),
        ..pass::Options::default()
    };
    migrate::precompute_with(&fleet.replica, &bench.signals, &options)?;
    let hashing = start.elapsed().as_secs_f64();
    let way = Way {
        name: "as the seed did".into(),
        ..Way::new(1, Write::Never)
    };
    let migration = fleet.asking_replica(bench, &way)?.seconds;
    Ok(Took { hashing, migration })
}

/// Old indexes, no hashes, nothing of it still to be written.
fn from_nothing(fleet: &Fleet) -> Result<(), BenchError> {
    fleet.put_back()?;
    for host in fleet.hosts() {
        reset::forget(&host.store.meta)?;
    }
    rustix::fs::sync();
    Ok(())
}
