//! Where the list of a Murder comes from, and reads it.

use std::path::PathBuf;

use indexfile::exit::Exit;
use jiff::Timestamp;

use crate::error::RunError;
use crate::murder::client::{Patience, Settings, connect_patiently};
use crate::murder::compare::{CompareError, Lists};
use crate::murder::{read_cache, read_server};
use crate::observer::Observer;
use crate::stop::StopSignal;

/// Where the list of a Murder comes from.
#[derive(Clone)]
pub struct MurderList {
    /// The mupdate server.
    pub settings: Settings,
    /// How long one that is away is waited for.
    pub patience: Patience,
    /// Where the last whole list is kept.
    pub cache: Option<PathBuf>,
    /// That list is used, and the server is not asked.
    pub from_cache: bool,
    /// Backends' own lists, by `servername`: what `ctl_mboxlist -d` prints there.
    pub own: Vec<(String, PathBuf)>,
    /// Servers on which nothing is done, though the list has them.
    pub skipped: Vec<String>,
}

pub(super) fn refused(exit: Exit, text: impl Into<String>) -> RunError {
    RunError::Preflight {
        exit,
        text: text.into(),
    }
}

pub(super) fn of_lists(error: &CompareError) -> RunError {
    refused(error.exit(), error.to_string())
}

/// Reads it to its end.
///
/// # Errors
/// It cannot be read so far.
pub(super) async fn read(
    list: &MurderList,
    lists: &mut Lists,
    observer: &dyn Observer,
    stop: &StopSignal,
) -> Result<(), RunError> {
    let cache = list.cache.as_deref();
    if list.from_cache {
        let Some(path) = cache else {
            return Err(RunError::Config("there is no kept list to use".to_owned()));
        };
        let read = read_cache(path, lists).map_err(|e| refused(e.exit(), e.to_string()))?;
        let (origin, count) = read;
        let origin = origin.sentence(Timestamp::now());
        observer.warn(&format!(
            "the kept list of {count} entries is used: {origin}"
        ));
        return Ok(());
    }
    let client = connect_patiently(&list.settings, list.patience, observer, stop).await;
    let mut client = client.map_err(|e| refused(e.exit(), e.to_string()))?;
    let read = read_server(&mut client, lists, cache).await;
    let count = read.map_err(|e| refused(e.exit(), e.to_string()))?;
    observer.say(&format!("{}: {count} entries", client.address()));
    // The list is whole; how the server takes leave does not matter.
    let _ = client.logout().await;
    Ok(())
}
