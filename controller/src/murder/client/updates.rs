//! Everything, and then every change: the stream after UPDATE.

use super::Client;
use super::connection::{Limit, unexpected};
use super::error::{Fault, MurderError};
use crate::murder::wire::{Command, Entry, Event, Status};

/// A stream of changes. All that can still be said on this connection is NOOP and LOGOUT, so the
/// client is in here.
#[derive(Debug)]
pub struct Updates {
    client: Client,
    tag: String,
    limit: Limit,
    streaming: bool,
}

impl Updates {
    pub(super) fn new(client: Client, tag: String) -> Self {
        let limit = client.connection.long();
        Self {
            client,
            tag,
            limit,
            streaming: false,
        }
    }

    /// The next entry of what there was at the beginning; `None` once all of it has come.
    ///
    /// # Errors
    /// Each [`Fault`].
    pub async fn next(&mut self) -> Result<Option<Entry>, MurderError> {
        const DOING: &str = "UPDATE";
        if self.streaming {
            return Ok(None);
        }
        let event = self.client.event(DOING, self.limit).await?;
        match event {
            Event::Entry { tag, entry } if tag == self.tag => Ok(Some(entry)),
            Event::Done { ref tag, .. } if *tag == self.tag => {
                self.client.ended(DOING, event)?;
                self.streaming = true;
                Ok(None)
            }
            event => Err(self.client.error(unexpected(DOING, &event))),
        }
    }

    /// All changes until now, in their order. Each says what is so with its name now, and the same
    /// may come twice; without the NOOP that this sends a genuine server is up to 5 s late.
    ///
    /// # Errors
    /// Each [`Fault`]; [`Fault::Unread`] before [`Updates::next`] came to its end.
    pub async fn changes(&mut self, mut on: impl FnMut(Entry)) -> Result<(), MurderError> {
        if !self.streaming {
            return Err(self.client.error(Fault::Unread));
        }
        let command = Command::Noop;
        let doing = command.verb();
        let barrier = self.client.begin(&command).await?;
        let limit = self.client.connection.long();
        loop {
            let event = self.client.event(doing, limit).await?;
            match event {
                Event::Entry { tag, entry } if tag == self.tag => on(entry),
                Event::Done { ref tag, .. } if *tag == barrier => {
                    return self.client.ended(doing, event);
                }
                event => return Err(self.client.error(unexpected(doing, &event))),
            }
        }
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// Each [`Fault`].
    pub async fn logout(mut self) -> Result<(), MurderError> {
        let command = Command::Logout;
        let doing = command.verb();
        // What was not read of the stream comes before the end of this.
        let sent = self.client.connection.send(&command).await;
        let tag = sent.map_err(|fault| self.client.error(fault))?;
        let limit = self.client.connection.long();
        loop {
            match self.client.event(doing, limit).await? {
                Event::Done {
                    tag: of,
                    status: Status::Ok,
                    ..
                } if of == tag => return Ok(()),
                Event::Entry { tag: of, .. } | Event::Done { tag: of, .. } if of == self.tag => {}
                event => return Err(self.client.error(unexpected(doing, &event))),
            }
        }
    }
}
