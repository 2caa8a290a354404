//! SIGTERM to the sessions of users, to each only as the process that was looked at: a number that
//! another process has got meanwhile reaches nobody.
//!
//! An `imapd` that waits for a command ends at once; one at work ends after it. Nothing is left.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::sessions::{Proc, Who};
use super::unseen;
use crate::protocol::{Code, Kicked};
use crate::refusal::Refusal;

pub(super) fn kick(sessions: &Proc) -> Result<Kicked, Refusal> {
    let unknown = |error: &indexfile::IoError| Refusal::new(Code::Io, unseen(error));
    let all = sessions.list().map_err(|error| unknown(&error))?;
    let mut kicked = Kicked::default();
    for who in all {
        let Who::User(facts) = who else { continue };
        match one(sessions, facts.pid) {
            Ok(true) => kicked.kicked.push(facts),
            Ok(false) => {}
            Err(why) => kicked.left.push(format!("process {}: {why}", facts.pid)),
        }
    }
    Ok(kicked)
}

/// Whether it was sent; it may have ended by itself.
fn one(sessions: &Proc, pid: u32) -> Result<bool, String> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let id = id.ok_or("it is no process id")?;
    let handle = match pidfd_open(id, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(false),
        Err(error) => return Err(format!("it cannot be held on to: {error}")),
    };
    // From here on the handle is of one process; if that is looked at only now, it is that one.
    if !matches!(sessions.one(pid), Ok(Some(Who::User(_)))) {
        return Ok(false);
    }
    match sessions.is_of_this_store(pid) {
        Some(true) => {}
        Some(false) => return Err("it has no file of this store open".to_owned()),
        None => return Err("slotd may not look whether it is of this store".to_owned()),
    }
    match pidfd_send_signal(handle, Signal::TERM) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}
