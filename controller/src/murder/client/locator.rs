//! Where a mailbox went that its backend has no longer: the master is asked once more, during a
//! run, and never under a lock.

use std::sync::Arc;

use indexfile::mailbox::MailboxName;
use tokio::time::Instant;

use super::error::MurderError;
use super::{Client, Patience, Placed, Settings};
use crate::observer::Observer;

/// Asks a mupdate server about single mailboxes. That it is away stops nothing: that is said once,
/// until it is back.
pub struct Locator {
    settings: Settings,
    patience: Patience,
    observer: Arc<dyn Observer>,
    client: Option<Client>,
    /// It is away, and is not tried again before.
    away_until: Option<Instant>,
    warned: bool,
}

impl Locator {
    /// Connects when it is first asked. A server that is away is left alone for the pause of
    /// `patience`, so that a thousand mailboxes do not wait for it one by one.
    #[must_use]
    pub fn new(settings: Settings, patience: Patience, observer: Arc<dyn Observer>) -> Self {
        Self {
            settings,
            patience,
            observer,
            client: None,
            away_until: None,
            warned: false,
        }
    }

    /// Where the server has this mailbox now; `None` if it has none of that name, or is away.
    pub async fn locate(&mut self, name: &MailboxName) -> Option<Placed> {
        if self.away_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let had = self.client.is_some();
        let mut found = self.find(name).await;
        // A connection that was idle for long may have been closed.
        if had && found.as_ref().is_err_and(MurderError::may_pass) {
            found = self.find(name).await;
        }
        match found {
            Ok(found) => {
                self.away_until = None;
                if std::mem::take(&mut self.warned) {
                    self.observer
                        .say(&format!("{}: it answers again", self.settings.address));
                }
                found
            }
            Err(error) => {
                self.away_until = Some(Instant::now() + self.patience.pause);
                if !std::mem::replace(&mut self.warned, true) {
                    self.observer.warn(&format!(
                        "{error}; the run goes on, and a mailbox that moved to another server is \
                         not found again until it answers"
                    ));
                }
                None
            }
        }
    }

    async fn find(&mut self, name: &MailboxName) -> Result<Option<Placed>, MurderError> {
        let client = match &mut self.client {
            Some(client) => client,
            slot => slot.insert(Client::connect(&self.settings).await?),
        };
        let found = client.find(name).await;
        if found.is_err() {
            self.client = None;
        }
        found
    }
}
