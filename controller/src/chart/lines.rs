//! Lines over an axis of numbers: a curve with a dot at each value that was measured.

use maud::{Markup, html};

use super::axis::Axis;
use super::frame::{Frame, Names};
use super::legend::Hue;
use super::{drawn, px, visible};

/// Bounds of what can be drawn where equal distances are equal factors.
const FACTORS: std::ops::RangeInclusive<f64> = 1e-12..=1e18;
/// Radius of a dot.
const DOT: f64 = 3.5;

/// A line from point to point.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    /// What it shows.
    pub name: &'a str,
    /// Its colour.
    pub hue: Hue,
    /// Where and how high, from the left to the right, with what is said of each.
    pub points: Vec<(f64, f64, String)>,
}

/// Lines with common axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines<'a> {
    /// What is shown: a screen reader says it.
    pub title: &'a str,
    /// What the horizontal axis counts, with its unit.
    pub across: &'a str,
    /// What the vertical axis counts, with its unit.
    pub up: &'a str,
    /// Whether equal distances across are equal factors, and equal heights: a point that is not
    /// above zero is left out then.
    pub log: (bool, bool),
    /// The lines.
    pub lines: &'a [Line<'a>],
}

impl Lines<'_> {
    /// The chart, this many pixels wide; too narrow a width is taken for 160.
    #[must_use]
    pub fn svg(&self, width: u16) -> String {
        let names = self.lines.iter().map(|line| (line.name, line.hue));
        let frame = Frame::new(names, width, false);
        let (least, most) = bounds(self.points().map(|(_, high)| high));
        let up = if self.log.1 {
            frame.up_by_factors(least / 1.3, most * 1.3)
        } else {
            frame.up(if most > 0.0 { most } else { 1.0 })
        };
        let (from, to) = bounds(self.points().map(|(at, _)| at));
        let across = frame.across(up, from, to, self.log.0);
        let between = html! { @for line in self.lines { (self.line(line, across, up)) } };
        let names = Names {
            title: self.title,
            across: self.across,
            up: self.up,
        };
        frame.svg(names, (across, up), (&between, &html! {}))
    }

    /// Where all points are that can be drawn.
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let all = self.lines.iter().flat_map(|line| &line.points);
        all.filter_map(|(at, high, _)| self.place(*at, *high))
    }

    fn place(&self, at: f64, high: f64) -> Option<(f64, f64)> {
        let (at, high) = (drawn(at), drawn(high));
        let fits = |log: bool, value: f64| !log || FACTORS.contains(&value);
        (fits(self.log.0, at) && fits(self.log.1, high)).then_some((at, high))
    }

    fn line(&self, line: &Line<'_>, across: Axis, up: Axis) -> Markup {
        let placed = line.points.iter().filter_map(|(at, high, said)| {
            let (at, high) = self.place(*at, *high)?;
            Some((px(across.at(at)), px(up.at(high)), said))
        });
        let placed: Vec<_> = placed.collect();
        let path: Vec<String> = placed.iter().map(|(x, y, _)| format!("{x},{y}")).collect();
        html! {
            polyline class={ "line " (line.hue.class()) } points=(path.join(" ")) {}
            @for (x, y, said) in placed {
                circle cx=(x) cy=(y) r=(px(DOT)) class=(line.hue.class()) {
                    title { (visible(line.name)) ": " (visible(said)) }
                }
            }
        }
    }
}

/// The least and the greatest; 1 and 1 of none.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let wider = |bounds: Option<(f64, f64)>, value: f64| {
        let (low, high) = bounds.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    };
    values.fold(None, wider).unwrap_or((1.0, 1.0))
}
