//! What a bench found, as a page for a browser: a chart of each curve, and all figures in tables.

use maud::{Markup, html};

use super::curve::{Curve, curves, ratio};
use super::document::{Document, Measure, Section, Unit};
use super::text::{facts, far};
use super::unit::number;
use crate::chart::{Bar, Bars, Hue, Line, Lines, Series, visible};
use crate::page::table::{Kind, chart, folded, table};
use crate::page::whole;

/// Colours of the lines of a chart; if there are more lines, they have a chart of their own.
const HUES: [Hue; 4] = [Hue::First, Hue::Second, Hue::Open, Hue::Quiet];
/// Heights that are this many times each other are shown by factors.
const FAR: f64 = 30.0;

impl Document {
    /// The page: one file that needs no other.
    #[must_use]
    pub fn page(&self) -> String {
        let title = format!("Bench of {}", self.began);
        let main = html! {
            dl {
                @for (name, text) in facts(self) { dt { (name) } dd { (visible(&text)) } }
            }
            @for section in &self.sections { (shown(section)) }
            @if !self.not_measured.is_empty() {
                h2 { "Not measured" }
                ul { @for why in &self.not_measured { li { (visible(why)) } } }
            }
        };
        let footer = html! {
            "Made by reguid " (env!("CARGO_PKG_VERSION")) ". Medians of the rounds; all times are "
            "UTC."
        };
        whole(&visible(&title), &main, &footer).into_string()
    }
}

