//! Section `cost`: what a migration takes besides time, by mailbox and host.

use std::fs;

use precompute::bench::scale::number;
use slotd::protocol::Write;

use super::document::{Better, Measure, Section, Unit};
use super::fleet::{Fleet, Way};
use super::{Bench, BenchError, count, float};
use crate::demo::Slotd;

/// What the kernel has noted of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Process {
    /// The most memory that it had at once, bytes.
    peak: f64,
    /// What it had written to a disk, bytes.
    written: f64,
}

/// Measures without and with new files written ahead.
pub(super) fn measure(bench: &mut Bench<'_>, fleet: &mut Fleet) -> Result<Section, BenchError> {
    let mut section = Section::new("cost", "What a mailbox costs each host");
    section.notes.push(
        "Calls are counted by strace in a run of its own. Bytes are those that slotd had written \
         to the disk, as the kernel counts them; memory is the peak of one slotd, and of this \
         process, which is controller and bench."
            .into(),
    );
    let calls = count::available();
    if !calls {
        bench
            .not_measured
            .push("system calls: strace is not installed, or may not trace".into());
    }
    let usual = bench.options.usual();
    let mut ways = vec![("", Way::new(usual, Write::Never))];
    if fleet.prepares(bench)? {
        ways.push(("-prepare", Way::new(usual, Write::Always)));
    }
    let mut seen: Vec<(Vec<[Process; 2]>, Vec<Process>)> = vec![Default::default(); ways.len()];
    let mut mailboxes = 0;
    for round in 0..=bench.options.runs {
        for ((_, way), (slotds, own)) in ways.iter().zip(&mut seen) {
            (bench.note)(&format!("memory and bytes {round}, {}", way.name));
            forget_peak();
            let before = process("self");
            let (summary, both) = fleet.migrate(bench, way, [&[], &[]], |slotds| {
                Ok([pid(&slotds[0]), pid(&slotds[1])].map(|pid| process(&pid)))
            })?;
            mailboxes = summary.mailboxes;
            if round > 0 {
                slotds.push(both);
                let after = process("self");
                own.push(Process {
                    peak: after.peak,
                    written: after.written - before.written,
                });
            }
        }
    }
    let each = float(mailboxes.max(1));
    for ((suffix, way), (slotds, own)) in ways.iter().zip(seen) {
        let mut push = |id: &str, name: &str, unit, values: Vec<f64>| {
            section.measures.push(
                Measure::new(
                    format!("{id}{suffix}"),
                    format!("{}: {name}", way.name),
                    unit,
                    Better::Lower,
                )
                .with(values),
            );
        };
        let of = |f: &dyn Fn(&[Process; 2]) -> f64| slotds.iter().map(f).collect::<Vec<f64>>();
        let peak = of(&|both| both[0].peak.max(both[1].peak));
        push("memory_slotd", "memory of slotd", Unit::Bytes, peak);
        let written = of(&|both| f64::midpoint(both[0].written, both[1].written) / each);
        push("written_slotd", "written by slotd", Unit::Bytes, written);
        let peak = own.iter().map(|p| p.peak).collect();
        push(
            "memory_controller",
            "memory of controller",
            Unit::Bytes,
            peak,
        );
        let written = own.iter().map(|p| p.written / each).collect();
        push(
            "written_controller",
            "written by controller",
            Unit::Bytes,
            written,
        );
        if calls {
            (bench.note)(&format!("counting system calls, {}", way.name));
            for (call, number) in counted(bench, fleet, way)? {
                push(&call, &call, Unit::Count, vec![number]);
            }
        }
    }
    Ok(section)
}

/// A run under strace, for its counts only.
fn counted(
    bench: &Bench<'_>,
    fleet: &mut Fleet,
    way: &Way,
) -> Result<Vec<(String, f64)>, BenchError> {
    let out = |host: &str| bench.work.path().join(format!("{host}.strace"));
    let outs = ["master", "replica"].map(out);
    for out in &outs {
        // A table of an earlier run, if there is one.
        let _ = fs::remove_file(out);
    }
    let wrappers = [count::wrapper(&outs[0]), count::wrapper(&outs[1])];
    let wrappers = [wrappers[0].as_slice(), wrappers[1].as_slice()];
    let (summary, ()) = fleet.migrate(bench, way, wrappers, |_| Ok(()))?;
    let mut calls = count::per_mailbox(&outs, summary.mailboxes)?;
    calls.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(calls)
}

fn pid(slotd: &Slotd) -> String {
    slotd.pid().to_string()
}

/// Makes the most memory that this process had what it has now; where the kernel cannot, the peak
/// is that of its life.
fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// What /proc says of a process that lives.
fn process(pid: &str) -> Process {
    let text = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    Process {
        peak: float(number(&text("status"), "VmHWM:")) * 1024.0,
        written: float(number(&text("io"), "write_bytes:")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_what_it_wrote() {
        assert!(process("self").peak > 100_000.0);
        let io = "rchar: 12\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n";
        assert_eq!(number(io, "write_bytes:"), 4096);
    }
}
