//! Every call by which this process writes, names or syncs a file, in order, as libc saw it.
//!
//! A test binary that has this module puts its functions in the place of libc's of the same names:
//! each does what libc's does, by the system call, and notes it when the file lies below a root
//! that a test watches. So a sync that is dropped is missing here, whatever the code around it
//! says; and no other program and no privilege is needed.
//!
//! Seen is what goes through libc: the standard library, nix, `SQLite`. The raw system calls of
//! rustix are not; what names or syncs a file must not use them (a test that waits for a rename or
//! a sync which it does not see fails).
#![allow(unsafe_code)] // functions of libc, under libc's names
#![allow(dead_code)] // each test binary uses its part

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::libc::{self, c_char, c_int, c_uint, c_void, off_t, size_t, ssize_t};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Bytes written to a file.
    Write(Vec<u8>),
    /// fsync or fdatasync of a file or a directory.
    Sync,
    /// `path` became `to`.
    Rename,
    /// The file got the name `to`; `path` is an older name, or what the system calls a file without
    /// one.
    Link,
    /// The name `path` was removed.
    Unlink,
}

/// One call that succeeded.
#[derive(Clone, Debug)]
pub struct Event {
    pub op: Op,
    pub path: PathBuf,
    pub to: Option<PathBuf>,
    /// Device and inode of the file.
    pub file: (u64, u64),
}

type Look = Box<dyn FnMut(&Event) + Send>;

struct Watch {
    root: PathBuf,
    events: Vec<Event>,
    look: Option<Look>,
}

static ANY: AtomicBool = AtomicBool::new(false);
static WATCHES: Mutex<Vec<Watch>> = Mutex::new(Vec::new());

