//! The store that a command works on, opened as the user to whom it belongs.

use indexfile::exit::Exit;
use indexfile::mailbox::{ConfError, ImapdConf};
use precompute::run_as::{become_owner, directories};

use super::Failure;
use super::args::Where;
use crate::host::{Host, HostError, Options};
use crate::lease::LeaseError;

fn load(at: &Where) -> Result<ImapdConf, Failure> {
    ImapdConf::load(&at.imapd_conf).map_err(|error| {
        let exit = match &error {
            ConfError::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Config,
        };
        Failure::new(exit, error.to_string())
    })
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

pub(super) fn open(at: &Where, options: Options) -> Result<Host, Failure> {
    Host::open(load(at)?, &at.state, options).map_err(|error| {
        let exit = match &error {
            HostError::Io(io) => Exit::of_io(&io.source),
            HostError::Busy { .. } => Exit::Unavailable,
            HostError::Log(_) => Exit::Io,
            HostError::Lease(error) => lease_exit(error),
            HostError::StillRunning(_) | HostError::Mounts(_) => Exit::Config,
        };
        Failure::new(exit, error.to_string())
    })
}

fn lease_exit(error: &LeaseError) -> Exit {
    use std::io::ErrorKind;
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
