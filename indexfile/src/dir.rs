//! Opening what lies in a mail store: the one way for all programs of this workspace.
//!
//! Promises: a file is opened relative to a directory that was opened beneath its partition's root;
//! no symbolic link leads out of the root, and a file that is one is refused; an open never waits
//! (a fifo), never has an effect on a device; only regular files are given out, and what is read
//! whole has a limit. Each refusal says what lies there, because "no such file" and "no such
//! directory" mean very different things to a mailbox. Nothing is written.

mod error;

use crate::error::{IoContext, IoError};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

pub use error::{OpenError, is_odd, what_is};

/// How long files that are read whole may be, in bytes.
pub mod limit {
    /// `cyrus.header`: a quota root, 128 flag names and a copy of the ACL. An ACL of ten thousand
    /// users has a few hundred KiB, and Cyrus maps all of it at each open.
    pub const HEADER: u64 = 4 << 20;
    /// `imapd.conf` and each file it includes; the longest seen have some hundred KiB.
    pub const CONF: u64 = 4 << 20;
    /// Small files that our own programs write next to a store or in a state directory: identities,
    /// mounts, proofs.
    pub const STATE: u64 = 4 << 20;
}

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// NONBLOCK: a fifo in the place of a file must not make us wait.
const FILE: OFlags = OFlags::CLOEXEC
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

impl Dir {
    /// Opens a directory by its path, following links: for partition roots, which the administrator
    /// names.
    ///
    /// # Errors
    /// It is not there, or is no directory.
    pub fn open_root(path: &Path) -> Result<Self, OpenError> {
        Self::root(path, DIRECTORY)
    }

    /// The same, with a handle that is good as the start of other calls only (`O_PATH`): needs no
    /// permission to read it.
    ///
    /// # Errors
    /// As [`Dir::open_root`].
    pub fn locate_root(path: &Path) -> Result<Self, OpenError> {
        Self::root(path, DIRECTORY | OFlags::PATH)
    }

    fn root(path: &Path, flags: OFlags) -> Result<Self, OpenError> {
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| OpenError::new("open", path.to_path_buf(), e))?;
        Ok(Self {
            fd,
            path: path.to_path_buf(),
        })
    }

    /// Opens a directory beneath this one. No component may lead out of it.
    ///
    /// # Errors
    /// It is not there, is no directory, or is reached through a link out of this directory.
    pub fn open_beneath(&self, sub: &Path) -> Result<Self, OpenError> {
        self.beneath(sub, DIRECTORY)
    }

    /// The same, with a handle that is good as the start of other calls only (`O_PATH`).
    ///
    /// # Errors
    /// As [`Dir::open_beneath`].
    pub fn locate_beneath(&self, sub: &Path) -> Result<Self, OpenError> {
        self.beneath(sub, DIRECTORY | OFlags::PATH)
    }

    fn beneath(&self, sub: &Path, flags: OFlags) -> Result<Self, OpenError> {
        let (path, sub) = if sub.as_os_str().is_empty() {
            (self.path.clone(), Path::new("."))
        } else {
            (self.path.join(sub), sub)
        };
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let fd = match rustix::fs::openat2(&self.fd, sub, flags, Mode::empty(), beneath) {
            // Linux before 5.6, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(sub, flags),
            other => other,
        };
        match fd {
            Ok(fd) => Ok(Self { fd, path }),
            Err(errno) => Err(OpenError::new("open", path, errno)),
        }
    }

    /// The same without openat2: component by component, and no symbolic link at all.
    fn walk(&self, sub: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut fd = rustix::fs::openat(&self.fd, ".", flags, Mode::empty())?;
        for component in sub.components() {
            match component {
                Component::CurDir => {}
                Component::Normal(name) => {
                    // O_DIRECTORY|O_NOFOLLOW says ENOTDIR to a link, which would hide what it is.
                    let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                        return Err(Errno::LOOP);
                    }
                    fd = rustix::fs::openat(&fd, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
                }
                _ => return Err(Errno::XDEV),
            }
        }
        Ok(fd)
    }

    /// The path by which it was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it, for messages.
    #[must_use]
    pub fn path_of(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// What lies under a name now, not following a link; `None` if nothing.
    ///
    /// # Errors
    /// Anything but its absence.
    pub fn stat(&self, name: &str) -> Result<Option<Stat>, IoError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(IoError::new("stat", &self.path_of(name), errno.into())),
        }
    }

    /// Opens an existing regular file; never a link, never a fifo that would block.
    ///
    /// # Errors
    /// It is not there, or is no regular file; then what it is is said.
    pub fn open_file(&self, name: &str, write: bool) -> Result<File, OpenError> {
        open_at(self.as_fd(), &self.path, name, write)
    }

    /// The bytes of a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Dir::open_file`]; [`OpenError::TooLarge`]
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, OpenError> {
        let file = self.open_file(name, false)?;
        read_bounded(&file, &self.path_of(name), limit)
    }

    /// The directory itself.
    ///
    /// # Errors
    /// The system's.
    pub fn stat_self(&self) -> Result<Stat, IoError> {
        rustix::fs::fstat(&self.fd).io_context("stat", &self.path)
    }

    /// Gives away the handle.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// [`Dir::open_file`] for callers with a directory handle of their own; `path` is its path, for
