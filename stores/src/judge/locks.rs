//! POSIX record locks as Cyrus takes them, and the question "is anything locked?".
//!
//! POSIX locks belong to the process and vanish when it closes any descriptor of the file, so what
//! takes them runs in processes of its own (`t-cyrus23`); [`held`] asks with OFD locks, which
//! conflict with both kinds and can be asked for in any process.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

fn whole_file(kind: libc::c_int) -> io::Result<libc::flock> {
    let narrow = |v: libc::c_int| libc::c_short::try_from(v).map_err(io::Error::other);
    Ok(libc::flock {
        l_type: narrow(kind)?,
        l_whence: narrow(libc::SEEK_SET)?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    })
}

/// `lock_blocking` of Cyrus: waits without bound for the exclusive POSIX lock on the whole file.
///
/// # Errors
/// What fcntl says, but not EINTR.
pub fn wait(file: &impl AsFd) -> io::Result<()> {
    let lock = whole_file(libc::F_WRLCK)?;
    loop {
        match fcntl(file, FcntlArg::F_SETLKW(&lock)) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// `lock_nonblocking` of Cyrus: false if someone else has the lock.
///
/// # Errors
/// What fcntl says, but not that the lock is taken.
pub fn attempt(file: &impl AsFd) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_SETLK(&whole_file(libc::F_WRLCK)?)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// `lock_unlock` of Cyrus.
///
/// # Errors
/// What fcntl says.
pub fn release(file: &impl AsFd) -> io::Result<()> {
    fcntl(file, FcntlArg::F_SETLK(&whole_file(libc::F_UNLCK)?))?;
    Ok(())
}

/// An exclusive OFD lock on the whole file, kept until the returned descriptor closes; `None` if
/// someone else has one, of either kind.
///
/// # Errors
/// What open or fcntl say.
pub fn take_ofd(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().read(true).write(true).open(path)?;
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK)?)) {
        Ok(_) => Ok(Some(file)),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether anyone holds a lock of either kind on the file.
///
/// # Errors
/// What open or fcntl say.
pub fn held(path: &Path) -> io::Result<bool> {
    Ok(take_ofd(path)?.is_none())
}
