//! Two axes with their names and marks, and room between them.

use maud::{Markup, html};

use super::axis::Axis;
use super::legend::{Hue, LINE, legend};
use super::{px, visible, width_of};

/// Height of what is between the axes, in pixels.
pub(super) const PLOT: f64 = 190.0;
/// Free between what the vertical axis counts and its highest label.
const GAP: f64 = 8.0;
/// Free on the right of it, for half of the last label.
const RIGHT: f64 = 18.0;

/// What a chart says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    /// What is shown: a screen reader says it.
    pub(super) title: &'a str,
    /// What the horizontal axis counts, with its unit.
    pub(super) across: &'a str,
    /// What the vertical axis counts, with its unit.
    pub(super) up: &'a str,
}

/// A frame, before its axes are known.
pub(super) struct Frame {
    width: f64,
    legend: Markup,
    /// Height of the legend.
    above: f64,
    /// Where the room between the axes begins.
    pub(super) top: f64,
}

impl Frame {
    /// One this many pixels wide, too narrow a width is taken for 160; with a line of room above
    /// the plot if `room` says so.
    pub(super) fn new<'a>(
        series: impl ExactSizeIterator<Item = (&'a str, Hue)>,
        width: u16,
        room: bool,
    ) -> Self {
        let width = f64::from(width.max(160));
        let (legend, above) = legend(series, width);
        let marks = if room { LINE } else { GAP };
        Self {
            width,
            legend,
            above,
            top: above + LINE + marks,
        }
    }

    /// The vertical axis: from 0 to the next mark above `most`.
    pub(super) fn up(&self, most: f64) -> Axis {
        let step = super::axis::step(most, 4.0);
        Axis::linear(0.0, (most / step).ceil() * step, self.top + PLOT, -PLOT)
    }

    /// The vertical axis if equal heights are equal factors.
    pub(super) fn up_by_factors(&self, low: f64, high: f64) -> Axis {
        Axis::logarithmic(low, high, self.top + PLOT, -PLOT)
    }

    /// The horizontal axis, right of the labels of the vertical one.
    pub(super) fn across(&self, up: Axis, low: f64, high: f64, log: bool) -> Axis {
        let left = left_of(up);
        let length = self.width - left - RIGHT;
        if log {
            Axis::logarithmic(low, high, left, length)
        } else {
            Axis::linear(low, high, left, length)
        }
    }

    /// Pixels from side to side.
    pub(super) fn width(&self) -> f64 {
        self.width
    }

    /// The whole chart with what is between and upon its axes.
    pub(super) fn svg(
        &self,
        names: Names<'_>,
        (across, up): (Axis, Axis),
        (between, upon): (&Markup, &Markup),
    ) -> String {
        let (left, width) = (left_of(up), self.width);
        let bottom = self.top + PLOT;
        let height = bottom + 2.0 * LINE + 6.0;
        let view = format!("0 0 {} {}", px(width), px(height));
        let drawn = html! {
            svg.chart viewBox=(view) width=(px(width)) height=(px(height)) role="img"
                aria-label=(visible(names.title)) {
                (self.legend)
                text x="0" y=(px(self.above + 12.0)) { (visible(names.up)) }
                @for tick in up.ticks() {
                    line.grid x1=(px(left)) x2=(px(width - RIGHT))
                        y1=(px(tick.at)) y2=(px(tick.at)) {}
                    text x=(px(left - 6.0)) y=(px(tick.at + 4.0)) text-anchor="end" { (tick.label) }
                }
                (between)
                line.axis x1=(px(left)) x2=(px(width - RIGHT)) y1=(px(bottom)) y2=(px(bottom)) {}
                @for tick in across.ticks() {
                    line.axis x1=(px(tick.at)) x2=(px(tick.at))
                        y1=(px(bottom)) y2=(px(bottom + 4.0)) {}
                    text x=(px(tick.at)) y=(px(bottom + 17.0)) text-anchor="middle" { (tick.label) }
                }
                text x=(px(left)) y=(px(bottom + 34.0)) { (visible(names.across)) }
                (upon)
            }
        };
        drawn.into_string()
    }
}

/// Room for the labels of the vertical axis.
fn left_of(up: Axis) -> f64 {
    let room = up.ticks().into_iter().map(|tick| width_of(&tick.label));
    room.fold(0.0, f64::max) + 8.0
}
