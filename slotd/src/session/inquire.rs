//! Questions that need no lock: what a mailbox is like, which GUIDs were staged, a piece of its
//! cyrus.sha1s.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use indexfile::sha1s::{Cache, FILE_NAME};
use indexfile::{FileKind, IndexFile, IoContext};
use rustix::fs::{MemfdFlags, memfd_create};

use super::open_unlocked;
use super::{Open, Session};
use crate::client::{Addr, Client, ClientError, Timeouts};
use crate::fs::OpenError;
use crate::protocol::{
    Code, Confirmed, DigestRange, Digests, GuidPage, GuidRange, MailboxFacts, Named, PartDigest,
    Reply, Sha1sChunk, Sha1sRange, Standing, Status,
};
use crate::refusal::Refusal;
use crate::stage::{LEDGER_NAME, Listing, old_name, sources};
use crate::transaction::{Event, State};

/// How long to wait for all of a peer's cyrus.sha1s: it only saves work.
const FETCH_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
/// More than any mailbox's; a peer that sends more is not believed.
const FETCH_BYTES: u64 = 1 << 30;

impl Session {
    pub(super) fn guids(&self, range: GuidRange) -> Result<Reply, Refusal> {
        let listing = self.staged("GUIDS")?;
        let max = range
            .max
            .map_or(GuidPage::MAX, |m| (m as usize).clamp(2, GuidPage::MAX));
        let to = range.to.unwrap_or(u32::MAX);
        let mut page = Vec::new();
        let mut next = None;
        for entry in listing.from(range.from)? {
            let entry = entry?;
            if entry.uid > to {
                break;
            }
            if page.len() == max {
                next = Some(entry.uid);
                break;
            }
            page.push(entry);
        }
        // A UID of both index and expunge must not be torn apart: the next page begins with it.
        page.retain(|e| Some(e.uid) != next);
        Ok(Reply::Ok(
            GuidPage {
                entries: page,
                next,
            }
            .to_fields(),
        ))
    }

    pub(super) fn digests(&self, range: DigestRange) -> Result<Reply, Refusal> {
        let listing = self.staged("DIGESTS")?;
        let digests = listing.digests(range.pieces())?.into_iter();
        let parts = digests.map(|(count, digest)| PartDigest { count, digest });
        let parts = parts.collect();
        Ok(Reply::Ok(Digests { parts }.to_fields()))
    }

    fn staged(&self, question: &str) -> Result<&Listing, Refusal> {
        match &self.open {
            Some(Open {
                locks,
                stage: Some(stage),
                ..
            }) => stage.listing(locks),
            _ => Err(Refusal::new(
                Code::State,
                format!("{question} comes after UPGRADE"),
            )),
        }
    }

    /// Whether the transaction stands. That it was asked is enough to keep it from ending for want
    /// of commands.
    pub(super) fn confirm(&mut self) -> Reply {
        let state = match self.transaction.state() {
            State::Refused => Standing::Refused,
            State::Staged { changed: true } => Standing::Staged,
            State::Staged { changed: false } => Standing::Unchanged,
            State::Held { .. } => Standing::Held,
            // Of these only the first is confirmed.
            State::Locked
            | State::Idle
            | State::Locking
            | State::Staging
            | State::Renaming(_)
            | State::Undoing => Standing::Locked,
        };
        let stage = self.open.as_ref().and_then(|o| o.stage.as_ref());
        let digest = stage.map(|stage| stage.report.digest);
        self.good = Some(Reply::Ok(Confirmed { state, digest }.to_fields()));
        let reply = self.drive(Event::Confirm);
        self.good = None;
        reply
    }

    pub(super) fn sha1s(&self, range: &Sha1sRange) -> Result<Reply, Refusal> {
        let place = self.host.store.find(&range.of)?;
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
        Ok(Reply::Ok(
            Sha1sChunk {
                size,
                offset: range.offset,
                data,
            }
            .to_fields(),
        ))
    }

