//! `cutover-complete`: the file by which the operator's start script sees that a new server may
//! start.
//!
//! It is in the `configdirectory`. It is made only when every mailbox of the store was looked at by
//! a walk of its own, whatever list a controller has, and removed, on stable storage, before any
//! mailbox is changed to version 12 or later, or back. A crash leaves it or not; where it is, it is
//! true.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use indexfile::mailbox::MailboxName;
use indexfile::{FileKind, IndexFile, IoContext as _, IoError};

use crate::fs::rewrite;
use crate::host::Host;
use crate::protocol::{Code, Complete, Completed, ListRange, Listed, Named, OddKind};
use crate::queries;
use crate::refusal::Refusal;
use crate::stage::cutover::is_over;

/// The file's name.
pub const FILE_NAME: &str = "cutover-complete";

/// Makes the file untrue no more: it is not there afterwards, on stable storage.
///
/// # Errors
/// It cannot be removed.
pub fn revoke(host: &Host) -> Result<(), Refusal> {
    let path = path(host)?;
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(IoError::new("remove", &path, error).into()),
    }
    let dir = path.parent().unwrap_or(&path);
    let sync = || std::fs::File::open(dir)?.sync_all();
    Ok(sync().io_context("sync directory", dir)?)
}

/// `COMPLETE`: looks at every mailbox of the store, and writes the file if all are changed over.
///
/// # Errors
/// One is not, or cannot be looked at; a rename is unsettled; there are not as many as were
/// verified; or a server runs.
pub fn complete(host: &Host, want: &Complete, cancel: &AtomicBool) -> Result<Completed, Refusal> {
    // What it said before is to be proven again.
    revoke(host)?;
    host.served.check_fence()?;
    settled(host)?;
    let mut mailboxes = 0_u32;
    let (mut walker, mut range) = (None, ListRange::default());
    loop {
        let page = queries::page(&host.store, &mut walker, &range)?;
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
    let path = path(host)?;
    let record = serde_json::json!({
        "version": want.version, "mailboxes": mailboxes, "host_id": host.host_id, "time": now(),
    });
    rewrite(&path, |file| {
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        writeln!(file, "{record}")
    })?;
    Ok(Completed {
        mailboxes,
        file: path.to_string_lossy().into_owned(),
    })
}

fn path(host: &Host) -> Result<PathBuf, Refusal> {
    let dir = host.store.conf().config_directory();
    let none = || Refusal::new(Code::Unsupported, "imapd.conf names no configdirectory");
    Ok(dir.ok_or_else(none)?.join(FILE_NAME))
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
