//! APPEND, STORE and a new keyword: the changes made in place.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::judge::image::{Image, long, sha1_of, word};
use crate::judge::locks;

use super::record::{Header, LAYOUT, modseq_at};
use super::session::{GuidMode, Session, open_rw, read_from_start};

/// Seconds since 1970.
pub(super) fn now() -> u32 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

impl Session {
    /// Delivers a message: header and index locked, file written, cache appended without a lock,
    /// index record, then index header, fsync each. Without `uid` it gets the next one.
    ///
    /// # Errors
    /// What the files say; nothing is logged then.
    pub fn append(&mut self, message: &[u8], uid: Option<u32>) -> io::Result<u32> {
        self.lock_both()?;
        let mut header = self.read_header()?;
        let uid = uid.unwrap_or(header.get(LAYOUT.last_uid) + 1);
        if uid <= header.get(LAYOUT.last_uid) {
            self.unlock_both()?; // replication may send it again
            return Ok(uid);
        }
        self.write_message(uid, message)?;
        let cache_offset = u32::try_from(self.cache.metadata()?.len()).map_err(io::Error::other)?;
        self.cache.write_all_at(&[0; 40], u64::from(cache_offset))?; // ten empty items
        self.cache.sync_all()?;

        let guid = match self.guid_mode {
            GuidMode::Sha1 => sha1_of(message),
            GuidMode::Off => [0; 20],
            GuidMode::Copied(guid) => guid,
        };
        let record = new_record(&header, uid, message, cache_offset, guid);
        self.index
            .write_all_at(&record, header.offset(header.exists()))?;
        self.index.sync_all()?;
        header.count(&record, 1);
        header.set(LAYOUT.last_uid, uid);
        header.set(LAYOUT.last_appenddate, now());
        header.add_long(LAYOUT.highestmodseq, 1);
        self.write_header(&header)?;
        self.log.record('A', &record)?;
        self.log.header('H', &header)?;
        self.unlock_both()?;
        Ok(uid)
    }

