//! `FIND`: where the mailbox with a unique id lies, by a walk of the store.
//!
//! Asked when a mailbox that was decided upon is not under its name any more: its owner may have
//! renamed it. Nothing is changed. An answer takes [`LIMIT`] at most; where the walk stopped, the
//! next one goes on.

use std::time::{Duration, Instant};

use super::list::{BadRoots, Walker, page};
use crate::host::Host;
use crate::protocol::{Code, Find, Found, ListRange, Listed, Named, OddKind};
use crate::refusal::Refusal;
use crate::stage::sources;

/// How long one answer may take, the page of the walk under way not counted.
const LIMIT: Duration = Duration::from_secs(5);
/// Mailboxes of one page of the walk.
const PAGE: u32 = 200;

/// `FIND`. The walk goes on in `walker`; `unseen` is a place that it could not look into.
///
/// # Errors
/// Of a mailbox, or a place, that cannot be read: it could be the one.
pub fn find(
    host: &Host,
    (walker, unseen): (&mut Option<Walker>, &mut Option<String>),
    find: &Find,
) -> Result<Found, Refusal> {
    let began = Instant::now();
    let mut after = find.after.clone();
    if after.is_none() {
        *unseen = None;
    }
    loop {
        let range = ListRange {
            after: after.clone(),
            only: None,
            max: Some(PAGE),
        };
        let page = page(&host.store, walker, &range, BadRoots::Refused)?;
        *unseen = unseen.take().or_else(|| hidden(&page));
        for mailbox in page.names {
            let named = Named {
                mailbox,
                partition: Some(page.partition.clone()),
            };
            // One that cannot be read could be the one.
            let place = match host.store.find(&named) {
                Ok(place) => place,
                Err(refusal) if refusal.code == Code::NoMailbox => continue,
                Err(refusal) => return Err(refusal),
            };
            if sources::uniqueid_of(&place)? == find.uniqueid {
                return Ok(Found::At(named));
            }
        }
        match page.next {
            None if let Some(place) = unseen.take() => {
                return Err(Refusal::new(
                    Code::Damaged,
                    format!(
                        "no mailbox with the unique id {} was found, but {place} could not be \
                         looked into",
                        find.uniqueid
                    ),
                ));
            }
            None => return Ok(Found::Nowhere),
            Some(next) if began.elapsed() > LIMIT => {
                return Ok(Found::NotYet(next));
            }
            Some(next) => after = Some(next),
        }
    }
}

/// A place of which nobody knows whether the mailbox is there.
fn hidden(page: &Listed) -> Option<String> {
    let known = |kind| matches!(kind, OddKind::Remains | OddKind::LostAndFound);
    let named = page.odd_list.iter().find(|odd| !known(odd.kind));
    let more = page.odd > page.odd_list.len() as u64;
    named
        .map(|odd| odd.path.display().to_string())
        .or_else(|| more.then(|| "one of many places that are no mailboxes".to_owned()))
}
