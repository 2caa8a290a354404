//! The figures for people: as hyperfine prints them, and as a table for the documentation.

use std::fmt::Write as _;

use super::{Figures, Stats, Way};

fn range(stats: &Stats, unit: &str, digits: usize) -> String {
    format!(
        "{:.digits$} {unit} +- {:.digits$}",
        stats.mean, stats.stddev
    )
}

/// For a terminal.
#[must_use]
pub fn text(figures: &Figures) -> String {
    let mut out = format!(
        "Benchmark: {} mailboxes x {} messages on master and replica, {} at once, {} cores, \
         durable commits\n\
         \x20 hashed ahead: {:.0} messages/s on one host\n",
        figures.mailboxes,
        figures.messages,
        figures.parallel,
        figures.cores,
        figures.precompute_rate
    );
    for way in &figures.ways {
        let _ = writeln!(out, "\n{}", way.name);
        let _ = writeln!(
            out,
            "  Rate (mean +- sd):    {}   [{:.0} messages/s]",
            range(&way.rate, "mailboxes/s", 1),
            way.rate.mean * f64::from(figures.messages)
        );
        let _ = writeln!(
            out,
            "  Range (min .. max):   {:.1} .. {:.1}   {} runs",
            way.rate.min, way.rate.max, way.rate.runs
        );
        let _ = writeln!(
            out,
            "  Locks held:           p50 {}, p99 {}, longest {:.2} ms",
            range(&way.lock_p50, "ms", 2),
            range(&way.lock_p99, "ms", 2),
            way.lock_max.max
        );
        if !way.calls.is_empty() {
            let _ = writeln!(out, "  Calls a mailbox and host: {}", calls(way));
        }
        if way.rate.outliers > 0 {
            let _ = writeln!(
                out,
                "  Warning: {} of the runs are outliers; is the machine busy with something else?",
                way.rate.outliers
            );
        }
    }
    if let Some(over) = &figures.change_over {
        let _ = writeln!(
            out,
            "\nChange-over to version {}, all mailboxes, both hosts\n\
             \x20 Prepared:             {:.1} s, again with nothing changed {:.1} s\n\
             \x20 Changed over:         {:.1} s   \
             locks held p50 {:.2}, p99 {:.2}, longest {:.2} ms\n\
             \x20 Verified:             {:.1} s   {} messages read of each mailbox",
            over.to,
            over.prepare,
            over.prepare_again,
            over.cutover,
            over.lock_ms.p50,
            over.lock_ms.p99,
            over.lock_ms.max,
            over.verify,
            over.sample
        );
    }
    if let [plain, prepared] = figures.ways.as_slice() {
        let (faster, by) = prepared.rate.ratio(&plain.rate);
        let (shorter, within) = plain.lock_p99.ratio(&prepared.lock_p99);
        let _ = writeln!(
            out,
            "\nSummary: with new files written ahead the rate is {faster:.2} +- {by:.2} times, \
             and locks (p99) are held \
             {shorter:.2} +- {within:.2} times shorter"
        );
    }
    out
}

fn calls(way: &Way) -> String {
    let mut parts: Vec<String> = way
        .calls
        .iter()
        .map(|(n, c)| format!("{n} {c:.2}"))
        .collect();
    parts.sort();
    parts.join(", ")
}

/// For `docs/benchmarks.md`.
#[must_use]
pub fn markdown(figures: &Figures) -> String {
    let mut out = format!(
        "{} mailboxes x {} messages, both hosts on one machine of {} cores, {} at once, hashed \
         ahead, \
         durable commits:\n\n\
         | way | mailboxes/s (mean +- sd, range) | lock p50 ms | lock p99 ms | longest ms | calls \
         a mailbox and host |\n\
         |---|---|---|---|---|---|\n",
        figures.mailboxes, figures.messages, figures.cores, figures.parallel
    );
    for way in &figures.ways {
        let _ = writeln!(
            out,
            "| {} | {:.0} +- {:.0}, {:.0} .. {:.0} ({} runs) | {:.2} | {:.2} | {:.2} | {} |",
            way.name,
            way.rate.mean,
            way.rate.stddev,
            way.rate.min,
            way.rate.max,
            way.rate.runs,
            way.lock_p50.mean,
            way.lock_p99.mean,
            way.lock_max.max,
            calls(way)
        );
    }
    out
}
