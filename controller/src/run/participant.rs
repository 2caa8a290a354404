//! One side of one transaction: turns a request into a command on its connection, and what
//! comes back into an event.

use std::time::Duration;

use slotd::client::ClientError;
use slotd::protocol::{
    Command, Commit, Committed, Confirmed, DigestRange, Digests, Fields, GuidRange, Lock, Named,
    PartDigest, Prepare, Reply, Standing, Upgrade, Upgraded, UuidSource, Write,
};
use tokio::time::Instant;

use super::token::Token;
use crate::hosts::{Link, is_elsewhere, local, reason_of};
use crate::journal::Job;
use crate::two_phase::{Answer, Event, ListItem, Reason, Refusal, Request, Side};

/// What a reply says besides its answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned {
    pub(super) upgraded: Option<Upgraded>,
    pub(super) held: Option<Duration>,
    /// How long cyrus.index was locked, from `ROLLBACK`.
    pub(super) rolled_back: Option<Duration>,
    /// From `LOCK`.
    pub(super) uniqueid: Option<String>,
    /// How long the participant waits for the next command before it ends the transaction.
    pub(super) lease: Option<Duration>,
}

/// A side of a transaction, kept from mailbox to mailbox.
pub(super) struct Participant {
    link: Link,
}

/// What a command needs besides the request.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) job: Job,
    pub(super) lock_wait: Duration,
    /// Whether only the partition of the list will do, and not another one to which the mailbox was
    /// moved since.
    pub(super) strict: bool,
    pub(super) asks: Asks,
    /// This coordinator's, if its journal has epochs.
    pub(super) epoch: Option<u64>,
    /// The mailbox's unique id on each side, if it was decided upon earlier, or is to be taken
    /// back.
    pub(super) uniqueids: [Option<String>; 2],
    /// Where it was found on each side, if not under its name.
    pub(super) at: [Option<Named>; 2],
}

/// What `UPGRADE` says besides the version.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asks {
    /// Of which run.
    pub(super) token: Token,
    /// Whether `PREPARE` writes new files.
    pub(super) write: Write,
    /// The version wanted. Only there may GUIDs be cut: what is taken back gets what it had.
    pub(super) to: u8,
    /// The two hosts are compared by what messages are.
    pub(super) by_content: bool,
}

/// What is asked, and of which mailbox.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) request: Request,
    /// It is decided: the mailbox is looked for, wherever it lies.
    pub(super) decided: bool,
    /// Only the mailbox with this unique id will do; `None` if it is not known.
    pub(super) uniqueid: Option<String>,
}

impl Target {
    fn named(&self, side: Side) -> Named {
        if let Some(at) = &self.at[side.index()] {
            return at.clone();
        }
        // The list is the master's: what it says about partitions need not hold on the replica.
        let partition = if side == Side::Master {
            self.job.partition.clone()
        } else {
            None
        };
        Named {
            mailbox: self.job.name.clone(),
            partition,
        }
    }

    /// The same mailbox, on whatever partition.
    fn anywhere(&self) -> Self {
        let mut target = self.clone();
        target.job.partition = None;
        for at in target.at.iter_mut().flatten() {
            at.partition = None;
        }
        target
    }

    fn command(&self, side: Side, request: Request) -> Command {
        match request {
            Request::Prepare { to } => Command::Prepare(Prepare {
                of: self.named(side),
                upgrade: self.asks.upgrade(to, false),
                write: self.asks.write,
                epoch: self.epoch,
            }),
            Request::Lock => Command::Lock(Lock {
                of: self.named(side),
                wait: Some(self.lock_wait),
                // The master's locks are held by then.
                now: side == Side::Replica,
                // `PREPARE` did that, on both hosts, before either was locked.
                ahead: false,
                epoch: self.epoch,
            }),
            Request::Upgrade { to, uuids_old } => {
                Command::Upgrade(self.asks.upgrade(to, uuids_old))
            }
            Request::Commit { hold, drop_old } => Command::Commit(Commit { hold, drop_old }),
            Request::Release { drop_old } => Command::Release { drop_old },
            Request::RollBack => Command::Rollback,
            Request::Confirm => Command::Confirm,
        }
    }
}

impl Asks {
    fn upgrade(self, to: u8, uuids_old: bool) -> Upgrade {
        let cut = self.token.cut && to < 10 && to == self.to;
        let uuids = match (cut, uuids_old) {
            (true, _) => UuidSource::Cut,
            (false, true) => UuidSource::Old,
            (false, false) => UuidSource::Auto,
        };
        let run = if uuids_old {
            self.token.old
        } else {
            self.token.own
        };
        Upgrade {
            version: u32::from(to),
            uuids,
            run,
            by_content: self.by_content,
            rehash: self
                .token
                .rehash
                .filter(|_| to >= 10 && uuids == UuidSource::Auto),
            ..Upgrade::default()
        }
    }
}

