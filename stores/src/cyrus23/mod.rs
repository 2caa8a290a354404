//! An imitation of Cyrus 2.3 that changes mailboxes the way the real server does.
//!
//! Same POSIX locks in the same order, same reopen protocol, same in-place writes of records and
//! header, same `.NEW` and rename for expunge and keywords. It reads `start_offset` and
//! `record_size` from the file under its lock, as 2.3 does, so it works on versions 9 and 10.
//!
//! POSIX locks are per process: run it only in processes of its own (the tests' `t-cyrus23`, the
//! clients of `controller bench live`), one session of one mailbox at a time, and open no second
//! descriptor of a file that is locked.
//!
//! It logs every record and header it wrote ([`log`]), under the lock it wrote them, so that the
//! order of the log is the order of the changes; and it looks, unlocked and locked, for what must
//! never be seen ([`session`], lines `V`).
//!
//! A crash in it leaves what a crash of Cyrus leaves: perhaps bytes beyond the last record.

pub mod agent;
pub mod change;
pub mod expunge;
pub mod log;
pub mod record;
pub mod session;