    fn write_message(&self, uid: u32, message: &[u8]) -> io::Result<()> {
        let path = self.dirs.data.join(format!("{uid}."));
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        file.write_all(message)?;
        file.sync_all()?;
        let owner = std::fs::metadata(&self.dirs.data)?;
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid()))
    }

    /// Sets and clears system flags and sets one user flag of a message: index locked alone,
    /// record and header written in place. False if the UID is not there.
    ///
    /// # Errors
    /// What the files say; nothing is logged then.
    pub fn store(&mut self, uid: u32, system_flags: u32, keyword: Option<u8>) -> io::Result<bool> {
        self.lock_index()?;
        let Some((n, header, record)) = self.flagged(uid, system_flags, keyword)? else {
            self.unlock_index()?;
            return Ok(false);
        };
        self.index.write_all_at(&record, header.offset(n))?;
        self.write_header(&header)?;
        self.log.record('S', &record)?;
        self.log.header('H', &header)?;
        self.unlock_index()?;
        Ok(true)
    }

    /// The same by a whole new index, renamed into place under the index lock alone: so that who
    /// waits for that lock and does not look at the inode again works on a file that is gone. False
    /// if the UID is not there.
    ///
    /// # Errors
    /// What the files say.
    pub fn store_by_rename(&mut self, uid: u32, system_flags: u32) -> io::Result<bool> {
        self.lock_index()?;
        let Some((n, header, record)) = self.flagged(uid, system_flags, None)? else {
            self.unlock_index()?;
            return Ok(false);
        };
        let mut bytes = read_from_start(&mut self.index)?;
        let at = usize::try_from(header.offset(n)).map_err(io::Error::other)?;
        bytes[at..at + record.len()].copy_from_slice(&record);
        bytes[..header.0.len()].copy_from_slice(&header.0);
        // From the rename on somebody else may have the lock of the new file.
        self.log.record('S', &record)?;
        self.log.header('H', &header)?;
        self.replace("cyrus.index", &bytes)?;
        self.unlock_index()?;
        self.index = open_rw(&self.path("cyrus.index"))?;
        Ok(true)
    }

    /// A record's place, and it and the header as they are to be.
    fn flagged(
        &self,
        uid: u32,
        system_flags: u32,
        keyword: Option<u8>,
    ) -> io::Result<Option<(u32, Header, Vec<u8>)>> {
        let mut header = self.read_header()?;
        let Some((n, mut record)) = self.find(&header, uid)? else {
            return Ok(None);
        };
        header.count_flags(word(&record, 32), -1);
        header.count_flags(system_flags, 1);
        header.add_long(LAYOUT.highestmodseq, 1);
        record[28..32].copy_from_slice(&now().to_be_bytes());
        record[32..36].copy_from_slice(&system_flags.to_be_bytes());
        if let Some(bit) = keyword {
            let at = 36 + usize::from(bit / 32) * 4;
            let flags = word(&record, at) | (1 << (bit % 32));
            record[at..at + 4].copy_from_slice(&flags.to_be_bytes());
        }
        let modseq = modseq_at(record.len());
        record[modseq..].copy_from_slice(&long(&header.0, LAYOUT.highestmodseq).to_be_bytes());
        Ok(Some((n, header, record)))
    }

    /// The record of a UID: they ascend in an index, so a search of a few reads finds it, as a
    /// server that has mapped the file does, whatever the mailbox's size.
    pub(super) fn find(&self, header: &Header, uid: u32) -> io::Result<Option<(u32, Vec<u8>)>> {
        let (mut from, mut to) = (0, header.exists());
        while from < to {
            let n = from + (to - from) / 2;
            let record = self.read_record(header, n)?;
            match Image::uid(&record).cmp(&uid) {
                Ordering::Equal => return Ok(Some((n, record))),
                Ordering::Less => from = n + 1,
                Ordering::Greater => to = n,
            }
        }
        Ok(None)
    }

    pub(super) fn write_header(&self, header: &Header) -> io::Result<()> {
        self.index.write_all_at(&header.0, 0)?;
        self.index.sync_all()
    }

    /// Gives the mailbox a new keyword: header locked, `cyrus.header.NEW` written, locked and
    /// renamed. Returns its bit, or `None` if all 128 are taken.
    ///
    /// # Errors
    /// What the files say; nothing is logged then.
    pub fn new_keyword(&mut self, name: &str) -> io::Result<Option<u8>> {
        self.lock_header()?;
        let old = read_from_start(&mut self.header)?;
        let mut lines: Vec<Vec<u8>> = old.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        let Some(flags) = lines.get_mut(4) else {
            locks::release(&self.header)?;
            return Err(io::Error::other("cyrus.header has no line of flags"));
        };
        let taken = flags
            .split(|b| *b == b' ')
            .filter(|w| !w.is_empty())
            .count();
        let bit = u8::try_from(taken).unwrap_or(u8::MAX);
        if bit >= 128 {
            locks::release(&self.header)?;
            return Ok(None);
        }
        flags.extend_from_slice(format!("{name} ").as_bytes());
        let new = lines.join(&b'\n');
        let scratch = self.path("cyrus.header.NEW");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&scratch)?;
        locks::wait(&file)?;
        file.write_all(&new)?;
        let owner = self.header.metadata()?;
        file.set_permissions(owner.permissions())?;
        std::os::unix::fs::chown(&scratch, Some(owner.uid()), Some(owner.gid()))?;
        file.sync_all()?;
        std::fs::rename(&scratch, self.path("cyrus.header"))?;
        self.log
            .note(&format!("K {}", crate::judge::image::hex(&sha1_of(&new))))?;
        self.header = file;
        locks::release(&self.header)?;
        Ok(Some(bit))
    }
}

/// A record as 2.3.9 (UUID of schema 1) or 2.3.16 writes it.
fn new_record(
    header: &Header,
    uid: u32,
    message: &[u8],
    cache_offset: u32,
    guid: [u8; 20],
) -> Vec<u8> {
    let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let head = message
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map_or(size, |at| u32::try_from(at + 4).unwrap_or(u32::MAX));
    let mut record = Vec::with_capacity(header.record_size());
    // uid internaldate sentdate size header_size content_offset cache_offset last_updated
    for word in [uid, now(), now(), size, head, head, cache_offset, now()] {
        record.extend_from_slice(&word.to_be_bytes());
    }
    record.extend_from_slice(&[0; 4 + 16]); // system_flags, user_flags
    record.extend_from_slice(&1_u32.to_be_bytes()); // content_lines
    record.extend_from_slice(&2_u32.to_be_bytes()); // cache_version
    if header.record_size() == 80 {
        record.extend_from_slice(&[1, 7, 0]);
        record.extend_from_slice(&sha1_of(message)[..9]);
    } else {
        record.extend_from_slice(&guid);
    }
    let modseq = long(&header.0, LAYOUT.highestmodseq) + 1;
    record.extend_from_slice(&modseq.to_be_bytes());
    record
}
