//! Bars that lie one under the other, each under its name: names are long.

use maud::{Markup, html};

use super::axis::Axis;
use super::legend::{Hue, LINE, Series, legend};
use super::{CHARACTER, px, visible, width_of};

/// Height of a bar, in pixels.
const HIGH: f64 = 14.0;
/// Height of a name with its bar and the gap under it.
const ROW: f64 = LINE + HIGH + 6.0;

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar<'a> {
    /// What it is of.
    pub name: &'a str,
    /// Its length in words, behind it.
    pub says: String,
}

/// Bars with a common scale that begins with zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars<'a> {
    /// What is shown: a screen reader says it.
    pub title: &'a str,
    /// The bars, from the top.
    pub bars: &'a [Bar<'a>],
    /// Parts of their lengths, a value for each bar, one behind the other.
    pub series: &'a [Series<'a>],
}

impl Bars<'_> {
    /// The chart, this many pixels wide; too narrow a width is taken for 160.
    #[must_use]
    pub fn svg(&self, width: u16) -> String {
        let width = f64::from(width.max(160));
        let names = self.series.iter().map(|series| (series.name, series.hue));
        let (legend, above) = legend(names, width);
        let says = self.bars.iter().map(|bar| width_of(&bar.says));
        let behind = says.fold(0.0, f64::max).min(width / 2.0) + 8.0;
        let most = (0..self.bars.len()).map(|nth| self.whole(nth));
        let most = most.fold(0.0, f64::max);
        let axis = Axis::linear(0.0, most, 0.0, width - behind);
        #[allow(clippy::cast_precision_loss)] // a screen full
        let height = above + self.bars.len() as f64 * ROW;
        let view = format!("0 0 {} {}", px(width), px(height.max(1.0)));
        let drawn = html! {
            svg.chart viewBox=(view) width=(px(width)) height=(px(height.max(1.0))) role="img"
                aria-label=(visible(self.title)) {
                (legend)
                @for (nth, bar) in self.bars.iter().enumerate() {
                    (self.row(nth, bar, axis, above, width))
                }
            }
        };
        drawn.into_string()
    }

    fn whole(&self, nth: usize) -> f64 {
        self.series.iter().map(|series| series.value(nth)).sum()
    }

    fn row(&self, nth: usize, bar: &Bar<'_>, axis: Axis, above: f64, width: f64) -> Markup {
        #[allow(clippy::cast_precision_loss)] // a screen full
        let top = above + nth as f64 * ROW;
        let mut before = 0.0;
        let part = |series: &Series<'_>| -> (f64, f64, Hue, String) {
            let value = series.value(nth);
            let (from, to) = (axis.at(before), axis.at(before + value));
            before += value;
            (
                from,
                to - from,
                series.hue,
                format!("{}: {value}", visible(series.name)),
            )
        };
        let parts: Vec<_> = self.series.iter().map(part).collect();
        let end = axis.at(before);
        html! {
            text x="0" y=(px(top + 13.0)) {
                (fitting(&visible(bar.name), width))
                title { (visible(bar.name)) }
            }
            @for (from, wide, hue, said) in parts {
                @if wide > 0.0 {
                    rect x=(px(from)) y=(px(top + LINE)) width=(px(wide)) height=(px(HIGH))
                        class=(hue.class()) { title { (said) } }
                }
            }
            text x=(px(end + 6.0)) y=(px(top + LINE + 11.0)) { (visible(&bar.says)) }
        }
    }
}

/// As much of a name as fits; what is left out, in the middle, shows as three dots: mailboxes of
/// one user begin alike.
fn fitting(name: &str, width: f64) -> String {
    let all: Vec<char> = name.chars().collect();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few hundred
    let most = (width / CHARACTER) as usize;
    if all.len() <= most {
        return name.to_owned();
    }
    let kept = most.saturating_sub(3);
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    let head = all.iter().take(head);
    let tail = all.iter().skip(all.len() - tail);
    head.chain(&['.', '.', '.']).chain(tail).collect()
}
