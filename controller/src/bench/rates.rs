//! Section `fleet`: mailboxes a second of both hosts by the number at once, and how long their
//! locks are held, beside the bare way with as many threads.

use slotd::protocol::Write;

use super::document::{Better, Measure, Section, Unit};
use super::fleet::{Fleet, Way};
use super::floor::Floor;
use super::{Bench, BenchError, float, rate};
use crate::run::LockMs;

/// One way while it is measured.
struct Curve {
    /// What its ids end with.
    id: String,
    at_once: usize,
    way: Way,
    rates: Vec<f64>,
    locks: Vec<LockMs>,
}

impl Curve {
    fn new(at_once: usize, prepare: Write) -> Self {
        let suffix = match prepare {
            Write::Always => "-prepare",
            _ => "",
        };
        Self {
            id: format!("{at_once}{suffix}"),
            at_once,
            way: Way::new(at_once, prepare),
            rates: Vec::new(),
            locks: Vec::new(),
        }
    }

    fn measures(&self) -> Vec<Measure> {
        let at = float(self.at_once as u64);
        let name = &self.way.name;
        let rate = Measure::new(
            format!("rate-{}", self.id),
            name,
            Unit::MailboxesPerSecond,
            Better::Higher,
        )
        .with(self.rates.as_slice())
        .beside(format!("floor-{}", self.at_once))
        .at(at);
        let lock = |word: &str, of: fn(&LockMs) -> f64| {
            Measure::new(
                format!("lock_{word}-{}", self.id),
                format!("{name}: lock held, {word}"),
                Unit::Milliseconds,
                Better::Lower,
            )
            .with(self.locks.iter().map(of).collect::<Vec<f64>>())
            .at(at)
        };
        vec![
            rate,
            lock("p50", |l| l.p50),
            lock("p99", |l| l.p99),
            lock("max", |l| l.max),
        ]
    }
}

/// Measures all of them by turns.
pub(super) fn measure(bench: &mut Bench<'_>, fleet: &mut Fleet) -> Result<Section, BenchError> {
    let at_once = &bench.options.parallel;
    let mut curves: Vec<Curve> = at_once
        .iter()
        .map(|n| Curve::new(*n, Write::Never))
        .collect();
    if fleet.prepares(bench)? {
        curves.push(Curve::new(bench.options.usual(), Write::Always));
    } else {
        bench
            .not_measured
            .push("with PREPARE: this slotd prepares nothing".into());
    }
    // Migrated once, for the sizes of what the bare way has to write.
    fleet.plainly(bench, &Way::new(bench.options.usual(), Write::Never))?;
    let floor = Floor::make(fleet.bare()?)?;
    let mut floors = vec![Vec::new(); at_once.len()];
    for round in 0..=bench.options.runs {
        let kind = if round == 0 { "warm-up" } else { "run" };
        let say = |name: &str, rate: f64| {
            (bench.note)(&format!("{kind} {round}, {name}: {rate:.0} mailboxes/s"));
        };
        for (at_once, floors) in at_once.iter().zip(&mut floors) {
            rustix::fs::sync();
            let rate = floor.replace(*at_once, bench.signals.flag())?;
            bench.signals.check()?;
            say(&format!("the bare way, {at_once} at once"), rate);
            if round > 0 {
                floors.push(rate);
            }
            for curve in curves.iter_mut().filter(|curve| curve.at_once == *at_once) {
                let summary = fleet.plainly(bench, &curve.way)?;
                let rate = rate_of(&summary);
                say(&curve.way.name, rate);
                if round > 0 {
                    curve.rates.push(rate);
                    curve.locks.push(summary.lock_ms);
                }
            }
        }
    }
    let mut section = Section::new("fleet", "Mailboxes a second on both hosts");
    section.notes = vec![
        "Both hosts on this machine, messages hashed ahead, journal and durable commits included."
            .into(),
        "The bare way, with as many threads as mailboxes at once, in the same directories: write a \
         new file of the index's size, fdatasync, rename, fsync the directory, on one host and \
         then on the other; no locks, no protocol, no journal, no way back."
            .into(),
    ];
    for (at_once, values) in at_once.iter().zip(floors) {
        section.measures.push(
            Measure::new(
                format!("floor-{at_once}"),
                format!("the bare way, {at_once} at once"),
                Unit::MailboxesPerSecond,
                Better::Neither,
            )
            .with(values)
            .at(float(*at_once as u64)),
        );
    }
    section
        .measures
        .extend(curves.iter().flat_map(Curve::measures));
    Ok(section)
}

fn rate_of(summary: &crate::run::Summary) -> f64 {
    rate(summary.mailboxes, summary.seconds)
}
