//! The `Date:` of a message as a point in time, read as Cyrus reads it.
//!
//! Cyrus takes the date of RFC 5322 and its obsolete forms, and a little more: one or two digits
//! anywhere in the time, a dot for a colon, a dash between day, month and year. A zone that it does
//! not know is UTC. What it refuses is refused here.

/// Seconds since 1970; `None` if this is no date, or none that 32 bits can hold.
pub(crate) fn parse(text: &[u8]) -> Option<u32> {
    let mut rest = Cursor(text);
    rest.skip_space();
    if rest.peek()?.is_ascii_alphabetic() {
        let day_name = rest.word();
        if day_name.len() != 3 || rest.next()? != b',' {
            return None;
        }
        rest.skip_space();
    }
    let day = rest.digits(1..=2)?;
    rest.separator()?;
    let month = month(rest.word())?;
    rest.separator()?;
    let word = rest.word();
    let year = match (number(word)?, word.len()) {
        (year, 2) if year < 70 => 2000 + year,
        (year, 2) => 1900 + year,
        (year, _) => year,
    };
    rest.skip_space();
    let hour = rest.digits(1..=2)?;
    rest.colon()?;
    let minute = rest.digits(1..=2)?;
    let second = match rest.colon() {
        Some(()) => rest.digits(1..=2)?,
        None => 0,
    };
    rest.skip_space();
    let sign = rest.peek().filter(|c| matches!(c, b'+' | b'-'));
    if sign.is_some() {
        rest.next();
    }
    let east = zone(rest.word(), sign) * 60;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = [
        31,
        28 + i64::from(leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let before: i64 = days_of_month.get(..month)?.iter().sum();
    if !(1970..=2106).contains(&year)
        || !(1..=*days_of_month.get(month)?).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Leap years before `year`, less those before 1970.
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let days = (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + before + day - 1;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    u32::try_from(seconds - east).ok()
}

/// From 0.
fn month(word: &[u8]) -> Option<usize> {
    const NAMES: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let mut names = NAMES.chunks_exact(3);
    names.position(|name| name.eq_ignore_ascii_case(word))
}

fn number(word: &[u8]) -> Option<i64> {
    let digits = word.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(word).ok().filter(|_| digits)?;
    text.parse().ok()
}

/// Minutes east of Greenwich.
fn zone(word: &[u8], sign: Option<u8>) -> i64 {
    let upper = word.to_ascii_uppercase();
    match *upper.as_slice() {
        [letter @ b'A'..=b'I'] => i64::from(letter - b'A' + 1) * 60,
        [letter @ b'K'..=b'M'] => i64::from(letter - b'A') * 60,
        [letter @ b'N'..=b'Y'] => -i64::from(letter - b'M') * 60,
        [area, season @ (b'S' | b'D'), b'T'] => {
            // Atlantic, eastern, central, mountain, Pacific, Yukon, Hawaii, Bering.
            let west = b"AECMPYHB".iter().position(|&a| a == area);
            let hours = west.and_then(|west| i64::try_from(west).ok());
            hours.map_or(0, |west| (i64::from(season == b'D') - 4 - west) * 60)
        }
        [_, _, _, _] => number(word).map_or(0, |n| {
            let minutes = n / 100 * 60 + n % 100;
            if sign == Some(b'+') {
                minutes
            } else {
                -minutes
            }
        }),
        _ => 0,
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// Letters and digits.
    fn word(&mut self) -> &'a [u8] {
        let is_word = |c: &u8| c.is_ascii_alphanumeric();
        let len = self.0.iter().take_while(|c| is_word(c)).count();
        let (word, rest) = self.0.split_at(len);
        self.0 = rest;
        word
    }

    fn digits(&mut self, len: std::ops::RangeInclusive<usize>) -> Option<i64> {
        let word = self.word();
        number(word).filter(|_| len.contains(&word.len()))
    }

    /// One byte, and space after it.
    fn separator(&mut self) -> Option<()> {
        self.next()?;
        self.skip_space();
        Some(())
    }

    fn colon(&mut self) -> Option<()> {
        self.peek().filter(|c| matches!(c, b':' | b'.'))?;
        self.next().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_cyrus_reads_them() {
        for (text, expected) in [
            ("Mon, 17 Sep 2007 04:32:20 -0000", Some(1_190_003_540)),
            (
                "Mon, 17 Sep 2007 04:32:20 +0230",
                Some(1_190_003_540 - 9000),
            ),
            ("17 Sep 07 04:32:20 EDT", Some(1_190_003_540 + 4 * 3600)),
            (
                "17 sep 07 04:32:20 PST (comment)",
                Some(1_190_003_540 + 8 * 3600),
            ),
            ("17-Sep-2007 4.32.20 UT", Some(1_190_003_540)),
            ("Mon,\r\n 17 Sep\t2007 04:32 Z", Some(1_190_003_520)),
            ("17 Sep 2007 04:32:20 B", Some(1_190_003_540 - 7200)),
            ("17 Sep 2007 04:32:20 Nonsense", Some(1_190_003_540)),
            ("17 Sep 2007 04:32:20", Some(1_190_003_540)),
            ("29 Feb 2000 00:00:00 +0000", Some(951_782_400)),
            ("31 Dec 1998 23:59:60 GMT", Some(915_148_800)),
            ("1 Jan 1970 00:00:00 GMT", Some(0)),
            ("7 Feb 2106 06:28:15 GMT", Some(u32::MAX)),
            ("7 Feb 2106 06:28:16 GMT", None),
            ("1 Jan 1970 00:00:00 +0100", None),
            ("29 Feb 1900 00:00:00 +0000", None),
            ("31 Jun 2007 00:00:00 +0000", None),
            ("0 Jun 2007 00:00:00 +0000", None),
            ("Monday, 17 Sep 2007 04:32:20 GMT", None),
            ("Mon 17 Sep 2007 04:32:20 GMT", None),
            ("17 Sept 2007 04:32:20 GMT", None),
            ("17 Sep 107 04:32:20 GMT", None),
            ("17 Sep 2007 24:32:20 GMT", None),
            ("17 Sep 2007", None),
            ("", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }
}
