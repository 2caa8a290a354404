//! The list of a Murder, from a server or from a file, brought to where it is compared.
//!
//! A list that is not read to its end is none: an error leaves the kept list as it was, and
//! [`Lists`] do not compare.

use std::path::Path;

use indexfile::exit::Exit;
use jiff::Timestamp;

use super::cache::{CacheError, CacheReader, CacheWriter, Origin};
use super::client::{Client, MurderError};
use super::compare::{CompareError, Lists};
use super::wire::Entry;

/// Entries that are added at once: of hostile ones, 4 MiB.
const BATCH: usize = 500;

/// Why a list could not be brought over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The server.
    #[error(transparent)]
    Server(#[from] MurderError),
    /// The file.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The temporary file of the comparison.
    #[error(transparent)]
    Lists(#[from] CompareError),
}

impl ReadError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Server(error) => error.exit(),
            Self::Cache(error) => error.exit(),
            Self::Lists(error) => error.exit(),
        }
    }
}

/// Reads the whole list of the server, and keeps it in the file `cache` if one is given. How many
/// entries it has.
///
/// # Errors
/// The server, the file, or the temporary file.
pub async fn read_server(
    client: &mut Client,
    lists: &mut Lists,
    cache: Option<&Path>,
) -> Result<u64, ReadError> {
    let origin = Origin {
        source: format!("{} ({})", client.address(), client.banner()),
        time: Timestamp::now(),
    };
    let cache = cache.map(|path| CacheWriter::create(path, &origin));
    let mut cache = cache.transpose()?;
    let mut list = client.list(None).await?;
    let mut batches = Batches::to(lists);
    while let Some(entry) = list.next().await? {
        let entry = without_acl(entry);
        if let Some(cache) = &mut cache {
            cache.add(&entry)?;
        }
        batches.add(entry)?;
    }
    let count = batches.flush()?;
    if let Some(cache) = cache {
        cache.finish()?;
    }
    lists.master_is_whole();
    Ok(count)
}

/// Reads the kept list. Where it is from, which has to be said, and how many entries it has.
///
/// # Errors
/// The file, or the temporary file.
pub fn read_cache(path: &Path, lists: &mut Lists) -> Result<(Origin, u64), ReadError> {
    let mut reader = CacheReader::open(path)?;
    let mut batches = Batches::to(lists);
    while let Some(entry) = reader.next()? {
        batches.add(entry)?;
    }
    let count = batches.flush()?;
    lists.master_is_whole();
    Ok((reader.origin().clone(), count))
}

/// Adds entries of the master's list, many at once.
struct Batches<'a> {
    lists: &'a mut Lists,
    batch: Vec<Entry>,
    count: u64,
}

impl<'a> Batches<'a> {
    fn to(lists: &'a mut Lists) -> Self {
        Self {
            lists,
            batch: Vec::with_capacity(BATCH),
            count: 0,
        }
    }

    fn add(&mut self, entry: Entry) -> Result<(), CompareError> {
        self.count += 1;
        self.batch.push(entry);
        if self.batch.len() == BATCH {
            self.lists.add_master(&self.batch)?;
            self.batch.clear();
        }
        Ok(())
    }

    /// Adds the rest. How many entries there were.
    fn flush(self) -> Result<u64, CompareError> {
        self.lists.add_master(&self.batch)?;
        Ok(self.count)
    }
}

/// Nothing is compared by ACLs, and one may be long.
fn without_acl(mut entry: Entry) -> Entry {
    if let Entry::Mailbox { acl, .. } = &mut entry {
        *acl = Vec::new();
    }
    entry
}
