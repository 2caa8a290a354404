//! The wire: one command a line, one reply a line, for both ends.
//!
//! A line ends in LF or CRLF. A command is at most [`MAX_COMMAND`] bytes long with its end, a reply
//! at most [`MAX_LINE`]. The first word of a reply is `OK`, `NO` or `BAD`. Everything here is pure:
//! bytes in, values out. `docs/protocol.md` is the text a person reads; a [`Command`] formats to
//! exactly what [`Command::parse`] takes.
//!
//! Nothing is kept here, so a crash leaves nothing.

mod answer;
mod answers;
mod args;
mod audit;
mod command;
mod compared;
mod drained;
mod escape;
mod fields;
mod host_status;
mod limits;
mod listed;
mod pass;
mod preflight;
mod reply;
mod requests;
mod role;
mod store_roots;

pub use answers::{
    Committed, Completed, FileState, Found, Greeting, GuidEntry, GuidPage, MailboxFacts, Prepared,
    Rehashed, Revoked, Sha1sChunk, Upgraded, WrongGuid,
};
pub use audit::{Cleaned, Status, Verified};
pub use command::{Command, CommandKind};
pub use compared::{Confirmed, DigestRange, Digests, PartDigest, Standing};
pub use drained::{DrainRequest, HostDrain, HostState, Kicked, SessionFacts, Undrained, Whose};
pub(crate) use escape::visible;
pub use escape::{EscapeError, escape, unescape};
pub use fields::{FieldError, Fields};
pub use host_status::{HostStatus, SyncLogAge};
pub use limits::Limits;
pub use listed::{DuplicateName, Listed, Odd, OddKind};
pub use pass::{PassLimits, PassProgress, PassState, Precompute};
pub use preflight::{FENCE_UP, HostFacts, IndexRoot, RootFacts};
pub use reply::{Code, Reply, ReplyError, fencing_epoch};
pub use requests::{
    Clean, CommandError, Commit, Complete, Find, GuidRange, ListRange, Lock, Named, Prepare,
    Rehash, Repair, Sha1sRange, Upgrade, UuidSource, Verify, Write,
};
pub use role::Role;
pub use store_roots::{RootIdentity, StoreRoots};

/// The longest reply, in bytes, with its line end.
pub const MAX_LINE: usize = 64 * 1024;

/// The longest command, in bytes, with its line end: many times what a mailbox name, escaped, and
/// all other arguments can have. It is kept for each connection that has begun one.
pub const MAX_COMMAND: usize = 8 * 1024;

/// The version of this protocol, as `HELLO` answers it.
pub const PROTOCOL_VERSION: u32 = 1;

/// The index version that `UPGRADE` aims at when none is given.
pub const DEFAULT_VERSION: u32 = 10;

/// Takes the line end off: LF, or CRLF.
#[must_use]
pub fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
