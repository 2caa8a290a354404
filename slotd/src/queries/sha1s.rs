//! A mailbox's cyrus.sha1s: a piece of it for a peer (`SHA1S`), and all of a peer's.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use indexfile::sha1s::{Cache, FILE_NAME};
use indexfile::{IndexFile, IoContext};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::client::{Addr, Client, ClientError, Timeouts};
use crate::fs::OpenError;
use crate::host::Host;
use crate::protocol::{Code, Named, Sha1sChunk, Sha1sRange};
use crate::refusal::Refusal;
use crate::stage::{LiveFiles, sources};
use crate::store::Place;

/// How long to wait for all of a peer's cyrus.sha1s: it only saves work.
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// More than any mailbox's; a peer that sends more is not believed.
const FETCH_BYTES: u64 = 1 << 30;

/// `SHA1S`.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn sha1s(host: &Host, range: &Sha1sRange) -> Result<Sha1sChunk, Refusal> {
    let place = host.store.find(&range.of)?;
    let path = place.index.path_of(FILE_NAME);
    let file = match place.index.open_file(FILE_NAME, false) {
        Ok(file) => file,
        Err(OpenError::Missing { .. }) => {
            return Err(Refusal::new(
                Code::NoMessage,
                format!("{} does not exist", path.display()),
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let size = file.metadata().io_context("stat", &path)?.len();
    let left = size
        .saturating_sub(range.offset)
        .min(Sha1sChunk::MAX as u64);
    let mut data = vec![0; usize::try_from(left).unwrap_or(0)];
    file.read_exact_at(&mut data, range.offset)
        .io_context("read", &path)?;
    Ok(Sha1sChunk {
        size,
        offset: range.offset,
        data,
    })
}

/// Fetches the peer's cyrus.sha1s if ours is missing and would be of use. Failing is fine. It
/// lies in a file without a name beside the index, not in memory.
#[must_use]
pub fn fetch_sha1s(host: &Host, place: &Place) -> Option<Cache> {
    let peer = host.options.sha1s_from.as_ref()?;
    if place.index.stat(FILE_NAME).ok()?.is_some() {
        return None;
    }
    let live = LiveFiles::without_locks(&host.store, place).ok()?;
    let needs = |file: &IndexFile| sources::needs_guids(file).unwrap_or(false);
    if !live.each().any(needs) {
        return None;
    }
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let mailbox = &place.mailbox;
    let of = Named::new(mailbox.clone());
    let file = match place.index.create_nameless() {
        Ok(Some(file)) => file,
        // Where there are no such files it is kept in memory after all.
        Ok(None) => memfd_create("cyrus.sha1s", MemfdFlags::CLOEXEC)
            .ok()?
            .into(),
        Err(error) => {
            tracing::info!(%mailbox, "no cyrus.sha1s from the peer: {error}");
            return None;
        }
    };
    let fetched = async {
        let limit = tokio::time::timeout(FETCH_LIMIT, fetch(host, peer, of, &file));
        match limit.await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not come within {FETCH_LIMIT:?}")),
        }
    };
    let cache = runtime.block_on(fetched).and_then(|()| {
        let path = Path::new("the peer's cyrus.sha1s");
        Cache::from_file(&file, path).map_err(|error| error.to_string())
    });
    if let Err(error) = &cache {
        tracing::info!(%mailbox, "no cyrus.sha1s from the peer: {error}");
    }
    cache.ok()
}

async fn fetch(host: &Host, peer: &Addr, of: Named, to: &File) -> Result<(), FetchError> {
    let shown = host.options.credentials.as_deref();
    let mut client = Client::connect_as(peer, shown, Timeouts::default()).await?;
    let mut offset = 0;
    loop {
        let of = of.clone();
        let chunk = client.sha1s(Sha1sRange { of, offset }).await?;
        let end = chunk.data.is_empty() || chunk.size > FETCH_BYTES;
        to.write_all_at(&chunk.data, offset)?;
        offset += chunk.data.len() as u64;
        if end || offset >= chunk.size {
            return Ok(());
        }
    }
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Peer(#[from] ClientError),
    #[error("it cannot be kept: {0}")]
    Kept(#[from] std::io::Error),
}
