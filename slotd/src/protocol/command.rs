//! Commands: what a coordinator, or a person, may ask for.

use std::fmt::{self, Display};
use std::time::Duration;

use indexfile::mailbox::MailboxName;

use super::args::{Args, bad};
use super::compared::DigestRange;
use super::drained::DrainRequest;
use super::escape::escape;
use super::pass::Precompute;
use super::requests::{
    Clean, CommandError, Commit, Complete, Find, GuidRange, ListRange, Lock, Named, Prepare,
    Rehash, Repair, Sha1sRange, Upgrade, UuidSource, Verify, Write,
};
use super::{MAX_COMMAND, trim_line_end};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, strum::EnumDiscriminants)]
#[strum_discriminants(
    name(CommandKind),
    derive(Hash, strum::EnumIter),
    doc = "Which command, without what it says."
)]
#[non_exhaustive]
pub enum Command {
    /// Who are you, and do you serve?
    Hello,
    /// What can this host do: room, limits, privileges, mounts?
    Preflight,
    /// Lock a mailbox.
    Lock(Lock),
    /// Stage new files for the locked mailbox.
    Upgrade(Upgrade),
    /// The UIDs and GUIDs as they are after `UPGRADE`.
    Guids(GuidRange),
    /// Where two hosts' lists differ: digests of parts of them, after `UPGRADE`.
    Digests(DigestRange),
    /// Rename the staged files into place.
    Commit(Commit),
    /// Unlock after `COMMIT hold`.
    Release {
        /// Remove the `.OLD` files too.
        drop_old: bool,
    },
    /// Undo and unlock.
    Rollback,
    /// Is what was locked and staged still so? Asking keeps the transaction from ending for want of
    /// commands.
    Confirm,
    /// Hash the messages of the whole store, in the background.
    Precompute(Precompute),
    /// Do the work of `UPGRADE` without locks, ahead of `LOCK`.
    Prepare(Prepare),
    /// The mailboxes on this host, a page of them.
    List(ListRange),
    /// A piece of a mailbox's `cyrus.sha1s`.
    Sha1s(Sha1sRange),
    /// What a mailbox is like, without locks.
    Status(Named),
    /// What this host is doing: load, waits, replication. `STATUS` without a mailbox.
    HostStatus,
    /// GUIDs against message files, without locks.
    Verify(Verify),
    /// Remove `cyrus.sha1s`, `.OLD` and strays.
    Clean(Clean),
    /// This connection is one of the coordinator whose journal has this id.
    Register {
        /// The journal's id.
        journal: String,
        /// Tells it from other coordinators with this journal: rises, from 1, whenever one takes
        /// over from another.
        epoch: Option<u64>,
    },
    /// The coordinator of this connection has nothing open on this store: it may be forgotten.
    Leave,
    /// Where the mailbox with a unique id lies, by a walk of the store.
    Find(Find),
    /// Is every mailbox of this store at that version, so that a server may start?
    Complete(Complete),
    /// No server may start on this store: what [`Command::Complete`] made is removed.
    Revoke,
    /// Do users get in, who is here, and what has replication still to send?
    Host,
    /// Keep users out: `msg/motd` and `msg/shutdown`.
    Drain(DrainRequest),
    /// End the sessions of users on a drained host.
    Kick,
    /// Let users in again.
    Undrain,
    /// Say goodbye: like closing the connection, with an answer.
    Quit,
}

impl Command {
    /// Whether it is a step of a transaction's own course, which has a bound of its own.
    #[must_use]
    pub fn advances(&self) -> bool {
        matches!(
            self,
            Command::Upgrade(_) | Command::Commit(_) | Command::Release { .. } | Command::Rollback
        )
    }