fn shown(section: &Section) -> Markup {
    let (curves, rest) = curves(section);
    let mut charts: Vec<(&str, Unit, Vec<&Curve<'_>>)> = Vec::new();
    for curve in &curves {
        let fits = |(across, unit, lines): &&mut (&str, Unit, Vec<&Curve<'_>>)| {
            *across == curve.across && *unit == curve.unit && lines.len() < HUES.len()
        };
        match charts.iter_mut().find(fits) {
            Some((_, _, lines)) => lines.push(curve),
            None => charts.push((&curve.across, curve.unit, vec![curve])),
        }
    }
    let warnings = section.measures.iter().filter_map(|measure| {
        let text = far(&measure.stats())?;
        Some(format!("{}: {text}", measure.name))
    });
    html! {
        h2 { (visible(&section.title)) }
        @for note in &section.notes { p.faint { (visible(note)) } }
        @for (across, unit, lines) in &charts { (lines_of(across, *unit, lines)) }
        @for bars in alike(&rest) { (bars_of(section, &bars)) }
        @let all = figures(section);
        @if charts.is_empty() { (all) } @else { (folded(&all)) }
        @for warning in warnings { p.faint { (visible(&warning)) } }
    }
}

fn lines_of(across: &str, unit: Unit, curves: &[&Curve<'_>]) -> Markup {
    let names: Vec<String> = curves.iter().map(|curve| curve.short_name()).collect();
    let lines = curves.iter().zip(&names).zip(HUES);
    let lines = lines.map(|((curve, name), hue)| Line {
        name,
        hue,
        points: curve
            .points
            .iter()
            .map(|(at, m)| point(*at, m, unit))
            .collect(),
    });
    let lines: Vec<Line<'_>> = lines.collect();
    let points = || lines.iter().flat_map(|line| &line.points);
    let far_apart = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        low > 0.0 && high / low > FAR
    };
    let log = (
        points().all(|(at, ..)| *at > 0.0),
        far_apart(&mut points().map(|(_, high, _)| *high)),
    );
    let drawn = Lines {
        title: &format!("{} by {across}", names.join(", ")),
        across,
        up: if unit.name().is_empty() {
            &names[0]
        } else {
            unit.name()
        },
        log,
        lines: &lines,
    };
    chart(|width| drawn.svg(width))
}

fn point(at: f64, measure: &Measure, unit: Unit) -> (f64, f64, String) {
    let median = measure.stats().median;
    (
        at,
        median,
        format!("{} at {}", unit.show(median), number(at)),
    )
}

/// Measures of one unit, where there are two or more to compare.
fn alike<'a>(measures: &[&'a Measure]) -> Vec<Vec<&'a Measure>> {
    let mut groups: Vec<Vec<&Measure>> = Vec::new();
    for measure in measures.iter().filter(|measure| !measure.values.is_empty()) {
        let same = |group: &&mut Vec<&Measure>| group[0].unit == measure.unit;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(measure),
            None => groups.push(vec![measure]),
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

fn bars_of(section: &Section, measures: &[&Measure]) -> Markup {
    let bars = measures.iter().map(|measure| Bar {
        name: &measure.name,
        says: measure.unit.show(measure.stats().median),
    });
    let bars: Vec<Bar<'_>> = bars.collect();
    let unit = measures[0].unit.name();
    let series = [Series {
        name: if unit.is_empty() { "number" } else { unit },
        hue: Hue::First,
        values: measures.iter().map(|m| m.stats().median).collect(),
    }];
    let drawn = Bars {
        title: &section.title,
        bars: &bars,
        series: &series,
    };
    chart(|width| drawn.svg(width))
}

fn figures(section: &Section) -> Markup {
    let heads = [
        ("", Kind::Name),
        ("median", Kind::Number),
        ("least and greatest", Kind::Number),
        ("rounds", Kind::Number),
        ("beside", Kind::Name),
    ];
    let rows = section.measures.iter().map(|measure| {
        let stats = measure.stats();
        let beside = ratio(section, measure).map_or_else(String::new, |(ratio, other)| {
            format!("{} times {}", number(ratio.median), other.name)
        });
        let shown = |text: String| if stats.runs == 0 { String::new() } else { text };
        vec![
            measure.name.clone(),
            shown(measure.unit.show(stats.median)),
            shown(measure.unit.range(stats.min, stats.max)),
            stats.runs.to_string(),
            beside,
        ]
    });
    table(&heads, rows)
}

#[cfg(test)]
mod tests {
    use super::super::sample;

    #[test]
    fn each_curve_is_in_a_chart_and_each_figure_in_a_table() {
        let page = sample::whole().page();
        // Rates and locks of the fleet, and rates of hashing, each in two widths.
        assert_eq!(page.matches("<svg").count(), 6, "{page}");
        assert_eq!(page.matches("<polyline").count(), 6, "{page}");
        for part in [
            "<dt>Machine</dt><dd>2 processors, AMD EPYC,",
            "<td class=\"name\">4 at once</td><td class=\"n\">770 mailboxes/s</td>",
            "0.558 times the bare way, 4 at once",
            "<title>the bare way: 1,380 mailboxes/s at 4</title>",
            "<h2>Not measured</h2><ul><li>openssl is not installed.</li></ul>",
            "1 of 5 values far from the others",
            "prefers-color-scheme: dark",
            "default-src 'none'; style-src 'unsafe-inline';",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn a_name_is_text_wherever_it_stands_and_nothing_is_loaded() {
        let evil = "<script>alert(1)</script>\"'&\u{202e}\0";
        let mut document = sample::whole();
        let texts = [&mut document.began, &mut document.machine.cpu];
        for text in texts {
            evil.clone_into(text);
        }
        document.not_measured = vec![evil.to_owned()];
        document.peers[0].version = evil.to_owned();
        for section in &mut document.sections {
            section.title = evil.to_owned();
            section.notes = vec![evil.to_owned()];
            for measure in &mut section.measures {
                measure.name += evil;
            }
        }
        let page = document.page();
        for never in [
            "<script", "\"'", "\u{202e}", "src=", "href=", "url(", "@import", "style=",
        ] {
            assert!(!page.contains(never), "{never}: {page}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    }

    #[test]
    fn whatever_the_numbers_are_there_is_a_page() {
        let mut document = sample::whole();
        let odd = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300, 1e-300];
        let measures = document.sections.iter_mut().flat_map(|s| &mut s.measures);
        for (nth, measure) in measures.enumerate() {
            measure.values = vec![odd[nth % odd.len()]];
            measure.at = measure.at.map(|_| odd[nth / 2 % odd.len()]);
        }
        document.sections.push(sample::section("none", Vec::new()));
        let page = document.page();
        assert!(page.ends_with("</html>"));
        let pictures = page.split("<svg").skip(1);
        for picture in pictures.map(|rest| rest.split("</svg>").next().unwrap()) {
            assert!(
                !picture.contains("=\"NaN") && !picture.contains("=\"inf"),
                "{picture}"
            );
        }
    }
}
