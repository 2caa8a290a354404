//! The figures as a section of a document.

use indicatif::HumanCount;

use super::phase::Phase;
use crate::bench::document::{Better, Measure, Section, Unit};

/// What the measures of mailboxes of one size are made of.
pub(super) struct Series {
    /// Messages of each mailbox.
    pub messages: u32,
    /// Mailboxes.
    pub mailboxes: usize,
    /// Of each round: without a run, and with one.
    pub rounds: Vec<[Phase; 2]>,
}

/// A figure of a phase's STOREs, milliseconds.
type Of = fn(&Phase) -> f64;

/// Id, name and value.
const FIGURES: [(&str, &str, Of); 4] = [
    ("store_p50", "p50", |phase| {
        phase.sampled.stores.lock_ms().p50
    }),
    ("store_p99", "p99", p99),
    ("store_max", "max", |phase| {
        phase.sampled.stores.lock_ms().max
    }),
    ("wait_p99", "p99 of waiting for the lock", |phase| {
        phase.sampled.waits.lock_ms().p99
    }),
];

fn p99(phase: &Phase) -> f64 {
    phase.sampled.stores.lock_ms().p99
}

/// The section `live`. `how`: sentences on how it was measured.
pub(super) fn section(series: &[Series], how: Vec<String>) -> Section {
    let mut notes = how;
    notes.extend(series.iter().map(done));
    let mut section = Section::new("live", "STORE while a run goes on");
    section.notes = notes;
    section.measures = series.iter().flat_map(Series::measures).collect();
    section
}

/// What was done with mailboxes of one size, in all rounds.
fn done(series: &Series) -> String {
    let sum = |of: fn(&Phase) -> u64| series.rounds.iter().flatten().map(of).sum::<u64>();
    format!(
        "{} {}: {} STOREs, {} deliveries, {} FETCHes, each there at the end; meanwhile mailboxes \
         were upgraded {} times, brought back {} times, rolled back {} times.",
        series.mailboxes,
        of(
            series.messages,
            if series.mailboxes == 1 {
                "mailbox"
            } else {
                "mailboxes"
            }
        ),
        HumanCount(sum(|phase| phase.sampled.stores.count())),
        HumanCount(sum(|phase| phase.sampled.deliveries)),
        HumanCount(sum(|phase| phase.sampled.reads)),
        HumanCount(sum(|phase| phase.ran.upgraded)),
        HumanCount(sum(|phase| phase.ran.downgraded)),
        HumanCount(sum(|phase| phase.ran.rolled_back)),
    )
}

fn of(messages: u32, what: &str) -> String {
    format!("{what} of {} messages", HumanCount(messages.into()))
}

impl Series {
    fn measures(&self) -> Vec<Measure> {
        let mut measures = Vec::new();
        for (id, name, value) in FIGURES {
            let without = self.measure(
                &format!("{id}_without"),
                &format!("{name}, without a run"),
                |[without, _]| value(without),
            );
            let with = self
                .measure(id, &format!("{name}, with a run"), |[_, with]| value(with))
                .beside(&without.id);
            measures.extend([without, with]);
        }
        measures.push(
            self.measure("store_p99_added", "p99 added", |[without, with]| {
                p99(with) - p99(without)
            }),
        );
        let locks = [
            ("lock_max", "longest lock of an upgrade"),
            ("lock_max_back", "longest lock on the way back"),
        ];
        for (way, (id, name)) in locks.into_iter().enumerate() {
            measures.push(self.measure(id, name, |[_, with]| with.ran.lock_max[way]));
        }
        measures
    }

    /// In milliseconds, a value a round.
    fn measure(&self, id: &str, name: &str, of: impl Fn(&[Phase; 2]) -> f64) -> Measure {
        let better = if id.ends_with("without") {
            Better::Neither
        } else {
            Better::Lower
        };
        let (size, values) = (self.messages, self.rounds.iter().map(of));
        let name = format!("{name}, {} messages", HumanCount(size.into()));
        Measure::new(format!("{id}-{size}"), name, Unit::Milliseconds, better)
            .with(values.collect::<Vec<f64>>())
            .at(size.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::live::client::Sampled;
    use crate::bench::live::phase::Ran;

    fn phase(micros: &[u64]) -> Phase {
        let mut sampled = Sampled::new();
        for us in micros {
            sampled.stores.add(*us);
        }
        Phase {
            sampled,
            ran: Ran::default(),
        }
    }

    #[test]
    fn what_a_run_adds_is_the_difference_within_a_round() {
        let series = Series {
            messages: 20_000,
            mailboxes: 4,
            rounds: vec![
                [phase(&[1000]), phase(&[3000])],
                [phase(&[8000]), phase(&[9000])],
            ],
        };
        let section = section(&[series], Vec::new());
        let values = |id: &str| &section.measure(id).expect(id).values;
        assert_eq!(values("store_p99-20000"), &[3.0, 9.0]);
        assert_eq!(values("store_p99_without-20000"), &[1.0, 8.0]);
        assert_eq!(values("store_p99_added-20000"), &[2.0, 1.0]);
        for measure in &section.measures {
            let beside = measure.beside.as_ref();
            assert!(
                beside.is_none_or(|id| section.measure(id).is_some()),
                "{}",
                measure.id
            );
            assert_eq!(measure.at, Some(20_000.0));
        }
    }
}
