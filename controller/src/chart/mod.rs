//! Charts for pages that need nothing else: numbers in, SVG as text out.
//!
//! # What it promises
//!
//! * Pure: no clock, file or state; the same numbers give the same text.
//! * Any text may be a name: it is escaped, and what a browser would not show is made visible.
//! * Any number may be a value: what is not finite counts as zero, and a missing value too.
//! * A chart is as wide as asked for, in pixels of the browser, so that its text has the size of
//!   the page's on a telephone as on a large screen. Colours are classes; [`STYLE`] has them, light
//!   and dark.
//! * A browser shows the numbers of whatever the pointer is on, without any script.
//!
//! Nothing is written, so a crash leaves nothing.

mod axis;
mod bars;
mod columns;
mod frame;
mod legend;
mod lines;
mod visible;

pub use bars::{Bar, Bars};
pub use columns::{Columns, Mark, Side};
pub use legend::{Hue, Series};
pub use lines::{Line, Lines};
pub use visible::visible;

#[cfg(test)]
mod tests;

/// The style sheet of the charts: rules for the classes that they use, and no others.
pub const STYLE: &str = include_str!("chart.css");

/// Width of a character, in pixels: a little more than that of most.
const CHARACTER: f64 = 6.8;

/// Lengths in a picture are shown to a tenth of a pixel.
fn px(length: f64) -> String {
    format!("{length:.1}")
}

/// What can be drawn of a value.
fn drawn(value: f64) -> f64 {
    if value.is_finite() {
        value.max(0.0)
    } else {
        0.0
    }
}

/// Pixels that a text takes.
#[allow(clippy::cast_precision_loss)] // a few hundred characters
fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}
