//! The look at both hosts before anything is begun: would the work be refused?
//!
//! # What it promises
//!
//! * It only looks: no lock, nothing written, no transaction, and a bound to the number of
//!   mailboxes it asks about.
//! * What it does not know it does not guess: a slotd of an earlier release says less, and that is
//!   answers.
//! * What would refuse every mailbox refuses the run, before there is one. What would refuse some
//!   is answers.
//!
//! # What a crash leaves
//!
//! Nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexfile::exit::Exit;
use serde::Serialize;
use slotd::protocol::{Command, Greeting, HostFacts, HostState, Named, Reply, Status};

use super::looked_into::{PROOF, Sampled, compare, names, refusals};
use super::spool::Spool;
use super::trouble::{HostLook, Room, Trouble, Weight, of_root};
use crate::clock::now_ms;
use crate::error::RunError;
use crate::hosts::{Connect, Link, Said, ask_about, failover, hello, two_stores};
use crate::journal::Candidate;
use crate::two_phase::{Reason, Side};

/// What a person must know before mailboxes get an index of version 10, quiet or not. What slotd
/// can see does not tell 2.3.9 from 2.3.10: the same files, the same locks.
pub const SERVERS_BEFORE_2_3_10: &str = "\
WARNING: Cyrus 2.3.0 to 2.3.9 damage an index of version 10 (flags and GUIDs are overwritten): \
every server that \
opens these mailboxes, on both hosts, must be 2.3.10 or later";

/// Mailboxes that a run looks at on both hosts.
pub(crate) const SAMPLE: u64 = 8;
/// Clocks further apart than this, milliseconds, are worth a word.
const CLOCKS_APART_MS: i64 = 5000;
/// Fewer days than this until a certificate ends are worth a word.
pub(crate) const FEW_DAYS: i64 = 30;
/// With fewer open files slotd serves a handful of connections only.
const FEW_FILES: u64 = 256;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preflight {
    /// Master and replica.
    pub hosts: BTreeMap<&'static str, HostLook>,
    /// Mailboxes that were looked at on both hosts.
    pub sampled: u64,
    /// Names that the master does not know, of those that were looked at.
    pub unknown: Vec<String>,
    /// What is not as it should be.
    pub troubles: Vec<Trouble>,
}

/// A sentence about a certificate that ends soon; `None` while there is time.
pub(crate) fn ends_soon(whose: &str, days: i64) -> Option<String> {
    (days < FEW_DAYS).then(|| {
        let when = if days < 0 {
            format!("ended {} days ago", -days)
        } else {
            format!("ends in {days} days")
        };
        format!("the certificate of {whose} {when}: issue another (controller certs issue)")
    })
}

/// One host's answers.
pub(crate) struct HostAnswers {
    pub(crate) greeting: Greeting,
    /// `None`: it does not know the question.
    pub(crate) facts: Option<HostFacts>,
    /// How far its clock is ahead of this machine's, milliseconds, if it says so.
    pub(crate) clock_ms: Option<i64>,
}

impl Preflight {
    /// Judges what the hosts said, for work on `mailboxes` mailboxes.
    pub(crate) fn judge(
        answers: &[Option<HostAnswers>; 2],
        sample: &[Sampled],
        mailboxes: u64,
    ) -> Self {
        let mut found = Self {
            sampled: sample.len() as u64,
            ..Self::default()
        };
        for side in Side::ALL {
            if let Some(answers) = &answers[side.index()] {
                found.host(side, answers, sample, mailboxes);
                found.troubles.extend(refusals(side, sample));
            }
        }
        let (unknown, trouble) = names(sample);
        found.unknown = unknown;
        found.troubles.extend(trouble);
        if answers.iter().all(Option::is_some) {
            found.troubles.extend(compare(sample));
        }
        found
    }

    fn note(&mut self, what: &'static str, weight: Weight, exit: Exit, text: String) {
        self.troubles.push(Trouble::new(what, weight, exit, text));
    }

    /// A certificate that ends soon.
    pub(crate) fn certificate(&mut self, whose: &str, days: i64) {
        if let Some(text) = ends_soon(whose, days) {
            self.note("certificate", Weight::Warning, Exit::Denied, text);
        }
    }

