//! `FIND`: where the mailbox with a unique id lies, by a walk of the store.
//!
//! Asked when a mailbox that was decided upon is not under its name any more: its owner may have renamed it. Nothing is
//! changed. An answer takes [`LIMIT`] at most; where the walk stopped, the next one goes on.

use std::time::{Duration, Instant};

use super::Session;
use crate::protocol::{Find, Found, ListRange, Named, Reply};
use crate::refusal::Refusal;
use crate::stage::sources;

/// How long one answer may take, the page of the walk under way not counted.
const LIMIT: Duration = Duration::from_secs(5);
/// Mailboxes of one page of the walk.
const PAGE: u32 = 200;

impl Session {
    pub(super) fn find(&mut self, find: &Find) -> Result<Reply, Refusal> {
        let began = Instant::now();
        let mut after = find.after.clone();
        loop {
            let range = ListRange {
                after: after.clone(),
                max: Some(PAGE),
            };
            let page = self.page(&range)?;
            for mailbox in page.names {
                let named = Named {
                    mailbox,
                    partition: Some(page.partition.clone()),
                };
                // One that cannot be read could be the one.
                let place = match self.host.store.find(&named) {
                    Ok(place) => place,
                    Err(refusal) if refusal.code == crate::protocol::Code::NoMailbox => continue,
                    Err(refusal) => return Err(refusal),
                };
                if sources::uniqueid_of(&place)? == find.uniqueid {
                    return Ok(Reply::Ok(Found::At(named).to_fields()));
                }
            }
            match page.next {
                None => return Ok(Reply::Ok(Found::Nowhere.to_fields())),
                Some(next) if began.elapsed() > LIMIT => {
                    return Ok(Reply::Ok(Found::NotYet(next).to_fields()));
                }
                Some(next) => after = Some(next),
            }
        }
    }
}
