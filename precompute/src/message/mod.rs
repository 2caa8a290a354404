//! Hashing the messages of a mailbox, several at a time. The promises are those of
//! [`indexfile::message`].

mod file;
mod hasher;
mod settle;
pub mod single_stat;

pub use file::MessageFile;
pub use hasher::{Admission, Gate, Hasher, NoGate};
pub use indexfile::message::{FileStat, Hashed, MessageError, Spool, Stamp, uid_of};

#[cfg(test)]
mod single_stat_tests;
#[cfg(test)]
mod tests;
