//! A page of numbers.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// What becomes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Kind {
    /// It only rises, from 0 at the start of the program.
    Counter,
    /// It rises and falls.
    Gauge,
    /// How many were how large.
    Histogram,
}

/// A number and its labels, as the table of a program has it.
#[derive(Debug)]
pub struct Metric {
    /// As Prometheus has it: that of a counter ends in `_total`.
    pub name: &'static str,
    /// What becomes of it.
    pub kind: Kind,
    /// What it is counted by.
    pub labels: &'static [&'static str],
    /// What it is.
    pub help: &'static str,
}

#[derive(Debug)]
enum Value {
    Number(f64),
    Histogram(Histogram),
}

#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

/// The numbers of one moment.
#[derive(Debug)]
pub struct Page(Vec<(&'static Metric, Vec<Sample>)>);

impl Page {
    /// One without numbers.
    #[must_use]
    pub fn of(table: &'static [Metric]) -> Page {
        Page(table.iter().map(|metric| (metric, Vec::new())).collect())
    }

    /// Adds a number. `labels` are the values of the metric's labels, in its order; an empty one is
    /// left out.
    ///
    /// # Panics
    /// If the table has no such metric, or one with other labels: a mistake in the source.
    pub fn number(&mut self, name: &str, labels: &[&str], value: f64) {
        self.add(name, labels, Value::Number(value));
    }

    /// The same of a count, whose large values need not be exact.
    ///
    /// # Panics
    /// As [`Page::number`].
    #[allow(clippy::cast_precision_loss)] // Prometheus keeps numbers so
    pub fn count(&mut self, name: &str, labels: &[&str], value: u64) {
        self.number(name, labels, value as f64);
    }

    /// The same of 1 or 0.
    ///
    /// # Panics
    /// As [`Page::number`].
    pub fn switch(&mut self, name: &str, labels: &[&str], on: bool) {
        self.number(name, labels, if on { 1.0 } else { 0.0 });
    }

    /// Adds a histogram.
    ///
    /// # Panics
    /// As [`Page::number`].
    pub fn histogram(&mut self, name: &str, labels: &[&str], value: &Histogram) {
        self.add(name, labels, Value::Histogram(value.clone()));
    }

    fn add(&mut self, name: &str, labels: &[&str], value: Value) {
        let found = self.0.iter_mut().find(|(metric, _)| metric.name == name);
        let (metric, samples) = found.unwrap_or_else(|| panic!("no metric {name}"));
        assert_eq!(metric.labels.len(), labels.len(), "labels of {name}");
        let labels = metric.labels.iter().zip(labels);
        samples.push(Sample {
            labels: labels
                .filter(|(_, value)| !value.is_empty())
                .map(|(label, value)| (*label, (*value).to_owned()))
                .collect(),
            value,
        });
    }

    /// As `OpenMetrics` text, which a Prometheus scrapes.
    #[must_use]
    pub fn into_openmetrics(self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &self.into_registry());
        out
    }

    /// As the older text format, which `node_exporter` reads from files.
    #[must_use]
    pub fn into_text(self) -> String {
        let mut out = String::new();
        let _ = prometheus_text::encode(&mut out, &self.into_registry());
        out
    }

    fn into_registry(self) -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        registry
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (metric, samples) in self.0.iter().filter(|(_, samples)| !samples.is_empty()) {
            // The encoder adds what a counter's name ends in.
            let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(name, metric.help, None, kind)?;
            match samples.as_slice() {
                [only] if only.labels.is_empty() => write(family, metric.kind, &only.value)?,
                each => {
                    for sample in each {
                        let one = family.encode_family(&sample.labels)?;
                        write(one, metric.kind, &sample.value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn write(mut encoder: MetricEncoder<'_>, kind: Kind, value: &Value) -> Result<(), std::fmt::Error> {
    match (value, kind) {
        (Value::Number(number), Kind::Counter) => {
            encoder.encode_counter::<NoLabelSet, f64, f64>(number, None)
        }
        (Value::Number(number), _) => encoder.encode_gauge(number),
        (Value::Histogram(histogram), _) => histogram.encode(encoder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: [Metric; 5] = [
        Metric {
            name: "reguid_all_seconds",
            kind: Kind::Histogram,
            labels: &[],
            help: "All",
        },
        Metric {
            name: "reguid_done_total",
            kind: Kind::Counter,
            labels: &["pair", "reason"],
            help: "Done",
        },
        Metric {
            name: "reguid_longest_seconds",
            kind: Kind::Gauge,
            labels: &[],
            help: "Longest",
        },
        Metric {
            name: "reguid_wait_seconds",
            kind: Kind::Histogram,
            labels: &["side"],
            help: "Waits",
        },
        Metric {
            name: "reguid_none",
            kind: Kind::Gauge,
            labels: &[],
            help: "Absent",
        },
    ];

    fn page() -> Page {
        let mut page = Page::of(&TABLE);
        page.count("reguid_done_total", &["", "locked"], 3);
        page.count("reguid_done_total", &["a\"b\\c\nd", "io"], 4);
        page.number("reguid_longest_seconds", &[], 0.25);
        let waits = Histogram::new([0.1, 1.0]);
        for wait in [0.05, 0.5, 5.0] {
            waits.observe(wait);
        }
        page.histogram("reguid_wait_seconds", &["master"], &waits);
        page.histogram("reguid_wait_seconds", &["replica"], &Histogram::new([1.0]));
        page.histogram("reguid_all_seconds", &[], &waits);
        page
    }

    #[test]
    fn a_page_is_what_a_prometheus_reads() {
        let text = page().into_openmetrics();
        let lines: Vec<&str> = text.lines().collect();
        for line in [
            "# TYPE reguid_done counter",
            "reguid_done_total{reason=\"locked\"} 3.0",
            "reguid_done_total{pair=\"a\\\"b\\\\c\\nd\",reason=\"io\"} 4.0",
            "# TYPE reguid_longest_seconds gauge",
            "reguid_longest_seconds 0.25",
            "# TYPE reguid_wait_seconds histogram",
            "reguid_wait_seconds_count{side=\"master\"} 3",
            "reguid_wait_seconds_count{side=\"replica\"} 0",
            "reguid_all_seconds_bucket{le=\"1.0\"} 2",
            "reguid_wait_seconds_bucket{le=\"0.1\",side=\"master\"} 1",
            "reguid_wait_seconds_bucket{le=\"+Inf\",side=\"master\"} 3",
        ] {
            assert!(lines.contains(&line), "{line}\nis not in\n{text}");
        }
        assert_eq!(lines.last(), Some(&"# EOF"));
        assert!(!text.contains("reguid_none"), "what nobody knows is absent");
        let text = page().into_text();
        assert!(
            text.contains("# TYPE reguid_done_total counter\n"),
            "{text}"
        );
        assert!(
            text.contains("\nreguid_wait_seconds_count{side=\"master\"} 3\n"),
            "{text}"
        );
        assert!(!text.contains("EOF"), "{text}");
    }
}
