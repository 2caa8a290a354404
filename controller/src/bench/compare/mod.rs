//! What got slower from one bench to another, beyond the noise.
//!
//! # What it promises
//!
//! * A measure is called worse or better if noise alone would show such values in at most
//!   [`BY_CHANCE`] of all cases, and it is by [`LEAST_EFFECT`] at least. If there are too few
//!   rounds for that, this is said.
//! * What two benches found is as far apart as the two hours in which they ran. So a measure that
//!   stands beside another one is compared by its multiple of that one, round by round.
//! * What is a property of the machine, or another program's, never counts as ours.
//!
//! Nothing is written.

mod interval;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use super::document::{Better, Document, Machine, Measure, Section, Unit};

pub use interval::{BY_CHANCE, Interval, Unknown, interval};

/// What is less than this is no change: a part of the whole.
pub const LEAST_EFFECT: f64 = 0.05;

/// What became of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Worse, beyond the noise.
    Worse,
    /// Better, beyond the noise.
    Better,
    /// The machine or another program changed, beyond the noise.
    Changed,
    /// Not seen to differ by [`LEAST_EFFECT`].
    Alike,
    /// It cannot be said.
    Unknown(Unknown),
}

/// What was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The values.
    Value,
    /// What they are as multiples of this measure.
    MultipleOf(String),
}

/// A measure of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Word of its section.
    pub section: String,
    /// Its word.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
    /// Its medians, earlier and later.
    pub medians: [f64; 2],
    /// Its rounds, earlier and later.
    pub rounds: [usize; 2],
    /// What was compared.
    pub by: By,
    /// By what factor it changed, if that can be said.
    pub interval: Option<Interval>,
    /// What became of it.
    pub verdict: Verdict,
}

/// Something that is not the same in both: its name, and what it was and is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Differs {
    /// What it is.
    pub what: String,
    /// What it was and is; empty if it is not there.
    pub values: [String; 2],
}

/// Two documents, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// When they began.
    pub began: [String; 2],
    /// In what their machines differ.
    pub machine: Vec<Differs>,
    /// In what they were asked for something else.
    pub settings: Vec<Differs>,
    /// In what programs differ: ours, and those beside it.
    pub programs: Vec<Differs>,
    /// What both measured.
    pub measures: Vec<Compared>,
    /// Measures that only one of them has, as `section/id`: only the earlier, only the later.
    pub only: [Vec<String>; 2],
}

impl Comparison {
    /// Compares an earlier document with a later one.
    #[must_use]
    pub fn of(earlier: &Document, later: &Document) -> Self {
        let mut measures = Vec::new();
        for section in &later.sections {
            let Some(before) = earlier.sections.iter().find(|s| s.id == section.id) else {
                continue;
            };
            let both = section.measures.iter().filter_map(|measure| {
                let other = before.measure(&measure.id)?;
                comparable(other, measure).then(|| compared([before, section], [other, measure]))
            });
            measures.extend(both);
        }
        Self {
            began: [earlier.began.clone(), later.began.clone()],
            machine: differing(machine(&earlier.machine), machine(&later.machine)),
            settings: differing(earlier.settings.clone(), later.settings.clone()),
            programs: differing(programs(earlier), programs(later)),
            measures,
            only: [only_in(earlier, later), only_in(later, earlier)],
        }
    }

    /// How many of its measures came to this.
    #[must_use]
    pub fn count(&self, is: impl Fn(Verdict) -> bool) -> usize {
        self.measures.iter().filter(|m| is(m.verdict)).count()
    }

    /// Whether something got worse.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        self.count(|verdict| verdict == Verdict::Worse) > 0
    }
}

/// Whether two measures are of the same thing.
fn comparable(a: &Measure, b: &Measure) -> bool {
    a.unit == b.unit && a.better == b.better && a.peer == b.peer
}

