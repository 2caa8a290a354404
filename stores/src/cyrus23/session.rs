//! One mailbox held open by one process: the descriptors, the locks, and the reopen protocol.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Dirs;
use crate::judge::image::{Image, word};
use crate::judge::locks;

use super::log::Log;
use super::record::Header;

/// A mailbox that a server process has open.
pub struct Session {
    pub(super) dirs: Dirs,
    pub(super) header: File,
    pub(super) index: File,
    pub(super) cache: File,
    pub(super) log: Log,
    /// A 2.3.10+ server turns an older index into version 10 when it opens it.
    upgrade_at_open: bool,
    /// What a new message gets at version 10.
    pub guid_mode: GuidMode,
    /// How long it has waited for locks of header and index, all added up; to have it
    /// of one operation, set it to zero before.
    pub waited: Duration,
}

/// Where the GUID of a new message comes from, at version 10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuidMode {
    /// `guid_mode: sha1`
    #[default]
    Sha1,
    /// `guid_mode: off`, the default of 2.3.10 to 2.3.20: NULL.
    Off,
    /// COPY takes it from the record that the session knows of the source.
    Copied([u8; 20]),
}

pub(super) fn open_rw(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// Locks `file` as `lock_reopen` does: when the name meanwhile belongs to another inode, the
/// file was replaced, and the wait starts over on the new one. True if it was reopened.
pub(super) fn lock_reopen(file: &mut File, path: &Path) -> io::Result<bool> {
    let mut reopened = false;
    loop {
        locks::wait(file)?;
        if file.metadata()?.ino() == fs::metadata(path)?.ino() {
            return Ok(reopened);
        }
        *file = open_rw(path)?;
        reopened = true;
    }
}

impl Session {
    /// Opens header, index and cache without a lock, and upgrades an old index where this
    /// imitates such a release.
    ///
    /// # Errors
    /// What the files say.
    pub fn open(dirs: &Dirs, log: &Path, upgrade_at_open: bool) -> io::Result<Self> {
        let mut session = Self {
            header: open_rw(&dirs.file("cyrus.header"))?,
            index: open_rw(&dirs.file("cyrus.index"))?,
            cache: open_rw(&dirs.file("cyrus.cache"))?,
            dirs: dirs.clone(),
            log: Log::append_to(log)?,
            upgrade_at_open,
            guid_mode: GuidMode::default(),
            waited: Duration::ZERO,
        };
        session.upgrade_if_old()?;
        Ok(session)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dirs.file(name)
    }

    pub(super) fn lock_header(&mut self) -> io::Result<()> {
        let path = self.path("cyrus.header");
        let begun = Instant::now();
        lock_reopen(&mut self.header, &path)?;
        self.waited += begun.elapsed();
        Ok(())
    }

    /// Locks the index; when it was replaced meanwhile, index and cache are opened afresh.
    pub(super) fn lock_index(&mut self) -> io::Result<()> {
        let path = self.path("cyrus.index");
        let begun = Instant::now();
        let reopened = lock_reopen(&mut self.index, &path)?;
        self.waited += begun.elapsed();
        if reopened {
            self.cache = open_rw(&self.path("cyrus.cache"))?;
        }
        Ok(())
    }

    /// Header and index, in that order, and a look at what must not be seen under them.
    pub(super) fn lock_both(&mut self) -> io::Result<()> {
        self.lock_header()?;
        self.lock_index()?;
        for name in ["cyrus.index.NEW", "cyrus.expunge.NEW"] {
            if self.path(name).exists() {
                self.log
                    .violation(&format!("{name} while header and index are ours"))?;
            }
        }
        let (index, expunge) = (self.read_header()?, self.path("cyrus.expunge"));
        // No lock is ours on the expunge file yet, so opening and closing it drops none.
        if let Ok(bytes) = fs::read(&expunge)
            && word(&bytes, 8) != index.get(8)
        {
            self.log.violation(&format!(
                "index at version {}, expunge at {}",
                index.get(8),
                word(&bytes, 8)
            ))?;
        }
        Ok(())
    }

    pub(super) fn unlock_index(&self) -> io::Result<()> {
        locks::release(&self.index)
    }

    pub(super) fn unlock_both(&self) -> io::Result<()> {
        locks::release(&self.index)?;
        locks::release(&self.header)
    }

    pub(super) fn read_header(&self) -> io::Result<Header> {
        let mut bytes = [0; 96];
        self.index.read_exact_at(&mut bytes, 0)?;
        Ok(Header(bytes))
    }

    pub(super) fn read_record(&self, header: &Header, n: u32) -> io::Result<Vec<u8>> {
        let mut record = vec![0; header.record_size()];
        self.index.read_exact_at(&mut record, header.offset(n))?;
        Ok(record)
    }

    /// What SELECT and FETCH do: no lock, the name read afresh. Anything but a whole file whose
    /// UIDs ascend is a violation.
    ///
    /// # Errors
    /// What reading or logging says.
    pub fn select_and_fetch(&mut self) -> io::Result<()> {
        let bytes = read_from_start(&mut File::open(self.path("cyrus.index"))?)?;
        let torn = match Image::parse(bytes) {
            Err(e) => Some(e),
            Ok(image) => {
                let uids: Vec<u32> = image.records().map(Image::uid).collect();
                (!uids.is_sorted_by(|a, b| a < b) || uids.first() == Some(&0))
                    .then(|| format!("UIDs out of order: {uids:?}"))
            }
        };
        match torn {
            Some(text) => self
                .log
                .violation(&format!("an unlocked reader saw {text}")),
            None => Ok(()),
        }
    }

    /// What FETCH of one message does: no lock, the record from the index that is open, and the
    /// message. False if that index does not have the UID.
    ///
    /// # Errors
    /// What reading says.
    pub fn fetch(&self, uid: u32) -> io::Result<bool> {
        let there = self.find(&self.read_header()?, uid)?.is_some();
        if there {
            fs::read(self.dirs.data.join(format!("{uid}.")))?;
        }
        Ok(there)
    }

    /// The UIDs in the index that is open.
    ///
    /// # Errors
    /// What reading says, or that the file is torn.
    pub fn uids(&mut self) -> io::Result<Vec<u32>> {
        let image = Image::parse(read_from_start(&mut self.index)?).map_err(io::Error::other)?;
        Ok(image.records().map(Image::uid).collect())
    }

    /// A POP session: the cache locked for as long as `during` takes. False if it is taken.
    ///
    /// # Errors
    /// What locking says.
    pub fn pop(&mut self, during: impl FnOnce()) -> io::Result<bool> {
        if !locks::attempt(&self.cache)? {
            return Ok(false);
        }
        during();
        locks::release(&self.cache)?;
        Ok(true)
    }

    /// The upgrade of 2.3.10 and later at open: index to version 10 with padded UUIDs, then
    /// cyrus.expunge, each `.NEW` + rename, in the order that leaves the known window.
    fn upgrade_if_old(&mut self) -> io::Result<()> {
        if !self.upgrade_at_open || self.read_header()?.get(8) >= 10 {
            return Ok(());
        }
        self.lock_both()?;
        if self.read_header()?.get(8) >= 10 {
            return self.unlock_both();
        }
        if !locks::attempt(&self.cache)? {
            self.unlock_both()?;
            return Err(io::Error::other("Mailbox is locked by POP server"));
        }
        let padded = padded_to_10(&read_from_start(&mut self.index)?)?;
        self.replace("cyrus.index", &padded)?;
        let expunge_path = self.path("cyrus.expunge");
        if expunge_path.exists() {
            let mut expunge = open_rw(&expunge_path)?;
            lock_reopen(&mut expunge, &expunge_path)?;
            let bytes = read_from_start(&mut expunge)?;
            locks::release(&expunge)?;
            if word(&bytes, 8) < 10 {
                self.replace("cyrus.expunge", &padded_to_10(&bytes)?)?;
            }
        }
        self.log.note("U")?;
        locks::release(&self.cache)?;
        self.unlock_both()?;
        self.index = open_rw(&self.path("cyrus.index"))?;
        Ok(())
    }

    /// Writes `NAME.NEW` (over a stale one), fsyncs it and renames it over `NAME`.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let scratch = self.path(&format!("{name}.NEW"));
        fs::write(&scratch, bytes)?;
        fs::set_permissions(&scratch, fs::metadata(self.path(name))?.permissions())?;
        let meta = fs::metadata(self.path(name))?;
        std::os::unix::fs::chown(&scratch, Some(meta.uid()), Some(meta.gid()))?;
        File::open(&scratch)?.sync_all()?;
        fs::rename(scratch, self.path(name))
    }
}

pub(super) fn read_from_start(file: &mut File) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What 2.3.16 makes of a version 9 file: each UUID gets eight zero bytes behind it.
fn padded_to_10(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let image = Image::parse(bytes.to_vec()).map_err(io::Error::other)?;
    let mut header = image.header().to_vec();
    header[8..12].copy_from_slice(&10_u32.to_be_bytes());
    header[16..20].copy_from_slice(&88_u32.to_be_bytes());
    let mut out = header;
    for record in image.records() {
        out.extend_from_slice(&record[..72]);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&record[72..]);
    }
    Ok(out)
}
