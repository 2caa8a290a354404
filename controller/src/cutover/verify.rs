//! The proof after a change-over, by which a server may start: every mailbox of both hosts is as it
//! should be, and each slotd has made the file that says so.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use indexfile::exit::Exit;
use serde::Serialize;
use slotd::protocol::{Command, Named, Verified, Verify};

use super::complete::{complete, revoke_all};
use super::ids::UniqueIds;
use super::work::{Work, is_whole, of_every_host};
use crate::error::RunError;
use crate::hosts::{Connect, Question, Registration, fallen_fence};
use crate::journal::MailboxId;
use crate::stop::Stop;
use crate::survey::{
    Answered, Asking, Count, Excluded, Source, UNLIKE_UNIQUEID, is_unknown, survey, versions,
};
use crate::two_phase::Side;

/// One host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProofHost {
    /// Mailboxes it answered for.
    pub mailboxes: u64,
    /// Mailboxes by index version.
    pub versions: BTreeMap<u32, u64>,
    /// Records.
    pub messages: u64,
    /// Messages that were read.
    pub checked: u64,
    /// The file that says that this host's store is complete, if it is there. Where not both hosts
    /// are, it is one that could not be removed again.
    pub file: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Proof {
    /// The index version wanted.
    pub to: u8,
    /// Mailboxes asked about.
    pub mailboxes: u64,
    /// As they should be on every host.
    pub good: u64,
    /// Not so.
    pub bad: u64,
    /// Every mailbox of every host is good, and each host has the file that says so: a server may
    /// start.
    pub complete: bool,
    /// Names that were given and that the master does not know; they are among the bad ones.
    pub unknown: u64,
    /// What is wrong, by kind.
    pub faults: BTreeMap<String, Count>,
    /// Another unique id on the replica: a warning.
    pub unlike_uniqueid: Count,
    /// Other expunged messages on the replica, as its own `cyr_expire` leaves them: no fault.
    pub unlike_expunged: Count,
    /// Another `sync_crc` on the replica and all else alike, as 2.3 leaves it: no fault.
    pub unlike_sync_crc: Count,
    /// Why nothing is complete, where every mailbox that was looked at is good.
    pub why: Option<String>,
    /// Wall clock.
    pub seconds: f64,
    /// Master and replica.
    pub hosts: BTreeMap<&'static str, ProofHost>,
    /// What the list had that was not looked at.
    #[serde(skip)]
    pub excluded: Excluded,
}

/// Looks at every mailbox of the sources on both hosts, reading at most `sample` messages of each.
/// Of the whole store, all of it good, each slotd makes the file that says so. `failed` gets each
/// mailbox that is not good.
///
/// # Errors
/// A host does not answer or works for another coordinator, the list cannot be read; for the whole
/// store also: something is decided and not settled, or the fence does not stand.
pub async fn verify(
    work: &Work<'_>,
    sources: Vec<Source>,
    sample: Option<u32>,
    mut failed: impl FnMut(&str, &str),
) -> Result<Proof, RunError> {
    let begun = Instant::now();
    let whole = is_whole(&sources);
    let bound = Registration::engage(work.connect, work.journal, work.observer).await?;
    let connect = Arc::clone(&bound) as Arc<dyn Connect>;
    if whole {
        check_nothing_is_open(work)?;
        if let Some(why) = fallen_fence(&connect).await? {
            let text = format!("nothing is complete without the fence, and {why}");
            let exit = Exit::Config;
            return Err(RunError::Preflight { exit, text });
        }
        // What they say is to be proven again.
        revoke_all(&connect).await?;
    }
    let question: Arc<Question> = Arc::new(move |of: Named| Command::Verify(Verify { of, sample }));
    let asking = Asking {
        connect: &connect,
        parallel: work.parallel,
        stop: work.stop,
        question,
        then: None,
    };
    let ids = UniqueIds::new()?;
    let mut proof = Proof {
        to: work.to,
        ..Proof::default()
    };
    let mut fault = None;
    let sources = of_every_host(connect.as_ref(), sources);
    let asked = survey(&asking, sources, |answered| {
        match proof.answered(&answered, &ids) {
            Ok(faults) => {
                let name = answered.of.name.as_str();
                for text in &faults {
                    failed(name, text);
                }
            }
            Err(error) => {
                fault.get_or_insert(error);
            }
        }
    })
    .await;
    let done = match (asked, fault) {
        (Err(error), _) | (Ok(_), Some(error)) => Err(error),
        (Ok(excluded), None) => {
            proof.excluded = excluded;
            proof.why = proof.unproven(work, whole);
            if proof.why.is_none() {
                let counts = Side::ALL.map(|side| proof.mailboxes_of(side));
                match complete(&connect, work.to, counts).await {
                    Ok(files) => proof.have(files),
                    Err(incomplete) => {
                        proof.why = Some(incomplete.why);
                        proof.have(incomplete.left);
                    }
                }
                proof.complete = proof.why.is_none();
            }
            Ok(())
        }
    };
    bound.leave(work.journal).await;
    done?;
    proof.seconds = begun.elapsed().as_secs_f64();
    Ok(proof)
}

