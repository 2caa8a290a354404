//! What two hosts ask each other's slotd before a decision: does the transaction stand, and where
//! do two lists differ?

use indexfile::Guid;

use super::answer::{Value, answer, plain};
use super::{FieldError, Fields};

/// `CONFIRM`: how a transaction stands that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Standing {
    /// Locked; `UPGRADE` was not asked for yet.
    Locked,
    /// Locked, and the last `UPGRADE` was refused.
    Refused,
    /// Locked and staged.
    Staged,
    /// Locked, and as `UPGRADE` asked for already.
    Unchanged,
    /// Committed, and the locks are kept.
    Held,
}
plain!(Standing);

answer! {
    /// `CONFIRM`
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Confirmed {
        /// How it stands.
        pub state: Standing = "state",
        /// As `UPGRADE` answered it; absent before that.
        pub digest: Option<Guid> = "digest",
    }
}

/// `DIGESTS [from=UID] [to=UID] [parts=N]`: a range of UIDs, cut into parts of the same width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DigestRange {
    /// The lowest UID.
    pub from: u32,
    /// The highest UID.
    pub to: u32,
    /// Into how many parts at most; 1 to [`DigestRange::MAX_PARTS`].
    pub parts: u32,
}

impl Default for DigestRange {
    fn default() -> DigestRange {
        DigestRange {
            from: 1,
            to: u32::MAX,
            parts: DigestRange::MAX_PARTS,
        }
    }
}

impl DigestRange {
    /// The answer for this many parts fits into one line: each is at most 10 + 1 + 40 + 1 bytes.
    pub const MAX_PARTS: u32 = 512;

    /// The parts, first and last UID of each, in ascending order: the same on every host.
    pub fn pieces(self) -> impl Iterator<Item = (u32, u32)> {
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        let parts = u64::from(self.parts.clamp(1, DigestRange::MAX_PARTS));
        let len = (to + 1).saturating_sub(from);
        let width = len.div_ceil(parts).max(1);
        let clamped = |uid: u64| u32::try_from(uid).unwrap_or(u32::MAX);
        (0..len.div_ceil(width)).map(move |i| {
            let first = from + i * width;
            (clamped(first), clamped((first + width - 1).min(to)))
        })
    }
}

/// What one part of a range holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartDigest {
    /// How many records.
    pub count: u32,
    /// As the digest of `UPGRADE`, over these records only.
    pub digest: Guid,
}

/// `DIGESTS`: one item a part, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The parts.
    pub parts: Vec<PartDigest>,
}

impl Digests {
    /// For the wire. A part without records is `0`.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let item = |part: &PartDigest| match part.count {
            0 => "0".to_owned(),
            count => format!("{count}:{}", part.digest),
        };
        let items: Vec<String> = self.parts.iter().map(item).collect();
        Fields::new()
            .with("parts", items.len())
            .with_list("list", items)
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Digests, FieldError> {
        let item = |bytes: Vec<u8>| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let part = match text.split_once(':') {
                None if text == "0" => Some(PartDigest {
                    count: 0,
                    digest: Guid::NULL,
                }),
                None => None,
                Some((count, digest)) => count
                    .parse()
                    .ok()
                    .zip(digest.parse().ok())
                    .map(|(count, digest)| PartDigest { count, digest }),
            };
            part.ok_or(FieldError::Malformed {
                key: "list",
                value: text,
            })
        };
        let parts = fields.list("list")?.into_iter().map(item);
        Ok(Digests {
            parts: parts.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_their_range_without_gap_or_overlap() {
        for (from, to, parts) in [
            (1, u32::MAX, 512),
            (0, u32::MAX, 1),
            (1, 10, 3),
            (5, 5, 512),
            (7, 1000, 512),
            (u32::MAX, u32::MAX, 2),
        ] {
            let range = DigestRange { from, to, parts };
            let pieces: Vec<_> = range.pieces().collect();
            assert!(pieces.len() <= parts as usize, "{range:?}");
            let ends = (pieces.first().unwrap().0, pieces.last().unwrap().1);
            assert_eq!(ends, (from, to), "{range:?}");
            for two in pieces.windows(2) {
                assert_eq!(two[0].1 + 1, two[1].0, "{range:?}");
            }
        }
        let none = DigestRange {
            from: 9,
            to: 3,
            parts: 4,
        };
        assert_eq!(none.pieces().count(), 0);
    }

    #[test]
    fn the_longest_answer_fits_into_a_line() {
        let part = PartDigest {
            count: u32::MAX,
            digest: Guid::from_bytes([0xff; 20]),
        };
        let all = Digests {
            parts: vec![part; DigestRange::MAX_PARTS as usize],
        };
        let fields = all.to_fields();
        let line = super::super::Reply::Ok(fields.clone()).to_line();
        assert!(line.len() <= super::super::MAX_LINE);
        assert_eq!(Digests::from_fields(&fields), Ok(all));
    }
}