    fn host(&mut self, side: Side, answers: &HostAnswers, sample: &[Sampled], mailboxes: u64) {
        let greeting = &answers.greeting;
        let known = |s: &Sampled| match &s.said[side.index()] {
            Some(Ok(status)) => Some((status.index_bytes, status.keeps_owner)),
            _ => None,
        };
        let known: Vec<(u64, bool)> = sample.iter().filter_map(known).collect();
        let seen = known.len() as u64;
        let bytes: u64 = known.iter().map(|(bytes, _)| *bytes).sum();
        // A record of version 10 is a tenth longer than one of version 9, and the replaced file
        // stays.
        let needed = (bytes + bytes / 8) / seen.max(1) * mailboxes;
        let mut look = HostLook {
            version: greeting.version.clone(),
            host_id: greeting.host_id.clone(),
            roots: greeting.roots.clone(),
            served: greeting.served.clone(),
            needed,
            clock_ms: answers.clock_ms,
            ..HostLook::default()
        };
        if let Some(apart) = answers.clock_ms.filter(|ms| ms.abs() > CLOCKS_APART_MS) {
            let text = format!(
                "the {side}'s clock is {} s {} this machine's: times in logs and reports do not \
                 fit each other",
                apart.abs() / 1000,
                if apart > 0 { "ahead of" } else { "behind" }
            );
            self.note("clock", Weight::Warning, Exit::Config, text);
        }
        let own = env!("CARGO_PKG_VERSION");
        if greeting.version != own && answers.facts.is_some() {
            let text = format!(
                "the {side}'s slotd is of release {}, this controller of {own}: use the same on \
                 all hosts",
                greeting.version
            );
            self.note("version", Weight::Warning, Exit::Config, text);
        }
        if ["2.4+", "unknown"].contains(&greeting.served.as_str()) && !greeting.stopped {
            let text = format!(
                "the {side}'s store is served by {}, whose locks are not slotd's: stop it and \
                 tell slotd so \
                 (--server-stopped)",
                match greeting.served.as_str() {
                    "unknown" => "a server that is not known",
                    _ => "Cyrus 2.4 or later",
                }
            );
            self.note("served", Weight::All, Exit::Config, text);
        }
        if let Some(text) = failover(side, greeting) {
            self.note("failover", Weight::All, Exit::Config, text);
        }
        if greeting.host != HostState::Open {
            let text = format!(
                "the {side} is {}: it is out of service for its users (controller drain)",
                greeting.host
            );
            self.note("drained", Weight::Warning, Exit::Config, text);
        }
        if greeting.failed {
            let text = format!("the {side}'s slotd cannot write its intent log");
            // A run waits for these.
            self.note("intent_log", Weight::Some, Exit::Unavailable, text);
        }
        if greeting.draining {
            let text = format!("the {side}'s slotd is stopping");
            self.note("draining", Weight::Some, Exit::Unavailable, text);
        }
        let foreign = known.iter().filter(|(_, keeps)| !keeps).count() as u64;
        if foreign > 0 {
            let weight = if foreign == seen && seen >= PROOF {
                Weight::All
            } else {
                Weight::Some
            };
            let text = format!(
                "{foreign} of {seen} mailboxes on the {side} belong to another user than its \
                 slotd, which may not give a \
                 new file to that user: run it as that user, or as root"
            );
            self.note("owner", weight, Exit::Denied, text);
        }
        if let Some(days) = greeting.cert_days {
            self.certificate(&format!("the {side}'s slotd"), days);
        }
        if let Some(facts) = &answers.facts {
            self.facts(side, facts, needed, &mut look);
        } else {
            let text = format!(
                "the {side}'s slotd, of release {}, does not tell of room, mounts and limits; \
                 this controller is of {own}",
                greeting.version
            );
            self.note("untold", Weight::Warning, Exit::Config, text);
        }
        self.hosts.insert(side.as_str(), look);
    }

    fn facts(&mut self, side: Side, facts: &HostFacts, needed: u64, look: &mut HostLook) {
        look.open_files = Some(facts.nofile);
        look.open.clone_from(&facts.open);
        look.servername.clone_from(&facts.servername);
        if facts.nofile < FEW_FILES {
            let text = format!(
                "the {side}'s slotd may have {} files open at once; raise its limit (LimitNOFILE)",
                facts.nofile
            );
            self.note("open_files", Weight::Warning, Exit::Config, text);
        }
        let bad = facts.roots.iter().filter(|r| r.trouble.is_some()).count();
        let mut troubles = facts.troubles.iter();
        for root in &facts.roots {
            let Some(code) = root.trouble else { continue };
            let weight = if bad == facts.roots.len() {
                Weight::All
            } else {
                Weight::Some
            };
            let (what, exit, why) = of_root(code);
            // A release that does not say it in words says the code alone.
            let text = troubles.next().map_or_else(
                || format!("{} on the {side} {why}", root.path),
                |said| format!("on the {side} {said}"),
            );
            self.note(what, weight, exit, text);
        }
        let mut devices = BTreeMap::new();
        for root in facts
            .roots
            .iter()
            .filter(|r| r.trouble.is_none() && r.written)
        {
            devices.insert(root.device, root.free);
        }
        let free = devices
            .values()
            .fold(0_u64, |sum, free| sum.saturating_add(*free));
        look.free = Some(free);
        for index in &facts.index_roots {
            let root = facts.roots.iter().find(|root| root.path == index.path);
            if let Some(root) = root.filter(|root| root.trouble.is_none()) {
                let room = Room {
                    device: root.device,
                    free: root.free,
                };
                look.partitions.insert(index.partition.clone(), room);
            }
        }
        if needed > free {
            let text = format!(
                "the {side} has {free} bytes free where index and expunge files lie, and new ones \
                 beside the old ones \
                 need about {needed}"
            );
            self.note("space", Weight::All, Exit::Io, text);
        }
    }

