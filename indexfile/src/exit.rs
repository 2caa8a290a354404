//! The exit codes that all binaries of this workspace share.
//!
//! The numbers are those of `sysexits.h` where it has one that fits.

use std::process::ExitCode;

/// Why a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// All done.
    Ok = 0,
    /// The command line cannot be understood.
    Usage = 64,
    /// A file is damaged or not what it should be, or a check found something.
    Data = 65,
    /// No such mailbox.
    NoMailbox = 67,
    /// A slotd or another needed service cannot be reached.
    Unavailable = 69,
    /// In doubt: master and replica may differ and this tool could not heal it.
    InDoubt = 70,
    /// I/O error.
    Io = 74,
    /// Some mailboxes were rolled back and are as before; try again later.
    RolledBack = 75,
    /// Not permitted.
    Denied = 77,
    /// Configuration.
    Config = 78,
}

impl Exit {
    /// The number the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The exit code that fits an I/O error: 77 when permission is missing, 65 when something is
    /// not what it should be (a fifo in the place of a file), else 74.
    #[must_use]
    pub fn of_io(source: &std::io::Error) -> Self {
        match source.kind() {
            _ if crate::dir::is_odd(source) => Self::Data,
            std::io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Io,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
