//! Lower priorities: idle ones for the calling thread and those it starts later, and low ones for a
//! piece of work.
//!
//! A module of its own because `ioprio_set` has no safe wrapper. Changes nothing on disk.
#![allow(unsafe_code)] // ioprio_set(2) is reachable through syscall(2) only

use std::cell::Cell;
use std::io;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const IOPRIO_CLASS_IDLE: libc::c_int = 3;
const IOPRIO_CLASS_SHIFT: libc::c_int = 13;

/// Puts this thread, and all that it starts from now on, in the idle I/O class and at nice 19.
///
/// # Errors
/// The system's, from a kernel without I/O priorities.
pub fn idle() -> io::Result<()> {
    // SAFETY: ioprio_set takes three integers and touches no memory of ours; `who` 0 is this
    // thread.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            0,
            IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    rustix::process::nice(19)?;
    Ok(())
}

/// The nice value of [`lower`]: a tenth of the processor time of what else wants it.
const LOWER: i32 = 10;

/// How long [`lower`]ed work keeps a processor that others may wait for. A thread that sleeps for
/// less than a tick, as for each sync, does not preempt one of lower priority when it wakes: Linux
/// lets it wait for the next tick, 4 ms or more.
const TURN: Duration = Duration::from_micros(250);

/// How long it sleeps then, and fifty microseconds more by the kernel's default. A timer that is
/// due at once puts no thread to sleep.
const NAP: Duration = Duration::from_micros(10);

thread_local! {
    /// When the lowered work of this thread last let others go first.
    static GAVE_WAY: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Lets others have the processor now and then, if this thread does [`lower`]ed work: for each
/// step of what takes long. Elsewhere it does nothing.
#[inline]
pub fn give_way() {
    GAVE_WAY.with(|gave_way| {
        if let Some(since) = gave_way.get()
            && since.elapsed() >= TURN
        {
            // To yield would cost a thread of low priority its share.
            thread::sleep(NAP);
            gave_way.set(Some(Instant::now()));
        }
    });
}

/// Does a piece of work at nice 10, and waits for it. It has a thread of its own, as a priority
/// that was lowered cannot be raised again.
///
/// # Errors
/// The system has no thread for it.
pub fn lower<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let lowered = || {
        // Where that fails the work is done as well, and takes more from others.
        let _ = rustix::process::nice(LOWER);
        GAVE_WAY.set(Some(Instant::now()));
        work()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, lowered)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// The I/O class of this thread: 0 none, 1 real time, 2 best effort, 3 idle.
///
/// # Errors
/// The system's.
pub fn io_class() -> io::Result<libc::c_long> {
    // SAFETY: ioprio_get takes two integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result >> IOPRIO_CLASS_SHIFT)
}

#[cfg(test)]
mod tests {
    #[test]
    fn threads_started_after_are_idle_as_well() {
        // In a thread of its own: priorities cannot be raised again.
        let class = std::thread::spawn(|| {
            super::idle().expect("every kernel since 2.6.13 has it");
            let inner = std::thread::spawn(|| super::io_class().expect("as above"));
            (
                super::io_class().expect("as above"),
                inner.join().expect("no panic"),
            )
        });
        assert_eq!(class.join().expect("no panic"), (3, 3));
    }

    /// How often this thread has slept or waited.
    fn waits() -> i64 {
        nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD)
            .expect("a thread has figures")
            .voluntary_context_switches()
    }

    #[test]
    fn lowered_work_gives_way_again_and_again_and_other_work_never() {
        let lowered = super::lower(|| {
            let (before, began) = (waits(), std::time::Instant::now());
            while waits() - before < 5 {
                assert!(began.elapsed().as_secs() < 60, "it keeps the processor");
                super::give_way();
            }
            began.elapsed()
        });
        // Longer where others have the processor.
        assert!(lowered.expect("a thread") >= super::TURN * 5);
        let (before, began) = (waits(), std::time::Instant::now());
        while began.elapsed() < super::TURN * 5 {
            super::give_way();
        }
        assert_eq!(waits() - before, 0);
    }

    #[test]
    fn work_is_done_at_a_lower_priority_and_its_caller_keeps_its_own() {
        let nice = || rustix::process::nice(0).expect("nothing is changed");
        let before = nice();
        let then = super::lower(nice).expect("a thread");
        assert_eq!(then, (before + super::LOWER).min(19));
        assert_eq!(nice(), before);
    }
}
