//! A second reader of cyrus.index and cyrus.expunge, for versions 6 to 10 only.
//!
//! It is kept apart from `indexfile` on purpose: a mistake there must not hide here. It knows five
//! layouts as constants and nothing else. Source: `imap/mailbox.h` of Cyrus 2.2.2 to 2.3.16.

use sha1::{Digest, Sha1};

/// Version, and bytes of its header and of a record.
const SIZES: [(u32, usize, usize); 5] = [
    (6, 76, 60),
    (7, 76, 72),
    (8, 92, 80),
    (9, 96, 80),
    (10, 96, 88),
];
/// Bytes of a record that mean the same in each of these versions: all before the GUID.
const SAME: usize = 60;
/// Header of version 10.
const HEADER: usize = 96;
/// Where the header words lie that a change of version changes: version, header and record size.
const MINOR: usize = 8;
const START: usize = 12;
const RECORD: usize = 16;
/// Where `highestmodseq` lies in a header, since version 8.
const HIGHESTMODSEQ: usize = 68;

/// The bytes of one file, found to be a whole file of a version that we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    bytes: Vec<u8>,
    minor: u32,
    header_size: usize,
    record_size: usize,
    count: usize,
    trailing: usize,
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
    /// One sentence when it is not a whole file of versions 6 to 10.
    pub fn parse(mut bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() < 76 {
            return Err(format!("{} bytes are no header", bytes.len()));
        }
        let [minor, start, size, count] = [MINOR, START, RECORD, 20].map(|at| word(&bytes, at));
        let [header_size, record_size, count] = [start, size, count].map(|n| n as usize);
        if !SIZES.contains(&(minor, header_size, record_size)) {
            return Err(format!(
                "minor {minor} with header {start} and record {size}"
            ));
        }
        let need = header_size + record_size * count;
        let Some(trailing) = bytes.len().checked_sub(need) else {
            return Err(format!(
                "{} bytes, but {count} records need {need}",
                bytes.len()
            ));
        };
        bytes.truncate(need);
        Ok(Self {
            bytes,
            minor,
            header_size,
            record_size,
            count,
            trailing,
        })
    }

    /// The version, 6 to 10.
    #[must_use]
    pub fn minor(&self) -> u32 {
        self.minor
    }

    /// Number of records.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many bytes there were behind the last record.
    #[must_use]
    pub fn trailing(&self) -> usize {
        self.trailing
    }

    /// The bytes of the header.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.bytes[..self.header_size]
    }

    /// The header as version 10 has it, without what a change of version changes: spares stay, and
    /// `highestmodseq`, which versions 6 and 7 do not have, starts at 1.
    #[must_use]
    pub fn lasting_header(&self) -> Vec<u8> {
        let known = if self.minor < 8 {
            HIGHESTMODSEQ
        } else {
            self.header_size
        };
        let mut header = self.header()[..known].to_vec();
        if self.minor < 8 {
            header.extend_from_slice(&1_u64.to_be_bytes());
        }
        header.resize(HEADER, 0);
        header[MINOR..MINOR + 4].fill(0);
        header[RECORD..RECORD + 4].fill(0);
        header[START..START + 4].copy_from_slice(&[0, 0, 0, 96]);
        header
    }

    /// Record number `n`, from 0.
    #[must_use]
    pub fn record(&self, n: usize) -> &[u8] {
        &self.bytes[self.header_size + n * self.record_size..][..self.record_size]
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

    /// What stays of a record in every version: all before the GUID, and the modseq, which is 1
    /// where the version has none.
    #[must_use]
    pub fn lasting(record: &[u8]) -> (Vec<u8>, u64) {
        let modseq = match record.len() {
            80.. => long(record, record.len() - 8),
            _ => 1,
        };
        (record[..SAME].to_vec(), modseq)
    }

    /// The GUID bytes of a record: none in version 6, 12 up to version 9, 20 in version 10.
    #[must_use]
    pub fn guid(record: &[u8]) -> &[u8] {
        let end = match record.len() {
            80.. => record.len() - 8,
            shorter => shorter,
        };
        &record[SAME..end]
    }

    /// Whether some record carries an old-style GUID (below version 10, or the last 8 bytes zero).
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