/// messages.
///
/// # Errors
/// As [`Dir::open_file`].
pub fn open_at(
    dir: BorrowedFd<'_>,
    path: &Path,
    name: &str,
    write: bool,
) -> Result<File, OpenError> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | FILE | OFlags::NOFOLLOW;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => regular(File::from(fd), path.join(name)),
        Err(Errno::NOENT) => Err(OpenError::Missing {
            path: path.join(name),
        }),
        Err(errno) => {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
            Err(why(path.join(name), stat.ok(), errno))
        }
    }
}

/// Why a file could not be opened. The system's answer to a socket (ENXIO) is also that of a disk
/// that is gone, and that to a directory differs by the way it was to be opened: so what lies there
/// decides.
fn why(path: PathBuf, found: Option<Stat>, errno: Errno) -> OpenError {
    match found.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Some(FileType::Symlink) => OpenError::Link { path },
        Some(FileType::RegularFile) | None => OpenError::new("open", path, errno),
        Some(kind) => OpenError::NotRegular {
            path,
            what: what_is(kind),
        },
    }
}

/// Opens a file that a person named: through links, if it comes to that, but regular all the same.
///
/// # Errors
/// It is not there, or is no regular file.
pub fn open_named(path: &Path) -> Result<File, OpenError> {
    match rustix::fs::open(path, OFlags::RDONLY | FILE, Mode::empty()) {
        Ok(fd) => regular(File::from(fd), path.to_path_buf()),
        Err(errno) => Err(why(path.to_path_buf(), rustix::fs::stat(path).ok(), errno)),
    }
}

/// The bytes of a file that a person named, of at most `limit`.
///
/// # Errors
/// As [`open_named`]; [`OpenError::TooLarge`]
pub fn read_named(path: &Path, limit: u64) -> Result<Vec<u8>, OpenError> {
    read_bounded(&open_named(path)?, path, limit)
}

/// Where a path that leads to nothing was to lead on: the first of its components that is a
/// symbolic link whose other end is not there, such as on a file system that is not mounted. `None`
/// if there is none, so that nothing was ever made under that path.
#[must_use]
pub fn link_to_nothing(path: &Path) -> Option<PathBuf> {
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    let there = |part: &&&Path| part.symlink_metadata().is_ok();
    let parts = parts.iter().take_while(there);
    let mut dangling = parts.filter(|part| part.is_symlink() && part.metadata().is_err());
    dangling.next().map(|part| part.to_path_buf())
}

/// Opens a file of a store by its path: its last component may not be a link.
///
/// # Errors
/// As [`Dir::open_file`].
pub fn open_in_store(path: &Path) -> Result<File, OpenError> {
    let flags = OFlags::RDONLY | FILE | OFlags::NOFOLLOW;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => regular(File::from(fd), path.to_path_buf()),
        Err(errno) => Err(why(path.to_path_buf(), rustix::fs::lstat(path).ok(), errno)),
    }
}

/// The bytes of a file of a store by its path, of at most `limit`.
///
/// # Errors
/// As [`open_in_store`]; [`OpenError::TooLarge`]
pub fn read_in_store(path: &Path, limit: u64) -> Result<Vec<u8>, OpenError> {
    read_bounded(&open_in_store(path)?, path, limit)
}

fn regular(file: File, path: PathBuf) -> Result<File, OpenError> {
    let stat = rustix::fs::fstat(&file).io_context("stat", &path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(file),
        kind => Err(OpenError::NotRegular {
            path,
            what: what_is(kind),
        }),
    }
}

