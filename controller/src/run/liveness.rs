//! Whether a mailbox that its master does not find any more was deleted by its owner.
//!
//! A slotd that was started on an empty or on another store finds none of them. So one is gone only
//! if the store is otherwise there: if another mailbox of its partition is. Asks, and changes
//! nothing.

use std::collections::HashMap;
use std::sync::Arc;

use indexfile::mailbox::MailboxName;
use slotd::protocol::{Command, ListRange, Listed as Page, Named, Reply};

use crate::hosts::{Connect, Link};
use crate::journal::Job;
use crate::two_phase::Side;
use parking_lot::Mutex;

/// The last mailbox on each partition that was found there.
#[derive(Debug, Default)]
pub(super) struct Liveness(Mutex<HashMap<String, MailboxName>>);

impl Liveness {
    /// The master has this one.
    pub(super) fn note(&self, job: &Job) {
        if let Some(partition) = &job.partition {
            let mut known = self.0.lock();
            known.insert(partition.clone(), job.name.clone());
        }
    }

    fn of(&self, partition: &str) -> Option<MailboxName> {
        let known = self.0.lock();
        known.get(partition).cloned()
    }

    /// Whether another mailbox of its partition is there.
    pub(super) async fn is_store_there(&self, connect: &Arc<dyn Connect>, job: &Job) -> bool {
        let Some(partition) = &job.partition else {
            return false;
        };
        let named = |mailbox| Named {
            mailbox,
            partition: Some(partition.clone()),
        };
        let mut peer = Link::new(Side::Master, connect);
        if let Some(witness) = self.of(partition).filter(|name| *name != job.name) {
            let status = Command::Status(named(witness));
            if matches!(peer.call(&status).await, Ok(Reply::Ok(_))) {
                return true;
            }
        }
        // What comes after it on its partition, or what comes first of all.
        for after in [Some(named(job.name.clone())), None] {
            let list = Command::List(ListRange {
                after,
                only: Some(partition.clone()),
                max: Some(1),
            });
            let page = match peer.call(&list).await {
                Ok(Reply::Ok(fields)) => Page::from_fields(&fields).ok(),
                _ => None,
            };
            let there = |page: Page| {
                page.partition.eq_ignore_ascii_case(partition)
                    && page.names.iter().any(|name| *name != job.name)
            };
            if page.is_some_and(there) {
                return true;
            }
        }
        false
    }
}
