//! Delayed EXPUNGE: records move from the index to cyrus.expunge.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::judge::image::{Image, word};
use crate::judge::locks;

use super::change::now;
use super::record::{Header, LAYOUT};
use super::session::{Session, lock_reopen, open_rw, read_from_start};

/// \Deleted.
const DELETED: u32 = 4;

impl Session {
    /// Expunges what is flagged \Deleted: header, index, cache tried, expunge locked; expunge
    /// records appended in place; the index rewritten as `.NEW` and renamed; unlock cache, index,
    /// header, expunge. `None` if a POP session has the mailbox.
    ///
    /// # Errors
    /// What the files say; nothing is logged then.
    pub fn expunge(&mut self) -> io::Result<Option<usize>> {
        self.lock_both()?;
        if !locks::attempt(&self.cache)? {
            self.unlock_both()?;
            return Ok(None);
        }
        let old = self.read_header()?;
        let mut keep = Vec::new();
        let mut gone = Vec::new();
        for n in 0..old.exists() {
            let record = self.read_record(&old, n)?;
            if word(&record, 32) & DELETED == 0 {
                keep.push(record);
            } else {
                gone.push(record);
            }
        }
        if gone.is_empty() {
            locks::release(&self.cache)?;
            self.unlock_both()?;
            return Ok(Some(0));
        }
        let mut header = old.clone();
        for record in &mut gone {
            header.count(record, -1);
            header.add(LAYOUT.leaked_cache, 1);
            record[28..32].copy_from_slice(&now().to_be_bytes());
        }
        let (expunge, expunge_header) = self.add_to_expunge(&old, &gone)?;

        let mut bytes = header.0.to_vec();
        bytes.extend(keep.concat());
        self.replace("cyrus.index", &bytes)?;
        for record in &gone {
            self.log.record('X', record)?;
        }
        self.log.header('H', &header)?;
        self.log.header('E', &expunge_header)?;
        locks::release(&self.cache)?;
        self.unlock_both()?;
        locks::release(&expunge)?;
        self.index = open_rw(&self.path("cyrus.index"))?;
        Ok(Some(gone.len()))
    }

    /// Appends the records to cyrus.expunge, made new from the index header if need be, and leaves
    /// it locked.
    fn add_to_expunge(&mut self, index: &Header, gone: &[Vec<u8>]) -> io::Result<(File, Header)> {
        let path = self.path("cyrus.expunge");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        lock_reopen(&mut file, &path)?;
        let bytes = read_from_start(&mut file)?;
        let mut header = if bytes.is_empty() {
            let mut fresh = index.clone();
            for at in [
                LAYOUT.exists,
                LAYOUT.answered,
                LAYOUT.deleted,
                LAYOUT.flagged,
            ] {
                fresh.set(at, 0);
            }
            fresh.set(LAYOUT.leaked_cache, 0);
            fresh.set(LAYOUT.quota, 0);
            fresh.set(LAYOUT.quota + 4, 0);
            let owner = self.index.metadata()?;
            file.set_permissions(owner.permissions())?;
            std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid()))?;
            fresh
        } else {
            if let Err(e) = Image::parse(bytes.clone()) {
                self.log
                    .violation(&format!("cyrus.expunge under its lock is torn: {e}"))?;
            }
            let mut header = [0; 96];
            header.copy_from_slice(bytes.get(..96).ok_or(io::ErrorKind::UnexpectedEof)?);
            Header(header)
        };
        // 2.3 uses the sizes of the index here, whatever the expunge file says.
        let at =
            u64::from(word(&index.0, 12)) + u64::from(header.exists()) * index.record_size() as u64;
        file.write_all_at(&gone.concat(), at)?;
        for record in gone {
            header.count(record, 1);
        }
        header.set(LAYOUT.last_appenddate, now());
        file.write_all_at(&header.0, 0)?;
        file.sync_all()?;
        Ok((file, header))
    }
}