fn check_nothing_is_open(work: &Work<'_>) -> Result<(), RunError> {
    match work.journal.open_transactions(MailboxId(0), 1)?.first() {
        None => Ok(()),
        Some(open) => Err(RunError::Config(format!(
            "{} is decided and not settled, perhaps others too: nothing is complete before \
             `controller recover` has settled them",
            open.row.name
        ))),
    }
}

impl Proof {
    fn mailboxes_of(&self, side: Side) -> u64 {
        let host = self.hosts.get(side.as_str());
        host.map_or(0, |host| host.mailboxes)
    }

    /// Notes which files there are.
    fn have(&mut self, files: [Option<String>; 2]) {
        for (side, file) in Side::ALL.into_iter().zip(files) {
            if let Some(file) = file {
                self.hosts.entry(side.as_str()).or_default().file = Some(file);
            }
        }
    }

    /// Why nothing can be called complete, as far as the mailboxes and the list tell.
    fn unproven(&self, work: &Work<'_>, whole: bool) -> Option<String> {
        if work.stop.level() != Stop::No {
            Some("it was stopped before every mailbox was looked at".to_owned())
        } else if self.bad > 0 {
            Some(format!(
                "{} mailbox(es) are not as they should be",
                self.bad
            ))
        } else if self.excluded.two_places.count > 0 {
            Some("a name is on two partitions of the master".to_owned())
        } else if !whole {
            Some(
                "not every mailbox was looked at: only --verify without names, list and partition \
                 makes a store complete"
                    .to_owned(),
            )
        } else {
            None
        }
    }

    /// Adds what the hosts said about a mailbox; gives what is wrong with it.
    fn answered(&mut self, answered: &Answered, ids: &UniqueIds) -> Result<Vec<String>, RunError> {
        self.mailboxes += 1;
        self.unknown += u64::from(is_unknown(answered));
        let name = answered.of.name.as_str();
        let mut faults: Vec<(String, String)> = Vec::new();
        let mut both: [Option<Verified>; 2] = [None, None];
        for side in Side::ALL {
            let Some(said) = &answered.said[side.index()] else {
                continue;
            };
            let mut note = |kind: &str, text: String| {
                faults.push((kind.to_owned(), format!("{side}: {text}")));
            };
            let verified = match said {
                Ok(fields) => Verified::from_fields(fields),
                Err((reason, text)) => {
                    note(reason.as_str(), text.clone());
                    continue;
                }
            };
            let verified = match verified {
                Ok(verified) => verified,
                Err(error) => {
                    note("protocol", error.to_string());
                    continue;
                }
            };
            self.hosts.entry(side.as_str()).or_default().add(&verified);
            faults_of(&verified, self.to, &mut note);
            if !verified.uniqueid.is_empty()
                && let Some(twin) = ids.meet(side, &verified.uniqueid, name)?
            {
                note("unique_id_twice", format!("it has the unique id of {twin}"));
            }
            both[side.index()] = Some(verified);
        }
        if let [Some(master), Some(replica)] = &both {
            if master.uniqueid != replica.uniqueid {
                let ids = format!("{} and {}", master.uniqueid, replica.uniqueid);
                self.unlike_uniqueid.note(name, &ids);
            }
            faults.extend(self.compare(name, master, replica));
        }
        if faults.is_empty() {
            self.good += 1;
        } else {
            self.bad += 1;
        }
        for (kind, text) in &faults {
            self.faults
                .entry(kind.clone())
                .or_default()
                .note(name, text);
        }
        Ok(faults.into_iter().map(|(_, text)| text).collect())
    }

