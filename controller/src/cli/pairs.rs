//! The pairs of hosts that a command works on: one of `--master` and `--replica`, or those of a
//! fleet file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indexfile::exit::Exit;
use slotd::cli::TlsArgs;
use slotd::client::{Addr, Timeouts};
use slotd::tls::{Credentials, FilesError};

use super::Fail;
use crate::control::{Places, Quota, of_pair};
use crate::error::RunError;
use crate::fleet::{Fleet, FleetError, Named};
use crate::hosts::{Connect, Slotds};
use crate::survey::{LeaveOut, Source, resolve};

/// The hosts.
#[derive(Debug, Args)]
pub(super) struct Hosts {
    /// Address of the master's slotd: `unix:/path`, `tls://HOST:PORT` or `HOST:PORT`.
    #[arg(long, value_name = "ADDR", required_unless_present = "fleet")]
    master: Option<Addr>,
    /// Address of the replica's slotd; without it, the master alone is worked on.
    #[arg(long, value_name = "ADDR", requires = "master")]
    replica: Option<Addr>,
    /// Work on the pairs of this file, side by side: docs/fleet.md.
    #[arg(long, value_name = "FILE", conflicts_with = "master")]
    fleet: Option<PathBuf>,
    /// Only these pairs of the fleet file.
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        requires = "fleet"
    )]
    pairs: Vec<String>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Seconds to wait for a connection.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    connect_timeout: u64,
    /// Seconds to wait for an answer that should come at once.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    call_timeout: u64,
    /// Seconds to wait for an answer that needs messages to be read.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    work_timeout: u64,
}

/// A pair.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// Its name; empty without a fleet file.
    pub(super) name: String,
    pub(super) slotds: Arc<Slotds>,
    /// What its master's server is to be called; empty without a fleet file.
    pub(super) servername: String,
    /// The limits that the fleet file gives it.
    pub(super) limits: Vec<(String, String)>,
    /// Partitions on which nothing is done.
    pub(super) leave_out: LeaveOut,
    /// The places that it shares with others.
    pub(super) places: Places,
}

impl Pair {
    /// What is worked on of what was asked for.
    pub(super) async fn sources(&self, sources: &[Source]) -> Result<Vec<Source>, RunError> {
        let sources = resolve(sources.to_vec(), &self.connect()).await?;
        if self.leave_out.is_empty() {
            return Ok(sources);
        }
        self.check_left_out().await?;
        let without = |source: Source| source.without(&self.leave_out);
        Ok(sources.into_iter().map(without).collect())
    }

    /// Refuses a partition to be left out that the master has not got.
    pub(super) async fn check_left_out(&self) -> Result<(), RunError> {
        self.leave_out.check(&self.connect()).await
    }

    /// How its hosts are reached.
    pub(super) fn connect(&self) -> Arc<dyn Connect> {
        Arc::clone(&self.slotds) as Arc<dyn Connect>
    }

    /// As it is compared with others.
    pub(super) fn named(&self) -> Named {
        Named {
            name: self.name.clone(),
            servername: self.servername.clone(),
            leave_out: self.leave_out.clone(),
            connect: self.connect(),
        }
    }

    /// A line about it.
    pub(super) fn line(&self, text: &str) -> String {
        of_pair(&self.name, text)
    }

    /// Several lines about it, under its name.
    pub(super) fn heading(&self, text: &str) -> String {
        if self.is_named() {
            format!("{}:\n  {}", self.name, text.replace('\n', "\n  "))
        } else {
            text.to_owned()
        }
    }

    /// Whether it is one of a fleet.
    pub(super) fn is_named(&self) -> bool {
        !self.name.is_empty()
    }
}

impl Hosts {
    /// The pairs that were asked for, in order of their names.
    pub(super) fn pairs(&self) -> Result<Vec<Pair>, Fail> {
        Ok(self.pairs_and_others()?.0)
    }

    /// All pairs of the fleet file, whatever `--pairs` says.
    pub(super) fn whole_fleet(&self) -> Result<Vec<Pair>, Fail> {
        Ok(self.read(&[])?.0)
    }