/// A `PREPARE` that took longer than this is done again.
const PREPARED_LONG_AGO: Duration = Duration::from_millis(100);
/// So often at most.
const MORE_ROUNDS: u32 = 3;

impl Participant {
    pub(super) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Sends a request and waits for what comes of it.
    pub(super) async fn ask(&mut self, target: &Target, call: &Ask) -> (Event, Learned) {
        let request = call.request;
        match (request, call.uniqueid.as_deref()) {
            (Request::Lock, uniqueid) if call.decided => self.lock_decided(target, uniqueid).await,
            (Request::Lock, Some(uniqueid)) => self.lock_same(target, uniqueid).await,
            _ => self.send(target, request).await,
        }
    }

    pub(super) async fn send(&mut self, target: &Target, request: Request) -> (Event, Learned) {
        let command = target.command(self.side(), request);
        let begins = matches!(request, Request::Lock | Request::Prepare { .. });
        let started = Instant::now();
        let mut result = if begins {
            self.link.call_again(&command).await
        } else {
            self.link.call(&command).await
        };
        if begins && !target.strict && is_elsewhere(&result) {
            let command = target.anywhere().command(self.side(), request);
            result = self.link.call(&command).await;
        }
        // What took long is old by now. Bringing it up to date takes less and less, and what is
        // left then is done under the locks.
        let mut spent = started.elapsed();
        let mut rounds = MORE_ROUNDS;
        while matches!(request, Request::Prepare { .. })
            && matches!(result, Ok(Reply::Ok(_)))
            && spent > PREPARED_LONG_AGO
            && rounds > 0
        {
            let started = Instant::now();
            result = self.link.call(&command).await;
            spent = started.elapsed();
            rounds -= 1;
        }
        match result {
            Ok(Reply::Ok(fields)) => self.understand(request, &fields),
            Ok(Reply::No { code, text }) => {
                let refusal = Refusal {
                    reason: reason_of(code),
                    text,
                };
                (
                    Event::Reply(self.side(), Answer::No(refusal)),
                    Learned::default(),
                )
            }
            Ok(Reply::Bad(text)) => (self.nonsense(format!("BAD {text}")), Learned::default()),
            // Not the host's failure: it was not asked.
            Err(error) if begins && error.is_local() => {
                let refusal = Refusal {
                    reason: Reason::Local,
                    text: local(&error),
                };
                (
                    Event::Reply(self.side(), Answer::No(refusal)),
                    Learned::default(),
                )
            }
            // It is there, and does not want us.
            Err(ClientError::Refused { code, text }) => {
                let reason = reason_of(code);
                let answer = Answer::No(Refusal { reason, text });
                (Event::Reply(self.side(), answer), Learned::default())
            }
            Err(error) => (
                Event::Lost(self.side(), error.to_string()),
                Learned::default(),
            ),
        }
    }

    /// One page of the list, of UIDs from `from` to `to`; `true` if it is the last.
    ///
    /// # Errors
    /// The event that says why there is none.
    pub(super) async fn guids(
        &mut self,
        from: u32,
        to: u32,
    ) -> Result<(Vec<ListItem>, bool), Event> {
        let command = Command::Guids(GuidRange {
            from,
            to: Some(to),
            max: None,
        });
        let fields = self.fields(&command).await?;
        let page = slotd::protocol::GuidPage::from_fields(&fields)
            .map_err(|error| self.nonsense(error.to_string()))?;
        let items = page
            .entries
            .iter()
            .map(|e| ListItem {
                uid: e.uid,
                guid: *e.guid.as_bytes(),
                size: e.size,
            })
            .collect();
        Ok((items, page.next.is_none()))
    }

    /// Digests of the parts of a range.
    ///
    /// # Errors
    /// The event that says why there are none.
    pub(super) async fn digests(&mut self, range: DigestRange) -> Result<Vec<PartDigest>, Event> {
        let fields = self.fields(&Command::Digests(range)).await?;
        let digests =
            Digests::from_fields(&fields).map_err(|error| self.nonsense(error.to_string()))?;
        Ok(digests.parts)
    }

    /// The fields of an `OK`.
    async fn fields(&mut self, command: &Command) -> Result<Fields, Event> {
        let reply = match self.link.call(command).await {
            Ok(reply) => reply,
            Err(error) => {
                return Err(Event::Lost(self.side(), error.to_string()));
            }
        };
        match reply {
            Reply::Ok(fields) => Ok(fields),
            Reply::No { code, text } => {
                let refusal = Refusal {
                    reason: reason_of(code),
                    text,
                };
                Err(Event::Reply(self.side(), Answer::No(refusal)))
            }
            Reply::Bad(text) => Err(self.nonsense(format!("BAD {text}"))),
        }
    }

    pub(super) fn side(&self) -> Side {
        self.link.side()
    }

    pub(super) async fn call(&mut self, command: &Command) -> Result<Reply, ClientError> {
        self.link.call(command).await
    }

