//! Points in time on the command line: seconds since 1970, or `2026-11-22T01:02:03Z`.

/// Nanoseconds since 1970.
///
/// # Errors
/// What was expected instead.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let bad = || format!("{text:?}: expected seconds since 1970, or 2026-11-22T01:02:03Z");
    let seconds = match text.strip_prefix('@').unwrap_or(text).parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) => utc(text).ok_or_else(bad)?,
    };
    seconds
        .checked_mul(1_000_000_000)
        .filter(|ns| *ns >= 0)
        .ok_or_else(bad)
}

fn utc(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once(['T', ' '])?;
    let three = |text: &str, by: char| -> Option<[i64; 3]> {
        let parts: Vec<&str> = text.split(by).collect();
        let number = |part: &&str| part.parse::<u32>().ok().map(i64::from);
        let numbers: Option<Vec<i64>> = parts.iter().map(number).collect();
        numbers?.try_into().ok()
    };
    let [year, month, day] = three(date, '-')?;
    let [hour, minute, second] = three(time, ':')?;
    let sound = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    sound.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let ns = 1_000_000_000;
        assert_eq!(parse_time("0"), Ok(0));
        assert_eq!(parse_time("@1795304000"), Ok(1_795_304_000 * ns));
        assert_eq!(parse_time("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(parse_time("2000-02-29T12:00:00Z"), Ok(951_825_600 * ns));
        assert_eq!(parse_time("2026-11-22 01:02:03Z"), Ok(1_795_309_323 * ns));
        for bad in [
            "",
            "now",
            "2026-11-22",
            "2026-11-22T01:02:03",
            "2026-13-01T00:00:00Z",
            "-5",
            "99999999999999",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
