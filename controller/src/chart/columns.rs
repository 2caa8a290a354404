//! Columns over an axis of numbers: a histogram, or a count over time.

use maud::{Markup, html};

use super::axis::Axis;
use super::frame::{Frame, Names, PLOT};
use super::legend::Series;
use super::{drawn, px, visible, width_of};

/// How several series share a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// One upon the other: they are parts of a whole.
    Upon,
    /// One next to the other: they are compared.
    NextTo,
}

/// A value that is pointed out on the horizontal axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark<'a> {
    /// What it is.
    pub name: &'a str,
    /// Where it is.
    pub at: f64,
}

/// Columns from edge to edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns<'a> {
    /// What is shown: a screen reader says it.
    pub title: &'a str,
    /// What the horizontal axis counts, with its unit.
    pub across: &'a str,
    /// What the vertical axis counts, with its unit.
    pub up: &'a str,
    /// Where columns begin and end, in ascending order: one more than there are columns.
    pub edges: &'a [f64],
    /// Whether equal distances across are equal factors; all edges are above zero then.
    pub log: bool,
    /// Heights, a value for each column.
    pub series: &'a [Series<'a>],
    /// How series share a column.
    pub side: Side,
    /// Values to point out.
    pub marks: &'a [Mark<'a>],
}

impl Columns<'_> {
    /// The chart, this many pixels wide; too narrow a width is taken for 160.
    #[must_use]
    pub fn svg(&self, width: u16) -> String {
        let names = self.series.iter().map(|series| (series.name, series.hue));
        let frame = Frame::new(names, width, !self.marks.is_empty());
        let up = frame.up(self.most());
        let end = |edge: Option<&f64>| drawn(edge.copied().unwrap_or(0.0));
        let (low, high) = (end(self.edges.first()), end(self.edges.last()));
        let across = frame.across(up, low, high, self.log);
        let names = Names {
            title: self.title,
            across: self.across,
            up: self.up,
        };
        let columns = self.drawn_columns(across, up);
        let marks = self.drawn_marks(across, frame.top, frame.width());
        frame.svg(names, (across, up), (&columns, &marks))
    }

    fn columns(&self) -> usize {
        self.edges.len().saturating_sub(1)
    }

    /// The highest that is drawn, at a mark of the axis.
    fn most(&self) -> f64 {
        let whole = |place| {
            let values = self.series.iter().map(|series| series.value(place));
            match self.side {
                Side::Upon => values.sum(),
                Side::NextTo => values.fold(0.0, f64::max),
            }
        };
        let most = (0..self.columns()).map(whole).fold(0.0, f64::max);
        if most <= 0.0 { 1.0 } else { most }
    }

    fn drawn_columns(&self, across: Axis, up: Axis) -> Markup {
        html! {
            @for (place, edges) in self.edges.windows(2).enumerate() {
                @let (from, to) = (across.at(drawn(edges[0])), across.at(drawn(edges[1])));
                @let column = self.column(place, from, to, up).into_iter();
                @for (rect, series) in column.zip(self.series) {
                    @if rect[3] > 0.0 {
                        rect x=(px(rect[0])) y=(px(rect[1])) width=(px(rect[2]))
                            height=(px(rect[3])) class=(series.hue.class()) {
                            title { (self.said(place, series)) }
                        }
                    }
                }
            }
        }
    }

    /// Left, top, width and height of each series' part of a column.
    fn column(&self, place: usize, from: f64, to: f64, up: Axis) -> Vec<[f64; 4]> {
        let free = if to - from > 5.0 { 1.0 } else { 0.0 };
        let (from, wide) = (from, (to - from - free).max(0.5));
        let mut below = 0.0;
        #[allow(clippy::cast_precision_loss)] // a few
        let part = |(nth, series): (usize, &Series<'_>)| {
            let value = series.value(place);
            match self.side {
                Side::Upon => {
                    let (low, high) = (up.at(below), up.at(below + value));
                    below += value;
                    [from, high, wide, low - high]
                }
                Side::NextTo => {
                    let each = wide / self.series.len() as f64;
                    let (low, high) = (up.at(0.0), up.at(value));
                    [from + nth as f64 * each, high, each, low - high]
                }
            }
        };
        self.series.iter().enumerate().map(part).collect()
    }

    fn said(&self, place: usize, series: &Series<'_>) -> String {
        let edge = |at: usize| short(self.edges.get(at).copied().unwrap_or(0.0));
        format!(
            "{}: {} ({} to {}, {})",
            visible(series.name),
            short(series.value(place)),
            edge(place),
            edge(place + 1),
            visible(self.across)
        )
    }

    /// Lines with names above them; a name that would lie on the one before it is left out, as its
    /// number is in the table.
    fn drawn_marks(&self, across: Axis, top: f64, width: f64) -> Markup {
        let mut free = 0.0;
        let mut placed = Vec::new();
        for mark in self.marks {
            let at = across.at(drawn(mark.at));
            let name = visible(mark.name);
            let half = width_of(&name) / 2.0;
            let middle = at.min(width - half);
            let shown = middle - half >= free;
            if shown {
                free = middle + half + 4.0;
            }
            placed.push((at, middle, shown.then_some(name)));
        }
        html! {
            @for (at, middle, name) in placed {
                line.mark x1=(px(at)) x2=(px(at)) y1=(px(top)) y2=(px(top + PLOT)) {}
                @if let Some(name) = name {
                    text x=(px(middle)) y=(px(top - 5.0)) text-anchor="middle" { (name) }
                }
            }
        }
    }
}

/// A number with as many digits as say something.
fn short(value: f64) -> String {
    let digits = match drawn(value) {
        v if v >= 100.0 || v.fract() == 0.0 => 0,
        v if v >= 1.0 => 1,
        _ => 3,
    };
    format!("{value:.digits$}")
}
