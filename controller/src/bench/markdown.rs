//! What a bench found, for documentation: tables in Markdown.
//!
//! Curves that share their places are one table with a row for each place, the other measures of a
//! section one with a row each; so the figures of a section take as few lines as they can.

use std::fmt::Write as _;

use super::curve::{Curve, curves, ratio};
use super::document::{Document, Measure, Section};
use super::text::{facts, far, rounds};
use super::unit::number;
use crate::report::whole_words;

/// Columns of a line of text.
const WIDTH: usize = 100;

impl Document {
    /// All of it, with headings of the second level.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let facts = facts(self).into_iter();
        let facts = facts.map(|(name, text)| format!("{name}: {text}."));
        put(&mut out, &facts.collect::<Vec<_>>().join(" "));
        for section in &self.sections {
            let _ = write!(out, "\n## {}\n\n", escaped(&section.title));
            let mut notes = section.notes.clone();
            match rounds(section) {
                Some(1) => notes.push("One round.".to_owned()),
                Some(n) if n > 1 => {
                    notes.push(format!(
                        "Medians of {n} rounds, and their least and greatest."
                    ));
                }
                _ => {}
            }
            put(&mut out, &notes.join(" "));
            tables(&mut out, section);
        }
        if !self.not_measured.is_empty() {
            out += "\n## Not measured\n\n";
            put(&mut out, &self.not_measured.join(" "));
        }
        out
    }
}

fn tables(out: &mut String, section: &Section) {
    let (all, rest) = curves(section);
    let mut across: Vec<&str> = Vec::new();
    for curve in &all {
        if !across.contains(&curve.across.as_str()) {
            across.push(&curve.across);
        }
    }
    for across in across {
        let of: Vec<&Curve<'_>> = all.iter().filter(|c| c.across == across).collect();
        by_place(out, section, across, &of);
    }
    if !rest.is_empty() {
        by_measure(out, section, &rest);
    }
    let far = section.measures.iter().filter_map(|measure| {
        let text = far(&measure.stats())?;
        Some(format!("{}: {text}", measure.name))
    });
    let far: Vec<String> = far.collect();
    if !far.is_empty() {
        out.push('\n');
        put(out, &far.join(" "));
    }
}

fn by_place(out: &mut String, section: &Section, across: &str, curves: &[&Curve<'_>]) {
    let heads = curves.iter().map(|curve| match curve.beside(section) {
        Some(other) => format!("{} (times {other})", curve.short_name()),
        None => curve.short_name(),
    });
    line(out, std::iter::once(across.to_owned()).chain(heads), true);
    rule(out, curves.len() + 1);
    let mut places: Vec<f64> = Vec::new();
    places.extend(
        curves
            .iter()
            .flat_map(|curve| curve.points.iter().map(|p| p.0)),
    );
    places.sort_by(f64::total_cmp);
    places.dedup_by(|a, b| a.total_cmp(b).is_eq());
    for place in places {
        let cells = curves.iter().map(|curve| {
            let Some(measure) = curve.at(place) else {
                return String::new();
            };
            let value = measure.unit.show(measure.stats().median);
            match ratio(section, measure) {
                Some((ratio, _)) => format!("{value} ({})", number(ratio.median)),
                None => value,
            }
        });
        line(out, std::iter::once(number(place)).chain(cells), false);
    }
}

fn by_measure(out: &mut String, section: &Section, measures: &[&Measure]) {
    let with_ratio = measures
        .iter()
        .any(|measure| ratio(section, measure).is_some());
    let with_range = measures.iter().any(|measure| measure.values.len() > 1);
    let row = |name: String, value: String, range: String, ratio: String| {
        let mut cells = vec![name, value];
        cells.extend(with_range.then_some(range));
        cells.extend(with_ratio.then_some(ratio));
        cells
    };
    let heads = row(
        String::new(),
        "median".into(),
        "range".into(),
        "beside".into(),
    );
    let columns = heads.len();
    line(out, heads, true);
    rule(out, columns);
    for measure in measures {
        let stats = measure.stats();
        let beside = ratio(section, measure).map_or_else(String::new, |(ratio, other)| {
            format!("{} times {}", number(ratio.median), other.name)
        });
        let (value, range) = match stats.runs {
            0 => ("no value".to_owned(), String::new()),
            1 => (measure.unit.show(stats.median), String::new()),
            _ => (
                measure.unit.show(stats.median),
                measure.unit.range(stats.min, stats.max),
            ),
        };
        line(out, row(measure.name.clone(), value, range, beside), false);
    }
}

/// A row of a table; the first one has an empty line before it.
fn line(out: &mut String, cells: impl IntoIterator<Item = String>, first: bool) {
    if first {
        out.push('\n');
    }
    out.push('|');
    for cell in cells {
        let _ = write!(out, " {} |", escaped(&cell));
    }
    out.push('\n');
}

fn rule(out: &mut String, columns: usize) {
    let _ = writeln!(out, "|{}", "---|".repeat(columns));
}

fn put(out: &mut String, text: &str) {
    let text = escaped(text);
    let _ = writeln!(out, "{}", textwrap::fill(&text, whole_words(WIDTH)));
}

/// Text that Markdown shows as it is: it may come from a processor's name or a file system.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in crate::chart::visible(text).chars() {
        if matches!(c, '|' | '<' | '*' | '`' | '\\' | '[') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_curve_is_a_row_for_each_place_and_the_rest_a_row_each() {
        let text = sample::whole().markdown();
        let wide = text.lines().filter(|line| !line.starts_with('|'));
        for line in wide {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        for part in [
            "\n## What fleet does\n\nSyncs limit it. Medians of 3 rounds, and their least and",
            "\n| N at once | mailboxes/s (times the bare way) | the bare way | lock held, p99 |\n\
             |---|---|---|---|\n",
            "\n| 4 | 770 mailboxes/s (0.558) | 1,380 mailboxes/s | 5.20 ms |\n",
            "\n|  | median | range | beside |\n|---|---|---|---|\n",
            "\n| precompute run | 1.88 GiB/s | 95.37 MiB/s .. 1.96 GiB/s | 4.02 times sha1sum |\n",
            "\n| Memory at its peak | 12.40 MiB |  |  |\n",
            "\nprecompute run: 1 of 5 values far from the others",
            "\n## Not measured\n\nopenssl is not installed.\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_a_machine_is_called_stays_text() {
        let mut document = sample::whole();
        document.machine.cpu = "<b>|`*\u{7}".to_owned();
        let text = document.markdown();
        assert!(text.contains(r"\<b>\|\`\*\\u{7}"), "{text}");
    }
}