    /// How the two hosts differ, as a user sees it. What differs besides is counted.
    fn compare(
        &mut self,
        name: &str,
        master: &Verified,
        replica: &Verified,
    ) -> Option<(String, String)> {
        let (one, other) = (master.messages, replica.messages);
        if master.live != replica.live {
            let text = format!(
                "the hosts have other messages, GUIDs, flags, seen state or dates ({one} records \
                 on the master, {other} on the replica)"
            );
            return Some(("differing".to_owned(), text));
        }
        if master.digest != replica.digest {
            let text = format!("{one} records on the master, {other} on the replica");
            self.unlike_expunged.note(name, &text);
        }
        if let [Some(one), Some(other)] = [master.sync_crc, replica.sync_crc]
            && one != other
        {
            let text = format!("{one:08x} on the master, {other:08x} on the replica");
            self.unlike_sync_crc.note(name, &text);
        }
        None
    }

    /// What the command ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match (self.unknown, self.complete) {
            (0, true) => Exit::Ok,
            (0, false) => Exit::Data,
            _ => Exit::NoMailbox,
        }
    }
}

/// What is wrong with a mailbox on one host.
fn faults_of(verified: &Verified, to: u8, note: &mut impl FnMut(&str, String)) {
    if verified.index != u32::from(to) {
        note(
            "version",
            format!("it has version {}, not {to}", verified.index),
        );
    }
    if let Some(expunge) = verified.expunge {
        let text = format!("there is a cyrus.expunge, of version {expunge}");
        note("expunge", text);
    }
    if verified.old > 0 {
        let text = format!("{} records have old-style GUIDs", verified.old);
        note("old_guids", text);
    }
    if verified.bad > 0 {
        let list = verified.list.join(", ");
        let text = format!(
            "{} messages are not what the records say: {list}",
            verified.bad
        );
        note("message", text);
    }
    for finding in &verified.findings {
        let code = finding.rsplit(':').next().unwrap_or(finding);
        note(code, finding.clone());
    }
    if verified.live.is_none() && verified.index == u32::from(to) {
        let text = "slotd does not tell by what two hosts are compared (live=)";
        note("protocol", text.to_owned());
    }
}

impl ProofHost {
    fn add(&mut self, verified: &Verified) {
        self.mailboxes += 1;
        self.messages += u64::from(verified.messages);
        self.checked += u64::from(verified.checked);
        *self.versions.entry(verified.index).or_default() += 1;
    }
}

/// For a person.
impl fmt::Display for Proof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} mailboxes: {} good, {} bad; {:.1} s",
            self.mailboxes, self.good, self.bad, self.seconds
        )?;
        for (side, host) in &self.hosts {
            writeln!(
                out,
                "{side}: {}; {} records, {} messages read",
                versions(&host.versions),
                host.messages,
                host.checked
            )?;
        }
        for (kind, count) in &self.faults {
            count.line(out, &format!("  {kind}"))?;
        }
        self.unlike_uniqueid.line(out, UNLIKE_UNIQUEID)?;
        self.unlike_expunged.line(
            out,
            "Other expunged messages on the replica, as its own cyr_expire left them",
        )?;
        self.unlike_sync_crc.line(
            out,
            "Other modseqs or times of change on the replica, as 2.3 leaves them (sync_crc)",
        )?;
        for (side, host) in &self.hosts {
            if let (true, Some(file)) = (self.complete, &host.file) {
                writeln!(out, "COMPLETE on the {side}: {file}")?;
            }
        }
        match &self.why {
            Some(why) => writeln!(out, "NOT COMPLETE, no server may start: {why}"),
            None => Ok(()),
        }
    }
}