fn compared(sections: [&Section; 2], measures: [&Measure; 2]) -> Compared {
    let [a, b] = measures;
    let multiples = (multiples(sections[0], a), multiples(sections[1], b));
    let (by, values) = match (multiples, &b.beside) {
        ((Some(was), Some(is)), Some(other)) if a.beside == b.beside => {
            (By::MultipleOf(other.clone()), [was, is])
        }
        _ => (By::Value, [a.values.clone(), b.values.clone()]),
    };
    let found = interval(&values[0], &values[1]);
    Compared {
        section: sections[1].id.clone(),
        id: b.id.clone(),
        name: b.name.clone(),
        unit: b.unit,
        better: b.better,
        medians: [a.stats().median, b.stats().median],
        rounds: [a.values.len(), b.values.len()],
        by,
        interval: found.ok(),
        verdict: match found {
            Ok(interval) => verdict(interval, b),
            Err(why) => Verdict::Unknown(why),
        },
    }
}

/// A measure's values as multiples of the one that it stands beside, round by round; `None` if not
/// each round has both.
fn multiples(section: &Section, measure: &Measure) -> Option<Vec<f64>> {
    let other = section.beside(measure)?;
    let whole = measure.values.len() == other.values.len();
    whole.then(|| measure.multiples(other))?
}

/// What became of a measure whose values changed by this factor.
fn verdict(found: Interval, measure: &Measure) -> Verdict {
    let more = found.low > 1.0 && found.ratio >= 1.0 + LEAST_EFFECT;
    let less = found.high < 1.0 && found.ratio <= 1.0 / (1.0 + LEAST_EFFECT);
    if !more && !less {
        return Verdict::Alike;
    }
    match measure.better {
        _ if measure.peer.is_some() => Verdict::Changed,
        Better::Neither => Verdict::Changed,
        Better::Higher if more => Verdict::Better,
        Better::Lower if less => Verdict::Better,
        Better::Higher | Better::Lower => Verdict::Worse,
    }
}

/// A name and its text for each thing that documents may differ in.
type Texts = BTreeMap<String, String>;

fn machine(machine: &Machine) -> Texts {
    let texts = [
        ("processors", machine.cores.to_string()),
        ("processor", machine.cpu.clone()),
        ("memory", Unit::Bytes.show(rounded(machine.memory_bytes))),
        ("kernel", machine.kernel.clone()),
        ("file system", machine.file_system.clone()),
    ];
    texts.map(|(name, text)| (name.to_owned(), text)).into()
}

/// To 64 MiB: kernels keep another part of the same memory for themselves.
#[allow(clippy::cast_precision_loss)] // for a person to read
fn rounded(bytes: u64) -> f64 {
    (bytes & !((64 << 20) - 1)) as f64
}

fn programs(document: &Document) -> Texts {
    let peers = document.peers.iter();
    let peers = peers.map(|peer| (peer.name.clone(), peer.version.clone()));
    let ours = ("reguid".to_owned(), document.reguid.clone());
    peers.chain([ours]).collect()
}

fn differing(was: Texts, mut is: Texts) -> Vec<Differs> {
    let mut out = Vec::new();
    for (what, value) in was {
        let now = is.remove(&what).unwrap_or_default();
        if value != now {
            out.push(Differs {
                what,
                values: [value, now],
            });
        }
    }
    out.extend(is.into_iter().map(|(what, value)| Differs {
        what,
        values: [String::new(), value],
    }));
    out
}

/// Measures of one document that the other has not, or not of the same thing.
fn only_in(document: &Document, other: &Document) -> Vec<String> {
    let mut out = Vec::new();
    for section in &document.sections {
        let there = other.sections.iter().find(|s| s.id == section.id);
        let missing = section.measures.iter().filter(|measure| {
            let there = there.and_then(|section| section.measure(&measure.id));
            there.is_none_or(|there| !comparable(there, measure))
        });
        out.extend(missing.map(|measure| format!("{}/{}", section.id, measure.id)));
    }
    out
}
