//! Reading a `cyrus.sha1s` file.
//!
//! It is read by position, a block at a time (see `source`): none of our programs truncates one,
//! but `cp` may. A block is checked against its checksum each time it is read, so that an entry is
//! as it was written or is not given.

use super::format::{
    self, FORMAT_VERSION, HEADER_CRC_AT, HEADER_LEN, MAGIC, MAX_BLOCK_RECORDS, RECORD_LEN,
    TRAILER_LEN, UNIQUEID_AT,
};
use super::{Entry, FORMAT_VERSION as NEWEST};
use crate::dir::open_named;
use crate::error::{IoContext, IoError};
use crate::header::be32;
use crate::source::Source;
use parking_lot::{Mutex, MutexGuard};
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
    #[error(
        "{} has the unknown cyrus.sha1s format {version} (this program knows {NEWEST})",
        path.display()
    )]
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
    source: Source,
    length: u64,
    path: PathBuf,
    uidvalidity: u32,
    uniqueid: String,
    count: u32,
    block_records: u32,
    /// The first UID of each block.
    firsts: Vec<u32>,
    /// The block that was looked into last.
    last: Mutex<Block>,
}

/// A block in memory.
#[derive(Debug, Default)]
struct Block {
    /// Which; none yet if there are no bytes.
    number: usize,
    /// Its records.
    bytes: Vec<u8>,
}

impl Block {
    fn uid(&self, i: usize) -> Option<u32> {
        be32(&self.bytes, i * RECORD_LEN)
    }

    fn entry(&self, i: usize) -> Option<Entry> {
        let at = i * RECORD_LEN;
        Entry::read_from(self.bytes.get(at..)?)
    }

