//! Two hosts, a journal and a witness: what the tests of runs share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indexfile::mailbox::MailboxName;

use super::fake::{Fault, Net, Shared, What, host, lock};
use crate::control::{Control, Limits, Parallel, Places};
use crate::journal::memory::MemoryJournal;
use crate::journal::{Change, Durability, Journal};
use crate::observer::{Finished, Observer};
use crate::run::{Alerts, Parts, Settings, Summary, run};
use crate::stop::{Stop, StopHandle, stop_pair};
use crate::survey::Source;

pub const NAMES: [&str; 5] = [
    "user.a",
    "user.a.Sent Items",
    "user.b",
    "user.b.&AOk-",
    "ex.com!user.c",
];

/// What a run reported to its observer.
#[derive(Default)]
pub struct Witness {
    pub lines: Mutex<Vec<String>>,
    pub alarms: Mutex<Vec<String>>,
    pub said: Mutex<Vec<String>>,
    pub warned: Mutex<Vec<String>>,
    pub stop_after: Option<(usize, StopHandle, Stop)>,
    /// A file that is made once a number of mailboxes are done.
    pub make_after: Option<(usize, PathBuf)>,
}

impl Observer for Witness {
    fn finished(&self, what: &Finished<'_>) {
        let mut lines = self.lines.lock().unwrap();
        lines.push(format!("{} {}", what.name, what.ended.as_str()));
        if let Some((n, handle, how)) = &self.stop_after
            && lines.len() == *n
        {
            handle.stop(*how);
        }
        if let Some((n, path)) = &self.make_after
            && lines.len() == *n
        {
            std::fs::write(path, "").unwrap();
        }
    }
    fn say(&self, text: &str) {
        self.said.lock().unwrap().push(text.to_owned());
    }
    fn warn(&self, text: &str) {
        self.warned.lock().unwrap().push(text.to_owned());
    }
    fn alarm(&self, text: &str) {
        self.alarms.lock().unwrap().push(text.to_owned());
    }
}

pub struct World {
    pub hosts: [Shared; 2],
    pub journal: Arc<MemoryJournal>,
    pub witness: Arc<Witness>,
    pub settings: Settings,
}

impl World {
    pub fn new() -> Self {
        let settings = Settings {
            limits: Limits {
                parallel: Parallel::Fixed(2),
                host_wait: Duration::ZERO,
                ..Limits::default()
            },
            pass_pause: Duration::from_millis(1),
            settle_attempts: 2,
            settle_pause: Duration::from_millis(1),
            ..Settings::upgrade()
        };
        Self {
            hosts: [host(&NAMES), host(&NAMES)],
            journal: Arc::new(MemoryJournal::new()),
            witness: Arc::default(),
            settings,
        }
    }

    pub fn fault(
        &self,
        side: usize,
        command: &'static str,
        mailbox: &'static str,
        times: u32,
        what: What,
    ) {
        lock(&self.hosts[side]).faults.push(Fault {
            command,
            mailbox,
            times,
            after: 0,
            what,
        });
    }

    /// Controls for this many mailboxes at once.
    pub fn control(&self, parallel: usize) -> Arc<Control> {
        self.control_of(Parallel::Fixed(parallel))
    }

    pub fn control_of(&self, parallel: Parallel) -> Arc<Control> {
        let limits = self.settings.limits.clone();
        Arc::new(Control::new(Limits { parallel, ..limits }))
    }

    pub fn parts(&self) -> Parts {
        let (handle, stop) = stop_pair();
        // The run would take a dropped handle for "never stopped", which is what is wanted here.
        drop(handle);
        self.parts_with(stop)
    }

    pub fn parts_with(&self, stop: crate::run::StopSignal) -> Parts {
        Parts {
            settings: self.settings.clone(),
            connect: Arc::new(Net {
                hosts: self.hosts.clone().map(Some),
            }),
            journal: Arc::clone(&self.journal) as Arc<dyn Journal>,
            observer: Arc::clone(&self.witness) as Arc<dyn Observer>,
            alerts: Alerts::default(),
            stop,
            places: Places::default(),
        }
    }

    pub async fn run(&self, sources: &[Source]) -> Summary {
        run(self.parts(), sources).await.unwrap()
    }

    /// Whether the run with that number is over.
    pub fn is_finished(&self, number: i64) -> bool {
        let run = self.journal.run(crate::journal::RunId(number)).unwrap();
        run.unwrap().finished_ms.is_some()
    }

    /// Puts a change into the journal, as an earlier controller left it.
    pub async fn submit(&self, change: Change) {
        let written = self.journal.submit(change, Durability::Durable);
        written.wait().await.unwrap();
    }
    pub fn versions(&self, name: &str) -> [u32; 2] {
        [0, 1].map(|i| lock(&self.hosts[i]).mailboxes[name].version)
    }

    pub fn row(&self, name: &str) -> crate::journal::Row {
        let name = MailboxName::parse(name).unwrap();
        let run = self.journal.last_run().unwrap().unwrap().id;
        self.journal.find(run, &name).unwrap().unwrap()
    }
}

pub fn names(names: &[&str]) -> Source {
    Source::Names(
        names
            .iter()
            .map(|n| MailboxName::parse(n).unwrap())
            .collect(),
    )
}

pub fn spec_of(world: &World) -> crate::journal::RunSpec {
    crate::journal::RunSpec {
        verb: world.settings.verb,
        to: world.settings.to,
        undoes: None,
        master: "master".to_owned(),
        replica: Some("replica".to_owned()),
        master_id: String::new(),
        replica_id: String::new(),
        selection: "all".to_owned(),
        words: String::new(),
        pairs: String::new(),
    }
}
