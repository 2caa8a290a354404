//! Arguments that several commands share, and what they become once checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::cli::TlsArgs;
use slotd::client::Addr;
use slotd::protocol::Write;
use slotd::tls::Credentials;

use super::Fail;
use super::events::Form;
use super::murder::MurderArgs;
use super::pairs::Hosts;
use super::state::StateFile;
use crate::executable::Executable;
use crate::journal::{RunId, Verb};
use crate::run::{Alerts, MaxFailures};
use crate::survey::{Keep, Pattern, Source, User, ends_soon, needs_naming};

/// `--state` where a command has no use for it: one line of common arguments serves every command.
#[derive(Debug, Args)]
pub(super) struct UnusedState {
    #[arg(long = "state", value_name = "FILE", hide = true)]
    _state: Option<PathBuf>,
}

/// `--master`, `--replica` and `--fleet` where a command has no use for them, for the same reason.
#[derive(Debug, Args)]
pub(super) struct UnusedHosts {
    #[arg(long = "fleet", value_name = "FILE", hide = true)]
    fleet: Option<PathBuf>,
    #[arg(long = "pairs", value_name = "NAME,...", hide = true)]
    _pairs: Option<String>,
    #[arg(long = "master", value_name = "ADDR", hide = true)]
    master: Option<Addr>,
    #[arg(long = "replica", value_name = "ADDR", hide = true)]
    replica: Option<Addr>,
    #[command(flatten)]
    tls: TlsArgs,
}

impl UnusedHosts {
    /// That this controller's certificate ends soon, or cannot be used.
    pub(super) fn certificate(&self) -> Option<String> {
        let shown = match Credentials::open(self.tls.files()?) {
            Ok(shown) => shown,
            Err(error) => return Some(error.to_string()),
        };
        let days = shown.certificate().days_left(SystemTime::now());
        ends_soon("this controller", days)
    }

    /// What is shown to hosts by TLS, if it can be used.
    pub(super) fn credentials(&self) -> Option<Arc<Credentials>> {
        Credentials::open(self.tls.files()?).ok().map(Arc::new)
    }

    /// The fleet file, for a hint that repeats it.
    pub(super) fn fleet(&self) -> Option<&Path> {
        self.fleet.as_deref()
    }

    /// Those that `status` asks in passing whether they are in service.
    pub(super) fn master(&self) -> Option<&Addr> {
        self.master.as_ref()
    }

    /// Of the same pair.
    pub(super) fn replica(&self) -> Option<&Addr> {
        self.replica.as_ref()
    }
}

/// Which mailboxes.
#[derive(Clone, Debug, Args)]
pub(super) struct Mailboxes {
    /// A list of mailboxes, - for standard input: what `ctl_mboxlist -d` prints, or a name a line.
    #[arg(long, value_name = "FILE|-")]
    #[allow(clippy::struct_field_names)] // the option's name
    mailboxes: Option<PathBuf>,
    /// Only mailboxes on this partition of the master; of a name without a partition, the one that
    /// is there.
    #[arg(long, value_name = "PARTITION")]
    partition: Option<String>,
    /// Only the mailboxes of this user: `joe`, or `joe@example.com`.
    #[arg(long, value_name = "USER")]
    pub(super) user: Option<User>,
    /// Only mailboxes whose internal name fits: `*` is any text, `%` any text without a dot.
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Option<Pattern>,
    /// Only the mailboxes of this share of all users. The same users belong to it at every start,
    /// and to every larger share.
    #[arg(long, value_name = "P%", value_parser = percent)]
    tranche: Option<u8>,
    /// Only N mailboxes of each pair, spread over all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    canary: Option<u32>,
    #[command(flatten)]
    pub(super) murder: MurderArgs,
    /// Internal names (user.joe.Drafts), or as administrators write them (user/joe/Drafts@ex.com).
    /// No name and no list: every mailbox of the master.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Mailboxes {
    pub(super) fn sources(&self) -> Result<Vec<Source>, Fail> {
        let sources = self.all_sources()?.into_iter();
        Ok(sources.map(|source| self.canaries(source)).collect())
    }