    /// Refuses a run whose operator says that the servers are stopped, if one is seen to run.
    ///
    /// # Errors
    /// A process has a file of a store open.
    pub fn check_stopped(&self) -> Result<(), RunError> {
        let open = |(side, look): (&&str, &HostLook)| {
            let open = look.open.as_ref()?;
            Some(format!(
                "the servers are said to be stopped, but on the {side} {open}"
            ))
        };
        let texts: Vec<String> = self.hosts.iter().filter_map(open).collect();
        if texts.is_empty() {
            return Ok(());
        }
        let exit = Exit::Config;
        let text = texts.join("; ");
        Err(RunError::Preflight { exit, text })
    }

    /// What refuses a run, in one sentence each.
    #[must_use]
    pub fn refusal(&self) -> Option<RunError> {
        let all = |t: &&Trouble| t.weight == Weight::All;
        let first = self.troubles.iter().find(all)?;
        let texts: Vec<&str> = self
            .troubles
            .iter()
            .filter(all)
            .map(|t| t.text.as_str())
            .collect();
        Some(RunError::Preflight {
            exit: first.exit,
            text: texts.join("; "),
        })
    }

    /// What a command that only looks ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let worst = self.troubles.iter().max_by_key(|t| t.weight);
        match worst {
            Some(t) if t.weight == Weight::All => self.refusal().map_or(t.exit, |e| e.exit()),
            Some(t) if t.weight == Weight::Some && !self.unknown.is_empty() => Exit::NoMailbox,
            Some(t) if t.weight == Weight::Some => Exit::Data,
            _ => Exit::Ok,
        }
    }
}

/// What is to be worked on: how much, and a few of it.
#[derive(Default)]
pub(crate) struct Work {
    mailboxes: u64,
    sample: Vec<Candidate>,
}

impl Work {
    /// At most `most` mailboxes, evenly spread over the list.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn of(spool: &Spool, most: u64) -> Result<Self, RunError> {
        let mailboxes = spool.count();
        let wanted = mailboxes.min(most);
        let mut sample = Vec::new();
        for n in 0..wanted {
            let after = i64::try_from(n * mailboxes / wanted).unwrap_or(0);
            sample.extend(spool.page(after, 1)?.into_iter().map(|s| s.listed));
        }
        Ok(Self { mailboxes, sample })
    }
}

/// Asks both hosts about themselves and about a sample of the work.
///
/// # Errors
/// A host does not answer.
pub(crate) async fn preflight(
    connect: &Arc<dyn Connect>,
    work: Work,
) -> Result<Preflight, RunError> {
    let mut answers = [None, None];
    let mut peers = Side::ALL.map(|side| Link::new(side, connect));
    for side in Side::ALL {
        if connect.address(side).is_some() {
            let greeting = hello(connect, side).await?;
            let before = now_ms();
            let facts = match peers[side.index()].call(&Command::Preflight).await {
                Ok(Reply::Ok(fields)) => HostFacts::from_fields(&fields).ok(),
                _ => None,
            };
            let clock = facts.as_ref().and_then(|facts| facts.clock);
            let clock_ms = clock.and_then(|clock| ahead(clock, [before, now_ms()]));
            answers[side.index()] = Some(HostAnswers {
                greeting,
                facts,
                clock_ms,
            });
        }
    }
    if let [Some(master), Some(replica)] = &answers {
        two_stores([master, replica].map(|of| (&of.greeting.host_id, &of.greeting.roots)))?;
    }
    let mut sample = Vec::with_capacity(work.sample.len());
    for of in work.sample {
        let question = |named: Named| Command::Status(named);
        let in_scope = [0, 1].map(|i| answers[i].is_some().then_some(false));
        let [master, replica] = &mut peers;
        let (a, b) = tokio::join!(
            ask_about(master, Side::Master, in_scope[0], &of, &question),
            ask_about(replica, Side::Replica, in_scope[1], &of, &question)
        );
        sample.push(Sampled {
            name: of.name.to_string(),
            named: of.named,
            said: [a, b].map(status_of),
        });
    }
    let mut found = Preflight::judge(&answers, &sample, work.mailboxes);
    if let Some(days) = connect.cert_days() {
        found.certificate("this controller", days);
    }
    Ok(found)
}

/// How far a clock is ahead, milliseconds: it was read between these two moments, so it is not off
/// by what lies between them.
fn ahead(clock: u64, [before, after]: [i64; 2]) -> Option<i64> {
    let clock = i64::try_from(clock).ok()?;
    Some(match clock {
        _ if clock < before => clock - before,
        _ if clock > after => clock - after,
        _ => 0,
    })
}

/// An answer that is about the mailbox; that a host went away meanwhile is another matter.
fn status_of(said: Option<Said>) -> Option<Result<Status, (Reason, String)>> {
    match said? {
        Ok(fields) => Status::from_fields(&fields).ok().map(Ok),
        Err((Reason::HostAway | Reason::Local | Reason::Protocol, _)) => None,
        Err(refusal) => Some(Err(refusal)),
    }
}