    /// Whether it changes nothing and says nothing of a transaction: anybody may ask.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            Command::Hello
                | Command::Preflight
                | Command::Host
                | Command::List(_)
                | Command::Find(_)
                | Command::Sha1s(_)
                | Command::Status(_)
                | Command::HostStatus
                | Command::Precompute(Precompute::Ask)
                | Command::Verify(_)
                | Command::Quit
        )
    }

    /// Reads one line, with or without its end. Words of commands and keys may be in any case.
    ///
    /// # Errors
    /// The line is no command, has an argument too many, too few or malformed, or names no possible
    /// mailbox.
    pub fn parse(line: &[u8]) -> Result<Command, CommandError> {
        if line.len() > MAX_COMMAND {
            return bad(format!("a line is at most {MAX_COMMAND} bytes"));
        }
        let line = trim_line_end(line);
        if line.iter().any(u8::is_ascii_control) {
            return bad("a command has no control characters");
        }
        let Ok(text) = std::str::from_utf8(line) else {
            return bad("a command is ASCII; escape other bytes as %XX");
        };
        let mut args = Args::new(text);
        let command = match args.word.to_ascii_uppercase().as_str() {
            "HELLO" => Command::Hello,
            "PREFLIGHT" => Command::Preflight,
            "LOCK" => {
                let mailbox = args.mailbox()?;
                let wait = args.number("wait_ms")?.map(Duration::from_millis);
                Command::Lock(Lock {
                    of: Named {
                        mailbox,
                        partition: args.text("partition")?,
                    },
                    wait,
                    now: args.switch("now")?,
                    ahead: !args.off("ahead")?,
                    epoch: args.epoch()?,
                })
            }
            "UPGRADE" => Command::Upgrade(args.upgrade()?),
            "GUIDS" => Command::Guids(GuidRange {
                from: args.number("from")?.unwrap_or(0),
                to: args.number("to")?,
                max: args.number("max")?,
            }),
            "DIGESTS" => Command::Digests(args.digest_range()?),
            "COMMIT" => Command::Commit(Commit {
                hold: args.flag("hold"),
                drop_old: args.switch("drop_old")?,
            }),
            "RELEASE" => Command::Release {
                drop_old: args.switch("drop_old")?,
            },
            "ROLLBACK" => Command::Rollback,
            "CONFIRM" => Command::Confirm,
            "PREPARE" => Command::Prepare(Prepare {
                of: args.named()?,
                upgrade: args.upgrade()?,
                write: args.write()?,
                epoch: args.epoch()?,
            }),
            "PRECOMPUTE" => Command::Precompute(args.precompute()?),
            "LIST" => Command::List(args.list_range()?),
            "SHA1S" => Command::Sha1s(Sha1sRange {
                of: args.named()?,
                offset: args.number("offset")?.unwrap_or(0),
            }),
            "STATUS" if args.is_empty() => Command::HostStatus,
            "STATUS" => Command::Status(args.named()?),
            "VERIFY" => Command::Verify(Verify {
                of: args.named()?,
                sample: args.number("sample")?,
            }),
            "CLEAN" => Command::Clean(Clean {
                of: args.named()?,
                dry_run: args.switch("dry_run")?,
            }),
            "REGISTER" => Command::Register {
                journal: args.needed("journal")?,
                epoch: args.epoch()?,
            },
            "LEAVE" => Command::Leave,
            "FIND" => Command::Find(Find {
                uniqueid: args.needed("uniqueid")?,
                after: args.list_range()?.after,
            }),
            "COMPLETE" => Command::Complete(args.complete()?),
            "REVOKE" => Command::Revoke,
            "HOST" => Command::Host,
            "DRAIN" => Command::Drain(args.drain()?),
            "KICK" => Command::Kick,
            "UNDRAIN" => Command::Undrain,
            "QUIT" => Command::Quit,
            "" => return bad("empty command"),
            _ => return bad(format!("unknown command {}", escape(args.word.as_bytes()))),
        };
        args.finish()?;
        Ok(command)
    }

    /// The mailbox that it names.
    #[must_use]
    pub fn mailbox(&self) -> Option<&MailboxName> {
        let named = match self {
            Command::Lock(lock) => &lock.of,
            Command::Prepare(prepare) => &prepare.of,
            Command::Sha1s(range) => &range.of,
            Command::Status(named) => named,
            Command::Verify(verify) => &verify.of,
            Command::Clean(clean) => &clean.of,
            _ => return None,
        };
        Some(&named.mailbox)
    }

    /// The first word, in upper case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Command::Hello => "HELLO",
            Command::Preflight => "PREFLIGHT",
            Command::Lock(_) => "LOCK",
            Command::Upgrade(_) => "UPGRADE",
            Command::Guids(_) => "GUIDS",
            Command::Digests(_) => "DIGESTS",
            Command::Commit(_) => "COMMIT",
            Command::Release { .. } => "RELEASE",
            Command::Rollback => "ROLLBACK",
            Command::Confirm => "CONFIRM",
            Command::Precompute(_) => "PRECOMPUTE",
            Command::Prepare(_) => "PREPARE",
            Command::List(_) => "LIST",
            Command::Sha1s(_) => "SHA1S",
            Command::Status(_) | Command::HostStatus => "STATUS",
            Command::Verify(_) => "VERIFY",
            Command::Clean(_) => "CLEAN",
            Command::Register { .. } => "REGISTER",
            Command::Leave => "LEAVE",
            Command::Find(_) => "FIND",
            Command::Complete(_) => "COMPLETE",
            Command::Revoke => "REVOKE",
            Command::Host => "HOST",
            Command::Drain(_) => "DRAIN",
            Command::Kick => "KICK",
            Command::Undrain => "UNDRAIN",
            Command::Quit => "QUIT",
        }
    }

    /// The line to send, with its LF.
    #[must_use]
    pub fn to_line(&self) -> String {
        format!("{self}\n")
    }
}

