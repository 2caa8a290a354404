//! The GUIDs of a mailbox against its messages, all of them: one that is not the SHA-1 of its
//! message makes a later Cyrus unlink an expunged message.

use std::sync::atomic::AtomicBool;

use super::inputs::Gathered;
use crate::protocol::{Code, Rehash, Upgrade};
use crate::refusal::Refusal;
use crate::stage::sources::needs_guids;
use crate::stage::{GUID_VERSION, Identities, Sources};
use crate::store::Place;

/// How the SHA-1s were known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    /// From cyrus.sha1s.
    pub cached: u32,
    /// By reading the messages.
    pub hashed: u32,
}

/// Compares them.
///
/// # Errors
/// One is old-style, or is not the SHA-1 of its message, or has no message.
pub(super) fn compare(
    place: &Place,
    gathered: &Gathered,
    sources: &Sources<'_>,
    cancel: &AtomicBool,
) -> Result<Compared, Refusal> {
    let live = &gathered.live;
    for file in live.each() {
        if needs_guids(file)? {
            let text = format!(
                "{} has GUIDs that are no SHA-1s: upgrade the mailbox to version 10 first",
                file.path().display()
            );
            return Err(Refusal::new(Code::Unsupported, text));
        }
    }
    let want = Upgrade {
        version: GUID_VERSION,
        rehash: Some(Rehash::Report),
        ..Upgrade::default()
    };
    let identities = Identities::find(place, live, want, sources, cancel)?;
    let found = identities.rehashed(live)?.unwrap_or_default();
    if let Some(wrong) = found.list.first() {
        let others = match found.wrong - 1 {
            0 => String::new(),
            n => format!(" (and {n} more are wrong)"),
        };
        let text = format!(
            "UID {} has the GUID {}, and the SHA-1 of its message is {}{others}: \
             `upgrade --rehash=fix` first",
            wrong.uid, wrong.has, wrong.is
        );
        return Err(Refusal::new(Code::Damaged, text));
    }
    if found.gone > 0 {
        let text = format!(
            "{} expunged messages have no file, so that nobody knows what their GUIDs are of: have \
             cyr_expire remove them first",
            found.gone
        );
        return Err(Refusal::new(Code::NoMessage, text));
    }
    Ok(Compared {
        cached: identities.cached,
        hashed: identities.hashed,
    })
}