    fn nonsense(&self, text: String) -> Event {
        let refusal = Refusal {
            reason: Reason::Protocol,
            text,
        };
        Event::Reply(self.side(), Answer::No(refusal))
    }

    pub(super) fn understand(&self, request: Request, fields: &Fields) -> (Event, Learned) {
        let mut learned = Learned::default();
        let answer = match request {
            Request::Prepare { .. } => Ok(Answer::Done),
            Request::RollBack => {
                learned.rolled_back = Committed::from_fields(fields).ok().map(|c| c.held);
                Ok(Answer::Done)
            }
            Request::Lock => {
                learned.uniqueid = fields.text("uniqueid").ok().filter(|id| !id.is_empty());
                learned.lease = fields.get("max_lock_ms").ok().map(Duration::from_millis);
                locked(fields)
            }
            Request::Confirm => Confirmed::from_fields(fields)
                .map(|c| Answer::Confirmed {
                    digest: c
                        .digest
                        .filter(|_| matches!(c.state, Standing::Staged | Standing::Unchanged))
                        .map(|digest| *digest.as_bytes()),
                })
                .map_err(|e| e.to_string()),
            Request::Upgrade { .. } => Upgraded::from_fields(fields)
                .map_err(|e| e.to_string())
                .and_then(|up| {
                    let answer = Answer::Staged {
                        changed: up.is_staged(),
                        from: version(up.from)?,
                        digest: *up.digest.as_bytes(),
                    };
                    learned.upgraded = Some(up);
                    Ok(answer)
                }),
            // The OK is what counts; that figures are missing does not undo a commit.
            Request::Commit { .. } | Request::Release { .. } => {
                learned.held = Committed::from_fields(fields).ok().map(|c| c.held);
                Ok(Answer::Done)
            }
        };
        match answer {
            Ok(answer) => (Event::Reply(self.side(), answer), learned),
            Err(text) => (self.nonsense(text), learned),
        }
    }
}

fn locked(fields: &Fields) -> Result<Answer, String> {
    let index: u32 = fields.get("index").map_err(|e| e.to_string())?;
    let uidvalidity = fields.get("uidvalidity").map_err(|e| e.to_string())?;
    Ok(Answer::Locked {
        index: version(index)?,
        uidvalidity,
    })
}

fn version(number: u32) -> Result<u8, String> {
    u8::try_from(number).map_err(|_| format!("index version {number} in a reply"))
}

#[cfg(test)]
mod tests {
    use indexfile::mailbox::MailboxName;
    use slotd::protocol::Rehash;

    use super::*;
    use crate::journal::MailboxId;

    #[test]
    fn the_coordinator_s_epoch_goes_with_what_begins_something() {
        let target = |epoch| Target {
            job: Job {
                id: MailboxId(1),
                name: MailboxName::parse("user.a").unwrap(),
                partition: None,
                named: false,
                back: [None, None],
                uniqueids: [None, None],
            },
            lock_wait: Duration::from_secs(1),
            strict: false,
            asks: Asks::default(),
            epoch,
            uniqueids: [None, None],
            at: [None, None],
        };
        let begin = [Request::Prepare { to: 10 }, Request::Lock];
        for (epoch, ends) in [(Some(7), true), (None, false)] {
            for request in begin {
                let line = target(epoch).command(Side::Master, request).to_line();
                assert_eq!(line.trim_end().ends_with(" epoch=7"), ends, "{line}");
            }
        }
    }

    #[test]
    fn the_way_back_asks_for_what_the_run_replaced_at_version_10_too() {
        let asks = |by_content, cut| Asks {
            write: Write::Auto,
            token: Token {
                own: 9,
                old: 7,
                restores: true,
                rehash: Some(Rehash::Fix),
                cut,
                drop_old: false,
            },
            to: if cut { 9 } else { 10 },
            by_content,
        };
        for (asks, to, uuids_old, line) in [
            (
                asks(true, false),
                10,
                true,
                "UPGRADE 10 uuids=old run=7 compare=content",
            ),
            (
                asks(true, false),
                9,
                true,
                "UPGRADE 9 uuids=old run=7 compare=content",
            ),
            (asks(false, false), 10, false, "UPGRADE 10 run=9 rehash=fix"),
            (asks(false, true), 9, false, "UPGRADE 9 uuids=cut run=9"),
            (
                asks(true, true),
                9,
                true,
                "UPGRADE 9 uuids=cut run=7 compare=content",
            ),
            (
                asks(true, true),
                10,
                true,
                "UPGRADE 10 uuids=old run=7 compare=content",
            ),
            // What could not be cut on the other side is what it was.
            (asks(false, true), 8, true, "UPGRADE 8 uuids=old run=7"),
        ] {
            let command = Command::Upgrade(asks.upgrade(to, uuids_old));
            assert_eq!(command.to_line().trim_end(), line);
        }
    }
}
