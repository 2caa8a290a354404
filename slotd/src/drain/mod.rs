//! A host out of service: `DRAIN`, `UNDRAIN`, `KICK`, and `HOST`, which looks.
//!
//! For maintenance of the host: new binaries, partitions to be moved, a reconstruct. Users hear of
//! it by Cyrus's own files, `msg/motd` before and `msg/shutdown` during it: with the latter a Cyrus
//! of any version lets nobody in but administrators, ends sessions, and has LMTP wait.
//!
//! Promises: who drains the host, since when and for what is on stable storage (`drain.json` in the
//! state directory) before a file of ours has its name in `msg`. A file there that slotd did not
//! write is never replaced and never removed. A signal goes only to a process that was seen, just
//! before it, to be a service of this store with the session of a user.
//!
//! A crash leaves the host open or drained, and [`Drain::look`] says which: what counts is the file
//! that Cyrus reads. It may leave the record without the file, which is a drain that has begun, or
//! a new file that nobody reads (`msg/reguid.*`), which the next one replaces.

mod kick;
mod message;
mod record;
mod replication;
mod sessions;

use std::path::{Path, PathBuf};

use indexfile::IoError;
use indexfile::mailbox::ImapdConf;
use parking_lot::Mutex;

use crate::protocol::{Code, DrainRequest, HostDrain, HostState, Kicked, Undrained, Whose};
use crate::refusal::Refusal;
use message::{Found, Message};
use record::Record;
use sessions::Proc;

/// Of one store.
#[derive(Debug)]
pub struct Drain {
    record: PathBuf,
    /// The `configdirectory`.
    dir: Option<PathBuf>,
    sessions: Proc,
    conf: ImapdConf,
    /// One change at a time.
    change: Mutex<()>,
}

impl Drain {
    /// That of the store with this `imapd.conf`, whose record is kept in this directory. `roots`:
    /// of the partitions.
    #[must_use]
    pub fn of(conf: &ImapdConf, state_dir: &Path, roots: &[PathBuf]) -> Drain {
        Drain {
            record: state_dir.join(record::FILE_NAME),
            dir: conf.config_directory().map(Path::to_path_buf),
            sessions: Proc::of(conf, roots),
            conf: conf.clone(),
            change: Mutex::new(()),
        }
    }

    fn dir(&self) -> Result<&Path, Refusal> {
        let none = || Refusal::new(Code::Unsupported, "imapd.conf names no configdirectory");
        self.dir.as_deref().ok_or_else(none)
    }

    fn shutdown(&self) -> Result<Message, Refusal> {
        Ok(Message::shutdown(self.dir()?))
    }

    fn motd(&self) -> Result<Message, Refusal> {
        Ok(Message::motd(self.dir()?))
    }

    /// In which state the host is, who is on it, and what replication has still to send.
    ///
    /// # Errors
    /// The record, or a file in `msg`, cannot be read.
    pub fn look(&self) -> Result<HostDrain, Refusal> {
        let mut found = self.brief()?;
        self.sessions.count(&mut found);
        replication::look(self.dir()?, &self.conf, &mut found)?;
        Ok(found)
    }

    /// The same without sessions and replication.
    ///
    /// # Errors
    /// As of [`Drain::look`].
    pub fn brief(&self) -> Result<HostDrain, Refusal> {
        let record = Record::load(&self.record)?;
        let shutdown = self.shutdown()?.look(record.as_ref())?;
        let motd = self.motd()?.look(record.as_ref())?;
        let state = match (shutdown.whose, &record) {
            (Whose::Foreign, _) => HostState::Shut,
            (Whose::Ours, _) => HostState::Drained,
            (Whose::None, Some(_)) => HostState::Announced,
            (Whose::None, None) => HostState::Open,
        };
        let text = record.as_ref().and_then(|record| match state {
            HostState::Drained => record.shutdown.clone(),
            _ => record.announce.clone(),
        });
        Ok(HostDrain {
            state,
            since: record.as_ref().map(|record| record.since_ms),
            by: record.map(|record| record.by),
            text,
            shutdown: shutdown.whose,
            shutdown_of: shutdown.of,
            motd: motd.whose,
            motd_of: motd.of,
            ..HostDrain::default()
        })
    }

