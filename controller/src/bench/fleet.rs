//! The two hosts that a bench works on: their stores, and one migration of all mailboxes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::mailbox::MailboxName;
use indexfile::{IoContext, IoError};
use slotd::client::{Client, ClientError, Timeouts};
use slotd::protocol::{Named, Prepare, Upgrade, Write};
use stores::{Layout, StoreSpec};

use super::floor::Bare;
use super::{Bench, BenchError, corpus, reset};
use crate::control::Limits;
use crate::demo::{DemoError, Host, PARTITION, Slotd, migrate};
use crate::observer::Silent;
use crate::run::{Settings, Summary};

/// Mailboxes that are asked whether PREPARE does anything.
const ASKED: usize = 100;

/// Two hosts with the same mailboxes.
pub(super) struct Fleet {
    pub master: Host,
    pub replica: Host,
    /// The list of the mailboxes.
    pub list: PathBuf,
    /// Bytes of messages on each host.
    pub bytes: u64,
    root: PathBuf,
    /// Some of the mailboxes.
    names: Vec<String>,
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
    /// Lays both hosts out in a directory of that name below that of the bench, and makes their
    /// stores.
    pub fn make(bench: &Bench<'_>, name: &str, spec: &StoreSpec) -> Result<Self, BenchError> {
        let root = bench.work.path().join(name);
        std::fs::create_dir_all(&root).io_context("create directory", &root)?;
        let master = Host::lay_out(&root, "master", Layout::HASHED)?;
        let replica = Host::lay_out(&root, "replica", Layout::METAPARTITION)?;
        let built = spec.build_until(&[&master.store, &replica.store], bench.signals.flag());
        let built = built.map_err(DemoError::from)?;
        (bench.note)(&format!(
            "made {} mailboxes with {} messages on both hosts",
            built.mailboxes,
            built.live + built.expunged
        ));
        let mut lines = Vec::new();
        spec.write_list(PARTITION, &mut lines)
            .io_context("write", &root)?;
        Self::of((master, replica), root, &lines, built.bytes)
    }

    /// The same with a copy of this store on each host.
    pub fn copy(bench: &Bench<'_>, name: &str, corpus: &Path) -> Result<Self, BenchError> {
        let root = bench.work.path().join(name);
        std::fs::create_dir_all(&root).io_context("create directory", &root)?;
        let master = Host::lay_out(&root, "master", Layout::HASHED)?;
        let replica = Host::lay_out(&root, "replica", Layout::METAPARTITION)?;
        let source = corpus::store(corpus)?;
        let mut names = Vec::new();
        for host in [&master, &replica] {
            let copied = stores::genuine::copy_into(&source, &host.store);
            names = copied.io_context("copy", corpus)?;
            bench.signals.check()?;
        }
        (bench.note)(&format!("copied {} mailboxes to both hosts", names.len()));
        if names.is_empty() {
            return Err(BenchError::Empty(corpus.to_owned()));
        }
        let lines = names
            .iter()
            .map(|n| format!("{n}\t0 {PARTITION}\tanyone\tlrs\t\n"));
        let lines: String = lines.collect();
        Self::of((master, replica), root, lines.as_bytes(), 0)
    }

    fn of(
        (master, replica): (Host, Host),
        root: PathBuf,
        lines: &[u8],
        bytes: u64,
    ) -> Result<Self, BenchError> {
        let list = root.join("mailboxes.txt");
        std::fs::write(&list, lines).io_context("write", &list)?;
        // So that a run does not pay for what was written before it.
        rustix::fs::sync();
        let name = |line: &str| line.split('\t').next().map(str::to_owned);
        let names = String::from_utf8_lossy(lines);
        Ok(Self {
            master,
            replica,
            list,
            bytes,
            root,
            names: names.lines().take(ASKED).filter_map(name).collect(),
            journals: 0,
        })
    }

    /// Removes everything; for stores that a part of the bench makes for itself.
    pub fn remove(self) {
        // What cannot be removed goes, or stays, with the directory of the bench.
        let _ = std::fs::remove_dir_all(&self.root);
    }

