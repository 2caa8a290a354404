//! The work before a change-over, while 2.3 serves: each mailbox is looked at, and its new index is
//! written beside it. Given again, it writes only what has changed since.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use indexfile::exit::Exit;
use serde::Serialize;
use slotd::protocol::{Command, FieldError, Named, Prepare, Prepared, Status, Upgrade, Write};

use super::ids::UniqueIds;
use super::work::{Work, of_every_host};
use crate::error::RunError;
use crate::hosts::{Connect, Question, Registration, Said};
use crate::survey::{
    Answered, Asking, Count, Excluded, Refused, Source, UNLIKE_UNIQUEID, Weight, is_unknown,
    survey_and_look, versions,
};
use crate::two_phase::{FIRST_OF_2_4, Failure, Reason, Side};

/// One host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PrepareHost {
    /// Mailboxes by index version.
    pub versions: BTreeMap<u32, u64>,
    /// Records of index and expunge files of what is prepared.
    pub messages: u64,
    /// Messages that were read.
    pub hashed: u64,
    /// Mailboxes that are not fit for a change-over, by reason.
    pub refused: Refused,
}

/// What was prepared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Preparation {
    /// The index version wanted.
    pub to: u8,
    /// Mailboxes asked about.
    pub mailboxes: u64,
    /// Whose new index was written now, on one host or both.
    pub prepared: u64,
    /// What an earlier call wrote fits still, or the mailbox has the version already.
    pub unchanged: u64,
    /// Not fit for a change-over on one host or both.
    pub refused: u64,
    /// Listed, and deleted by their owners before their turn came.
    pub gone: u64,
    /// Names that were given and that the master does not know; they are among those refused.
    pub unknown: u64,
    /// Another unique id on the replica: a warning.
    pub unlike_uniqueid: Count,
    /// Wall clock.
    pub seconds: f64,
    /// Master and replica.
    pub hosts: BTreeMap<&'static str, PrepareHost>,
    /// What is wrong with the list, not with a mailbox.
    #[serde(skip)]
    pub excluded: Excluded,
    /// It was stopped before the end of the list.
    pub stopped: bool,
}

/// Looks at every mailbox of the sources and has it prepared. `failed` gets each that is refused.
///
/// # Errors
/// A host does not answer or works for another coordinator, or the list cannot be read.
pub async fn prepare(
    work: &Work<'_>,
    sources: Vec<Source>,
    mut failed: impl FnMut(&str, &Failure),
) -> Result<Preparation, RunError> {
    let begun = Instant::now();
    let bound = Registration::engage(work.connect, work.journal, work.observer).await?;
    let connect = Arc::clone(&bound) as Arc<dyn Connect>;
    let epoch = connect.epoch();
    let upgrade = Upgrade {
        version: work.to.into(),
        ..Upgrade::default()
    };
    let then: Arc<Question> = Arc::new(move |of: Named| {
        Command::Prepare(Prepare {
            of,
            upgrade,
            write: Write::Always,
            epoch,
        })
    });
    let asking = Asking {
        connect: &connect,
        parallel: work.parallel,
        stop: work.stop,
        question: Arc::new(Command::Status),
        then: Some(then),
    };
    let ids = UniqueIds::new()?;
    let mut found = Preparation {
        to: work.to,
        ..Preparation::default()
    };
    let mut fault = None;
    let sources = of_every_host(connect.as_ref(), sources);
    let asked = survey_and_look(&asking, sources, |answered| {
        let said = found.answered(&answered, &ids);
        match said {
            Ok(Some(failure)) => failed(answered.of.name.as_str(), &failure),
            Ok(None) => {}
            Err(error) => {
                fault.get_or_insert(error);
            }
        }
    })
    .await;
    bound.leave(work.journal).await;
    let (excluded, look) = asked?;
    if let Some(error) = fault {
        return Err(error);
    }
    for trouble in &look.troubles {
        let kind = match trouble.weight {
            Weight::All => "WOULD REFUSE THE RUN: ",
            Weight::Warning | Weight::Some => "",
        };
        work.observer.say(&format!("{kind}{}", trouble.text));
    }
    found.excluded = excluded;
    found.stopped = work.stop.level() != crate::stop::Stop::No;
    found.seconds = begun.elapsed().as_secs_f64();
    Ok(found)
}

