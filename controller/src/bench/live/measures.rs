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

/// Word, name and value.
const FIGURES: [(&str, Of); 3] = [
    ("p50", |phase| phase.sampled.stores.lock_ms().p50),
    ("p99", |phase| phase.sampled.stores.lock_ms().p99),
    ("max", |phase| phase.sampled.stores.lock_ms().max),
];

/// The section `live`. `how`: sentences on how it was measured.
pub(super) fn section(series: &[Series], how: Vec<String>) -> Section {
    let mut notes = how;
    notes.extend(series.iter().map(done));
    Section {
        id: "live".into(),
        title: "STORE while a run goes on".into(),
        notes,
        measures: series.iter().flat_map(Series::measures).collect(),
    }
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
        for (word, value) in FIGURES {
            let without = format!("store_{word}_without-{}", self.messages);
            measures.push(self.measure(
                &format!("store_{word}_without"),
                &format!("{word} without a run"),
                |[without, _]| value(without),
            ));
            measures.push(Measure {
                beside: Some(without),
                ..self.measure(
                    &format!("store_{word}"),
                    &format!("{word} with a run"),
                    |[_, with]| value(with),
                )
            });
        }
        let p99 = FIGURES[1].1;
        measures.push(
            self.measure("store_p99_added", "p99 added", |[without, with]| {
                p99(with) - p99(without)
            }),
        );
        measures.push(self.measure("lock_max", "locks, longest", |[_, with]| with.ran.lock_max));
        measures
    }

    /// In milliseconds, a value a round.
    fn measure(&self, id: &str, name: &str, of: impl Fn(&[Phase; 2]) -> f64) -> Measure {
        Measure {
            id: format!("{id}-{}", self.messages),
            name: format!("{name}, {} messages", HumanCount(self.messages.into())),
            unit: Unit::Milliseconds,
            better: if id.ends_with("without") {
                Better::Neither
            } else {
                Better::Lower
            },
            values: self.rounds.iter().map(of).collect(),
            peer: None,
            beside: None,
            at: Some(self.messages.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::live::client::Sampled;
    use crate::bench::live::phase::Ran;

    fn phase(micros: &[u64]) -> Phase {
        let mut sampled = Sampled::new();
        micros.iter().for_each(|us| sampled.stores.add(*us));
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
