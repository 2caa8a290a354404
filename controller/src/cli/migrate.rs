//! `upgrade`, `downgrade`, `rollback`, `retry`, `recover`: everything that changes mailboxes.

use std::fmt::Write as _;
use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slotd::protocol::{Command, Rehash};

use super::args::{
    Abandon, AlertArgs, Hosts, Limits, Mailboxes, Output, StateFile, Work, parse_names,
};
use super::progress::Progress;
use super::{Fail, signals, text};
use crate::control::{self, Conditions, Control, Socket, socket_path, watch_conditions};
use crate::count::Census;
use crate::journal::{Changed, Journal, MailboxId, RunId, SqliteJournal, Verb};
use crate::run::{
    self, Asking, Parts, Retry, RunError, Settings, Source, Stop, Summary, Undo, stop_pair,
};
use crate::two_phase::Reason;

#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    /// The index version wanted.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(6..=10))]
    to: u8,
    /// Compare every GUID of version 10 with the SHA-1 of its message, also where the upgrade is
    /// done: `report` names the wrong ones and changes nothing, `fix` sets them right on both
    /// hosts.
    #[arg(long, value_name = "report|fix", num_args = 0..=1, require_equals = true, default_missing_value = "report",
          value_parser = rehash)]
    rehash: Option<Rehash>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    mailboxes: Mailboxes,
    #[command(flatten)]
    abandon: Abandon,
}

#[derive(Debug, Args)]
pub(super) struct DowngradeArgs {
    /// The index version wanted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(6..=9))]
    to: u8,
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    mailboxes: Mailboxes,
    #[command(flatten)]
    abandon: Abandon,
}

/// What the operator says of the servers before mailboxes go below version 10.
#[derive(Debug, Args)]
struct Live {
    /// The Cyrus servers of both hosts are stopped, or drained so that no session is left. A
    /// process that has a file of a store open refuses the run.
    #[arg(long, conflicts_with = "force_live")]
    servers_stopped: bool,
    /// They run, and sessions that die are accepted: see docs/controller.md.
    #[arg(long)]
    force_live: bool,
}

