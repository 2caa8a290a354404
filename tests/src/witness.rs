//! A second reader of cyrus.index and cyrus.expunge, for versions 9 and 10 only.
//!
//! It is kept apart from `indexfile` on purpose: a mistake there must not hide here. It knows the
//! two layouts as constants (9: header 96, record 80, GUID 12 bytes at 60, modseq at 72;
//! 10: header 96, record 88, GUID 20 bytes at 60, modseq at 80) and nothing else.

use sha1::{Digest, Sha1};

/// The bytes of one file, found to be a whole version 9 or version 10 file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    bytes: Vec<u8>,
    minor: u32,
    record_size: usize,
    count: usize,
}

/// Big-endian 32-bit word at `at`; 0 beyond the end.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}

/// Big-endian 64-bit word at `at`; 0 beyond the end.
#[must_use]
pub fn long(bytes: &[u8], at: usize) -> u64 {
    (u64::from(word(bytes, at)) << 32) | u64::from(word(bytes, at + 4))
}

/// SHA-1 of `bytes`, the 20 bytes of a GUID.
#[must_use]
pub fn sha1_of(bytes: &[u8]) -> [u8; 20] {
    Sha1::digest(bytes).into()
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// The opposite of [`hex`]; odd digits and non-digits end it.
#[must_use]
pub fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks_exact(2)
        .map_while(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

impl Image {
    /// Takes the bytes of a file as they are on disk; bytes after the last record are dropped.
    ///
    /// # Errors
    /// One sentence when it is not a whole file of version 9 or 10.
    pub fn parse(mut bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() < 96 {
            return Err(format!("{} bytes are no header", bytes.len()));
        }
        let (minor, start) = (word(&bytes, 8), word(&bytes, 12));
        let (size, count) = (word(&bytes, 16) as usize, word(&bytes, 20) as usize);
        if !matches!((minor, start, size), (9, 96, 80) | (10, 96, 88)) {
            return Err(format!(
                "minor {minor} with header {start} and record {size}"
            ));
        }
        let need = 96 + size * count;
        if bytes.len() < need {
            return Err(format!(
                "{} bytes, but {count} records need {need}",
                bytes.len()
            ));
        }
        bytes.truncate(need);
        Ok(Self {
            bytes,
            minor,
            record_size: size,
            count,
        })
    }

    /// 9 or 10.
    #[must_use]
    pub fn minor(&self) -> u32 {
        self.minor
    }

    /// Number of records.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The 96 header bytes.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.bytes[..96]
    }

    /// The header bytes that no change of version may touch: all but minor version and record size.
    #[must_use]
    pub fn lasting_header(&self) -> Vec<u8> {
        let mut header = self.header().to_vec();
        header[8..12].fill(0);
        header[16..20].fill(0);
        header
    }

    /// Record number `n`, from 0.
    #[must_use]
    pub fn record(&self, n: usize) -> &[u8] {
        &self.bytes[96 + n * self.record_size..][..self.record_size]
    }

    /// All records in file order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.count).map(|n| self.record(n))
    }

    /// UID of a record.
    #[must_use]
    pub fn uid(record: &[u8]) -> u32 {
        word(record, 0)
    }

    /// The bytes of a record that stay in every version: 0..60 and the modseq.
    #[must_use]
    pub fn lasting(record: &[u8]) -> (Vec<u8>, u64) {
        let modseq = if record.len() == 88 { 80 } else { 72 };
        (record[..60].to_vec(), long(record, modseq))
    }

    /// The GUID bytes of a record: 12 in version 9, 20 in version 10.
    #[must_use]
    pub fn guid(record: &[u8]) -> &[u8] {
        &record[60..record.len() - 8]
    }

    /// Whether some record carries an old-style GUID (version 9, or the last 8 bytes zero).
    #[must_use]
    pub fn has_old_guids(&self) -> bool {
        self.minor < 10 && self.count > 0
            || self.minor == 10 && self.records().any(|r| r[72..80] == [0; 8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_and_a_hybrid_are_no_image() {
        let mut bytes = vec![0; 96 + 80];
        bytes[11] = 9;
        bytes[15] = 96;
        bytes[19] = 80;
        bytes[23] = 1;
        assert_eq!(Image::parse(bytes.clone()).map(|i| i.count()), Ok(1));
        assert!(Image::parse(bytes[..175].to_vec()).is_err());
        bytes[19] = 88;
        assert!(Image::parse(bytes).is_err());
    }

    #[test]
    fn hex_goes_there_and_back() {
        assert_eq!(unhex(&hex(&[0, 255, 16])), vec![0, 255, 16]);
    }
}