    /// The same, with all of which canaries are a few.
    pub(super) fn all_sources(&self) -> Result<Vec<Source>, Fail> {
        let mut sources = Vec::new();
        match &self.mailboxes {
            Some(path) if path.as_os_str() == "-" => sources.push(Source::Stdin),
            Some(path) => sources.push(Source::File(path.clone())),
            None => {}
        }
        if self.names.iter().any(|name| needs_naming(name)) {
            sources.push(Source::Typed(self.names.clone()));
        } else if !self.names.is_empty() {
            sources.push(Source::Names(parse_names(&self.names)?));
        }
        if sources.is_empty() {
            sources.push(Source::Master);
        }
        Ok(sources
            .into_iter()
            .map(|source| self.keep_all(source))
            .collect())
    }

    /// What of a source is meant.
    pub(super) fn keep(&self, source: Source) -> Source {
        self.canaries(self.keep_all(source))
    }

    /// Of what is meant, the canaries, if they are wanted; of each pair, so where it is a pair's.
    fn canaries(&self, source: Source) -> Source {
        match self.canary {
            Some(n) => Source::Kept(Keep::Canary(n), Box::new(source)),
            None => source,
        }
    }

    /// What of a source is meant, and all of it.
    fn keep_all(&self, source: Source) -> Source {
        let source = match &self.partition {
            Some(partition) => Source::On(partition.clone(), Box::new(source)),
            None => source,
        };
        let keeps = self.keeps().into_iter();
        keeps.fold(source, |source, keep| Source::Kept(keep, Box::new(source)))
    }

    /// What of the sources is meant, but for canaries, which are taken of what that leaves.
    fn keeps(&self) -> Vec<Keep> {
        let mut keeps = Vec::new();
        keeps.extend(self.user.clone().map(Keep::User));
        keeps.extend(self.pattern.clone().map(Keep::Match));
        keeps.extend(self.tranche.map(Keep::Tranche));
        keeps
    }

    /// Whether there are names besides a list.
    pub(super) fn have_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether mailboxes are named one by one, or in a list.
    pub(super) fn are_named(&self) -> bool {
        self.mailboxes.is_some() || !self.names.is_empty()
    }

    /// Whether they are canaries, which are verified once they are done.
    pub(super) fn are_canaries(&self) -> bool {
        self.canary.is_some()
    }
}

/// A share in percent, `10%` or `10`.
fn percent(text: &str) -> Result<u8, String> {
    match text.strip_suffix('%').unwrap_or(text).parse() {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => Err("a percentage from 1% to 100% is expected".to_owned()),
    }
}

/// A name that cannot be a mailbox's is one that does not exist.
pub(super) fn parse_names(names: &[String]) -> Result<Vec<MailboxName>, Fail> {
    let parse = |name: &String| {
        MailboxName::parse(name).map_err(|error| Fail::new(Exit::NoMailbox, error.to_string()))
    };
    names.iter().map(parse).collect()
}

/// What is printed, and where.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Output {
    /// Print the result as JSON on standard output; everything for people goes to standard error.
    #[arg(long)]
    pub(super) json: bool,
    /// No progress.
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// A line for each attempt.
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// How progress is shown on standard error: for a person, or, with all else that is said there,
    /// as JSON, an object with a time a line.
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    progress: Form,
}

/// Where alerts go.
#[derive(Debug, Args)]
pub(super) struct AlertArgs {
    /// A program, with arguments, to run when a mailbox is in doubt; `REGUID_MAILBOX`,
    /// `REGUID_SIDE`, `REGUID_REASON` and `REGUID_TEXT` are in its environment.
    #[arg(long, value_name = "COMMAND", value_parser = Executable::installed)]
    on_alert: Option<Executable>,
    /// Send no alert to syslog.
    #[arg(long)]
    no_syslog: bool,
}

