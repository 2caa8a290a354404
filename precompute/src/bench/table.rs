//! The tables of `docs/benchmarks.md`, in Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use super::contenders::{Cache, Contender, Cost};
use super::scale;
use super::{Measured, Report};

/// All tables of a report.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} cores, {} threads in the pass, load {} before and {} after.\n",
        report.cores, report.jobs, report.load.0, report.load.1
    );
    out.push_str("| lanes | GB/s a core |\n|---|---|\n");
    for (lanes, rate) in &report.lanes {
        let _ = writeln!(out, "| {lanes} | {:.2} |", rate / 1e9);
    }
    for measured in &report.measured {
        out.push_str(&set(measured));
    }
    out
}

fn set(measured: &Measured) -> String {
    let mut out = format!(
        "\n### {}, {}: {} files, {} MB\n\n\
         | | seconds | CPU seconds | files/s | MB/s | `precompute run` is faster by \
         | uses less CPU by |\n|---|---|---|---|---|---|---|\n",
        measured.set.name(),
        measured.cache.name(),
        measured.files,
        measured.bytes / 1_000_000
    );
    let Some(ours) = measured.of(Contender::Run) else {
        return out;
    };
    let mut row = |name: &str, cost: Cost| {
        let _ = writeln!(
            out,
            "| {name} | {:.3} | {:.2} | {:.0} | {:.0} | {:.2} | {:.2} |",
            cost.wall.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            per_second(measured.files, cost.wall),
            per_second(measured.bytes, cost.wall) / 1e6,
            ratio(cost.wall, ours.wall),
            ratio(cost.cpu, ours.cpu),
        );
    };
    row("limit: reading alone + hashing alone", measured.limit);
    for (contender, time) in &measured.times {
        row(contender.name(), *time);
    }
    let _ = writeln!(
        out,
        "\n`precompute run` is at {:.2} of the limit by the clock, {:.2} by CPU time.",
        ratio(measured.limit.wall, ours.wall),
        ratio(measured.limit.cpu, ours.cpu)
    );
    if measured.cache == Cache::Warm
        && let Some(again) = measured.of(Contender::Again)
    {
        let times = ratio(ours.wall, again.wall);
        let _ = writeln!(
            out,
            "A second run is {times:.1} times as fast as the first{}.",
            match measured.of(Contender::LookOnly) {
                Some(look) => format!(
                    "; a look at every file and nothing else would be {:.1} times as fast",
                    ratio(ours.wall, look.wall)
                ),
                None => String::new(),
            }
        );
        if let Some(looking) = measured.of(Contender::AgainLooking) {
            let times = ratio(ours.wall, looking.wall);
            let _ = writeln!(
                out,
                "With `--look-at-all` a second run is {times:.1} times as fast as the first."
            );
        }
    }
    out
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64().max(1e-9)
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn per_second(n: u64, time: Duration) -> f64 {
    n as f64 / time.as_secs_f64().max(1e-9)
}

/// The table of time and memory by size.
#[must_use]
pub fn scale(costs: &[scale::Cost]) -> String {
    let mut out = String::from(
        "| mailboxes | messages | first run, s | messages/s | second run, s \
         | peak memory, MiB | of it not file pages, MiB |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for cost in costs {
        let messages = u64::from(cost.size.mailboxes) * u64::from(cost.size.messages);
        let _ = writeln!(
            out,
            "| {} | {messages} | {:.2} | {:.0} | {:.2} | {:.1} | {:.1} |",
            cost.size.mailboxes,
            cost.first.as_secs_f64(),
            per_second(messages, cost.first),
            cost.again.as_secs_f64(),
            mib(cost.peak),
            mib(cost.anonymous),
        );
    }
    out
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