thread_local! {
    /// Noting does not note itself.
    static NOTING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn watches() -> MutexGuard<'static, Vec<Watch>> {
    WATCHES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happens below one root, from [`Recorder::of`] on.
pub struct Recorder {
    root: PathBuf,
}

impl Recorder {
    pub fn of(root: &Path) -> Recorder {
        Recorder::with(root, None)
    }

    /// Calls `look` after each call, before its caller goes on.
    pub fn looking(root: &Path, look: impl FnMut(&Event) + Send + 'static) -> Recorder {
        Recorder::with(root, Some(Box::new(look)))
    }

    fn with(root: &Path, look: Option<Look>) -> Recorder {
        let root = root.canonicalize().unwrap();
        watches().push(Watch {
            root: root.clone(),
            events: Vec::new(),
            look,
        });
        ANY.store(true, Ordering::SeqCst);
        Recorder { root }
    }

    /// What happened since the last time this was asked.
    pub fn take(&self) -> Vec<Event> {
        let mut all = watches();
        let mine = all.iter_mut().find(|w| w.root == self.root).unwrap();
        std::mem::take(&mut mine.events)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        watches().retain(|w| w.root != self.root);
    }
}

/// Looks, if anybody watches, and leaves errno as the call left it.
fn note(event: impl FnOnce() -> Option<Event>) {
    if !ANY.load(Ordering::Relaxed) || NOTING.replace(true) {
        return;
    }
    let errno = nix::errno::Errno::last_raw();
    if let Some(event) = event() {
        let mut all = watches();
        for watch in all.iter_mut().filter(|w| event.path.starts_with(&w.root)) {
            if let Some(look) = &mut watch.look {
                look(&event);
            }
            watch.events.push(event.clone());
        }
    }
    nix::errno::Errno::set_raw(errno);
    NOTING.set(false);
}

fn path_of(fd: RawFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

fn file_of(fd: RawFd) -> Option<(u64, u64)> {
    // SAFETY: the caller has the descriptor open for as long as its call lasts, which is not
    // over.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let meta = File::from(fd.try_clone_to_owned().ok()?).metadata().ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The path of a name, and which file is there.
fn at(dir: RawFd, name: *const c_char) -> Option<(PathBuf, Option<(u64, u64)>)> {
    // SAFETY: the caller's argument, a path as libc takes it.
    let name = Path::new(OsStr::from_bytes(
        unsafe { CStr::from_ptr(name) }.to_bytes(),
    ));
    let path = match dir {
        _ if name.is_absolute() => name.to_path_buf(),
        libc::AT_FDCWD => std::env::current_dir().ok()?.join(name),
        dir => path_of(dir)?.join(name),
    };
    let meta = std::fs::symlink_metadata(&path).ok();
    Some((path, meta.map(|m| (m.dev(), m.ino()))))
}

fn note_synced(fd: RawFd) {
    note(|| {
        Some(Event {
            op: Op::Sync,
            path: path_of(fd)?,
            to: None,
            file: file_of(fd)?,
        })
    });
}

fn note_written(fd: RawFd, bytes: *const c_void, len: isize) {
    note(|| {
        let path = path_of(fd).filter(|p| p.is_absolute())?;
        let len = usize::try_from(len).ok()?;
        // SAFETY: the kernel has just read these bytes from there.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
        Some(Event {
            op: Op::Write(bytes.to_vec()),
            path,
            to: None,
            file: file_of(fd)?,
        })
    });
}

/// Notes this many bytes, if it was any, and gives what libc's function does.
fn written(fd: RawFd, bytes: *const c_void, result: libc::c_long) -> ssize_t {
    let result = ssize_t::try_from(result).unwrap_or(-1);
    if result > 0 {
        note_written(fd, bytes, result);
    }
    result
}

fn int(result: libc::c_long) -> c_int {
    c_int::try_from(result).unwrap_or(-1)
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: the system call that libc's function makes, with its arguments.
    let result = unsafe { libc::syscall(libc::SYS_fsync, fd) };
    if result == 0 {
        note_synced(fd);
    }
    int(result)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: as fsync.
    let result = unsafe { libc::syscall(libc::SYS_fdatasync, fd) };
    if result == 0 {
        note_synced(fd);
    }
    int(result)
}

#[unsafe(no_mangle)]
extern "C" fn write(fd: c_int, bytes: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: as fsync.
    written(fd, bytes, unsafe {
        libc::syscall(libc::SYS_write, fd, bytes, len)
    })
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, len: size_t, to: off_t) -> ssize_t {
    // SAFETY: as fsync.
    written(fd, bytes, unsafe {
        libc::syscall(libc::SYS_pwrite64, fd, bytes, len, to)
    })
}

#[unsafe(no_mangle)]
extern "C" fn pwrite(fd: c_int, bytes: *const c_void, len: size_t, to: off_t) -> ssize_t {
    pwrite64(fd, bytes, len, to)
}

fn note_moved(from: Option<(PathBuf, Option<(u64, u64)>)>, dir: RawFd, to: *const c_char) {
    note(|| {
        let (path, file) = from?;
        let (to, _) = at(dir, to)?;
        Some(Event {
            op: Op::Rename,
            path,
            to: Some(to),
            file: file?,
        })
    });
}

#[unsafe(no_mangle)]
extern "C" fn renameat2(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    let source = watched(|| at(from_dir, from));
    // SAFETY: as fsync.
    let result = unsafe { libc::syscall(libc::SYS_renameat2, from_dir, from, to_dir, to, flags) };
    if result == 0 {
        note_moved(source, to_dir, to);
    }
    int(result)
}

#[unsafe(no_mangle)]
extern "C" fn renameat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
) -> c_int {
    renameat2(from_dir, from, to_dir, to, 0)
}

#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    renameat2(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
}

#[unsafe(no_mangle)]
extern "C" fn linkat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
    flags: c_int,
) -> c_int {
    // SAFETY: as fsync.
    let result = unsafe { libc::syscall(libc::SYS_linkat, from_dir, from, to_dir, to, flags) };
    if result == 0 {
        note(|| {
            let (path, _) = at(from_dir, from)?;
            let path = std::fs::read_link(&path).unwrap_or(path);
            let (to, file) = at(to_dir, to)?;
            Some(Event {
                op: Op::Link,
                path,
                to: Some(to),
                file: file?,
            })
        });
    }
    int(result)
}

#[unsafe(no_mangle)]
extern "C" fn unlinkat(dir: c_int, name: *const c_char, flags: c_int) -> c_int {
    let gone = watched(|| at(dir, name));
    // SAFETY: as fsync.
    let result = unsafe { libc::syscall(libc::SYS_unlinkat, dir, name, flags) };
    if result == 0 {
        note(|| {
            let (path, file) = gone?;
            Some(Event {
                op: Op::Unlink,
                path,
                to: None,
                file: file?,
            })
        });
    }
    int(result)
}

#[unsafe(no_mangle)]
extern "C" fn unlink(name: *const c_char) -> c_int {
    unlinkat(libc::AT_FDCWD, name, 0)
}

fn watched<T>(look: impl FnOnce() -> Option<T>) -> Option<T> {
    let active = ANY.load(Ordering::Relaxed) && !NOTING.get();
    if active { look() } else { None }
}
