//! `STATUS`: what a mailbox is like, and how much an upgrade of it would have to read.

use indexfile::check::{self, Findings, Severity, check_index, check_mailbox, check_pair};
use indexfile::{FileKind, IndexFile};

use super::preflight::may_chown;
use crate::host::Host;
use crate::protocol::{MailboxFacts, Named, Status};
use crate::refusal::Refusal;
use crate::stage::cutover::is_over;
use crate::stage::{Incarnation, LEDGER_NAME, Listing, LiveFiles, old_name, sources};
use crate::store::Place;

/// `STATUS`.
///
/// # Errors
/// The mailbox, or a file of it, cannot be read.
pub fn status(host: &Host, named: &Named) -> Result<Status, Refusal> {
    let place = host.store.find(named)?;
    let live = LiveFiles::without_locks(&host.store, &place)?;
    let (index, expunge) = (&live.index, live.expunge.as_ref());
    let of = Incarnation::of(&place, index)?;
    let local = sources::open_local(&place, &of);
    let facts = MailboxFacts {
        mailbox: place.mailbox.clone(),
        partition: place.partition.clone(),
        uniqueid: of.uniqueid,
        uidvalidity: of.uidvalidity,
        index: index.minor_version(),
        expunge: expunge.map(IndexFile::minor_version),
        exists: index.num_records(),
        expunged: expunge.map_or(0, IndexFile::num_records),
        old: None,
    };
    let (last_uid, findings) = (index.header().last_uid(), findings(host, &place, &live)?);
    let listing = Listing::of(live.into_each())?;
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
    let keeps_owner = owner.is_none_or(|owner| owner == own) || may_chown();
    Ok(Status {
        facts: MailboxFacts {
            old: Some(old),
            ..facts
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
    })
}

/// What `indexfile check` finds in the two files, as `FILE:CODE`, each once; notes of what is
/// normal left out. Of an index of version 12 or later, which has checksums of them, in
/// cyrus.header and cyrus.cache too.
///
/// # Errors
/// `imapd.conf` knows the mailbox no more.
pub(super) fn findings(
    host: &Host,
    place: &Place,
    live: &LiveFiles,
) -> Result<Vec<String>, Refusal> {
    let mut findings = Findings::new();
    if is_over(live.index.minor_version()) {
        let dirs = host.store.conf().dirs(&place.mailbox, &place.partition)?;
        check_mailbox(&dirs, &check::Options::default(), &mut findings);
    } else {
        for file in live.each() {
            check_index(file, &mut findings);
        }
        if let Some(expunge) = &live.expunge {
            check_pair(&live.index, expunge, &mut findings);
        }
    }
    let named = findings
        .counts()
        .filter(|(code, ..)| code.severity() > Severity::Note)
        .map(|(code, path, _)| {
            let file = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            format!("{file}:{}", code.name())
        })
        .collect();
    Ok(named)
}
