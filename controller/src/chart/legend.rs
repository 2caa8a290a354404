//! What is drawn in which colour, and the lines above a chart that say so.

use maud::{Markup, html};

use super::{px, visible, width_of};

/// Height of a line of text, in pixels.
pub(super) const LINE: f64 = 18.0;
/// The square before a name, and the gap on either side of it.
const SQUARE: f64 = 10.0;
const GAP: f64 = 6.0;

/// A colour, by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hue {
    /// What the chart is about.
    First,
    /// What it is compared with.
    Second,
    /// What is neither good nor bad.
    Quiet,
    /// What failed.
    Bad,
    /// What is not over.
    Open,
}

impl Hue {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
            Self::Quiet => "quiet",
            Self::Bad => "bad",
            Self::Open => "open",
        }
    }
}

/// Values of one kind, a value for each place of the chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series<'a> {
    /// What they are.
    pub name: &'a str,
    /// Their colour.
    pub hue: Hue,
    /// The values.
    pub values: Vec<f64>,
}

impl Series<'_> {
    pub(super) fn value(&self, place: usize) -> f64 {
        super::drawn(self.values.get(place).copied().unwrap_or(0.0))
    }
}

/// Names and colours, in as many lines as they need, and how many pixels high that is. One series
/// alone needs no legend.
pub(super) fn legend<'a>(
    series: impl ExactSizeIterator<Item = (&'a str, Hue)>,
    width: f64,
) -> (Markup, f64) {
    if series.len() < 2 {
        return (html! {}, 0.0);
    }
    let (mut x, mut y) = (0.0, 0.0);
    let mut placed = Vec::new();
    for (name, hue) in series {
        let name = visible(name);
        let wide = SQUARE + GAP + width_of(&name) + 2.0 * GAP;
        if x > 0.0 && x + wide > width {
            (x, y) = (0.0, y + LINE);
        }
        placed.push((x, y, name, hue));
        x += wide;
    }
    let drawn = html! {
        @for (x, y, name, hue) in placed {
            rect x=(px(x)) y=(px(y + 2.0)) width=(px(SQUARE)) height=(px(SQUARE))
                class=(hue.class()) {}
            text x=(px(x + SQUARE + GAP)) y=(px(y + 11.0)) { (name) }
        }
    };
    (drawn, y + LINE)
}
