//! Section `locks`: how long a mailbox is locked, by its size, with and without new files written
//! ahead.

use slotd::protocol::Write;

use super::document::{Better, Measure, Section, Unit};
use super::fleet::{Fleet, Way};
use super::{Bench, BenchError, float};
use crate::run::LockMs;

/// Mailboxes of each size.
const MAILBOXES: usize = 8;

/// Measures each size by turns, one mailbox at a time.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<Section, BenchError> {
    let sizes: &[u32] = if bench.options.quick {
        &[100, 2000]
    } else {
        &[100, 2000, 20_000]
    };
    let mut section = Section::new("locks", "How long a mailbox is locked, by its size");
    section.notes.push(format!(
        "{MAILBOXES} mailboxes of each size, one at a time, from locked to unlocked on both hosts."
    ));
    for size in sizes {
        let spec = super::plain(MAILBOXES, *size);
        let mut fleet = Fleet::make(bench, &format!("locks-{size}"), &spec)?;
        fleet.hash_once(bench)?;
        let mut ways = vec![(Way::new(1, Write::Never), Vec::new())];
        if fleet.prepares(bench)? {
            ways.push((Way::new(1, Write::Always), Vec::new()));
        }
        for round in 0..=bench.options.runs {
            for (way, locks) in &mut ways {
                let summary = fleet.plainly(bench, way)?;
                (bench.note)(&format!(
                    "locks {round}, {size} messages, {}: {:.1} ms",
                    way.name, summary.lock_ms.p50
                ));
                if round > 0 {
                    locks.push(summary.lock_ms);
                }
            }
        }
        for ((_, locks), suffix) in ways.iter().zip(["", "-prepare"]) {
            let measures = figures(*size, suffix, locks);
            section.measures.extend(measures);
        }
        fleet.remove();
    }
    Ok(section)
}

fn figures(size: u32, suffix: &str, locks: &[LockMs]) -> Vec<Measure> {
    let with = if suffix.is_empty() { "" } else { ", PREPARE" };
    let of = |word: &str, value: fn(&LockMs) -> f64| {
        let measure = Measure::new(
            format!("{word}-{size}{suffix}"),
            format!("{size} messages{with}: {word}"),
            Unit::Milliseconds,
            Better::Lower,
        );
        let measure = measure
            .with(locks.iter().map(value).collect::<Vec<f64>>())
            .at(float(u64::from(size)));
        if suffix.is_empty() {
            measure
        } else {
            measure.beside(format!("{word}-{size}"))
        }
    };
    vec![of("p50", |l| l.p50), of("max", |l| l.max)]
}