    /// Records who drains the host, and writes `msg/motd`, `msg/shutdown` or both if texts are
    /// given. What is there already and is ours stays.
    ///
    /// # Errors
    /// [`Code::State`] if a file is in the way that is not ours, or somebody else drains the host;
    /// the system's.
    pub fn begin(&self, want: &DrainRequest) -> Result<HostDrain, Refusal> {
        let _change = self.change.lock();
        let known = Record::load(&self.record)?;
        let mut wanted = Vec::new();
        for (message, text) in [
            (self.motd()?, want.announce.as_ref()),
            (self.shutdown()?, want.shutdown.as_ref()),
        ] {
            let found = message.look(known.as_ref())?;
            // Users are kept out by somebody else's file all the same, so not even a record.
            if found.whose == Whose::Foreign && (text.is_some() || message.is_shutdown()) {
                return Err(in_the_way(&message, &found));
            }
            if let Some(text) = text.filter(|_| found.whose == Whose::None) {
                wanted.push((message, text.clone()));
            }
        }
        let mut record = known.clone().unwrap_or_else(|| Record::new(&want.by));
        for (message, text) in &wanted {
            *message.text_of(&mut record) = Some(text.clone());
        }
        if known.as_ref() != Some(&record) {
            record.keep(&self.record)?;
        }
        for (message, _) in &wanted {
            message.put(&record)?;
        }
        self.brief()
    }

    /// Lets users in again: removes `msg/shutdown`, then `msg/motd`, then the record. What is not
    /// ours stays.
    ///
    /// # Errors
    /// The system's; what was not removed is still on record. `msg/shutdown` is somebody else's:
    /// [`Code::State`], once all that is ours is gone.
    pub fn end(&self) -> Result<Undrained, Refusal> {
        let _change = self.change.lock();
        let Some(record) = Record::load(&self.record)? else {
            let found = self.shutdown()?.look(None)?;
            if found.whose == Whose::Foreign {
                return Err(in_the_way(&self.shutdown()?, &found));
            }
            return Ok(Undrained::default());
        };
        let done = Undrained {
            shutdown: self.shutdown()?.remove(&record)?,
            motd: self.motd()?.remove(&record)?,
        };
        Record::remove(&self.record)?;
        let left = self.shutdown()?.look(None)?;
        if left.whose == Whose::Foreign {
            return Err(in_the_way(&self.shutdown()?, &left));
        }
        Ok(done)
    }

    /// Sends SIGTERM to each process with the session of a user.
    ///
    /// # Errors
    /// [`Code::State`] unless the host is drained by slotd: else clients come back at once; or
    /// nobody can tell who is there.
    pub fn kick(&self) -> Result<Kicked, Refusal> {
        let state = self.brief()?.state;
        if state != HostState::Drained {
            let text = format!("the host is {state}: sessions are ended only while it is drained");
            return Err(Refusal::new(Code::State, text));
        }
        kick::kick(&self.sessions)
    }
}

fn in_the_way(message: &Message, found: &Found) -> Refusal {
    let whose = found.of.as_deref().unwrap_or("somebody else");
    let text = format!(
        "{} is there, and slotd did not write it: it is of {whose}; it is left as it is",
        message.path().display()
    );
    Refusal::new(Code::State, text)
}

impl From<record::RecordError> for Refusal {
    fn from(error: record::RecordError) -> Refusal {
        match error {
            record::RecordError::Io(io) => io.into(),
            error @ record::RecordError::Damaged { .. } => {
                Refusal::new(Code::Damaged, error.to_string())
            }
        }
    }
}

/// What a look at the host could not find out.
fn unseen(error: &IoError) -> String {
    format!("who is there is not known: {error}")
}

#[cfg(test)]
mod tests;
