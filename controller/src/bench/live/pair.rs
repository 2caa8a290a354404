//! Two hosts with mailboxes of one size, and the runs over them.

use std::path::PathBuf;
use std::sync::Arc;

use indexfile::IoContext;
use stores::{Layout, StoreSpec, Variety};

use super::error::LiveError;
use crate::control::Limits;
use crate::demo::migrate;
use crate::demo::signals::Signals;
use crate::demo::workdir::Workdir;
use crate::demo::{Host, PARTITION, Slotd};
use crate::journal::Verb;
use crate::observer::Silent;
use crate::run::{Settings, Summary};

/// Bytes of each message, about: what is measured does not depend on them.
const MESSAGE_BYTES: u32 = 400;

/// Two hosts with mailboxes of one size.
pub(super) struct Pair {
    /// Messages in each mailbox, when it was made.
    pub messages: u32,
    /// The mailboxes.
    pub names: Vec<String>,
    /// Master and replica.
    pub hosts: [Host; 2],
    /// Where this pair's files are.
    pub dir: PathBuf,
    sockets: [PathBuf; 2],
    list: PathBuf,
}

/// What a run amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To version 10.
    Up,
    /// Back to version 9.
    Down,
}

impl Pair {
    /// Makes the mailboxes and hashes their messages; this is the `number`-th pair.
    pub fn make(
        work: &Workdir,
        number: usize,
        (messages, mailboxes): (u32, usize),
        signals: &Signals,
    ) -> Result<Self, LiveError> {
        let dir = work.path().join(number.to_string());
        let hosts = [
            Host::lay_out(&dir, "master", Layout::HASHED)?,
            Host::lay_out(&dir, "replica", Layout::METAPARTITION)?,
        ];
        let spec = StoreSpec::new(mailboxes, messages)
            .variety(Variety::Plain)
            .message_bytes(MESSAGE_BYTES..=MESSAGE_BYTES);
        spec.build_until(&[&hosts[0].store, &hosts[1].store], signals.flag())?;
        let list = dir.join("mailboxes.txt");
        let mut text = Vec::new();
        spec.write_list(PARTITION, &mut text)
            .io_context("write", &list)?;
        std::fs::write(&list, text).io_context("write", &list)?;
        for host in &hosts {
            migrate::precompute(host, signals)?;
        }
        Ok(Self {
            messages,
            names: spec.names().collect(),
            sockets: ["m", "r"].map(|side| work.socket(&format!("{side}{number}"))),
            hosts,
            dir,
            list,
        })
    }

    /// Starts a slotd on each host.
    pub fn serve(&self) -> Result<[Slotd; 2], LiveError> {
        let [master, replica] = &self.hosts;
        Ok([
            Slotd::start(master, &self.sockets[0], None)?,
            Slotd::start(replica, &self.sockets[1], None)?,
        ])
    }

    /// Runs over all its mailboxes.
    pub fn run(
        &self,
        slotds: &[Slotd; 2],
        way: Way,
        settings: &Settings,
        signals: &Signals,
    ) -> Result<Summary, LiveError> {
        let (verb, to) = match way {
            Way::Up => (Verb::Upgrade, 10),
            Way::Down => (Verb::Downgrade, 9),
        };
        let settings = Settings {
            verb,
            to,
            ..settings.clone()
        };
        let journal = self.dir.join("journal.sqlite");
        let silent = Arc::new(Silent);
        let run = migrate::run(slotds, &self.list, &journal, settings, silent, signals)?;
        signals.check()?;
        match run.summary.in_doubt {
            0 => Ok(run.summary),
            doubt => Err(LiveError::InDoubt(doubt)),
        }
    }
}

/// How runs work while clients do: as by default, but for what was asked for.
pub(super) fn settings(prepare: slotd::protocol::Write, limits: &Limits) -> Settings {
    Settings {
        prepare,
        limits: limits.clone(),
        passes: 1,
        ..Settings::upgrade()
    }
}
