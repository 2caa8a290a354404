//! The store that a command works on, opened as the user to whom it belongs.

use std::io::ErrorKind;
use std::path::Path;

use indexfile::IoError;
use indexfile::exit::Exit;
use indexfile::mailbox::ImapdConf;
use precompute::run_as::{become_owner, directories};

use super::Failure;
use super::args::Where;
use crate::host::{Host, HostError, Options};
use crate::intent::LogError;
use crate::lease::LeaseError;
use crate::mounts::TableError;

fn load(at: &Where) -> Result<ImapdConf, Failure> {
    ImapdConf::load(&at.imapd_conf).map_err(|error| Failure::new(error.exit(), error.to_string()))
}

/// Goes on as the user to whom the store belongs, if root started this and was not asked for.
pub(super) fn leave_root(at: &Where) -> Result<(), Failure> {
    if at.allow_root || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let became = become_owner(&directories(&load(at)?));
    let became = became.map_err(|error| Failure::new(error.exit(), error.to_string()))?;
    if let Some(became) = became {
        eprintln!("slotd: {became}");
    }
    Ok(())
}

/// Refuses a state directory that is not there: `serve` alone makes one, and elsewhere its absence
/// is a path that was mistyped. One that cannot be looked at is not absent.
pub(super) fn state_is_there(state: &Path) -> Result<(), Failure> {
    match std::fs::metadata(state) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let error = IoError::new("look at", state, error);
            Err(Failure::new(Exit::of_io(&error.source), error.to_string()))
        }
        found => {
            let what = if found.is_ok() {
                "is no directory"
            } else {
                "does not exist"
            };
            let text = format!(
                "{} {what}: no slotd ever kept its state there",
                state.display()
            );
            Err(Failure::new(Exit::Config, text))
        }
    }
}

pub(super) fn open(at: &Where, options: Options) -> Result<Host, Failure> {
    Host::open(load(at)?, &at.state, options).map_err(|error| {
        let exit = match &error {
            HostError::Io(io) => Exit::of_io(&io.source),
            HostError::Busy { .. } => Exit::Unavailable,
            HostError::Log(LogError::Io(io)) | HostError::Mounts(TableError::Io(io)) => {
                Exit::of_io(&io.source)
            }
            HostError::Log(_) => Exit::Io,
            HostError::Lease(error) => lease_exit(error),
            HostError::StillRunning(_) | HostError::Mounts(_) => Exit::Config,
        };
        Failure::new(exit, error.to_string())
    })
}

fn lease_exit(error: &LeaseError) -> Exit {
    match error {
        LeaseError::Io(io) => Exit::of_io(&io.source),
        LeaseError::Directory { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            Exit::Denied
        }
        LeaseError::Held { .. } => Exit::Unavailable,
        LeaseError::Damaged { .. } => Exit::Data,
        _ => Exit::Config,
    }
}
