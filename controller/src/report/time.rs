//! Times as a report shows them.

use std::time::Duration;

use crate::journal::{Filter, Journal, JournalError, RunId, for_each_row};

/// Milliseconds since 1970 as date and time of day.
pub(super) fn utc(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    time.strftime("%F %T UTC").to_string()
}

/// When the last mailbox of a run ended on a pair, milliseconds since 1970; `None`: none has.
pub(super) fn last_ended(journal: &dyn Journal, run: RunId) -> Result<Option<i64>, JournalError> {
    let mut last = None;
    for_each_row(journal, run, Filter::All, |row| {
        last = last.max(row.finished_ms);
    })?;
    Ok(last)
}

/// Milliseconds as seconds; none if negative.
pub(super) fn seconds(ms: i64) -> f64 {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64()
}

#[allow(clippy::cast_precision_loss)] // for a person to read
pub(super) fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(0.001)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_795_320_000_999, "2026-11-22 04:00:00 UTC"),
            (4_107_542_399_000, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(ms), text);
        }
    }
}
