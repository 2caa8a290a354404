//! Message identifiers: the 12-byte UUID of versions 7 to 9 and the 20-byte GUID from version 10
//! on.
//!
//! A GUID is the SHA-1 of the message file's exact bytes. A UUID says nothing about content. Both
//! are opaque here: this module never computes one.

use std::fmt;
use std::str::FromStr;

/// The type of an identifier of `$len` bytes, with its text form in hexadecimal.
macro_rules! identifier {
    ($(#[$doc:meta])* $type:ident $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $type([u8; $len]);

        impl $type {
            /// All bytes zero: "unknown".
            pub const NULL: Self = Self([0; $len]);

            /// Takes the bytes as they are on disk.
            #[must_use]
            #[inline]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes as they are on disk.
            #[must_use]
            #[inline]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// True if all bytes are zero.
            #[must_use]
            pub fn is_null(&self) -> bool {
                self.0 == [0; $len]
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self)
            }
        }

        impl FromStr for $type {
            type Err = ParseGuidError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self)
            }
        }
    };
}

identifier! {
    /// A 20-byte GUID: the SHA-1 of a message file, or a padded UUID, or NULL.
    Guid 20
}
identifier! {
    /// A 12-byte UUID as versions 7, 8 and 9 store it.
    Uuid 12
}

impl serde::Serialize for Guid {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What one record holds in the place of its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordGuid {
    /// The version has no such field (2 to 6).
    Absent,
    /// Versions 7 to 9.
    Uuid(Uuid),
    /// Versions 10 and later.
    Guid(Guid),
}

impl Guid {
    /// True if the last eight bytes are zero: NULL, a padded UUID, or a SHA-1 that was cut to 12
    /// bytes.
    ///
    /// One real SHA-1 in 2^64 looks like this too, so a GUID that is still old-style after it was
    /// computed afresh is no error.
    #[must_use]
    #[inline]
    pub fn is_old_style(&self) -> bool {
        self.0[12..] == [0; 8]
    }

    /// A UUID with eight zero bytes appended, as Cyrus 2.3.10 and later make it on upgrade.
    #[must_use]
    #[inline]
    pub fn padded(uuid: Uuid) -> Self {
        let mut bytes = [0; 20];
        bytes[..12].copy_from_slice(&uuid.0);
        Self(bytes)
    }

    /// The first twelve bytes.
    #[must_use]
    #[inline]
    pub fn truncated(&self) -> Uuid {
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&self.0[..12]);
        Uuid(bytes)
    }
}

impl RecordGuid {
    /// The identifier as twenty bytes: as it is, padded with zeros, or NULL.
    #[must_use]
    #[inline]
    pub fn padded(self) -> Guid {
        match self {
            Self::Absent => Guid::NULL,
            Self::Uuid(uuid) => Guid::padded(uuid),
            Self::Guid(guid) => guid,
        }
    }

    /// The identifier as twelve bytes: as it is, cut, or NULL.
    #[must_use]
    #[inline]
    pub fn truncated(self) -> Uuid {
        match self {
            Self::Absent => Uuid::NULL,
            Self::Uuid(uuid) => uuid,
            Self::Guid(guid) => guid.truncated(),
        }
    }

    /// True if it is not a whole SHA-1: absent, any UUID, or a GUID with eight zero bytes at its
    /// end.
    #[must_use]
    #[inline]
    pub fn is_old_style(self) -> bool {
        match self {
            Self::Absent | Self::Uuid(_) => true,
            Self::Guid(guid) => guid.is_old_style(),
        }
    }
}

/// Text is not the hexadecimal form of an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} hexadecimal digits, got {found:?}")]
pub struct ParseGuidError {
    /// How many digits there should be.
    pub digits: usize,
    /// What was there instead (shortened).
    pub found: String,
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseGuidError> {
    let bad = || ParseGuidError {
        digits: N * 2,
        found: text.chars().take(60).collect(),
    };
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(bad());
    }
    let nibble = |c: u8| (c as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
            return Err(bad());
        };
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_lower_case_hex_and_parses_back() {
        let text = "a6cbec439faba244c464da8622ea2be5e4bec2ba";
        let guid: Guid = text.parse().expect("40 digits");
        assert_eq!(guid.to_string(), text);
        assert_eq!(guid.truncated().to_string(), "a6cbec439faba244c464da86");
        assert_eq!(text.to_uppercase().parse::<Guid>(), Ok(guid));
        for bad in [
            "",
            "a6",
            &text[1..],
            "z6cbec439faba244c464da8622ea2be5e4bec2ba",
            "+6cbec439faba244c464da8622ea2be5e4bec2ba",
        ] {
            assert!(bad.parse::<Guid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn old_style_is_decided_by_the_last_eight_bytes_alone() {
        assert!(Guid::NULL.is_old_style());
        assert!(Guid::padded(Uuid::from_bytes([0xff; 12])).is_old_style());
        for i in 12..20 {
            let mut bytes = [0; 20];
            bytes[i] = 1;
            assert!(!Guid::from_bytes(bytes).is_old_style(), "byte {i}");
        }
        assert!(RecordGuid::Uuid(Uuid::from_bytes([0xff; 12])).is_old_style());
        assert!(RecordGuid::Absent.is_old_style());
    }

    #[test]
    fn padding_and_cutting_undo_each_other() {
        let uuid = Uuid::from_bytes(*b"\x01\x05\x00F\xb0\xc0\xde\x00\x07\x00\x00\x01");
        assert_eq!(Guid::padded(uuid).truncated(), uuid);
        assert_eq!(
            RecordGuid::Uuid(uuid).padded().to_string(),
            "01050046b0c0de00070000010000000000000000"
        );
    }
}
