//! Axes: where a value lies on one, and which values are written at it.
//!
//! Marks are at nice numbers: 1, 2 or 5 times a power of ten apart, or, on a logarithmic axis, at
//! such numbers themselves.

/// How far apart marks are at least, in pixels: one label of an axis and the gap behind it.
const APART: f64 = 56.0;
/// What differs by less is the same: values are sums of rounded ones.
const NEAR: f64 = 1e-9;

/// An axis: values from `low` to `high` lie from `start` on, over `length` pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    start: f64,
    length: f64,
    log: bool,
}

/// A value at which something is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Where it is, in pixels.
    pub(super) at: f64,
    /// The value as text.
    pub(super) label: String,
}

impl Axis {
    /// An axis on which equal distances are equal differences. A negative length runs the other
    /// way, as heights do.
    pub(super) fn linear(low: f64, high: f64, start: f64, length: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self {
            low,
            high,
            start,
            length,
            log: false,
        }
    }

    /// One on which equal distances are equal factors; both bounds above zero.
    pub(super) fn logarithmic(low: f64, high: f64, start: f64, length: f64) -> Self {
        let low = low.max(f64::MIN_POSITIVE);
        Self {
            high: if high > low { high } else { low * 10.0 },
            low,
            start,
            length,
            log: true,
        }
    }

    /// Where a value lies, in pixels; what is outside lies at the nearer end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.start + share * self.length
    }

    /// As many marks as there is room for, in their order.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let most = (self.length.abs() / APART).max(2.0);
        let (values, step) = if self.log {
            (powers(self.low, self.high, most), None)
        } else {
            let step = step(self.high - self.low, most);
            (multiples(self.low, self.high, step), Some(step))
        };
        let tick = |value: f64| Tick {
            at: self.at(value),
            label: label(value, step.unwrap_or(value)),
        };
        values.into_iter().map(tick).collect()
    }
}

/// The least nice number of which at most `most` fit into `span`.
pub(super) fn step(span: f64, most: f64) -> f64 {
    let rough = span / most.max(1.0);
    let power = rough.log10().floor();
    let fits = |unit: &f64| unit * nice(1.0, power) >= rough * (1.0 - NEAR);
    let unit = [1.0, 2.0, 5.0].into_iter().find(fits);
    unit.map_or_else(|| nice(1.0, power + 1.0), |unit| nice(unit, power))
}

/// `unit * 10^power`, the nearest number to it that there is.
fn nice(unit: f64, power: f64) -> f64 {
    // As text, so that 0.3 is not 0.30000000000000004.
    let text = format!("{unit}e{power}");
    text.parse().unwrap_or(unit)
}

/// The multiples of a step within bounds.
fn multiples(low: f64, high: f64, step: f64) -> Vec<f64> {
    let (first, last) = ((low / step - NEAR).ceil(), (high / step + NEAR).floor());
    let mut out = Vec::new();
    let mut n = first;
    while n <= last {
        out.push(n * step);
        n += 1.0;
    }
    out
}

/// Numbers 1, 2 and 5 times a power of ten within bounds; if these are too many, powers of ten; if
/// those are, powers of a power of ten.
fn powers(low: f64, high: f64, most: f64) -> Vec<f64> {
    #[allow(clippy::cast_precision_loss)] // a few dozen
    let few = |values: &Vec<f64>| values.len() as f64 <= most;
    let all = of_units(low, high, &[1.0, 2.0, 5.0], 1.0);
    if few(&all) {
        return all;
    }
    let mut apart = 1.0;
    loop {
        let values = of_units(low, high, &[1.0], apart);
        if few(&values) {
            return values;
        }
        apart += 1.0;
    }
}

fn of_units(low: f64, high: f64, units: &[f64], apart: f64) -> Vec<f64> {
    let mut out = Vec::new();
    let mut power = (low.log10() / apart).floor() * apart;
    while nice(1.0, power) <= high * (1.0 + NEAR) {
        let values = units.iter().map(|unit| nice(*unit, power));
        out.extend(values.filter(|v| *v >= low * (1.0 - NEAR) && *v <= high * (1.0 + NEAR)));
        power += apart;
    }
    out
}

