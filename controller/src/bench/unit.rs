//! Values with their units, as people read them.

use indicatif::{BinaryBytes, HumanCount};

use super::document::Unit;

impl Unit {
    /// A value with its unit, three digits of it or all before the point.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Bytes => BinaryBytes(whole(value)).to_string(),
            Self::BytesPerSecond => format!("{}/s", BinaryBytes(whole(value))),
            Self::Seconds if value > 0.0 && value < 0.001 => {
                format!("{} us", number(value * 1e6))
            }
            Self::Seconds if value > 0.0 && value < 1.0 => format!("{} ms", number(value * 1e3)),
            _ => match self.name() {
                "" => number(value),
                name => format!("{} {name}", number(value)),
            },
        }
    }

    /// The least and the greatest of some values.
    #[must_use]
    pub fn range(self, low: f64, high: f64) -> String {
        match self {
            Self::Bytes | Self::BytesPerSecond | Self::Seconds => {
                format!("{} .. {}", self.show(low), self.show(high))
            }
            _ => format!("{} .. {}", number(low), number(high)),
        }
    }

    /// Its name behind a number; empty if it needs none.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MailboxesPerSecond => "mailboxes/s",
            Self::MessagesPerSecond => "messages/s",
            Self::RecordsPerSecond => "records/s",
            Self::BytesPerSecond => "B/s",
            Self::PerSecond => "/s",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Bytes => "B",
            Self::Count | Self::Ratio => "",
        }
    }
}

/// A number with three digits, or all that are before the point.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", HumanCount(whole(size)));
    }
    let digits = match size {
        v if v.fract() == 0.0 || v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v if v >= 0.1 => 3,
        _ => 4,
    };
    format!("{value:.digits$}")
}

/// The nearest whole number; none below zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` stays within bounds
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_three_digits_and_bytes_the_unit_that_fits() {
        for (unit, value, shown) in [
            (Unit::MailboxesPerSecond, 769.6, "770 mailboxes/s"),
            (Unit::RecordsPerSecond, 10_234_567.4, "10,234,567 records/s"),
            (Unit::BytesPerSecond, 1.5 * 1_073_741_824.0, "1.50 GiB/s"),
            (Unit::Bytes, 4096.0, "4.00 KiB"),
            (Unit::Milliseconds, 3.313, "3.31 ms"),
            (Unit::Seconds, 53.25, "53.2 s"),
            (Unit::Seconds, 0.0297, "29.7 ms"),
            (Unit::Seconds, 0.000_041, "41 us"),
            (Unit::Seconds, 0.0, "0 s"),
            (Unit::Count, 2.0, "2"),
            (Unit::Count, 2.03, "2.03"),
            (Unit::Ratio, 0.9871, "0.987"),
            (Unit::Ratio, -1234.0, "-1,234"),
        ] {
            assert_eq!(unit.show(value), shown, "{unit:?} {value}");
        }
        assert_eq!(Unit::Milliseconds.range(0.09, 12.0), "0.0900 .. 12");
        assert_eq!(Unit::Seconds.range(0.5, 2.5), "500 ms .. 2.50 s");
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let _ = Unit::Bytes.show(odd) + &Unit::Seconds.range(odd, odd);
        }
    }
}
