//! Files that no record lists, found by reading the directories of a mailbox.

use std::sync::Arc;

use super::examine;
use super::finding::Code;
use super::look::{Place, Suspect};
use super::mailbox::{Mailbox, Spools};
use super::snapshot::WINDOW;
use super::work::Work;
use crate::hash::lanes::Lanes;
use crate::uid_set::UidSet;

/// The UIDs that a mailbox has records of.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) all: UidSet,
    pub(super) archived: UidSet,
    pub(super) unlinked: UidSet,
}

impl Work<'_> {
    /// Looks for files without a record.
    pub(super) fn strays(
        &self,
        mailbox: &Arc<Mailbox>,
        spools: &Arc<Spools>,
        listed: &Listed,
        lanes: &mut Lanes,
    ) {
        let mut suspects = Vec::new();
        for place in mailbox.places() {
            let Some(spool) = spools.get(place) else {
                continue;
            };
            let result = spool.for_each_name(|uid, _| {
                let right = if listed.archived.contains(uid) {
                    Place::Archive
                } else {
                    Place::Data
                };
                let at_home = listed.all.contains(uid) && mailbox.dir(right) == mailbox.dir(place);
                if at_home || listed.unlinked.contains(uid) {
                    return;
                }
                let Some(seen) = examine::seen_stray(spool, uid, None) else {
                    return;
                };
                suspects.push(Suspect {
                    uid,
                    stray: Some(place),
                    looks: 1,
                    seen,
                });
                if suspects.len() >= WINDOW as usize {
                    self.suspects(mailbox, std::mem::take(&mut suspects), lanes);
                }
            });
            if let Err(errno) = result {
                let code = if errno == rustix::io::Errno::ACCESS {
                    Code::Unreadable
                } else {
                    Code::Io
                };
                self.found(
                    code,
                    mailbox,
                    spool.path(),
                    format!("cannot read the directory: {errno}"),
                );
            }
        }
        self.suspects(mailbox, suspects, lanes);
    }
}