/// All bytes of an open file of at most `limit`, whatever its size was said to be.
///
/// # Errors
/// It is longer, or the system's; `path` is for the message.
pub fn read_bounded(file: &File, path: &Path, limit: u64) -> Result<Vec<u8>, OpenError> {
    let too_large = |size| OpenError::TooLarge {
        path: path.to_path_buf(),
        size,
        limit,
    };
    let size = file.metadata().io_context("stat", path)?.len();
    if size > limit {
        return Err(too_large(size));
    }
    // One byte more than it has: so its end is seen without another buffer.
    let mut bytes = Vec::with_capacity(usize::try_from(size + 1).unwrap_or(0));
    let got = file
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .io_context("read", path)?;
    if got as u64 > limit {
        return Err(too_large(got as u64));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn store() -> (tempfile::TempDir, Dir) {
        let tmp = tempfile::tempdir().expect("scratch");
        let root = tmp.path().join("part");
        std::fs::create_dir_all(root.join("user/joe")).expect("mkdir");
        std::fs::create_dir_all(tmp.path().join("outside/joe")).expect("mkdir");
        symlink(tmp.path().join("outside"), root.join("out")).expect("link");
        symlink("../outside", root.join("up")).expect("link");
        let dir = Dir::open_root(&root).expect("root");
        (tmp, dir)
    }

    #[test]
    fn a_link_out_of_the_partition_is_not_followed() {
        let (_tmp, dir) = store();
        let walk = |sub: &str| dir.walk(Path::new(sub), DIRECTORY);
        assert!(dir.open_beneath(Path::new("user/joe")).is_ok());
        for sub in ["out/joe", "up/joe", "../outside/joe", "/etc"] {
            let error = dir.open_beneath(Path::new(sub)).expect_err(sub);
            assert!(matches!(error, OpenError::Link { .. }), "{sub}: {error:?}");
            assert!(matches!(walk(sub), Err(Errno::LOOP | Errno::XDEV)), "{sub}");
        }
        let missing = dir.open_beneath(Path::new("user/ann"));
        assert!(matches!(missing, Err(OpenError::Missing { .. })));
        assert!(walk("user/joe").is_ok() && walk(".").is_ok());
    }

    #[test]
    fn what_is_no_regular_file_is_refused_by_name_at_once_and_never_read() {
        let (tmp, dir) = store();
        let part = tmp.path().join("part");
        std::fs::write(part.join("file"), b"x").expect("write");
        symlink("file", part.join("link")).expect("link");
        symlink("/dev/zero", part.join("zero")).expect("link");
        let _socket = std::os::unix::net::UnixListener::bind(part.join("socket")).expect("bind");
        let fifo = rustix::fs::mknodat(&dir, "fifo", FileType::Fifo, Mode::RWXU, 0);
        fifo.expect("mkfifo");
        for write in [false, true] {
            assert!(dir.open_file("file", write).is_ok());
            for name in ["link", "zero"] {
                let error = dir.open_file(name, write).expect_err(name);
                assert!(matches!(error, OpenError::Link { .. }), "{name}: {error:?}");
            }
            for (name, is) in [
                ("fifo", "a fifo"),
                ("user", "a directory"),
                ("socket", "a socket"),
            ] {
                match dir.open_file(name, write).expect_err(name) {
                    OpenError::NotRegular { what, .. } => assert_eq!(what, is),
                    error => panic!("{name}: {error:?}"),
                }
            }
            let none = dir.open_file("none", write);
            assert!(matches!(none, Err(OpenError::Missing { .. })));
        }
        // What a person names may be a link; it is no less regular.
        assert!(open_named(&part.join("link")).is_ok());
        for name in ["zero", "fifo", "user", "socket"] {
            let error = read_named(&part.join(name), 10).expect_err(name);
            assert!(
                matches!(error, OpenError::NotRegular { .. }),
                "{name}: {error:?}"
            );
            assert!(is_odd(&IoError::from(error).source), "{name}");
        }
        assert!(matches!(
            open_in_store(&part.join("link")),
            Err(OpenError::Link { .. })
        ));
    }

    #[test]
    fn a_file_longer_than_its_kind_may_be_is_not_read() {
        let (tmp, dir) = store();
        let path = tmp.path().join("part/cyrus.header");
        std::fs::write(&path, b"12345").expect("write");
        assert_eq!(dir.read("cyrus.header", 5).expect("fits"), b"12345");
        let sparse = std::fs::File::options()
            .write(true)
            .open(&path)
            .expect("open");
        sparse.set_len(3 << 30).expect("grow");
        match dir.read("cyrus.header", limit::HEADER).expect_err("3 GiB") {
            OpenError::TooLarge {
                size, limit: most, ..
            } => assert_eq!((size, most), (3 << 30, limit::HEADER)),
            error => panic!("{error:?}"),
        }
        // A file that says it has no bytes and never ends, as /proc has them, is cut off too.
        let error = read_named(Path::new("/proc/self/maps"), 16).expect_err("longer");
        assert!(matches!(error, OpenError::TooLarge { .. }), "{error:?}");
    }
}