    /// Whether `--pairs` leaves that one out.
    pub(super) fn leaves_out(&self, pair: &str) -> bool {
        !self.pairs.is_empty() && !self.pairs.iter().any(|chosen| chosen == pair)
    }

    /// The pairs that were asked for, with the servers of a Murder on which nothing is done: left
    /// out by name, or by `--pairs`.
    pub(super) fn pairs_and_others(&self) -> Result<(Vec<Pair>, BTreeSet<String>), Fail> {
        self.read(&self.pairs)
    }

    /// These pairs; all of them without names.
    fn read(&self, chosen: &[String]) -> Result<(Vec<Pair>, BTreeSet<String>), Fail> {
        let credentials = self.credentials()?;
        let Some(path) = &self.fleet else {
            // Without the one, the other is there.
            let only = self.master.clone().map(|master| Pair {
                name: String::new(),
                slotds: self.slotds((master, self.replica.clone()), credentials.as_ref()),
                servername: String::new(),
                limits: Vec::new(),
                leave_out: LeaveOut::default(),
                places: Places::default(),
            });
            return Ok((only.into_iter().collect(), BTreeSet::new()));
        };
        let fleet = Fleet::read(path)?.select(chosen)?;
        let quota = Quota::new(&fleet.hosts, fleet.parallel);
        let pair = |(name, pair): (String, crate::fleet::Pair)| Pair {
            places: quota.places(&pair.machines()),
            slotds: {
                let replica = pair.replica.map(|host| host.addr);
                self.slotds((pair.master.addr, replica), credentials.as_ref())
            },
            servername: pair.servername,
            limits: pair.limits,
            leave_out: LeaveOut::new(&pair.leave_out),
            name,
        };
        let pairs = fleet.pairs.into_iter().map(pair).collect();
        Ok((pairs, fleet.skip_servers))
    }

    /// Refuses pairs of which something is left out, where all of a store is needed.
    pub(super) fn check_whole(&self) -> Result<(), Fail> {
        for pair in self.pairs()? {
            if !pair.leave_out.is_empty() {
                let text = format!(
                    "a change-over is of every mailbox of a pair, and leave-out of the fleet file \
                     names {}: take that out of the file",
                    pair.leave_out
                );
                return Err(Fail::new(Exit::Config, pair.line(&text)));
            }
        }
        Ok(())
    }

    /// Whether the pairs are those of a fleet file.
    pub(super) fn are_of_a_fleet(&self) -> bool {
        self.fleet.is_some()
    }

    /// What is shown to slotds by TLS, if there is something.
    pub(super) fn credentials(&self) -> Result<Option<Arc<Credentials>>, Fail> {
        let Some(files) = self.tls.files() else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Credentials::open(files)?)))
    }

    fn slotds(
        &self,
        (master, replica): (Addr, Option<Addr>),
        credentials: Option<&Arc<Credentials>>,
    ) -> Arc<Slotds> {
        Arc::new(Slotds {
            master,
            replica,
            credentials: credentials.cloned(),
            timeouts: Timeouts {
                connect: Duration::from_secs(self.connect_timeout),
                call: Duration::from_secs(self.call_timeout),
                work: Duration::from_secs(self.work_timeout),
            },
        })
    }

    /// The arguments again, for a hint.
    pub(super) fn spelled(&self) -> String {
        let words = [self.spelled_whole(), self.spelled_pairs()];
        let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join(" ")
    }

    /// The same without the choice of pairs.
    pub(super) fn spelled_whole(&self) -> String {
        let mut words = Vec::new();
        words.extend(
            self.fleet
                .iter()
                .map(|path| format!("--fleet {}", path.display())),
        );
        words.extend(self.master.iter().map(|addr| format!("--master {addr}")));
        words.extend(self.replica.iter().map(|addr| format!("--replica {addr}")));
        words.extend(self.tls.spelled());
        words.join(" ")
    }

    /// The choice of pairs; empty without one.
    pub(super) fn spelled_pairs(&self) -> String {
        match self.pairs.as_slice() {
            [] => String::new(),
            pairs => format!("--pairs {}", pairs.join(",")),
        }
    }
}

impl From<FilesError> for Fail {
    fn from(error: FilesError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

impl From<FleetError> for Fail {
    fn from(error: FleetError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}
