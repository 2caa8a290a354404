//! Waiting for an open-file-description lock, with a bound, in the kernel's queue.
//!
//! `F_OFD_SETLKW` has no timeout. Polling with `F_OFD_SETLK` starves beside a busy mailbox, because
//! a process that waits in the kernel is woken first. So we wait in the kernel too, and a timer of
//! this very thread interrupts the wait with a signal whose handler does nothing and has no
//! `SA_RESTART`.
//!
//! The signal is SIGURG, which the system ignores by default, so a late one harms nobody.
#![allow(unsafe_code)] // sigaction(2) has no safe face: one call, below.

use std::fs::File;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction,
};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;

use crate::failpoint;

/// How often a wait is interrupted to look at its deadline and at whether anybody still wants the
/// lock. Also covers the race in which the signal comes just before the thread begins to wait.
const TICK: Duration = Duration::from_millis(50);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The lock is held.
    Taken,
    /// The deadline passed.
    TimedOut,
    /// `cancel` was set.
    Cancelled,
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: libc::c_short::try_from(kind).unwrap_or_default(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Takes a write lock on the whole file, which must be open for writing.
///
/// # Errors
/// Anything but that another process holds it.
pub fn lock(file: &File, deadline: Instant, cancel: &AtomicBool) -> io::Result<Wait> {
    failpoint::hit("lock.take")?;
    if try_lock(file)? {
        return Ok(Wait::Taken);
    }
    let Some(_ticker) = Ticker::start(deadline)? else {
        return Ok(Wait::TimedOut);
    };
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Ok(Wait::Cancelled);
        }
        if Instant::now() >= deadline {
            return Ok(Wait::TimedOut);
        }
        match fcntl(file, FcntlArg::F_OFD_SETLKW(&whole_file(libc::F_WRLCK))) {
            Ok(_) => return Ok(Wait::Taken),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes the lock if nobody holds it.
///
/// # Errors
/// Anything but that another process holds it.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives the lock back. Closing the file is not enough: a duplicate of its handle, as readers have,
/// keeps the lock.
///
/// # Errors
/// The system's; there should be none.
pub fn unlock(file: &File) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)))?;
    Ok(())
}

/// Who holds a lock that we do not get: its process, or `None` if it is gone by now or is an
/// open-file-description lock, which has no process.
///
/// # Errors
/// The system's.
pub fn holder(file: &File) -> io::Result<Option<i32>> {
    let mut probe = whole_file(libc::F_WRLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut probe))?;
    let free = i32::from(probe.l_type) == libc::F_UNLCK;
    Ok((!free && probe.l_pid > 0).then_some(probe.l_pid))
}

/// Interrupts this thread's waits every [`TICK`] until dropped.
struct Ticker(#[allow(dead_code)] Timer);

impl Ticker {
    /// `None` if the deadline has passed.
    fn start(deadline: Instant) -> io::Result<Option<Ticker>> {
        install_handler()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let notify = SigevNotify::SigevThreadId {
            signal: Signal::SIGURG,
            thread_id: gettid().as_raw(),
            si_value: 0,
        };
        let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))?;
        let tick = TICK.min(left).max(Duration::from_millis(1));
        timer.set(
            Expiration::Interval(tick.into()),
            TimerSetTimeFlags::empty(),
        )?;
        Ok(Some(Ticker(timer)))
    }
}

extern "C" fn do_nothing(_signal: libc::c_int) {}

fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), Errno>> = OnceLock::new();
    let install = || {
        let action = SigAction::new(
            SigHandler::Handler(do_nothing),
            SaFlags::empty(),
            SigSet::empty(),
        );
        // SAFETY: the handler does nothing, so it is async-signal-safe; the action is valid for the
        // life of the process.
        unsafe { sigaction(Signal::SIGURG, &action) }.map(drop)
    };
    (*INSTALLED.get_or_init(install)).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    fn open(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn file() -> (tempfile::NamedTempFile, File, File) {
        let tmp = tempfile::NamedTempFile::new().unwrap();
        let (a, b) = (open(tmp.path()), open(tmp.path()));
        (tmp, a, b)
    }

    fn soon(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let (_tmp, a, b) = file();
        let never = AtomicBool::new(false);
        assert_eq!(lock(&a, soon(0), &never).unwrap(), Wait::Taken);
        assert_eq!(lock(&b, soon(120), &never).unwrap(), Wait::TimedOut);
        unlock(&a).unwrap();
        assert_eq!(lock(&b, soon(120), &never).unwrap(), Wait::Taken);
    }

    #[test]
    fn a_wait_ends_when_nobody_wants_the_lock_any_more() {
        let (_tmp, a, b) = file();
        let cancel = Arc::new(AtomicBool::new(false));
        assert!(try_lock(&a).unwrap());
        let waiter = std::thread::spawn({
            let cancel = Arc::clone(&cancel);
            move || lock(&b, soon(600_000), &cancel).unwrap()
        });
        cancel.store(true, Ordering::Relaxed);
        assert_eq!(waiter.join().unwrap(), Wait::Cancelled);
    }

    #[test]
    fn a_waiter_gets_the_lock_when_the_holder_lets_go() {
        let (_tmp, a, b) = file();
        assert!(try_lock(&a).unwrap());
        let waiter =
            std::thread::spawn(move || lock(&b, soon(600_000), &AtomicBool::new(false)).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        unlock(&a).unwrap();
        assert_eq!(waiter.join().unwrap(), Wait::Taken);
    }

    #[test]
    fn a_duplicated_handle_does_not_keep_a_lock_that_was_given_back() {
        let (_tmp, a, b) = file();
        assert!(try_lock(&a).unwrap());
        let reader = a.try_clone().unwrap();
        unlock(&a).unwrap();
        drop(a);
        assert!(try_lock(&b).unwrap());
        drop(reader);
    }

    /// Cyrus uses POSIX locks; both kinds must see each other. A child process holds one.
    #[test]
    fn a_posix_lock_of_another_process_is_seen_and_its_holder_named() {
        let (tmp, a, _b) = file();
        let script = "import fcntl,sys; f=open(sys.argv[1],'r+'); fcntl.lockf(f, fcntl.LOCK_EX); \
            print('held', flush=True); sys.stdin.read()";
        let child = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(tmp.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("no python3 here: the end-to-end tests show the same with their own locker");
            return;
        };
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        assert_eq!(line, "held\n");
        assert!(!try_lock(&a).unwrap());
        assert_eq!(holder(&a).unwrap(), i32::try_from(child.id()).ok());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(try_lock(&a).unwrap());
    }
}
