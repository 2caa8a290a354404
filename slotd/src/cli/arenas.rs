//! How much memory the allocator keeps that nobody uses.
//!
//! glibc gives threads up to eight heaps a processor, and what is free in one of them no thread of
//! another gets. Where hundreds of threads each made an answer of 64 KiB that was sent elsewhere,
//! more than a tenth of what slotd had was such. Two heaps do for work that waits for disks.
#![allow(unsafe_code)] // mallopt(3) has no safe face: one call, below.

/// Before there are threads.
pub(super) fn few() {
    #[cfg(target_env = "gnu")]
    {
        use nix::libc::{M_ARENA_MAX, mallopt};

        // SAFETY: it takes two numbers, and changes no memory that is in use. It cannot fail so
        // that anything but memory was lost.
        let _ = unsafe { mallopt(M_ARENA_MAX, 2) };
    }
}
