//! Section `recovery`: a controller or a slotd is killed (SIGKILL) when half of the mailboxes are
//! done; how long until all are.
//!
//! What was killed is started again at once, as a service manager would: a slotd with the same
//! state, a controller with the same command. A controller that lives is left alone. Beside it is
//! the second half of a run in which nothing was killed. Nothing counts but a run that ended with
//! 0 and has every mailbox upgraded on both hosts.

use std::path::Path;
use std::time::Instant;

use super::corpus::Corpus;
use super::document::{Better, Measure, Section, Unit};
use super::fleet::Fleet;
use super::upgrading::Upgrading;
use super::{Bench, BenchError};
use crate::demo::{Host, Slotd};

/// The mailboxes that it takes: with fewer there is no middle, and more would say the same.
const MAILBOXES: [usize; 2] = [20, 1000];
/// Messages in each mailbox.
const MESSAGES: u32 = 25;
/// The measure that the others stand beside.
const NOTHING: &str = "nothing";

/// What is killed.
#[derive(Clone, Copy)]
struct Case {
    id: &'static str,
    name: &'static str,
    controller: bool,
    slotds: [bool; 2],
}

const CASES: [Case; 5] = [
    Case {
        id: NOTHING,
        name: "nothing killed",
        controller: false,
        slotds: [false, false],
    },
    Case {
        id: "controller",
        name: "controller killed",
        controller: true,
        slotds: [false, false],
    },
    Case {
        id: "master",
        name: "the master's slotd killed",
        controller: false,
        slotds: [true, false],
    },
    Case {
        id: "replica",
        name: "the replica's slotd killed",
        controller: false,
        slotds: [false, true],
    },
    Case {
        id: "all",
        name: "all three killed",
        controller: true,
        slotds: [true, true],
    },
];

/// Seconds from the kill.
#[derive(Clone, Copy)]
struct Took {
    /// Until the first mailbox was done by all that were started again.
    first: f64,
    /// Until all were done.
    all: f64,
}

/// Measures all cases by turns.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<Section, BenchError> {
    let [least, most] = MAILBOXES;
    let mailboxes = match &bench.options.corpus {
        Corpus::Made(order) => order.mailboxes.clamp(least, most),
        Corpus::Copy(_) => most,
    };
    let mut fleet = Fleet::make(bench, "recovery", &super::plain(mailboxes, MESSAGES))?;
    fleet.hash_once(bench)?;
    let mut took = CASES.map(|_| Vec::new());
    for round in 0..=bench.options.runs {
        for (case, took) in CASES.iter().zip(&mut took) {
            // The first round warms up, and needs no crash for it.
            if round == 0 && case.id != NOTHING {
                continue;
            }
            let seen = once(bench, &mut fleet, case, mailboxes / 2)?;
            (bench.note)(&format!(
                "recovery {round}, {}: again after {:.0} ms, all done after {:.2} s",
                case.name,
                seen.first * 1e3,
                seen.all
            ));
            if round > 0 {
                took.push(seen);
            }
        }
    }
    fleet.remove();
    let mut section = Section::new("recovery", "Killed in mid-run: until it is done again");
    section.notes.push(format!(
        "{mailboxes} mailboxes of {MESSAGES} messages, hashed ahead. When half are done, processes \
         are killed by SIGKILL and started again at once; from then on until every mailbox is \
         upgraded on both hosts and the controller has ended. First: until the first mailbox is \
         done by all that were started again."
    ));
    for (case, took) in CASES.iter().zip(took) {
        section.measures.extend(figures(case, &took));
    }
    Ok(section)
}

fn figures(case: &Case, took: &[Took]) -> [Measure; 2] {
    let (id, name) = (case.id, case.name);
    let of = |value: fn(&Took) -> f64| took.iter().map(value).collect::<Vec<f64>>();
    let all = Measure::new(id, name, Unit::Seconds, Better::Lower).with(of(|t| t.all));
    let first = Measure::new(
        format!("{id}_first"),
        format!("{name}: first"),
        Unit::Seconds,
        Better::Lower,
    );
    let all = if id == NOTHING {
        all
    } else {
        all.beside(NOTHING)
    };
    [all, first.with(of(|t| t.first))]
}

/// One run from nothing done to all done, with a crash when that many mailboxes are done.
fn once(
    bench: &Bench<'_>,
    fleet: &mut Fleet,
    case: &Case,
    half: usize,
) -> Result<Took, BenchError> {
    fleet.put_back()?;
    bench.signals.check()?;
    let start = |host: &Host| Slotd::start(host, &bench.work.socket(host.name), None);
    let mut slotds = [start(&fleet.master)?, start(&fleet.replica)?];
    let state = fleet.new_journal();
    let go = |slotds: &[Slotd; 2], list: &Path| Upgrading::start(slotds, list, &state);
    let mut run = go(&slotds, &fleet.list)?;
    run.wait_for(half, &bench.signals)?;
    let killed = Instant::now();
    if case.controller {
        run.kill();
    }
    for (slotd, dies) in slotds.iter_mut().zip(case.slotds) {
        if dies {
            slotd.kill();
        }
    }
    for ((slotd, dies), host) in slotds.iter_mut().zip(case.slotds).zip(fleet.hosts()) {
        if dies {
            *slotd = start(host)?;
        }
    }
    if case.controller {
        run = go(&slotds, &fleet.list)?;
    }
    let serving = Instant::now();
    let first = run.next(&bench.signals, serving)?;
    let all = run.finish(&bench.signals)?;
    drop(slotds);
    let since = |at: Instant| at.duration_since(killed).as_secs_f64();
    Ok(Took {
        first: since(first.unwrap_or(all)),
        all: since(all),
    })
}
