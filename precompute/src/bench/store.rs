//! Generated mail stores to measure on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use indexfile::FileKind;
use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::mailbox::HEADER_MAGIC;

/// A whole `cyrus.header`.
pub(crate) fn header() -> Vec<u8> {
    [HEADER_MAGIC, b"\tbench\n\nanyone\tlrs\t\n"].concat()
}

/// A kind of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// 4 KiB each.
    Small,
    /// As real mail is: half below 6 KiB, a few of several hundred; 22 KiB on average.
    Mixed,
    /// 1 MiB each.
    Large,
}

impl Set {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small (4 KiB)",
            Self::Mixed => "mixed (22 KiB)",
            Self::Large => "large (1 MiB)",
        }
    }

    /// Size of the n-th message.
    fn size(self, n: u64) -> usize {
        match self {
            Self::Small => 4 << 10,
            Self::Large => 1 << 20,
            Self::Mixed => {
                let x = mix(n);
                let spread = usize::try_from(x >> 32 & 0xffff).unwrap_or(0);
                match x % 100 {
                    0..50 => 1_500 + spread % 4_500,
                    50..80 => 6_000 + spread % 10_000,
                    80..95 => 16_000 + spread % 44_000,
                    95..99 => 60_000 + spread * 2,
                    _ => 400_000 + spread * 8,
                }
            }
        }
    }

    /// Messages a mailbox.
    fn mailbox(self) -> u32 {
        match self {
            Self::Small | Self::Mixed => 1000,
            Self::Large => 50,
        }
    }
}

/// A fixed, well-spread function of the number of a message.
fn mix(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A store on disk, removed when dropped.
#[derive(Debug)]
pub struct Store {
    /// What kind of mail.
    pub set: Set,
    /// Root of the tree.
    pub root: PathBuf,
    /// All message files.
    pub files: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
    /// How many caches were taken away.
    forgotten: u64,
}

impl Store {
    /// A directory of its own below `dir`.
    fn empty(dir: &Path, set: Set) -> io::Result<Self> {
        static STORES: AtomicU32 = AtomicU32::new(0);
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let root = dir.join(format!("precompute-bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&root)?;
        Ok(Self {
            set,
            root,
            files: Vec::new(),
            bytes: 0,
            forgotten: 0,
        })
    }

    /// As a mail store is: else what is measured first waits for what making it left to be written.
    fn on_disk(self) -> Self {
        rustix::fs::sync();
        self
    }

    /// Makes a store of about `bytes` bytes or `files` files, whichever comes first, below `dir`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn make(dir: &Path, set: Set, bytes: u64, files: usize) -> io::Result<Self> {
        let mut store = Self::empty(dir, set)?;
        let noise: Vec<u8> = (0..(2 << 20) / 8)
            .flat_map(|n| mix(n).to_le_bytes())
            .collect();
        let mut number = 0;
        while store.bytes < bytes && store.files.len() < files {
            let name = format!("user/u{}", store.files.len());
            number = store.mailbox(&name, number, set.mailbox(), |n| {
                let size = set.size(n);
                let from = usize::try_from(mix(n) % 1_000_000).unwrap_or(0);
                noise.get(from..from + size).unwrap_or(&noise)
            })?;
        }
        Ok(store.on_disk())
    }

    /// Makes a store of `mailboxes` times `messages` messages of `size` bytes.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn uniform(dir: &Path, mailboxes: u32, messages: u32, size: usize) -> io::Result<Self> {
        let mut store = Self::empty(dir, Set::Small)?;
        let body = vec![b'm'; size];
        let mut number = 0;
        for i in 0..mailboxes {
            // Two levels, as hashed spools have.
            let name = format!("{}/user/u{i}", i % 256);
            number = store.mailbox(&name, number, messages, |_| &body)?;
            store.files.clear();
        }
        Ok(store.on_disk())
    }

    /// Where caches go that were taken away: on the same file system, out of the tree.
    fn backup_dir(&self) -> PathBuf {
        self.root.with_extension("gone")
    }

    fn mailbox<'a>(
        &mut self,
        name: &str,
        first: u64,
        messages: u32,
        content: impl Fn(u64) -> &'a [u8],
    ) -> io::Result<u64> {
        let dir = self.root.join(name);
        fs::create_dir_all(&dir)?;
        let mut index = IndexBuilder::new(9, FileKind::Index);
        let mut number = first;
        for uid in 1..=messages {
            let bytes = content(number);
            number += 1;
            let path = dir.join(format!("{uid}."));
            fs::write(&path, bytes)?;
            self.files.push(path);
            self.bytes += bytes.len() as u64;
            index = index.record(BuildRecord {
                uid,
                size: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
                ..BuildRecord::default()
            });
        }
        let index = index.to_bytes().map_err(io::Error::other)?;
        fs::write(dir.join("cyrus.index"), index)?;
        fs::write(dir.join("cyrus.header"), header())?;
        Ok(number)
    }

    /// Takes all caches away, but does not remove them before the store goes: ext4 looks, for each
    /// new inode, at every one that was freed in the last minute, which no first run has to do and
    /// which took a tenth of it here.
    ///
    /// # Errors
    /// If one cannot be moved.
    pub fn forget(&mut self) -> io::Result<()> {
        let backup = self.backup_dir();
        fs::create_dir_all(&backup)?;
        let mut stack = vec![self.root.clone()];
        while let Some(dir) = stack.pop() {
            match fs::rename(
                dir.join("cyrus.sha1s"),
                backup.join(self.forgotten.to_string()),
            ) {
                Ok(()) => self.forgotten += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if dir.join("cyrus.index").exists() {
                continue; // these mailboxes have none below them
            }
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    stack.push(entry.path());
                }
            }
        }
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A scratch directory that stays is a nuisance, not a failure.
        let _ = fs::remove_dir_all(&self.root);
        let _ = fs::remove_dir_all(self.backup_dir());
    }
}
