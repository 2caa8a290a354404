//! Section `growth`: does ten times as much take ten times as long?
//!
//! The exponent is that of a power that fits the medians best, by least squares of their
//! logarithms: 1 is linear. A run has a fixed cost as well: it looks at both hosts, makes a
//! journal, sums up. That is measured as a run over one mailbox, in the same rounds; the exponent
//! by mailboxes is fitted to what all the others took beyond it, and given with it included too.

use std::fs;

use indexfile::IoContext;
use slotd::protocol::Write;

use super::convert::Index;
use super::document::{Better, Measure, Section, Unit};
use super::fleet::{Fleet, Way};
use super::{Bench, BenchError, Stats, float};

/// Records that are converted for one value, at least: a thousand alone take too short a time.
const RECORDS: u64 = 200_000;

/// Measures both curves, a round of all sizes after the other.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<Section, BenchError> {
    let mut section = Section::new(
        "growth",
        "Growth: time by size, and the exponent that fits it",
    );
    section.notes.push(
        "Records: an index converted to version 10 in memory, read from the page cache. \
         Mailboxes: one message each, both hosts, 16 at once. 1 is linear; beyond the start: a \
         run's time without that of a run over one mailbox."
            .into(),
    );
    records(bench, &mut section)?;
    mailboxes(bench, &mut section)?;
    Ok(section)
}

fn records(bench: &Bench<'_>, section: &mut Section) -> Result<(), BenchError> {
    let dir = bench.work.path().join("growth");
    let sizes = powers(
        1000,
        if bench.options.quick {
            100_000
        } else {
            1_000_000
        },
    );
    let mut indexes = Vec::new();
    for size in &sizes {
        let dir = dir.join(size.to_string());
        fs::create_dir_all(&dir).io_context("create directory", &dir)?;
        indexes.push(Index::make(&dir, *size)?);
    }
    let mut seconds = vec![Vec::new(); sizes.len()];
    for round in 0..=bench.options.runs {
        (bench.note)(&format!("growth by records, round {round}"));
        for ((size, index), seconds) in sizes.iter().zip(&indexes).zip(&mut seconds) {
            bench.signals.check()?;
            let times = (RECORDS / size).max(1);
            let mut all = 0.0;
            for _ in 0..times {
                all += index.convert(false)?;
            }
            if round > 0 {
                seconds.push(all / float(times));
            }
        }
    }
    let points = push(section, "records", &sizes, seconds);
    fitted(section, "exponent-records", "exponent by records", &points);
    let _ = fs::remove_dir_all(&dir);
    Ok(())
}

fn mailboxes(bench: &mut Bench<'_>, section: &mut Section) -> Result<(), BenchError> {
    let mut sizes = powers(100, if bench.options.quick { 1000 } else { 100_000 });
    let most = sizes.last().copied().unwrap_or(100);
    let spec = super::plain(usize::try_from(most).unwrap_or(100), 1);
    let mut fleet = Fleet::make(bench, "growth-mailboxes", &spec)?;
    fleet.hash_once(bench)?;
    let way = Way::new(16, Write::Never);
    sizes.insert(0, 1);
    let mut seconds = vec![Vec::new(); sizes.len()];
    for round in 0..=bench.options.runs {
        for (size, seconds) in sizes.iter().zip(&mut seconds) {
            // Half an hour of the largest would say no more than one run does.
            if *size > 10_000 && round != 1 {
                continue;
            }
            (bench.note)(&format!("growth by mailboxes, round {round}: {size}"));
            let list = fleet.first_of_list(usize::try_from(*size).unwrap_or(usize::MAX))?;
            let summary = fleet.plainly_of(bench, &way, &list)?;
            if round > 0 {
                seconds.push(summary.seconds);
            }
        }
    }
    let points = push(section, "mailboxes", &sizes, seconds);
    let (start, points) = points.split_at(1);
    let (id, name) = ("exponent-mailboxes", "exponent by mailboxes");
    fitted(
        section,
        id,
        &format!("{name}, beyond the start"),
        &beyond(start[0], points),
    );
    let whole = (format!("{id}-whole"), format!("{name}, start included"));
    fitted(section, &whole.0, &whole.1, points);
    fleet.remove();
    Ok(())
}

/// Gives sizes and medians.
fn push(
    section: &mut Section,
    what: &str,
    sizes: &[u64],
    seconds: Vec<Vec<f64>>,
) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for (size, values) in sizes.iter().zip(seconds) {
        points.push((float(*size), Stats::of(&values).median));
        section.measures.push(
            Measure::new(
                format!("{what}-{size}"),
                format!("{size} {what}"),
                Unit::Seconds,
                Better::Lower,
            )
            .with(values)
            .at(float(*size)),
        );
    }
    points
}

/// Adds the exponent that fits these, if there is one.
fn fitted(section: &mut Section, id: &str, name: &str, points: &[(f64, f64)]) {
    if let Some(exponent) = exponent(points) {
        let measure = Measure::new(id, name, Unit::Ratio, Better::Neither);
        section.measures.push(measure.with([exponent]));
    }
}

/// What the others took more than the first, and for how much more.
fn beyond(start: (f64, f64), points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let more = |(size, seconds): &(f64, f64)| (size - start.0, seconds - start.1);
    points.iter().map(more).collect()
}

/// `from`, ten times as much, and so on up to `to`.
fn powers(from: u64, to: u64) -> Vec<u64> {
    std::iter::successors(Some(from), |n| n.checked_mul(10))
        .take_while(|n| *n <= to)
        .collect()
}

/// The slope of the line through the logarithms that fits best; `None` if there is none.
fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 2 || points.iter().any(|(x, y)| *x <= 0.0 || *y <= 0.0) {
        return None;
    }
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = float(logs.len() as u64);
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let over: f64 = logs.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let under: f64 = logs.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    (under > 0.0).then(|| over / under)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_is_found_again() {
        for power in [0.5, 1.0, 2.0] {
            let points: Vec<(f64, f64)> = powers(10, 100_000)
                .into_iter()
                .map(|n| (float(n), 3.0 * float(n).powf(power)))
                .collect();
            assert!((exponent(&points).expect("one") - power).abs() < 1e-9);
        }
        assert_eq!(exponent(&[(10.0, 1.0)]), None);
        assert_eq!(exponent(&[(10.0, 1.0), (10.0, 2.0)]), None);
        assert_eq!(exponent(&[(10.0, 0.0), (100.0, 2.0)]), None);
    }

    #[test]
    fn what_a_run_takes_to_start_does_not_make_growth_look_less_than_linear() {
        let took = |n: f64| (n, 0.2 + 0.001 * n);
        let points = [100.0, 1000.0, 10_000.0].map(took);
        let all = exponent(&points).expect("one");
        assert!(all < 0.8, "{all}");
        let beyond = exponent(&beyond(took(1.0), &points)).expect("one");
        assert!((beyond - 1.0).abs() < 1e-9, "{beyond}");
    }

    #[test]
    fn sizes_are_powers_of_ten_and_the_last_is_the_most() {
        assert_eq!(powers(100, 100_000), [100, 1000, 10_000, 100_000]);
    }
}
