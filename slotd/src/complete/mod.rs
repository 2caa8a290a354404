//! `COMPLETE` and `REVOKE`: the file `cutover-complete`, by which the operator's start script sees
//! that a new server may start.
//!
//! It is made only when every mailbox of the store was looked at by a walk of its own, whatever
//! list a controller has, and removed, on stable storage, before any mailbox is changed to version
//! 12 or later, or back. It is made in two steps, so that both hosts of a pair can be asked before
//! either has it. A crash leaves it or not; where it is, it is true.

pub(crate) mod file;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use indexfile::mailbox::MailboxName;
use indexfile::{FileKind, IndexFile};

use file::Since;
pub use file::{CompleteFile, FILE_NAME};

use crate::host::Host;
use crate::protocol::{Code, Complete, Completed, ListRange, Listed, Named, OddKind, Revoked};
use crate::queries::{self, BadRoots};
use crate::refusal::Refusal;
use crate::stage::cutover::is_over;

/// `REVOKE`: the store is not called complete any more.
///
/// # Errors
/// The file cannot be removed, or it is not known whether that is on stable storage.
pub fn revoke(host: &Host) -> Result<Revoked, Refusal> {
    Ok(Revoked {
        removed: host.complete.remove()?,
        file: host.complete.path()?.to_string_lossy().into_owned(),
    })
}

/// What a dry run has found complete, on one connection.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    want: Complete,
    since: Since,
}

/// `COMPLETE`: looks at every mailbox of the store, and writes the file if all are changed over and
/// `seen` says that a dry run of this connection found the same. After a dry run gives what was
/// seen.
///
/// A command that was delayed cannot call complete what was revoked since it was sent.
///
/// # Errors
/// A mailbox is not changed over, or cannot be looked at; a rename is unsettled; there are not as
/// many as were verified; a server runs; or no dry run came before, or a change since. What said
/// that the store is complete is removed then, but by a dry run, or for want of one.
pub fn complete(
    host: &Host,
    want: &Complete,
    seen: Option<Seen>,
    cancel: &AtomicBool,
) -> Result<(Completed, Option<Seen>), Refusal> {
    let since = match seen {
        _ if want.dry_run => host.complete.since_now(),
        Some(seen) if seen.want.mailboxes == want.mailboxes => seen.since,
        _ => {
            let text = "COMPLETE comes after the same with dry_run=1 on this connection";
            return Err(Refusal::new(Code::State, text));
        }
    };
    let looked = look(host, want, cancel);
    if looked.is_err() && !want.dry_run {
        host.complete.remove()?;
    }
    let mailboxes = looked?;
    if want.dry_run {
        let file = None;
        let seen = Seen { want: *want, since };
        return Ok((Completed { mailboxes, file }, Some(seen)));
    }
    let record = serde_json::json!({
        "version": want.version, "mailboxes": mailboxes, "host_id": host.host_id, "time": now(),
    });
    host.complete.write(since, &record.to_string())?;
    let file = host.complete.path()?.to_string_lossy().into_owned();
    let file = Some(file);
    Ok((Completed { mailboxes, file }, None))
}

/// Looks at the whole store; gives the number of its mailboxes.
fn look(host: &Host, want: &Complete, cancel: &AtomicBool) -> Result<u32, Refusal> {
    host.served.check_fence()?;
    settled(host)?;
    let mut mailboxes = 0_u32;
    let (mut walker, mut range) = (None, ListRange::default());
    loop {
        let page = queries::page(&host.store, &mut walker, &range, BadRoots::Refused)?;
        check_page(&page)?;
        for mailbox in &page.names {
            if cancel.load(Ordering::Relaxed) {
                return Err(Refusal::new(Code::Expired, "COMPLETE was cut short"));
            }
            check_mailbox(host, mailbox, &page.partition)?;
            mailboxes += 1;
        }
        if page.next.is_none() {
            break;
        }
        range.after = page.next;
    }
    if mailboxes != want.mailboxes {
        let text = format!(
            "this store has {mailboxes} mailboxes, and {} were verified",
            want.mailboxes
        );
        return Err(Refusal::new(Code::State, text));
    }
    // Nobody came meanwhile.
    host.served.check_fence()?;
    settled(host)?;
    Ok(mailboxes)
}

/// No crash left anything that is not settled.
fn settled(host: &Host) -> Result<(), Refusal> {
    if let Some(intent) = host.log.open_intents().first() {
        let text = format!(
            "a rename of mailbox {} is not settled: LOCK settles it",
            intent.mailbox
        );
        return Err(Refusal::new(Code::State, text));
    }
    if host.log.unreadable().next().is_some() {
        let text = "the intent log has records that cannot be read";
        return Err(Refusal::new(Code::State, text));
    }
    Ok(())
}

/// What a walk met that may be a mailbox and is not listed.
fn check_page(page: &Listed) -> Result<(), Refusal> {
    let no_mailbox = |kind| matches!(kind, OddKind::Remains | OddKind::LostAndFound);
    let named = page.odd_list.iter().find(|odd| !no_mailbox(odd.kind));
    if let Some(odd) = named {
        return Err(Refusal::new(Code::Incomplete, odd.to_string()));
    }
    if page.odd > page.odd_list.len() as u64 {
        let text = format!(
            "{} directories may be mailboxes and are not listed",
            page.odd
        );
        return Err(Refusal::new(Code::Incomplete, text));
    }
    if let Some(twice) = page.twice.first() {
        let text = format!("mailbox {} is on several partitions", twice.mailbox);
        return Err(Refusal::new(Code::TwoPlaces, text));
    }
    Ok(())
}

fn check_mailbox(host: &Host, mailbox: &MailboxName, partition: &str) -> Result<(), Refusal> {
    let place = host.store.find(&Named {
        mailbox: mailbox.clone(),
        partition: Some(partition.to_owned()),
    })?;
    let name = FileKind::Index.file_name();
    let path = place.index.path_of(name);
    let file = place.index.open_file(name, false)?;
    let index = IndexFile::from_file_unverified(&file, &path, FileKind::Index)?;
    let version = index.minor_version();
    if !is_over(version) {
        let text = format!("{} has version {version}", path.display());
        return Err(Refusal::new(Code::State, text));
    }
    let name = FileKind::Expunge.file_name();
    if place.expunge.stat(name)?.is_some() {
        let path = place.expunge.path_of(name);
        let text = format!(
            "{} lies beside an index of version {version}",
            path.display()
        );
        return Err(Refusal::new(Code::State, text));
    }
    Ok(())
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