/// A value as text, as exact as the distance to the next one needs; thousands as k, millions as M.
fn label(value: f64, step: f64) -> String {
    let (size, unit) = match step.abs() {
        s if s >= 1e6 => (1e6, "M"),
        s if s >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let (value, step) = (value / size, step.abs() / size);
    let mut digits = 0;
    let mut rest = step;
    while digits < 9 && (rest - rest.round()).abs() > NEAR.max(rest.abs() * NEAR) {
        rest *= 10.0;
        digits += 1;
    }
    // No "-0".
    let value = if value == 0.0 { 0.0 } else { value };
    let unit = if value == 0.0 { "" } else { unit };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn marks_are_at_nice_numbers_and_no_more_than_there_is_room_for() {
        for (span, most, expected) in [
            (10.0, 5.0, 2.0),
            (10.0, 4.0, 5.0),
            (1.0, 5.0, 0.2),
            (60.0, 6.0, 10.0),
            (61.0, 6.0, 20.0),
            (0.003, 3.0, 0.001),
            (123_456.0, 8.0, 20_000.0),
        ] {
            let found = step(span, most);
            assert!(
                (found - expected).abs() < expected * NEAR,
                "{span}: {found}"
            );
        }
        for tenth in 1..500_u32 {
            let span = f64::from(tenth) / 10.0;
            let axis = Axis::linear(0.0, span, 0.0, 600.0);
            let ticks = axis.ticks();
            assert!((2..=12).contains(&ticks.len()), "{span}: {ticks:?}");
            let gap = ticks[1].at - ticks[0].at;
            assert!(gap >= APART * (1.0 - NEAR), "{span}: {gap}");
        }
    }

    #[test]
    fn labels_are_as_exact_as_they_have_to_be() {
        assert_eq!(
            labels(Axis::linear(0.0, 1.0, 0.0, 300.0)),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            labels(Axis::linear(0.0, 2_500.0, 0.0, 180.0)),
            ["0", "1k", "2k"]
        );
        assert_eq!(
            labels(Axis::linear(0.0, 4e6, 0.0, 120.0)),
            ["0", "2M", "4M"]
        );
    }

    #[test]
    fn a_logarithmic_axis_has_fewer_marks_the_more_it_spans() {
        assert_eq!(
            labels(Axis::logarithmic(0.4, 11.0, 0.0, 400.0)),
            ["0.5", "1", "2", "5", "10"]
        );
        assert_eq!(
            labels(Axis::logarithmic(0.01, 10_000.0, 0.0, 400.0)),
            ["0.01", "0.1", "1", "10", "100", "1k", "10k"]
        );
        let wide = Axis::logarithmic(1e-6, 1e9, 0.0, 300.0).ticks();
        assert!(wide.len() <= 6, "{wide:?}");
        let axis = Axis::logarithmic(1.0, 100.0, 50.0, 200.0);
        assert!((axis.at(10.0) - 150.0).abs() < NEAR);
    }

    #[test]
    fn what_is_outside_lies_at_the_end_and_an_axis_without_extent_has_some() {
        let axis = Axis::linear(0.0, 10.0, 100.0, -100.0);
        assert!((axis.at(20.0) - 0.0).abs() < NEAR && (axis.at(-1.0) - 100.0).abs() < NEAR);
        for axis in [
            Axis::linear(3.0, 3.0, 0.0, 100.0),
            Axis::logarithmic(0.0, 0.0, 0.0, 100.0),
            Axis::logarithmic(5.0, 5.0, 0.0, 100.0),
        ] {
            assert!(axis.at(3.0).is_finite(), "{axis:?}");
            assert!(!axis.ticks().is_empty(), "{axis:?}");
        }
    }
}