    /// Hashes ahead on both hosts.
    pub fn hash_once(&self, bench: &Bench<'_>) -> Result<(), BenchError> {
        for host in self.hosts() {
            migrate::precompute(host, &bench.signals)?;
        }
        Ok(())
    }

    /// A list of that many of the mailboxes.
    pub fn first_of_list(&self, mailboxes: usize) -> Result<PathBuf, IoError> {
        let text = std::fs::read_to_string(&self.list).io_context("read", &self.list)?;
        let lines: Vec<&str> = text.split_inclusive('\n').take(mailboxes).collect();
        let list = self.root.join(format!("mailboxes-{mailboxes}.txt"));
        std::fs::write(&list, lines.concat()).io_context("write", &list)?;
        Ok(list)
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
        let asked = bench.signals.runtime().block_on(async {
            let mut client = Client::connect(&address, Timeouts::default()).await?;
            // Where one is done already, there is nothing to prepare.
            for name in self.names.iter().filter_map(|n| MailboxName::parse(n).ok()) {
                let prepare = Prepare {
                    of: Named::new(name),
                    upgrade: Upgrade::default(),
                    write: Write::Always,
                    epoch: None,
                };
                if client.prepare(prepare).await?.prepared {
                    return Ok(true);
                }
            }
            Ok::<bool, ClientError>(false)
        });
        Ok(asked.is_ok_and(|prepared| prepared))
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
        let start = |host: &Host, wrapper| {
            Slotd::start_under(wrapper, host, &bench.work.socket(host.name), None)
        };
        let slotds = [
            start(&self.master, wrappers[0])?,
            start(&self.replica, wrappers[1])?,
        ];
        let list = self.list.clone();
        let summary = self.run(bench, way, &slotds, &list)?;
        let seen = after(&slotds)?;
        Ok((summary, seen))
    }

    /// The same with nothing else to do.
    pub fn plainly(&mut self, bench: &Bench<'_>, way: &Way) -> Result<Summary, BenchError> {
        let list = self.list.clone();
        self.plainly_of(bench, way, &list)
    }

    /// The same with the mailboxes of this list only.
    pub fn plainly_of(
        &mut self,
        bench: &Bench<'_>,
        way: &Way,
        list: &Path,
    ) -> Result<Summary, BenchError> {
        self.put_back()?;
        bench.signals.check()?;
        let start = |host: &Host| Slotd::start(host, &bench.work.socket(host.name), None);
        let slotds = [start(&self.master)?, start(&self.replica)?];
        self.run(bench, way, &slotds, list)
    }

    /// The same of all, where the master's slotd asks the replica's for hashes that it lacks.
    pub fn asking_replica(&mut self, bench: &Bench<'_>, way: &Way) -> Result<Summary, BenchError> {
        self.put_back()?;
        bench.signals.check()?;
        let replica = Slotd::start(&self.replica, &bench.work.socket("replica"), None)?;
        let socket = bench.work.socket("master");
        let master = Slotd::start(&self.master, &socket, Some(&replica))?;
        let list = self.list.clone();
        self.run(bench, way, &[master, replica], &list)
    }

    /// A journal that is not there yet.
    pub fn new_journal(&mut self) -> PathBuf {
        self.journals += 1;
        self.root.join(format!("journal-{}.sqlite", self.journals))
    }

    fn run(
        &mut self,
        bench: &Bench<'_>,
        way: &Way,
        slotds: &[Slotd; 2],
        list: &Path,
    ) -> Result<Summary, BenchError> {
        let state = self.new_journal();
        let (settings, silent) = (way.settings.clone(), Arc::new(Silent));
        let run = migrate::run(slotds, list, &state, settings, silent, &bench.signals)?;
        bench.signals.check()?;
        all_upgraded(&run.summary, &way.name)?;
        Ok(run.summary)
    }
}

/// Anything else than all of them would be a figure of something else.
pub(super) fn all_upgraded(summary: &Summary, way: &str) -> Result<(), BenchError> {
    let (upgraded, mailboxes) = (summary.upgraded, summary.mailboxes);
    if upgraded > 0 && upgraded + summary.unchanged == mailboxes {
        return Ok(());
    }
    Err(BenchError::Failed {
        upgraded,
        mailboxes,
        way: way.to_owned(),
    })
}