impl AlertArgs {
    pub(super) fn alerts(&self, hosts: &Hosts, state: &StateFile) -> Alerts {
        Alerts {
            on_alert: self.on_alert.clone(),
            syslog: !self.no_syslog,
            recover: format!(
                "controller recover {} --state {}",
                hosts.spelled(),
                state.shown()
            ),
        }
    }
}

/// How mailboxes are worked on.
#[derive(Debug, Args)]
pub(super) struct Work {
    /// Attempts at a mailbox whose failure may pass by itself.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..))]
    attempts: u16,
    /// Seconds before the first retry; doubles each time.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    pause: f64,
    /// Stop when more than this many attempts have failed for another reason than waiting: a
    /// number, or a percentage of the attempts, which counts from twenty failures on. The run can
    /// be gone on with.
    #[arg(long, value_name = "N|P%", default_value = "5%",
          value_parser = clap::value_parser!(MaxFailures))]
    max_failures: MaxFailures,
    /// Attempts to settle a decided transaction before it is reported as in doubt.
    #[arg(long, value_name = "N", default_value_t = 8)]
    settle_attempts: u8,
    /// A message that one host alone has is a failure; else it is counted as replication lag.
    #[arg(long)]
    require_in_sync: bool,
    /// Do not keep the replaced files as .OLD once both hosts are done.
    #[arg(long)]
    drop_old: bool,
    /// Below version 10: `back` gives each message the UUID that an upgrade replaced, `cut` the
    /// first 12 bytes of its GUID, on both hosts alike.
    #[arg(long, value_name = "back|cut", default_value = "back", value_parser = ["back", "cut"])]
    uuids: String,
}

/// What is done before the locks are taken.
#[derive(Debug, Args)]
pub(super) struct Ahead {
    /// Write the new files without locks first, so that these are held for a shorter time: where
    /// that pays (from 1000 messages on), always, or never. Messages are hashed first in any case.
    #[arg(long, value_name = "WHEN", value_enum, num_args = 0..=1, default_value = "auto",
          default_missing_value = "always")]
    prepare: When,
}

impl Ahead {
    pub(super) fn apply(&self, settings: &mut crate::run::Settings) {
        settings.prepare = match self.prepare {
            When::Auto => Write::Auto,
            When::Always => Write::Always,
            When::Never => Write::Never,
        };
    }
}

/// When new files are written before the locks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum When {
    Auto,
    Always,
    Never,
}

impl Work {
    /// What a change-over and its way back do not take, with the reason.
    pub(super) fn refused_for(&self, verb: Verb) -> Option<&'static str> {
        if !verb.crosses() {
            None
        } else if self.drop_old {
            Some(
                "--drop-old does not go with a change-over: the .OLD files are the only way back; \
                 `controller clean` removes them",
            )
        } else if self.uuids == "cut" {
            Some("--uuids does not go with a change-over: it is for versions below 10")
        } else {
            None
        }
    }

    pub(super) fn apply(&self, settings: &mut crate::run::Settings) {
        settings.passes = self.attempts.into();
        settings.pass_pause = Duration::from_secs_f64(self.pause);
        settings.max_failures = self.max_failures;
        settings.settle_attempts = self.settle_attempts;
        settings.require_in_sync = self.require_in_sync;
        settings.drop_old = self.drop_old;
        settings.cut = self.uuids == "cut";
    }
}

/// What becomes of a run that was stopped, where another one is wanted.
#[derive(Debug, Args)]
pub(super) struct Abandon {
    /// Give up run N, which was stopped, and begin another one. What it has decided is brought to
    /// its end all the same.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    abandon_run: Option<i64>,
}

impl Abandon {
    pub(super) fn apply(&self, settings: &mut crate::run::Settings) {
        settings.abandon = self.abandon_run.map(RunId);
    }
}

/// A number of seconds between 0 and a day.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds between 0 and 86400 is expected".to_owned()),
    }
}