/// The command as it goes over the wire, without the line end.
impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line(self.name().to_owned());
        match self {
            Command::Hello
            | Command::Preflight
            | Command::HostStatus
            | Command::Precompute(Precompute::Ask)
            | Command::Rollback
            | Command::Confirm
            | Command::Leave
            | Command::Revoke
            | Command::Host
            | Command::Kick
            | Command::Undrain
            | Command::Quit => {}
            Command::Register { journal, epoch } => {
                line.key("journal", Some(journal));
                line.key("epoch", *epoch);
            }
            Command::Drain(drain) => {
                line.key("by", Some(&drain.by));
                line.key("announce", drain.announce.as_ref());
                line.key("shutdown", drain.shutdown.as_ref());
            }
            Command::Find(find) => {
                line.key("uniqueid", Some(&find.uniqueid));
                line.after(find.after.as_ref());
            }
            Command::Lock(lock) => {
                line.named(&lock.of);
                line.key("wait_ms", lock.wait.map(|w| w.as_millis()));
                line.key("now", lock.now.then_some(1));
                line.key("ahead", (!lock.ahead).then_some(0));
                line.key("epoch", lock.epoch);
            }
            Command::Upgrade(upgrade) => line.upgrade(*upgrade),
            Command::Guids(range) => {
                line.key("from", (range.from > 0).then_some(range.from));
                line.key("to", range.to);
                line.key("max", range.max);
            }
            Command::Digests(range) => {
                line.key("from", Some(range.from));
                line.key("to", Some(range.to));
                line.key("parts", Some(range.parts));
            }
            Command::Commit(commit) => {
                line.flag("hold", commit.hold);
                line.key("drop_old", commit.drop_old.then_some(1));
            }
            Command::Release { drop_old } => line.key("drop_old", drop_old.then_some(1)),
            Command::Precompute(Precompute::Stop) => line.flag("stop", true),
            Command::Precompute(Precompute::Start(limits)) => {
                line.flag("start", true);
                line.key("jobs", limits.jobs);
                line.key("max_rate", limits.max_rate);
                line.key("all_messages", limits.all_messages.then_some(1));
            }
            Command::Prepare(prepare) => {
                line.named(&prepare.of);
                line.upgrade(prepare.upgrade);
                let write = match prepare.write {
                    Write::Always => None,
                    Write::Auto => Some("auto"),
                    Write::Never => Some("never"),
                };
                line.key("write", write);
                line.key("epoch", prepare.epoch);
            }
            Command::List(range) => {
                line.after(range.after.as_ref());
                line.key("only", range.only.as_ref());
                line.key("max", range.max);
            }
            Command::Sha1s(range) => {
                line.named(&range.of);
                line.key("offset", (range.offset > 0).then_some(range.offset));
            }
            Command::Status(named) => line.named(named),
            Command::Verify(verify) => {
                line.named(&verify.of);
                line.key("sample", verify.sample);
            }
            Command::Clean(clean) => {
                line.named(&clean.of);
                line.key("dry_run", clean.dry_run.then_some(1));
            }
            Command::Complete(complete) => {
                line.flag(&complete.version.to_string(), true);
                line.key("mailboxes", Some(complete.mailboxes));
                line.key("dry_run", complete.dry_run.then_some(1));
            }
        }
        f.write_str(&line.0)
    }
}

/// A line while it is put together.
struct Line(String);

impl Line {
    fn flag(&mut self, word: &str, on: bool) {
        if on {
            self.0.push(' ');
            self.0.push_str(word);
        }
    }

    fn key(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.0.push(' ');
            self.0.push_str(key);
            self.0.push('=');
            self.0.push_str(&escape(value.to_string().as_bytes()));
        }
    }

    fn named(&mut self, named: &Named) {
        self.flag(&escape(named.mailbox.to_string().as_bytes()), true);
        self.key("partition", named.partition.as_ref());
    }

    fn after(&mut self, after: Option<&Named>) {
        self.key("after", after.map(|a| a.mailbox.to_string()));
        self.key("partition", after.and_then(|a| a.partition.clone()));
    }

    fn upgrade(&mut self, upgrade: Upgrade) {
        self.flag(&upgrade.version.to_string(), true);
        let uuids = match upgrade.uuids {
            UuidSource::Auto => None,
            UuidSource::Old => Some("old"),
            UuidSource::Cut => Some("cut"),
        };
        self.key("uuids", uuids);
        self.key("repair", upgrade.repair.map(|Repair::Expunge| "expunge"));
        self.key("run", (upgrade.run > 0).then_some(upgrade.run));
        self.key("compare", upgrade.by_content.then_some("content"));
        self.key("rehash", upgrade.rehash.map(Rehash::as_str));
    }
}
