//! Reading a `cyrus.sha1s` file.

use super::format::{
    self, FORMAT_VERSION, HEADER_CRC_AT, HEADER_LEN, MAGIC, RECORD_LEN, TRAILER_LEN, UNIQUEID_AT,
};
use super::{Entry, FORMAT_VERSION as NEWEST};
use crate::bytes::Bytes;
use crate::error::{IoContext, IoError};
use crate::header::be32;
use crate::reader::RELEASE_STEP;
use sha1::{Digest, Sha1};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Why a file cannot be used as a cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The system could not read it.
    #[error(transparent)]
    Io(#[from] IoError),
    /// It does not begin as a `cyrus.sha1s` does.
    #[error("{} is not a cyrus.sha1s file", path.display())]
    NotCache {
        /// The file.
        path: PathBuf,
    },
    /// A later version of the format, or flags that this one does not have.
    #[error("{} has the unknown cyrus.sha1s format {version} (this program knows {NEWEST})", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Something in it is not as it was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// An open, checked `cyrus.sha1s`.
#[derive(Debug)]
pub struct Cache {
    bytes: Bytes,
    path: PathBuf,
    uidvalidity: u32,
    uniqueid: String,
    count: u32,
    block_records: u32,
}

impl Cache {
    /// Maps and checks a file.
    ///
    /// # Errors
    /// [`CacheError`]; a file that is not there is `Io` with the kind `NotFound`.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let file = File::open(path).io_context("open", path)?;
        Self::from_file(&file, path)
    }

    /// Maps and checks an open file; `path` is for messages.
    ///
    /// # Errors
    /// [`CacheError`]
    pub fn from_file(file: &File, path: &Path) -> Result<Self, CacheError> {
        let meta = file.metadata().io_context("stat", path)?;
        if !meta.is_file() {
            return Err(CacheError::NotCache {
                path: path.to_path_buf(),
            });
        }
        let too_large = |_| IoError::new("map", path, std::io::ErrorKind::FileTooLarge.into());
        let len = usize::try_from(meta.len()).map_err(too_large)?;
        Self::check(
            Bytes::map_or_read(file, len).io_context("read", path)?,
            path,
        )
    }

    /// Checks bytes in memory, such as a file that was fetched; `path` is for messages.
    ///
    /// # Errors
    /// [`CacheError`] but `Io`.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, CacheError> {
        Self::check(Bytes::Owned(bytes), path)
    }

    fn check(bytes: Bytes, path: &Path) -> Result<Self, CacheError> {
        let damaged = |what: String| CacheError::Damaged {
            path: path.to_path_buf(),
            what,
        };
        if !bytes.starts_with(&MAGIC) {
            return Err(CacheError::NotCache {
                path: path.to_path_buf(),
            });
        }
        let word = |at| be32(&bytes, at).ok_or_else(|| damaged("its header is cut short".into()));
        let (version, flags) = (word(16)?, word(20)?);
        if version != FORMAT_VERSION {
            return Err(CacheError::UnknownVersion {
                path: path.to_path_buf(),
                version,
            });
        }
        let header = bytes.get(..HEADER_CRC_AT).unwrap_or_default();
        if word(HEADER_CRC_AT)? != crc32fast::hash(header) {
            return Err(damaged("the checksum of its header is wrong".into()));
        }
        let (uidvalidity, count, block_records) = (word(24)?, word(28)?, word(32)?);
        let id_len = word(36)? as usize;
        let (id, pad) = bytes[UNIQUEID_AT..HEADER_CRC_AT]
            .split_at_checked(id_len)
            .ok_or_else(|| damaged(format!("its uniqueid is {id_len} bytes long")))?;
        let uniqueid = std::str::from_utf8(id)
            .map_err(|_| damaged("its uniqueid is not text".into()))?
            .to_owned();
        if flags != 0 || block_records == 0 || pad.iter().any(|&b| b != 0) {
            return Err(damaged(
                "its header holds what this version does not write".into(),
            ));
        }
        let expected = format::file_len(count, block_records);
        if expected != Some(bytes.len()) {
            return Err(damaged(format!(
                "{count} records do not fit its length of {} bytes",
                bytes.len()
            )));
        }
        let cache = Self {
            bytes,
            path: path.to_path_buf(),
            uidvalidity,
            uniqueid,
            count,
            block_records,
        };
        cache.check_blocks().map_err(damaged)?;
        Ok(cache)
    }

    fn check_blocks(&self) -> Result<(), String> {
        let body_end = self.bytes.len() - TRAILER_LEN;
        let block_len = (self.block_records as usize)
            .saturating_mul(RECORD_LEN)
            .saturating_add(4);
        let mut digest = Sha1::new();
        digest.update(&self.bytes[..HEADER_LEN]);
        let mut previous = 0;
        let (mut at, mut released) = (HEADER_LEN, 0);
        for (i, block) in self.bytes[HEADER_LEN..body_end]
            .chunks(block_len)
            .enumerate()
        {
            let (records, crc) = block.split_at(block.len().saturating_sub(4));
            if be32(crc, 0) != Some(crc32fast::hash(records)) {
                return Err(format!("the checksum of block {} is wrong", i + 1));
            }
            digest.update(block);
            for record in records.chunks_exact(RECORD_LEN) {
                let uid = be32(record, 0).unwrap_or(0);
                if uid <= previous {
                    return Err(format!("UID {uid} follows UID {previous}"));
                }
                previous = uid;
            }
            at += block.len();
            if at - released >= RELEASE_STEP {
                // Whole pages only.
                let end = at & !0xffff;
                self.bytes.release(released..end);
                released = end;
            }
        }
        if digest.finalize()[..] != self.bytes[body_end..] {
            return Err("its digest is wrong".into());
        }
        Ok(())
    }

    /// Drops the file's pages from this process's memory; those that are touched again come back.
    pub fn release(&self) {
        self.bytes.release(0..self.bytes.len());
    }

    /// UIDVALIDITY of the mailbox when it was made.
    #[must_use]
    pub fn uidvalidity(&self) -> u32 {
        self.uidvalidity
    }

    /// Unique id of the mailbox when it was made.
    #[must_use]
    pub fn uniqueid(&self) -> &str {
        &self.uniqueid
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many messages are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True if no message is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The whole file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn entry(&self, i: usize) -> Option<Entry> {
        let at = format::record_at(i, self.block_records as usize);
        format::get_entry(self.bytes.get(at..at + RECORD_LEN)?)
    }

    /// The message with this UID, by bisection.
    #[must_use]
    pub fn get(&self, uid: u32) -> Option<Entry> {
        self.entry(self.find(uid)?)
    }

    /// The same for callers who ask in ascending order: `at` is where the last answer was, 0 at first.
    pub fn get_next(&self, at: &mut usize, uid: u32) -> Option<Entry> {
        match self.entry(*at) {
            Some(entry) if entry.uid == uid => {
                *at += 1;
                return Some(entry);
            }
            // Not here yet: the one asked for before was no member.
            Some(entry) if entry.uid > uid => return self.get(uid),
            _ => {}
        }
        let found = self.find(uid)?;
        *at = found + 1;
        self.entry(found)
    }

    fn find(&self, uid: u32) -> Option<usize> {
        // UIDs ascend, so one is at most as far from the first as its number is; mostly it is just there.
        let first = self.entry(0)?.uid;
        let distance = usize::try_from(uid.checked_sub(first)?).ok()?;
        let there = self.entry(distance).filter(|_| distance < self.len());
        if there.is_some_and(|entry| entry.uid == uid) {
            return Some(distance);
        }
        let (mut low, mut high) = (0, self.len().min(distance));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle)?.uid.cmp(&uid) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// All messages in ascending order of UID.
    #[must_use]
    pub fn iter(&self) -> Entries<'_> {
        Entries {
            cache: self,
            next: 0,
        }
    }
}

impl<'a> IntoIterator for &'a Cache {
    type Item = Entry;
    type IntoIter = Entries<'a>;
    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

/// Iterator over the messages of a [`Cache`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    cache: &'a Cache,
    next: usize,
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.next >= self.cache.len() {
            return None;
        }
        let entry = self.cache.entry(self.next);
        self.next += 1;
        entry
    }

    /// Skipping costs nothing.
    fn nth(&mut self, n: usize) -> Option<Entry> {
        self.next = self.next.saturating_add(n).min(self.cache.len());
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.cache.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Entries<'_> {}
