//! Message files that were read and wait to be closed, several at a time.
//!
//! A `close` is a tenth of what a small message costs, most of it the way into the kernel and back. Files that were
//! opened one after the other have descriptors in a row, and `close_range` closes such a row at once.
//! Nothing is written, and a crash leaves nothing.
#![allow(unsafe_code)] // close_range(2) is reachable through syscall(2) only

use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};

/// Files that are to be closed; those that are left are when it is dropped.
#[derive(Debug)]
pub(super) struct Spent {
    files: Vec<OwnedFd>,
    most: usize,
}

impl Spent {
    /// None yet; fewer than `most` will ever wait.
    pub(super) fn new(most: usize) -> Self {
        Self {
            files: Vec::with_capacity(most),
            most,
        }
    }

    /// Closes it, soon.
    pub(super) fn add(&mut self, file: OwnedFd) {
        self.files.push(file);
        if self.files.len() >= self.most {
            self.close();
        }
    }

    /// Closes them all.
    pub(super) fn close(&mut self) {
        let mut numbers: Vec<RawFd> = self.files.drain(..).map(OwnedFd::into_raw_fd).collect();
        numbers.sort_unstable();
        for row in numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
            if row.len() < 2 || !close_row(row) {
                for number in row {
                    // SAFETY: it was given up above by its owner, who was in `files`, and has not been closed since.
                    drop(unsafe { OwnedFd::from_raw_fd(*number) });
                }
            }
        }
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        self.close();
    }
}

/// Closes a row of descriptors without a gap; `false` if this kernel cannot (before 5.9) or may not, and none is closed.
fn close_row(row: &[RawFd]) -> bool {
    let (Some(first), Some(last)) = (row.first(), row.last()) else {
        return false;
    };
    // SAFETY: it takes three integers. All descriptors from the first to the last are in `row`, whose owners gave them
    // up to `close`; nobody else uses or closes them.
    unsafe { libc::syscall(libc::SYS_close_range, *first, *last, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read as _};

    /// A pipe tells when its other end is closed, whoever else opens and closes files meanwhile.
    fn pipe() -> (PipeReader, OwnedFd) {
        let (read, write) = std::io::pipe().expect("pipe");
        rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK).expect("non-blocking");
        (read, write.into())
    }

    fn is_closed(mut read: &PipeReader) -> bool {
        read.read(&mut [0]).is_ok_and(|n| n == 0)
    }

    #[test]
    fn all_of_them_are_closed_and_nothing_else() {
        let (reads, writes): (Vec<_>, Vec<_>) = (0..50).map(|_| pipe()).unzip();
        let mut spent = Spent::new(16);
        // In rows and with gaps, in no order.
        let mut kept = Vec::new();
        for (i, write) in writes.into_iter().enumerate().rev() {
            if i % 7 == 3 {
                kept.push((i, write));
            } else {
                spent.add(write);
            }
        }
        drop(spent);
        for (i, read) in reads.iter().enumerate() {
            assert_eq!(is_closed(read), i % 7 != 3, "{i}");
        }
    }

    #[test]
    fn a_row_is_closed_at_once_where_the_kernel_can() {
        // Numbers in a row, made so, far from those that other threads get.
        let (read, write) = pipe();
        let numbers: Vec<RawFd> = (700..708)
            .map(|n| rustix::io::fcntl_dupfd_cloexec(&write, n).expect("room"))
            .map(OwnedFd::into_raw_fd)
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
        drop(write);
        assert!(!is_closed(&read));
        assert!(close_row(&numbers), "Linux 5.9 or later");
        assert!(is_closed(&read));
    }
}
