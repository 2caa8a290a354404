//! Locks a mailbox that was decided upon, or that is to be taken back, and no other one of its
//! name.
//!
//! Between the decision and `COMMIT` its owner may rename it, delete it, or make a new one of that
//! name. "No such mailbox" then says nothing of the one that was decided upon, so it is looked for
//! by its unique id: found elsewhere, it is locked there. Only a host that looked through its whole
//! store, twice, and has no mailbox with that id proves that it is gone.
//!
//! The same may have happened between a run and its rollback. Nothing is decided then, and nothing
//! is looked for under locks: see `whereabouts`.

use slotd::client::ClientError;
use slotd::protocol::{Command, Find, Found, Lock, Named, Reply};

use super::participant::{Learned, Participant, Target};
use crate::hosts::reason_of;
use crate::two_phase::{Answer, Event, Reason, Refusal, Request};

/// A rename between two pages can hide a mailbox from one walk.
const WALKS: u32 = 2;

impl Participant {
    /// Locks what has its name, if that is the mailbox with this unique id.
    pub(super) async fn lock_same(&mut self, target: &Target, uniqueid: &str) -> (Event, Learned) {
        let (event, learned) = self.send(target, Request::Lock).await;
        let locked = matches!(&event, Event::Reply(_, Answer::Locked { .. }));
        if !locked || learned.uniqueid.as_deref() == Some(uniqueid) {
            return (event, learned);
        }
        if let Err(event) = self.unlock().await {
            return (event, Learned::default());
        }
        let has = learned.uniqueid.unwrap_or_else(|| "none".to_owned());
        let text = format!(
            "{} is another mailbox than the one that was changed: its unique id is {has}, and was \
             {uniqueid}",
            target.job.name
        );
        (self.no(Reason::Superseded, text), Learned::default())
    }

    pub(super) async fn lock_decided(
        &mut self,
        target: &Target,
        uniqueid: Option<&str>,
    ) -> (Event, Learned) {
        let (event, learned) = self.send(target, Request::Lock).await;
        let other = match &event {
            Event::Reply(_, Answer::Locked { .. }) => match (uniqueid, &learned.uniqueid) {
                (Some(wanted), Some(found)) if wanted == found => return (event, learned),
                // Nothing else is known of it than its name.
                (None, _) => return (event, learned),
                (Some(_), _) => true,
            },
            Event::Reply(_, Answer::No(refusal)) => match refusal.reason {
                Reason::NoMailbox => false,
                // Moved to another partition.
                Reason::Elsewhere if uniqueid.is_some() => false,
                _ => return (event, learned),
            },
            _ => return (event, learned),
        };
        if other && let Err(event) = self.unlock().await {
            return (event, Learned::default());
        }
        let name = &target.job.name;
        let Some(uniqueid) = uniqueid else {
            let text = format!(
                "there is no mailbox {name}, which was decided upon, and its unique id is not \
                 known: it may have been \
                 renamed"
            );
            return (self.no(Reason::NoMailbox, text), Learned::default());
        };
        match self.find(uniqueid).await {
            Ok(None) => (Event::Reply(self.side(), Answer::Gone), Learned::default()),
            Ok(Some(at)) => {
                let (event, learned) = self.lock_at(target, &at).await;
                match &event {
                    Event::Reply(_, Answer::Locked { .. })
                        if learned.uniqueid.as_deref() == Some(uniqueid) =>
                    {
                        (event, learned)
                    }
                    Event::Reply(_, Answer::Locked { .. }) => {
                        let text = format!("{name} was moved away from {} just now", at.mailbox);
                        let lost = self.unlock().await.err();
                        let event = lost.unwrap_or_else(|| self.no(Reason::Locked, text));
                        (event, Learned::default())
                    }
                    Event::Reply(_, Answer::No(refusal)) if refusal.reason == Reason::NoMailbox => {
                        let text = format!("{name} was moved away from {} just now", at.mailbox);
                        (self.no(Reason::Locked, text), Learned::default())
                    }
                    _ => (event, learned),
                }
            }
            Err(event) => (event, Learned::default()),
        }
    }

    /// Lets go of a mailbox that is not the one.
    async fn unlock(&mut self) -> Result<(), Event> {
        match self.call(&Command::Rollback).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Event::Lost(self.side(), error.to_string())),
        }
    }

    async fn lock_at(&mut self, target: &Target, at: &Named) -> (Event, Learned) {
        let lock = Lock {
            of: at.clone(),
            ahead: false,
            wait: Some(target.lock_wait),
            now: true,
            epoch: target.epoch,
        };
        let reply = self.call(&Command::Lock(lock)).await;
        match reply {
            Ok(Reply::Ok(fields)) => self.understand(Request::Lock, &fields),
            other => (self.refused(other), Learned::default()),
        }
    }

    /// Where the mailbox with that unique id is; `None` if it is nowhere on that host.
    pub(super) async fn find(&mut self, uniqueid: &str) -> Result<Option<Named>, Event> {
        for _ in 0..WALKS {
            let mut after = None;
            loop {
                let find = Find {
                    uniqueid: uniqueid.to_owned(),
                    after: after.clone(),
                };
                let fields = match self.call(&Command::Find(find)).await {
                    Ok(Reply::Ok(fields)) => fields,
                    other => return Err(self.refused(other)),
                };
                match Found::from_fields(&fields) {
                    Ok(Found::At(at)) => return Ok(Some(at)),
                    Ok(Found::NotYet(next)) if after.as_ref() != Some(&next) => after = Some(next),
                    Ok(Found::Nowhere) => break,
                    Ok(Found::NotYet(_)) => {
                        let text = "FIND makes no progress".to_owned();
                        return Err(self.no(Reason::Protocol, text));
                    }
                    Err(error) => return Err(self.no(Reason::Protocol, error.to_string())),
                }
            }
        }
        Ok(None)
    }

    fn refused(&self, reply: Result<Reply, ClientError>) -> Event {
        match reply {
            Ok(Reply::No { code, text }) | Err(ClientError::Refused { code, text }) => {
                self.no(reason_of(code), text)
            }
            Ok(Reply::Bad(text)) => self.no(Reason::Protocol, format!("BAD {text}")),
            Ok(Reply::Ok(_)) => {
                self.no(Reason::Protocol, "an answer without a question".to_owned())
            }
            Err(error) => Event::Lost(self.side(), error.to_string()),
        }
    }

    fn no(&self, reason: Reason, text: String) -> Event {
        Event::Reply(self.side(), Answer::No(Refusal { reason, text }))
    }
}
