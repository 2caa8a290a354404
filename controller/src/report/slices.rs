//! Mailboxes over time: the time of a run in slices of a width that a person would choose.

/// Slices of a run, at most.
const MOST: i64 = 60;
/// Widths that a slice can have, in milliseconds: up to a week; above that, whole weeks.
const WIDTHS: [i64; 22] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    900_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000, WEEK,
];
const WEEK: i64 = 604_800_000;

/// What ended in a slice of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slice {
    /// Mailboxes that are done, or needed nothing.
    pub(super) good: u64,
    /// Mailboxes that failed.
    pub(super) failed: u64,
}

/// The time from the begin of a run to its last mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slices {
    begin_ms: i64,
    /// Milliseconds of each.
    pub(super) width_ms: i64,
    /// In order.
    pub(super) each: Vec<Slice>,
}

impl Slices {
    /// Slices of that time, nothing counted.
    pub(super) fn new(begin_ms: i64, end_ms: i64) -> Self {
        let span = (end_ms - begin_ms).max(1);
        let fits = |width: &i64| span / width < MOST;
        let width_ms = WIDTHS.into_iter().find(fits);
        let width_ms = width_ms.unwrap_or_else(|| (span / (MOST * WEEK) + 1) * WEEK);
        let many = usize::try_from(span / width_ms + 1).unwrap_or(1);
        Self {
            begin_ms,
            width_ms,
            each: vec![Slice::default(); many],
        }
    }

    /// Counts a mailbox. A clock that was set back has it in the first slice.
    pub(super) fn add(&mut self, at_ms: i64, failed: bool) {
        let nth = (at_ms - self.begin_ms).max(0) / self.width_ms;
        let last = self.each.len() - 1;
        let nth = usize::try_from(nth).map_or(last, |nth| nth.min(last));
        if let Some(slice) = self.each.get_mut(nth) {
            if failed {
                slice.failed += 1;
            } else {
                slice.good += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_whatever_length_has_slices_of_a_round_width_and_none_is_lost() {
        for (span, width) in [
            (0, 100),
            (5_999, 100),
            (6_000, 200),
            (3_600_000, 120_000),
            (86_400_000, 1_800_000),
            (400 * 86_400_000, WEEK),
            (40_000 * 86_400_000, 96 * WEEK),
        ] {
            let mut slices = Slices::new(5, 5 + span);
            assert_eq!(slices.width_ms, width, "{span}");
            assert!(slices.each.len() <= 60, "{span}: {}", slices.each.len());
            for at in [-7, 5, 5 + span / 2, 5 + span, 5 + 2 * span] {
                slices.add(at, at % 2 == 0);
            }
            let sum = |sum: u64, slice: &Slice| sum + slice.good + slice.failed;
            assert_eq!(slices.each.iter().fold(0, sum), 5);
        }
    }
}