    /// The entry with this UID.
    fn find(&self, uid: u32) -> Option<Entry> {
        // UIDs ascend, so one is at most as far from the first as its number is; mostly it is just
        // there.
        let distance = usize::try_from(uid.checked_sub(self.uid(0)?)?).ok()?;
        let (mut low, mut high) = (0, self.bytes.len() / RECORD_LEN);
        if distance < high && self.uid(distance) == Some(uid) {
            return self.entry(distance);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.uid(middle)?.cmp(&uid) {
                std::cmp::Ordering::Equal => return self.entry(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

impl Cache {
    /// Opens and checks a file.
    ///
    /// # Errors
    /// [`CacheError`]; a file that is not there is `Io` with the kind `NotFound`.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let file = open_named(path).map_err(IoError::from)?;
        Self::from_file(&file, path)
    }

    /// Checks an open file; `path` is for messages.
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
        let source = Source::of(file, meta.len()).io_context("read", path)?;
        Self::check(source, meta.len(), path)
    }

    /// Checks bytes in memory, such as a file that was fetched; `path` is for messages.
    ///
    /// # Errors
    /// [`CacheError`] but `Io`.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, CacheError> {
        let len = bytes.len() as u64;
        Self::check(Source::Memory(bytes), len, path)
    }

    fn check(source: Source, len: u64, path: &Path) -> Result<Self, CacheError> {
        let damaged = |what: String| CacheError::Damaged {
            path: path.to_path_buf(),
            what,
        };
        let mut header = vec![0; HEADER_LEN];
        let got = source.read(&mut header, 0).io_context("read", path)?;
        header.truncate(got);
        if !header.starts_with(&MAGIC) {
            return Err(CacheError::NotCache {
                path: path.to_path_buf(),
            });
        }
        let word = |at| be32(&header, at).ok_or_else(|| damaged("its header is cut short".into()));
        let (version, flags) = (word(16)?, word(20)?);
        if version != FORMAT_VERSION {
            return Err(CacheError::UnknownVersion {
                path: path.to_path_buf(),
                version,
            });
        }
        if word(HEADER_CRC_AT)? != crc32fast::hash(&header[..HEADER_CRC_AT]) {
            return Err(damaged("the checksum of its header is wrong".into()));
        }
        let (uidvalidity, count, block_records) = (word(24)?, word(28)?, word(32)?);
        let id_len = word(36)? as usize;
        let (id, pad) = header[UNIQUEID_AT..HEADER_CRC_AT]
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
        if block_records > MAX_BLOCK_RECORDS {
            return Err(damaged(format!(
                "it has {block_records} records a block, more than {MAX_BLOCK_RECORDS}"
            )));
        }
        if format::file_len(count, block_records) != Some(len) {
            return Err(damaged(format!(
                "{count} records do not fit its length of {len} bytes"
            )));
        }
        let mut cache = Self {
            source,
            length: len,
            path: path.to_path_buf(),
            uidvalidity,
            uniqueid,
            count,
            block_records,
            firsts: Vec::new(),
            last: Mutex::default(),
        };
        cache.check_blocks(&header)?;
        Ok(cache)
    }

    fn check_blocks(&mut self, header: &[u8]) -> Result<(), CacheError> {
        let mut digest = Sha1::new();
        digest.update(header);
        let mut previous = 0;
        let mut block = Block::default();
        let blocks = self.len().div_ceil(self.block_records as usize);
        let mut firsts = Vec::with_capacity(blocks);
        for number in 0..blocks {
            let crc = self.read_block(number, &mut block)?;
            digest.update(&block.bytes);
            digest.update(crc);
            firsts.extend(block.uid(0));
            for record in block.bytes.chunks_exact(RECORD_LEN) {
                let uid = be32(record, 0).unwrap_or(0);
                if uid <= previous {
                    return Err(self.damaged(format!("UID {uid} follows UID {previous}")));
                }
                previous = uid;
            }
        }
        let mut trailer = [0; TRAILER_LEN];
        self.fill(&mut trailer, self.length - TRAILER_LEN as u64)?;
        if digest.finalize()[..] != trailer {
            return Err(self.damaged("its digest is wrong".into()));
        }
        self.firsts = firsts;
        Ok(())
    }

    fn damaged(&self, what: String) -> CacheError {
        CacheError::Damaged {
            path: self.path.clone(),
            what,
        }
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), CacheError> {
        let got = self.source.read(buffer, offset);
        let got = got.io_context("read", &self.path)?;
        if got < buffer.len() {
            return Err(self.damaged("it became shorter while it was read".into()));
        }
        Ok(())
    }

    /// Reads a block and compares its checksum, which it returns.
    fn read_block(&self, number: usize, block: &mut Block) -> Result<[u8; 4], CacheError> {
        let size = self.block_records as usize;
        let records = size.min(self.len().saturating_sub(number * size));
        let len = records * RECORD_LEN;
        let at = HEADER_LEN + number * (size * RECORD_LEN + 4);
        block.bytes.resize(len + 4, 0);
        block.number = number;
        let read = self.fill(&mut block.bytes, at as u64);
        let crc = be32(&block.bytes, len);
        block.bytes.truncate(len);
        if let Err(error) = read {
            block.bytes.clear();
            return Err(error);
        }
        if let Some(crc) = crc.filter(|crc| *crc == crc32fast::hash(&block.bytes)) {
            return Ok(crc.to_be_bytes());
        }
        block.bytes.clear();
        Err(self.damaged(format!("the checksum of block {} is wrong", number + 1)))
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

    /// The block of this number, from memory if it was looked into last.
    fn block(&self, number: usize) -> Result<MutexGuard<'_, Block>, CacheError> {
        let mut last = self.last.lock();
        if last.number != number || last.bytes.is_empty() {
            self.read_block(number, &mut last)?;
        }
        Ok(last)
    }

    /// The message with this UID. In ascending order each block is read once.
    ///
    /// # Errors
    /// [`CacheError::Damaged`] if the file was changed in place since it was opened, or `Io`.
    pub fn find(&self, uid: u32) -> Result<Option<Entry>, CacheError> {
        let behind = self.firsts.partition_point(|&first| first <= uid);
        let Some(number) = behind.checked_sub(1) else {
            return Ok(None);
        };
        Ok(self.block(number)?.find(uid))
    }

    /// The same for those to whom an entry that can no longer be read is as good as none.
    #[must_use]
    pub fn get(&self, uid: u32) -> Option<Entry> {
        self.find(uid).ok().flatten()
    }

    /// All messages in ascending order of UID. An error is the last item.
    #[must_use]
    pub fn iter(&self) -> Entries<'_> {
        Entries {
            cache: self,
            next: 0,
            block: Block::default(),
        }
    }
}

impl<'a> IntoIterator for &'a Cache {
    type Item = Result<Entry, CacheError>;
    type IntoIter = Entries<'a>;
    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

/// Iterator over the messages of a [`Cache`].
#[derive(Debug)]
pub struct Entries<'a> {
    cache: &'a Cache,
    next: usize,
    block: Block,
}

impl Entries<'_> {
    fn entry(&mut self, i: usize) -> Result<Option<Entry>, CacheError> {
        let size = self.cache.block_records as usize;
        let number = i / size;
        if self.block.number != number || self.block.bytes.is_empty() {
            self.cache.read_block(number, &mut self.block)?;
        }
        Ok(self.block.entry(i % size))
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, CacheError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.cache.len() {
            return None;
        }
        let entry = self.entry(self.next).transpose()?;
        self.next = match entry {
            Ok(_) => self.next + 1,
            Err(_) => self.cache.len(),
        };
        Some(entry)
    }

    /// Skipping costs nothing.
    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.next = self.next.saturating_add(n).min(self.cache.len());
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.cache.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Entries<'_> {}
