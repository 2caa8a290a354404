//! The value: `1 LASTREAD LASTUID LASTCHANGE SEQUENCE`.

/// The most runs of UIDs in memory: every other UID seen, in the longest value, are fewer.
const MOST_RANGES: usize = 1_250_000;

/// A user's seen record of one mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenRecord {
    /// The largest UID that there was when the user last looked.
    pub last_uid: u32,
    /// When the record was last changed, seconds since 1970.
    pub last_change: u32,
    /// First and last of each run of UIDs that were seen, ascending, without overlap.
    ranges: Vec<(u32, u32)>,
}

impl SeenRecord {
    /// Parses a value.
    pub(super) fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(value).map_err(|_| "it is no text")?;
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some("1") {
            return Err("its version is not 1");
        }
        let mut number = |what| words.next().and_then(|word| word.parse().ok()).ok_or(what);
        let _last_read: i64 = number("there is no time of the last reading")?;
        let last_uid = number("there is no last UID")?;
        let last_change = number("there is no time of the last change")?;
        let (last_uid, last_change) = (
            u32::try_from(last_uid).map_err(|_| "the last UID is none")?,
            u32::try_from(last_change).map_err(|_| "the last change is out of range")?,
        );
        let ranges = sequence(words.next().unwrap_or(""), last_uid)?;
        if words.next().is_some() {
            return Err("something follows the sequence");
        }
        Ok(Self {
            last_uid,
            last_change,
            ranges,
        })
    }

    /// First and last of each run of UIDs that were seen, ascending, without overlap.
    #[must_use]
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// Whether a UID was seen.
    #[must_use]
    pub fn contains(&self, uid: u32) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= uid);
        let before = after.checked_sub(1).and_then(|i| self.ranges.get(i));
        before.is_some_and(|&(_, last)| uid <= last)
    }
}

/// Numbers and ranges with commas between them, in any order; `*` is the last UID.
fn sequence(text: &str, last_uid: u32) -> Result<Vec<(u32, u32)>, &'static str> {
    const BAD: &str = "its sequence of UIDs cannot be read";
    let uid = |text: &str| match text {
        "*" => Ok(last_uid),
        _ if text.starts_with('+') => Err(BAD),
        _ => text.parse::<u32>().map_err(|_| BAD),
    };
    let parts = || text.split(',').filter(|part| !part.is_empty());
    // All the capacity at once: a vector that grows takes as much again for a moment.
    let mut ranges: Vec<(u32, u32)> = Vec::with_capacity(parts().count().min(MOST_RANGES));
    for part in parts() {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        let (first, last) = (uid(first)?, uid(last)?);
        if ranges.len() == MOST_RANGES {
            join(&mut ranges);
            // Else each of those that follow may need the same again.
            if ranges.len() > MOST_RANGES / 2 {
                return Err("its sequence of UIDs has too many parts");
            }
        }
        ranges.push((first.min(last), first.max(last)));
    }
    join(&mut ranges);
    Ok(ranges)
}

/// Puts runs of UIDs in order, and makes one of those that touch.
fn join(ranges: &mut Vec<(u32, u32)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joins = next.0 <= kept.1.saturating_add(1);
        kept.1 = if joins { kept.1.max(next.1) } else { kept.1 };
        joins
    });
}