impl Preparation {
    /// Adds what the hosts said about a mailbox; gives the first reason why it is refused.
    fn answered(
        &mut self,
        answered: &Answered,
        ids: &UniqueIds,
    ) -> Result<Option<Failure>, RunError> {
        self.mailboxes += 1;
        let missing = |said: &Option<Said>| {
            said.as_ref()
                .is_none_or(|said| matches!(said, Err((Reason::NoMailbox, _))))
        };
        if !answered.of.named && answered.said.iter().all(missing) {
            self.gone += 1;
            return Ok(None);
        }
        self.unknown += u64::from(is_unknown(answered));
        let name = answered.of.name.as_str();
        let mut first: Option<Failure> = None;
        let mut status: [Option<Status>; 2] = [None, None];
        let mut written = false;
        for side in Side::ALL {
            let Some(said) = &answered.said[side.index()] else {
                continue;
            };
            let host = self.hosts.entry(side.as_str()).or_default();
            let then = answered.then[side.index()].as_ref();
            let known = match said {
                Ok(fields) => Status::from_fields(fields).map_err(|e| not_understood(&e)),
                Err(refusal) => Err(refusal.clone()),
            };
            let result = match known {
                Ok(known) => {
                    *host.versions.entry(known.facts.index).or_default() += 1;
                    let twin = twin(side, &known, ids)?;
                    let unfit = unfit(&known, self.to, twin);
                    status[side.index()] = Some(known);
                    unfit.map_or_else(|| outcome(then), Err)
                }
                Err(refusal) => Err(refusal),
            };
            match result {
                Ok(prepared) => {
                    written |= prepared.prepared && !prepared.unchanged;
                    host.messages += u64::from(prepared.messages);
                    host.hashed += u64::from(prepared.hashed);
                }
                Err((reason, text)) => {
                    host.refused.note(name, &(reason, text.clone()));
                    first.get_or_insert(Failure::new(side, reason, text));
                }
            }
        }
        if let [Some(master), Some(replica)] = &status {
            let (master, replica) = (&master.facts, &replica.facts);
            if master.uidvalidity != replica.uidvalidity {
                let text = format!(
                    "uidvalidity is {} on the master and {} on the replica: not the same mailbox",
                    master.uidvalidity, replica.uidvalidity
                );
                first.get_or_insert(Failure::new(None, Reason::OtherMailbox, text));
            } else if master.uniqueid != replica.uniqueid {
                let text = format!("{} and {}", master.uniqueid, replica.uniqueid);
                self.unlike_uniqueid.note(name, &text);
            }
        }
        match (&first, written) {
            (Some(_), _) => self.refused += 1,
            (None, true) => self.prepared += 1,
            (None, false) => self.unchanged += 1,
        }
        Ok(first)
    }

    /// What the command ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.unknown > 0 {
            Exit::NoMailbox
        } else if self.refused > 0 || self.stopped {
            Exit::RolledBack
        } else {
            self.excluded.exit()
        }
    }
}

type Refusal = (Reason, String);

/// What one host said: its facts with what became of the mailbox there, or why it is refused.
fn not_understood(error: &FieldError) -> Refusal {
    (Reason::Protocol, error.to_string())
}

/// Another mailbox of the host that has its unique id.
fn twin(side: Side, status: &Status, ids: &UniqueIds) -> Result<Option<String>, RunError> {
    let facts = &status.facts;
    match facts.uniqueid.as_str() {
        "" => Ok(None),
        id => ids.meet(side, id, facts.mailbox.as_str()),
    }
}

/// What `PREPARE` said.
fn outcome(said: Option<&Said>) -> Result<Prepared, Refusal> {
    match said {
        Some(Ok(fields)) => Prepared::from_fields(fields).map_err(|e| not_understood(&e)),
        Some(Err(refusal)) => Err(refusal.clone()),
        None => Err((Reason::Protocol, "PREPARE was not asked for".to_owned())),
    }
}