impl Live {
    /// Nothing goes below version 10 beside servers that may run, unless that is accepted.
    fn check(&self) -> Result<(), Fail> {
        if self.servers_stopped || self.force_live {
            return Ok(());
        }
        Err(Fail {
            exit: Exit::Config,
            text: LIVE_SERVERS.to_owned(),
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The run to undo: its number, as `status` and `report` show it, or `last` (the last one that
    /// is no rollback).
    #[arg(value_name = "RUN", required_unless_present_any = ["all", "since"])]
    run: Option<String>,
    /// Undo every run: each mailbox comes back to what it was before the first one changed it. What
    /// stands where RUN would is a NAME then.
    #[arg(long)]
    all: bool,
    /// Undo every run that began at DATE or later, one after the other, the last first:
    /// `2026-11-26`, `2026-11-26 22:00` (local time) or `2026-11-26T21:00:00Z`. What stands where
    /// RUN would is a NAME then.
    #[arg(long, value_name = "DATE", conflicts_with = "all", value_parser = date)]
    since: Option<Timestamp>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    abandon: Abandon,
    /// Only these of its mailboxes.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// A run as a person names it; `None` is the last one.
fn run_number(text: &str) -> Result<Option<i64>, Fail> {
    if text == "last" {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(Fail {
            exit: Exit::Usage,
            text: format!("{text:?} is neither the number of a run nor last"),
        }),
    }
}

#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    common: Common,
    /// Also what cannot get better by itself: damaged indexes, missing messages and the like.
    #[arg(long, conflicts_with_all = ["names", "reason"])]
    all: bool,
    /// What failed for these reasons, as `report` names them, also such as cannot get better by
    /// themselves.
    #[arg(long, value_name = "REASON,...", value_delimiter = ',', conflicts_with = "names", value_parser = reason)]
    reason: Vec<Reason>,
    /// Mailboxes to retry, whatever their failure; without any, those whose failure may have
    /// passed.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    state: StateFile,
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    alert: AlertArgs,
    #[command(flatten)]
    output: Output,
}

pub(super) fn upgrade(args: UpgradeArgs) -> Result<Exit, Fail> {
    if args.rehash.is_some() && args.to < 10 {
        return Err(Fail {
            exit: Exit::Usage,
            text: "--rehash goes with --to 10: below it there are no SHA-1s".to_owned(),
        });
    }
    let mut settings = Settings {
        to: args.to,
        rehash: args.rehash,
        ..Settings::upgrade()
    };
    args.abandon.apply(&mut settings);
    migrate(args.common, settings, args.mailboxes.sources()?)
}

fn rehash(word: &str) -> Result<Rehash, String> {
    Rehash::from_word(word).ok_or_else(|| "report or fix is expected".to_owned())
}

pub(super) fn downgrade(args: DowngradeArgs) -> Result<Exit, Fail> {
    args.live.check()?;
    // Not with -q either: nobody may start such a server without having been told.
    text::note(OLD_SERVERS);
    let mut settings = Settings {
        to: args.to,
        verb: Verb::Downgrade,
        servers_stopped: args.live.servers_stopped,
        ..Settings::upgrade()
    };
    args.abandon.apply(&mut settings);
    migrate(args.common, settings, args.mailboxes.sources()?)
}

/// Why a way down below version 10 is not begun beside servers that may run.
const LIVE_SERVERS: &str = "\
a session of a running Cyrus 2.3.10 to 2.3.20 that waits for a mailbox's lock dies when the mailbox goes below version 10, and each mailbox \
that such a server opens is upgraded again at once, without SHA-1s: stop or drain the servers of both hosts and give --servers-stopped, or \
give --force-live";

/// What a person must know before an older server is started again.
const OLD_SERVERS: &str = "\
Before you start a server of 2.3.0 to 2.3.9 again, every mailbox it may open must be back at version 9 or\n\
earlier, on that host. It does not notice that an index is newer than itself: it serves a version 10 mailbox,\n\
each change of a flag overwrites part of a GUID, and a delivery leaves a file that is half version 9 and half 10,\n\
from which a later server takes wrong modseqs. Servers of 2.3.10 to 2.3.14 treat indexes newer than version 10\n\
likewise. A server of 2.3.10 or later upgrades each mailbox again when it opens it, without SHA-1s; one that runs\nmeanwhile loses sessions that wait for the lock of a mailbox that goes below version 10, and no acknowledged change.";

/// A moment in local time, or with its own offset.
fn date(text: &str) -> Result<Timestamp, String> {
    let moment = text.parse::<Timestamp>().or_else(|_| {
        let local = text.parse::<jiff::civil::DateTime>()?;
        Ok::<_, jiff::Error>(local.to_zoned(TimeZone::system())?.timestamp())
    });
    match moment {
        Ok(moment) if moment > Timestamp::now() => Err("lies in the future".to_owned()),
        Ok(moment) => Ok(moment),
        Err(_) => Err(
            "a date such as 2026-11-26, 2026-11-26 22:00 or 2026-11-26T21:00:00Z is expected"
                .to_owned(),
        ),
    }
}

pub(super) fn rollback(args: RollbackArgs) -> Result<Exit, Fail> {
    let (mut names, common) = (args.names, args.common);
    let by_number = !args.all && args.since.is_none();
    let number = match args.run {
        Some(run) if by_number => run_number(&run)?,
        Some(name) => {
            names.insert(0, name);
            None
        }
        None => None,
    };
    let names = parse_names(&names)?;
    let journal = Arc::new(SqliteJournal::open_existing(&common.state.state)?);
    let undos = match args.since {
        Some(since) => {
            let runs = run::runs_since(journal.as_ref(), since.as_millisecond())?;
            run::names_of_runs(journal.as_ref(), &runs, &names)?
        }
        None if args.all => vec![Undo { run: None, names }],
        None => {
            let run = run::run_to_undo(journal.as_ref(), number)?;
            let run = Some(run.id);
            vec![Undo { run, names }]
        }
    };
    text::note(OLD_SERVERS);
    let mut settings = Settings {
        verb: Verb::Rollback,
        to: 0,
        ..Settings::upgrade()
    };
    common.work.apply(&mut settings);
    args.abandon.apply(&mut settings);
    with_runtime(async move {
        common.limits.check().await?;
        let mut undos = undos.into_iter().peekable();
        loop {
            let Some(undo) = undos.next() else {
                return Ok(Exit::Ok);
            };
            settings.undoes = undo.run;
            let last = undos.peek().is_none();
            let exit = roll_back(&common, settings.clone(), &journal, &undo, last).await?;
            if exit != Exit::Ok {
                if let (Some(run), Some(next)) = (undo.run, undos.peek().and_then(|u| u.run)) {
                    let (run, next) = (run.0, next.0);
                    text::note(&format!(
                        "run {run} was not taken back whole, so run {next} and what came before it was not begun: give \
                         the same command again"
                    ));
                }
                return Ok(exit);
            }
            // Another run is begun with abandoned ones out of the way.
            settings.abandon = None;
        }
    })
}

/// Undoes one run, or all; `last`: then what is at which version is counted.
async fn roll_back(
    common: &Common,
    settings: Settings,
    journal: &Arc<SqliteJournal>,
    undo: &Undo,
    last: bool,
) -> Result<Exit, Fail> {
    let (parts, progress, control, _socket) = parts(common, settings, journal);
    let (connect, stop) = (Arc::clone(&parts.connect), parts.stop.clone());
    let parallel = parts.settings.parallel;
    let result = run::rollback(parts, &undo.names, &control).await;
    progress.end();
    let summary = result.map_err(|error| common.fail(&error))?;
    if !last && summary.exit() == Exit::Ok && stop.level() == Stop::No {
        return finish(common, Verb::Rollback, journal.as_ref(), &summary);
    }
    let asking = Asking {
        connect: &connect,
        parallel,
        stop: &stop,
        question: Arc::new(Command::Status),
    };
    let mut census = Census::default();
    let walked = run::survey(&asking, vec![Source::Master], |a| census.answered(&a)).await;
    let told = Told {
        census: walked.is_ok().then_some(&census),
        earlier: undo
            .run
            .map_or(Ok(0), |run| standing_runs(journal.as_ref(), run))?,
    };
    if let Err(error) = walked {
        text::complain(&format!(
            "what is at which version was not counted: {error}"
        ));
    }
    finish_with(common, Verb::Rollback, journal.as_ref(), &summary, &told)
}

/// How many earlier runs, none of them a rollback, have changes that stand.
fn standing_runs(journal: &dyn Journal, before: RunId) -> Result<u64, Fail> {
    let mut runs = 0;
    for number in 1..before.0 {
        let Some(run) = journal.run(RunId(number))? else {
            continue;
        };
        if run.spec.verb == Verb::Rollback {
            continue;
        }
        let mut after = MailboxId(0);
        loop {
            let page = journal.changed(run.id, after, text::PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.row.id;
            let stands = |c: &Changed| c.standing().iter().any(|s| s.run == run.id);
            if page.iter().any(stands) {
                runs += 1;
                break;
            }
        }
    }
    Ok(runs)
}

fn migrate(common: Common, mut settings: Settings, sources: Vec<Source>) -> Result<Exit, Fail> {
    common.work.apply(&mut settings);
    let journal = Arc::new(SqliteJournal::open(&common.state.state)?);
    let verb = settings.verb;
    with_runtime(async move {
        common.limits.check().await?;
        let (parts, progress, control, _socket) = parts(&common, settings, &journal);
        let result = run::run_controlled(parts, &sources, &control).await;
        progress.end();
        let summary = result.map_err(|error| common.fail(&error))?;
        finish(&common, verb, journal.as_ref(), &summary)
    })
}

impl Common {
    /// Why a run did not begin: where another command would, that one is spelled out.
    fn fail(&self, error: &RunError) -> Fail {
        let exit = error.exit();
        let text = match error {
            RunError::Other(other) => {
                let state = self.state.state.display();
                other.sentence(&format!("{} --state {state}", self.hosts.spelled()))
            }
            error => error.to_string(),
        };
        Fail { exit, text }
    }
}

pub(super) fn retry(args: RetryArgs) -> Result<Exit, Fail> {
    let names = parse_names(&args.names)?;
    let what = match (args.all, args.reason.is_empty(), names.is_empty()) {
        (true, ..) => Retry::All,
        (_, false, _) => Retry::Reasons(args.reason),
        (_, _, false) => Retry::Names(names),
        _ => Retry::MayPass,
    };
    let common = args.common;
    let journal = Arc::new(SqliteJournal::open_existing(&common.state.state)?);
    let Some(last) = journal.last_run()? else {
        let text = format!("{}: there is no run to retry", common.state.state.display());
        return Err(Fail {
            exit: Exit::Config,
            text,
        });
    };
    let verb = last.spec.verb;
    if verb == Verb::Downgrade {
        args.live.check()?;
    }
    let mut settings = Settings {
        servers_stopped: args.live.servers_stopped,
        to: last.spec.to,
        undoes: last.spec.undoes,
        rehash: last.spec.rehash(),
        verb,
        ..Settings::upgrade()
    };
    common.work.apply(&mut settings);
    with_runtime(async move {
        common.limits.check().await?;
        let (parts, progress, control, _socket) = parts(&common, settings, &journal);
        let result = run::retry(parts, &what, &control).await;
        progress.end();
        finish(&common, verb, journal.as_ref(), &result?)
    })
}

fn reason(word: &str) -> Result<Reason, String> {
    Reason::from_word(word).ok_or_else(|| {
        let words: Vec<&str> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        format!("one of {} is expected", words.join(", "))
    })
}

pub(super) fn recover(args: RecoverArgs) -> Result<Exit, Fail> {
    let common = args.common;
    let journal = Arc::new(SqliteJournal::open_existing(&common.state.state)?);
    let mut settings = Settings::upgrade();
    common.work.apply(&mut settings);
    with_runtime(async move {
        let (parts, progress, _, _socket) = parts(&common, settings, &journal);
        let result = run::recover(parts).await;
        progress.end();
        let found = result?;
        if common.output.json {
            text::json(
                &serde_json::json!({ "settled": found.settled, "in_doubt": found.in_doubt, "waiting": found.waiting }),
            )?;
        } else {
            let mut line = format!(
                "{} transaction(s) settled, {} in doubt",
                found.settled, found.in_doubt
            );
            if found.waiting > 0 {
                // Writing to a String cannot fail.
                let _ = write!(
                    line,
                    ", {} decided and waiting for a partition that is not mounted",
                    found.waiting
                );
            }
            text::say(&line)?;
        }
        Ok(if found.in_doubt > 0 {
            Exit::InDoubt
        } else if found.waiting > 0 {
            Exit::Unavailable
        } else {
            Exit::Ok
        })
    })
}

/// Each mailbox at once takes a connection to each host; the hard limit is ours to use.
fn raise_the_limit_on_files() {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    // With less, fewer mailboxes are worked on at once, and that is said.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
}

fn parts(
    common: &Common,
    settings: Settings,
    journal: &Arc<SqliteJournal>,
) -> (Parts, Arc<Progress>, Arc<Control>, Option<Socket>) {
    raise_the_limit_on_files();
    let (handle, stop) = stop_pair();
    let signalled = handle.clone();
    let control = Arc::new(Control::new(settings.parallel));
    common.limits.apply(&control);
    // Begin only once the conditions have been looked at: a run must not start outside its window.
    control.turn(|knobs| {
        if knobs.conditions != Conditions::default() {
            knobs.waiting = Some("looking at the conditions".to_owned());
        }
    });
    tokio::spawn(watch_conditions(Arc::clone(&control)));
    let served = control::serve(
        &socket_path(&common.state.state),
        Arc::clone(&control),
        handle,
    );
    let socket = match served {
        Ok((socket, server)) => {
            tokio::spawn(server);
            Some(socket)
        }
        Err(error) => {
            text::complain(&format!(
                "{error}: status, pause and resume cannot reach this run"
            ));
            None
        }
    };
    let progress = Arc::new(Progress::new(
        settings.verb.as_str(),
        common.output,
        Arc::clone(&control),
    ));
    tokio::spawn(Arc::clone(&progress).tick());
    let teller = Arc::clone(&progress);
    signals::watch(signalled, move |text| teller.line(text));
    let parts = Parts {
        settings,
        connect: common.hosts.slotds(),
        journal: Arc::clone(journal) as Arc<dyn Journal>,
        observer: Arc::clone(&progress) as Arc<dyn run::Observer>,
        alerts: common.alert.alerts(&common.hosts, &common.state),
        stop,
    };
    (parts, progress, control, socket)
}

/// What a rollback tells beside its summary.
#[derive(Default)]
struct Told<'a> {
    census: Option<&'a Census>,
    earlier: u64,
}

/// Prints what came of it.
fn finish(
    common: &Common,
    verb: Verb,
    journal: &dyn Journal,
    summary: &Summary,
) -> Result<Exit, Fail> {
    finish_with(common, verb, journal, summary, &Told::default())
}

fn finish_with(
    common: &Common,
    verb: Verb,
    journal: &dyn Journal,
    summary: &Summary,
    told: &Told<'_>,
) -> Result<Exit, Fail> {
    let failures = text::failures(journal, RunId(summary.run), !common.output.quiet)?;
    if common.output.json {
        let mut value = text::summary_json(summary, &failures)?;
        if let Some(census) = told.census {
            value["hosts"] = serde_json::to_value(census).map_err(std::io::Error::from)?;
        }
        text::json(&value)?;
    } else {
        text::say(&text::summary(verb, summary))?;
        if let Some(census) = told.census {
            text::say(census.to_text().trim_end())?;
        }
    }
    if told.earlier > 0 {
        text::note(&format!(
            "{} earlier run(s) stand: controller rollback --all {} --state {} brings back what was before all of them",
            told.earlier,
            common.hosts.spelled(),
            common.state.state.display()
        ));
    }
    for line in text::reasons(summary, &common.hosts.spelled(), &common.state.state) {
        text::note(&line);
    }
    if !common.output.quiet {
        for line in text::hints(
            summary,
            &failures,
            &common.hosts.spelled(),
            &common.state.state,
        ) {
            text::note(&line);
        }
    }
    Ok(summary.exit())
}

/// Runs a command on the async runtime.
pub(super) fn with_runtime<T>(work: impl Future<Output = Result<T, Fail>>) -> Result<T, Fail> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(work);
    // A thread that reads a list from a pipe may wait there for ever; it holds nothing.
    runtime.shutdown_background();
    result
}
