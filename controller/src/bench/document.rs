//! What a bench found, as a document: printed as JSON, compared with another, drawn as a page.
//!
//! Values are kept as they were measured, in the order in which they were; medians and ratios are
//! computed where they are shown. Values with the same position in two measures of one section come
//! from the same round, so a ratio is the median of the ratios of the rounds: what else the machine
//! did then hits both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Stats;

/// The version of the format: raised when an older reader would misread a document.
pub const FORMAT: u32 = 1;

/// Everything that one invocation measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// Version of reguid.
    pub reguid: String,
    /// When it began, RFC 3339.
    pub began: String,
    /// Seconds that it took in all.
    pub seconds: f64,
    /// Where it ran.
    pub machine: Machine,
    /// What was asked for, option by option.
    pub settings: BTreeMap<String, String>,
    /// Other programs that were measured beside ours, with their versions.
    pub peers: Vec<Peer>,
    /// What was not measured, and why: a sentence each.
    pub not_measured: Vec<String>,
    /// What was measured.
    pub sections: Vec<Section>,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// The processor's name.
    pub cpu: String,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Type of the file system that was worked on.
    pub file_system: String,
    /// Load average of one minute, before.
    pub load_before: f64,
    /// The same, at the end; it includes our own work.
    pub load_after: f64,
}

/// Another program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name, as in [`Measure::peer`].
    pub name: String,
    /// What it says of its version.
    pub version: String,
}

/// Measures that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// A word that stays the same from version to version.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// How it was measured and what limits it: sentences.
    pub notes: Vec<String>,
    /// The measures, in the order in which they are shown.
    pub measures: Vec<Measure>,
}

/// One figure, measured once or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// A word that stays the same from version to version, unique in its section.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Unit of the values.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
    /// The values, a round each, warm-up rounds left out.
    pub values: Vec<f64>,
    /// The peer that did it, if it was not reguid.
    pub peer: Option<String>,
    /// The measure of the same section that this one is shown as a multiple of.
    pub beside: Option<String>,
    /// Where this lies on the axis of a curve (mailboxes at once, records), if it is part of one.
    pub at: Option<f64>,
}

/// A unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Mailboxes a second.
    MailboxesPerSecond,
    /// Messages a second.
    MessagesPerSecond,
    /// Index records a second.
    RecordsPerSecond,
    /// Bytes a second.
    BytesPerSecond,
    /// Operations a second, such as syncs or round trips.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
    /// A number without a unit, such as a fitted exponent.
    Ratio,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// It is what it is: a property of the machine or of the data.
    Neither,
}

impl Measure {
    /// A measure of reguid's own, without a value yet.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<String>, unit: Unit, better: Better) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            unit,
            better,
            values: Vec::new(),
            peer: None,
            beside: None,
            at: None,
        }
    }

    /// With these values, a round each.
    #[must_use]
    pub fn with(mut self, values: impl Into<Vec<f64>>) -> Self {
        self.values = values.into();
        self
    }

    /// As a point of a curve.
    #[must_use]
    pub fn at(mut self, at: f64) -> Self {
        self.at = Some(at);
        self
    }

    /// Shown as a multiple of the measure with this id.
    #[must_use]
    pub fn beside(mut self, id: impl Into<String>) -> Self {
        self.beside = Some(id.into());
        self
    }

    /// As what a peer did.
    #[must_use]
    pub fn by(mut self, peer: impl Into<String>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    /// Figures of its values.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(&self.values)
    }

    /// Figures of the ratios to another measure, round by round; `None` if they have no round in
    /// common, or the other is not positive in one.
    #[must_use]
    pub fn ratio(&self, to: &Self) -> Option<Stats> {
        let ratios = self.multiples(to)?;
        (!ratios.is_empty()).then(|| Stats::of(&ratios))
    }

    /// Its values as multiples of another measure's, a number for each round that both have;
    /// `None` if the other is not positive in one.
    #[must_use]
    pub fn multiples(&self, of: &Self) -> Option<Vec<f64>> {
        let rounds = self.values.iter().zip(&of.values);
        rounds
            .map(|(value, other)| (*other > 0.0).then(|| value / other))
            .collect()
    }
}

impl Section {
    /// A section without measures yet.
    #[must_use]
    pub fn new(id: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            notes: Vec::new(),
            measures: Vec::new(),
        }
    }

    /// The measure with this id.
    #[must_use]
    pub fn measure(&self, id: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.id == id)
    }

    /// The measure beside which that one is shown.
    #[must_use]
    pub fn beside(&self, measure: &Measure) -> Option<&Measure> {
        self.measure(measure.beside.as_deref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(values: &[f64]) -> Measure {
        Measure::new("rate", "Rate", Unit::MailboxesPerSecond, Better::Higher).with(values)
    }

    #[test]
    fn a_ratio_is_that_of_the_rounds_so_that_a_slow_hour_hits_both() {
        let (ours, peer) = (measure(&[10.0, 1.0, 20.0]), measure(&[5.0, 0.5, 10.0]));
        let ratio = ours.ratio(&peer).unwrap();
        assert!((ratio.median - 2.0).abs() < 1e-9 && ratio.stddev.abs() < 1e-9);
        assert_eq!(ours.ratio(&measure(&[1.0, 0.0, 1.0])), None);
        assert_eq!(ours.ratio(&measure(&[])), None);
    }

    #[test]
    fn a_document_is_the_same_after_it_was_written_and_read() {
        let document = Document {
            format: FORMAT,
            reguid: "0.0.0".into(),
            began: "2026-01-02T03:04:05Z".into(),
            seconds: 1.5,
            machine: Machine::default(),
            settings: BTreeMap::from([("mailboxes".to_owned(), "10".to_owned())]),
            peers: vec![Peer {
                name: "sha1sum".into(),
                version: "9.1".into(),
            }],
            not_measured: vec!["cold: needs root".into()],
            sections: vec![Section {
                id: "fleet".into(),
                title: "Fleet".into(),
                notes: Vec::new(),
                measures: vec![measure(&[1.0, 2.5])],
            }],
        };
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document);
    }
}
