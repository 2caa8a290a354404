//! The two hosts that a bench works on: their stores, and one migration of all mailboxes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use indexfile::mailbox::MailboxName;
use indexfile::{IoContext, IoError};
use slotd::client::{Client, Timeouts};
use slotd::protocol::{Named, Prepare, Upgrade, Write};
use stores::{Layout, StoreSpec, Variety};

use super::floor::Bare;
use super::{Bench, BenchError, reset};
use crate::control::Limits;
use crate::demo::{DemoError, Host, PARTITION, Slotd, migrate};
use crate::observer::Silent;
use crate::run::{Settings, Summary};

/// Two hosts with the same mailboxes.
pub(super) struct Fleet {
    pub master: Host,
    pub replica: Host,
    /// The list of the mailboxes.
    pub list: PathBuf,
    /// One of them.
    first: Option<String>,
    journals: usize,
}

/// How a migration is done.
#[derive(Clone)]
pub(super) struct Way {
    /// Words that follow "upgraded".
    pub name: String,
    pub settings: Settings,
}

impl Way {
    /// That many mailboxes at once, with new files written ahead or not.
    pub fn new(parallel: usize, prepare: Write) -> Self {
        let word = match prepare {
            Write::Always => "with",
            _ => "without",
        };
        Self {
            name: format!("{parallel} at once, {word} PREPARE"),
            settings: Settings {
                prepare,
                limits: Limits {
                    parallel: parallel.into(),
                    ..Limits::default()
                },
                passes: 1,
                ..Settings::upgrade()
            },
        }
    }
}

impl Fleet {
    /// Lays both hosts out below the directory of the bench and makes their stores.
    pub fn make(bench: &Bench<'_>) -> Result<Self, BenchError> {
        let options = bench.options;
        (bench.note)(&format!(
            "making {} mailboxes of {} messages on both hosts",
            options.mailboxes, options.messages
        ));
        let root = bench.work.path();
        let master = Host::lay_out(root, "master", Layout::HASHED)?;
        let replica = Host::lay_out(root, "replica", Layout::METAPARTITION)?;
        let spec = StoreSpec::new(options.mailboxes, options.messages).variety(Variety::Plain);
        let built = spec.build_until(&[&master.store, &replica.store], bench.signals.flag());
        built.map_err(DemoError::from)?;
        let list = root.join("mailboxes.txt");
        let mut lines = Vec::new();
        spec.write_list(PARTITION, &mut lines)
            .io_context("write", &list)?;
        std::fs::write(&list, lines).io_context("write", &list)?;
        // So that a run does not pay for what was written before it.
        rustix::fs::sync();
        let first = spec.names().next();
        Ok(Self {
            master,
            replica,
            list,
            first,
            journals: 0,
        })
    }

    /// Both hosts.
    pub fn hosts(&self) -> [&Host; 2] {
        [&self.master, &self.replica]
    }

    /// Asks whether PREPARE does anything here, with the old files in place.
    pub fn prepares(&self, bench: &Bench<'_>) -> Result<bool, BenchError> {
        self.put_back()?;
        let slotd = Slotd::start(&self.master, &bench.work.socket("master"), None)?;
        let address = migrate::address(&slotd)?;
        let name = self.first.as_deref().map(MailboxName::parse);
        let Some(Ok(name)) = name else {
            return Ok(false);
        };
        let prepare = Prepare {
            of: Named::new(name),
            upgrade: Upgrade::default(),
            write: Write::Always,
            epoch: None,
        };
        let asked = bench.signals.runtime().block_on(async {
            let mut client = Client::connect(&address, Timeouts::default()).await?;
            client.prepare(prepare).await
        });
        Ok(asked.is_ok_and(|answer| answer.prepared))
    }

    /// Puts the old files back where there are any: the store is as it was before a migration.
    pub fn put_back(&self) -> Result<(), IoError> {
        for host in self.hosts() {
            reset::put_back(&host.store.meta)?;
        }
        rustix::fs::sync();
        Ok(())
    }

    /// What the bare way has to do for the same mailboxes: files as large as the indexes are now.
    pub fn bare(&self) -> Result<Vec<Bare>, IoError> {
        let [master, replica] = self.hosts().map(|host| {
            let root = &host.store.root;
            host.store.mailboxes().io_context("walk", root)
        });
        let replica = replica?;
        let mut bare = Vec::new();
        for (name, dirs) in master? {
            let file = dirs.file("cyrus.index");
            let size = std::fs::metadata(&file).io_context("look at", &file)?.len();
            if let Some(other) = replica.get(&name) {
                let dirs = [dirs.meta, other.meta.clone()];
                bare.push(Bare { dirs, size });
            }
        }
        Ok(bare)
    }

    /// Puts the old files back and migrates everything with new slotds, each run by its wrapper;
    /// while they still run, `after` may look at them.
    pub fn migrate<T>(
        &mut self,
        bench: &Bench<'_>,
        way: &Way,
        wrappers: [&[OsString]; 2],
        after: impl FnOnce(&[Slotd; 2]) -> Result<T, BenchError>,
    ) -> Result<(Summary, T), BenchError> {
        self.put_back()?;
        bench.signals.check()?;
        self.journals += 1;
        let state = format!("journal-{}.sqlite", self.journals);
        let state = bench.work.path().join(state);
        let start = |host: &Host, wrapper| {
            Slotd::start_under(wrapper, host, &bench.work.socket(host.name), None)
        };
        let slotds = [
            start(&self.master, wrappers[0])?,
            start(&self.replica, wrappers[1])?,
        ];
        let (settings, silent) = (way.settings.clone(), Arc::new(Silent));
        let run = migrate::run(
            &slotds,
            &self.list,
            &state,
            settings,
            silent,
            &bench.signals,
        )?;
        bench.signals.check()?;
        all_upgraded(&run.summary, &way.name)?;
        let seen = after(&slotds)?;
        Ok((run.summary, seen))
    }

    /// The same with nothing else to do.
    pub fn plainly(&mut self, bench: &Bench<'_>, way: &Way) -> Result<Summary, BenchError> {
        let (summary, ()) = self.migrate(bench, way, [&[], &[]], |_| Ok(()))?;
        Ok(summary)
    }
}

/// Anything else than all of them would be a figure of something else.
pub(super) fn all_upgraded(summary: &Summary, way: &str) -> Result<(), BenchError> {
    let (upgraded, mailboxes) = (summary.upgraded, summary.mailboxes);
    if upgraded == mailboxes {
        return Ok(());
    }
    Err(BenchError::Failed {
        upgraded,
        mailboxes,
        way: way.to_owned(),
    })
}