    /// Fetches the peer's cyrus.sha1s if ours is missing and would be of use. Failing is fine. It
    /// lies in a file without a name beside the index, not in memory.
    pub(super) fn fetch_sha1s(&self, named: &Named) -> Option<Cache> {
        let peer = self.host.options.sha1s_from.clone()?;
        let place = self.host.store.find(named).ok()?;
        if place.index.stat(FILE_NAME).ok()?.is_some() {
            return None;
        }
        let (index, expunge) = open_unlocked(&self.host.store, &place).ok()?;
        let needs = |file: &IndexFile| sources::needs_guids(file).unwrap_or(false);
        if !needs(&index) && !expunge.as_ref().is_some_and(needs) {
            return None;
        }
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let of = Named::new(named.mailbox.clone());
        let file = match place.index.create_nameless() {
            Ok(Some(file)) => file,
            // Where there are no such files it is kept in memory after all.
            Ok(None) => memfd_create("cyrus.sha1s", MemfdFlags::CLOEXEC)
                .ok()?
                .into(),
            Err(error) => {
                tracing::info!(mailbox = %named.mailbox, "no cyrus.sha1s from the peer: {error}");
                return None;
            }
        };
        let fetched = async {
            let limit = tokio::time::timeout(FETCH_LIMIT, fetch(&peer, of, &file));
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
            tracing::info!(mailbox = %named.mailbox, "no cyrus.sha1s from the peer: {error}");
        }
        cache.ok()
    }

    pub(super) fn status(&self, named: &Named) -> Result<Reply, Refusal> {
        let place = self.host.store.find(named)?;
        let uniqueid = sources::uniqueid_of(&place)?;
        let (index, expunge) = open_unlocked(&self.host.store, &place)?;
        let local = sources::open_local(&place, &uniqueid, index.header().uidvalidity());
        let findings = super::audit::findings(&index, expunge.as_ref());
        let uidvalidity = index.header().uidvalidity();
        let (version, exists) = (index.minor_version(), index.num_records());
        let last_uid = index.header().last_uid();
        let of_expunge = expunge
            .as_ref()
            .map(|e| (e.minor_version(), e.num_records()));
        let listing = Listing::of([Some(index), expunge].into_iter().flatten())?;
        let (mut old, mut cached, mut bytes, mut hash_bytes) = (0, 0, 0_u64, 0_u64);
        for entry in listing.from(0)? {
            let entry = entry?;
            bytes = bytes.saturating_add(entry.size);
            if entry.guid.is_old_style() {
                old += 1;
                let known = local.as_ref().and_then(|c| c.get(entry.uid));
                if known.is_some_and(|e| e.size == entry.size) {
                    cached += 1;
                } else {
                    hash_bytes = hash_bytes.saturating_add(entry.size);
                }
            }
        }
        let mut has_old = place.index.stat(LEDGER_NAME)?.is_some();
        for kind in [FileKind::Index, FileKind::Expunge] {
            has_old |= place.directory_of(kind).stat(old_name(kind))?.is_some();
        }
        let owner = place
            .index
            .stat(FileKind::Index.file_name())?
            .map(|s| s.st_uid);
        let own = rustix::process::geteuid().as_raw();
        let keeps_owner = owner.is_none_or(|owner| owner == own) || super::preflight::may_chown();
        let status = Status {
            facts: MailboxFacts {
                mailbox: place.mailbox.clone(),
                partition: place.partition.clone(),
                uniqueid,
                uidvalidity,
                index: version,
                expunge: of_expunge.map(|(version, _)| version),
                exists,
                expunged: of_expunge.map_or(0, |(_, records)| records),
                old: Some(old),
            },
            cached,
            bytes,
            hash_bytes,
            index_bytes: listing.files().fold(0, |sum, f| sum + f.length()),
            last_uid,
            has_old,
            keeps_owner,
            findings,
            digest: listing.summed()?.digester.finish(),
        };
        Ok(Reply::Ok(status.to_fields()))
    }
}

async fn fetch(peer: &Addr, of: Named, to: &File) -> Result<(), FetchError> {
    let mut client = Client::connect(peer, Timeouts::default()).await?;
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