/// Why a mailbox is not fit for a change-over, as far as its own files tell. `twin`: another one of
/// the host that has its unique id.
fn unfit(status: &Status, to: u8, twin: Option<String>) -> Option<Refusal> {
    let facts = &status.facts;
    let (index, old) = (facts.index, facts.old.unwrap_or(0));
    if let Some(twin) = twin {
        let text = format!(
            "it has the unique id of {twin} ({}), and Cyrus 3 takes the two for one mailbox: one \
             of them needs another id first",
            facts.uniqueid
        );
        return Some((Reason::Damaged, text));
    }
    if index == u32::from(to) {
        return None;
    }
    if index >= u32::from(FIRST_OF_2_4) {
        let text = format!("it has version {index}, of Cyrus 2.4 and later, and not {to}");
        return Some((Reason::Unsupported, text));
    }
    if let Some(expunge) = facts.expunge.filter(|expunge| *expunge != index) {
        let text = format!(
            "cyrus.index has version {index} and cyrus.expunge version {expunge}: `controller \
             upgrade` it first; see what `indexfile check` says"
        );
        return Some((Reason::Damaged, text));
    }
    if index < slotd::protocol::DEFAULT_VERSION {
        let text = format!("it has version {index}: `controller upgrade` it to 10 first");
        return Some((Reason::Unsupported, text));
    }
    if old > 0 {
        let text = format!(
            "{old} of its records have old-style GUIDs, by which Cyrus 3 would lose messages: \
             `controller upgrade` it first"
        );
        return Some((Reason::Unsupported, text));
    }
    None
}

/// For a person.
impl fmt::Display for Preparation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} mailboxes for version {}: {} prepared, {} unchanged, {} refused",
            self.mailboxes, self.to, self.prepared, self.unchanged, self.refused
        )?;
        if self.gone > 0 {
            write!(out, ", {} gone", self.gone)?;
        }
        writeln!(out, "; {:.1} s", self.seconds)?;
        for (side, host) in &self.hosts {
            writeln!(
                out,
                "{side}: {}; {} records prepared, {} messages read",
                versions(&host.versions),
                host.messages,
                host.hashed
            )?;
            host.refused.lines(out, "refused")?;
        }
        self.unlike_uniqueid.line(out, UNLIKE_UNIQUEID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::Guid;
    use indexfile::mailbox::MailboxName;
    use slotd::protocol::MailboxFacts;

    fn status(index: u32, expunge: Option<u32>, old: u32) -> Status {
        Status {
            facts: MailboxFacts {
                mailbox: MailboxName::parse("user.a").unwrap(),
                partition: "default".to_owned(),
                uniqueid: "7b5ad1e24f9a0c31".to_owned(),
                uidvalidity: 1,
                index,
                expunge,
                exists: 3,
                expunged: 0,
                old: Some(old),
            },
            cached: 0,
            bytes: 10,
            hash_bytes: 10,
            index_bytes: 800,
            last_uid: 3,
            has_old: false,
            keeps_owner: true,
            findings: Vec::new(),
            digest: Guid::NULL,
        }
    }

    #[test]
    fn what_a_change_over_would_refuse_is_refused_with_what_comes_first() {
        let why = |status: &Status| unfit(status, 16, None);
        assert_eq!(why(&status(10, Some(10), 0)), None);
        assert_eq!(why(&status(16, None, 0)), None);
        for (status, reason, says) in [
            (
                status(9, Some(9), 3),
                Reason::Unsupported,
                "it has version 9: `controller upgrade`",
            ),
            (
                status(10, None, 2),
                Reason::Unsupported,
                "2 of its records have old-style GUIDs",
            ),
            (
                status(10, Some(9), 0),
                Reason::Damaged,
                "cyrus.expunge version 9",
            ),
            (
                status(9, Some(10), 0),
                Reason::Damaged,
                "cyrus.index has version 9",
            ),
            (
                status(17, None, 0),
                Reason::Unsupported,
                "it has version 17",
            ),
        ] {
            let (found, text) = why(&status).unwrap();
            assert_eq!(found, reason, "{text}");
            assert!(text.contains(says), "{text}");
        }
        let (_, text) = unfit(&status(10, None, 0), 16, Some("user.b".to_owned())).unwrap();
        assert!(
            text.contains("the unique id of user.b (7b5ad1e24f9a0c31)"),
            "{text}"
        );
    }

    #[test]
    fn a_unique_id_is_one_mailboxes_on_each_host() {
        let ids = UniqueIds::new().unwrap();
        let meet = |side, name| ids.meet(side, "7b5ad1e24f9a0c31", name).unwrap();
        assert_eq!(meet(Side::Master, "user.a"), None);
        assert_eq!(meet(Side::Replica, "user.a"), None);
        assert_eq!(meet(Side::Master, "user.b"), Some("user.a".to_owned()));
    }
}
