//! A list as a stream.

use super::Client;
use super::connection::{Limit, unexpected};
use super::error::MurderError;
use crate::murder::wire::{Entry, Event};

/// A list that is being read. What is not read to its end leaves the connection of no use.
#[derive(Debug)]
pub struct Listing<'a> {
    client: &'a mut Client,
    tag: String,
    limit: Limit,
    over: bool,
}

impl<'a> Listing<'a> {
    pub(super) fn new(client: &'a mut Client, tag: String) -> Self {
        let limit = client.connection.long();
        Self {
            client,
            tag,
            limit,
            over: false,
        }
    }

    /// The next entry, as the server has it: its name is not checked. `None` at the end: only then
    /// is the list whole.
    ///
    /// # Errors
    /// Each [`Fault`](super::Fault).
    pub async fn next(&mut self) -> Result<Option<Entry>, MurderError> {
        const DOING: &str = "LIST";
        if self.over {
            return Ok(None);
        }
        let event = self.client.event(DOING, self.limit).await?;
        match event {
            Event::Entry { tag, entry } if tag == self.tag && entry.location().is_some() => {
                Ok(Some(entry))
            }
            Event::Done { ref tag, .. } if *tag == self.tag => {
                self.over = true;
                self.client.ended(DOING, event)?;
                Ok(None)
            }
            event => Err(self.client.error(unexpected(DOING, &event))),
        }
    }
}
