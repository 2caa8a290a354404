//! Making the bytes of a `cyrus.sha1s` file.

use super::Entry;
use super::format::{BLOCK_RECORDS, FORMAT_VERSION, MAGIC, RECORD_LEN, UNIQUEID_MAX};
use byteorder::{BE, WriteBytesExt as _};
use sha1::{Digest, Sha1};
use std::io::Write;

/// Why a cache cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The writer failed.
    #[error("cannot write the SHA-1 cache: {0}")]
    Io(#[from] std::io::Error),
    /// The unique id is longer than the field.
    #[error("the mailbox's uniqueid is {len} bytes long, more than 64")]
    UniqueId {
        /// Its length in bytes.
        len: usize,
    },
    /// UIDs must ascend and begin at 1.
    #[error("UID {uid} cannot follow UID {previous} in a SHA-1 cache")]
    UidOrder {
        /// The UID.
        uid: u32,
        /// The one before it, 0 at the start.
        previous: u32,
    },
    /// Another number of entries than the header says.
    #[error("the SHA-1 cache was begun for {expected} messages and got {got}")]
    Count {
        /// As announced.
        expected: u32,
        /// As given.
        got: u32,
    },
}

/// Writes a cache entry by entry; memory does not grow with their number.
#[derive(Debug)]
pub struct CacheWriter<W: Write> {
    out: W,
    digest: Sha1,
    block: Vec<u8>,
    expected: u32,
    got: u32,
    previous: u32,
}

impl<W: Write> CacheWriter<W> {
    /// Writes the header of a cache for `count` messages. Give it a buffered writer.
    ///
    /// # Errors
    /// [`WriteError::UniqueId`] and `Io`.
    pub fn new(out: W, uidvalidity: u32, uniqueid: &str, count: u32) -> Result<Self, WriteError> {
        if uniqueid.len() > UNIQUEID_MAX {
            return Err(WriteError::UniqueId {
                len: uniqueid.len(),
            });
        }
        let id_len = u32::try_from(uniqueid.len()).unwrap_or(0);
        let mut header = MAGIC.to_vec();
        for word in [FORMAT_VERSION, 0, uidvalidity, count, BLOCK_RECORDS, id_len] {
            header.write_u32::<BE>(word)?;
        }
        let mut id = [0; UNIQUEID_MAX];
        id[..uniqueid.len()].copy_from_slice(uniqueid.as_bytes());
        header.extend_from_slice(&id);
        let crc = crc32fast::hash(&header);
        header.write_u32::<BE>(crc)?;
        let block = Vec::with_capacity(BLOCK_RECORDS as usize * RECORD_LEN + 4);
        let mut writer = Self {
            out,
            digest: Sha1::new(),
            block,
            expected: count,
            got: 0,
            previous: 0,
        };
        writer.put(&header)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.digest.update(bytes);
        Ok(self.out.write_all(bytes)?)
    }

    fn end_block(&mut self) -> Result<(), WriteError> {
        let mut block = std::mem::take(&mut self.block);
        let crc = crc32fast::hash(&block);
        block.write_u32::<BE>(crc)?;
        self.put(&block)?;
        block.clear();
        self.block = block;
        Ok(())
    }

    /// Adds a message.
    ///
    /// # Errors
    /// [`WriteError::UidOrder`], [`WriteError::Count`] and `Io`.
    pub fn push(&mut self, entry: &Entry) -> Result<(), WriteError> {
        if entry.uid <= self.previous {
            return Err(WriteError::UidOrder {
                uid: entry.uid,
                previous: self.previous,
            });
        }
        if self.got == self.expected {
            return Err(WriteError::Count {
                expected: self.expected,
                got: self.got.saturating_add(1),
            });
        }
        self.previous = entry.uid;
        self.got += 1;
        entry.write_to(&mut self.block)?;
        if self.block.len() == BLOCK_RECORDS as usize * RECORD_LEN {
            self.end_block()
        } else {
            Ok(())
        }
    }

    /// Writes what is left and the digest, and gives the writer back (flushed, not synced).
    ///
    /// # Errors
    /// [`WriteError::Count`] and `Io`.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if self.got != self.expected {
            return Err(WriteError::Count {
                expected: self.expected,
                got: self.got,
            });
        }
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let digest = self.digest.finalize();
        self.out.write_all(&digest)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The bytes of a whole cache; `entries` in ascending order of UID.
///
/// # Errors
/// [`WriteError`] but `Io`.
pub fn encode(uidvalidity: u32, uniqueid: &str, entries: &[Entry]) -> Result<Vec<u8>, WriteError> {
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let mut writer = CacheWriter::new(Vec::new(), uidvalidity, uniqueid, count)?;
    for entry in entries {
        writer.push(entry)?;
    }
    writer.finish()
}
