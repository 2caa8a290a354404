//! `upgrade`, `downgrade`, `retry`, `recover`: what brings mailboxes to a version, and takes up
//! what an earlier command left.

use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;
use slotd::protocol::Rehash;

use super::args::{Abandon, Ahead, Mailboxes, parse_names};
use super::each::Each;
use super::pairs::Pair;
use super::runs::migrate;
use super::session::{Common, Session, with_runtime};
use super::state::How;
use super::{Fail, text};
use crate::error::RunError;
use crate::fleet::worst;
use crate::journal::{RunOfPairs, Verb};
use crate::run::{self, Recovered, Retry, Settings, Summary};
use crate::two_phase::Reason;

/// What a run over mailboxes takes, whichever way it goes.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    ahead: Ahead,
    #[command(flatten)]
    mailboxes: Mailboxes,
    #[command(flatten)]
    abandon: Abandon,
}

impl RunArgs {
    fn begin(self, mut settings: Settings) -> Result<Exit, Fail> {
        self.ahead.apply(&mut settings);
        self.abandon.apply(&mut settings);
        migrate(self.common, settings, &self.mailboxes)
    }
}

#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    /// The index version wanted: 10. What is below it is reached by `downgrade`.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = target)]
    to: u8,
    /// Compare every GUID of version 10 with the SHA-1 of its message, also where the upgrade is
    /// done: `report` names the wrong ones and changes nothing, `fix` sets them right on both
    /// hosts.
    #[arg(long, value_name = "report|fix", num_args = 0..=1, require_equals = true,
          default_missing_value = "report",
          value_parser = rehash)]
    rehash: Option<Rehash>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct RehearseArgs {
    /// The index version that is to be tried.
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u8).range(6..=10))]
    to: u8,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct DowngradeArgs {
    /// The index version wanted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(6..=9))]
    to: u8,
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    run: RunArgs,
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
    /// Nothing goes below version 10 while servers may run, unless that is accepted.
    fn check(&self) -> Result<(), Fail> {
        if self.servers_stopped || self.force_live {
            return Ok(());
        }
        Err(Fail::new(Exit::Config, LIVE_SERVERS))
    }
}

#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    #[command(flatten)]
    live: Live,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    ahead: Ahead,
    /// Also what cannot get better by itself: damaged indexes, missing messages and the like.
    #[arg(long, conflicts_with_all = ["names", "reason"])]
    all: bool,
    /// What failed for these reasons, as `report` names them, also such as cannot get better by
    /// themselves.
    #[arg(long, value_name = "REASON,...", value_delimiter = ',', conflicts_with = "names",
          value_parser = reason)]
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
    #[command(flatten)]
    ahead: Ahead,
}

pub(super) fn upgrade(args: UpgradeArgs) -> Result<Exit, Fail> {
    let settings = Settings {
        to: args.to,
        rehash: args.rehash,
        ..Settings::upgrade()
    };
    args.run.begin(settings)
}

/// All of an upgrade, or of a downgrade, but for the decision: nothing is changed.
pub(super) fn rehearse(args: RehearseArgs) -> Result<Exit, Fail> {
    let settings = Settings {
        to: args.to,
        verb: Verb::Rehearse,
        ..Settings::upgrade()
    };
    args.run.begin(settings)
}

/// The version that `upgrade` writes. A way down takes what the operator says of the servers.
fn target(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(10) => Ok(10),
        _ => Err(
            "the version is 10: those below it are reached by `controller downgrade`, those from \
             12 on by `controller cutover`"
                .to_owned(),
        ),
    }
}

fn rehash(word: &str) -> Result<Rehash, String> {
    Rehash::from_word(word).ok_or_else(|| "report or fix is expected".to_owned())
}

pub(super) fn downgrade(args: DowngradeArgs) -> Result<Exit, Fail> {
    args.live.check()?;
    // With -q too: nobody may start such a server without this warning.
    text::note(OLD_SERVERS);
    let settings = Settings {
        to: args.to,
        verb: Verb::Downgrade,
        servers_stopped: args.live.servers_stopped,
        ..Settings::upgrade()
    };
    args.run.begin(settings)
}

/// Why a way down below version 10 is not begun while servers may run.
const LIVE_SERVERS: &str = "\
a session of a running Cyrus 2.3.10 to 2.3.20 that waits for a mailbox's lock dies when the \
mailbox goes below version 10, and each mailbox that such a server opens is upgraded again at \
once, without SHA-1s: stop or drain the servers of both hosts and give --servers-stopped, or \
give --force-live";

/// What a person must know before an older server is started again.
pub(super) const OLD_SERVERS: &str = "\
Before you start a server of 2.3.0 to 2.3.9 again, every mailbox it may open must be back at \
version 9 or earlier, on that host. It does not notice that an index is newer than itself: it \
serves a version 10 mailbox, each change of a flag overwrites part of a GUID, and a delivery \
leaves a file that is half version 9 and half 10, from which a later server takes wrong modseqs. \
Servers of 2.3.10 to 2.3.14 treat indexes newer than version 10 likewise. A server of 2.3.10 or \
later upgrades each mailbox again when it opens it, without SHA-1s; one that runs meanwhile loses \
sessions that wait for the lock of a mailbox that goes below version 10, and no acknowledged \
change.";

pub(super) fn retry(args: RetryArgs) -> Result<Exit, Fail> {
    let names = parse_names(&args.names)?;
    let what = match (args.all, args.reason.is_empty(), names.is_empty()) {
        (true, ..) => Retry::All,
        (_, false, _) => Retry::Reasons(args.reason),
        (_, _, false) => Retry::Names(names),
        _ => Retry::MayPass,
    };
    let common = args.common;
    let mut pairs = common.hosts.pairs()?;
    if !args.names.is_empty() && pairs.len() > 1 {
        return Err(Fail::new(Exit::Usage, ONE_PAIR));
    }
    let store = common.state.open(How::Existing)?;
    // A file of the other kind is refused here.
    for pair in &pairs {
        store.pair(&pair.name)?;
    }
    let last = store.last_of(Verb::Upgrade)?.ok_or_else(|| {
        let state = common.state.shown();
        Fail::new(Exit::Config, format!("{state}: there is no run to retry"))
    })?;
    let verb = last.verb;
    if is_way_down(verb, last.to) {
        args.live.check()?;
    }
    common.check(verb)?;
    let begun = |pair: &Pair| {
        let mut of_run = last.pairs.iter();
        of_run.any(|of_run| of_run.name == pair.name && of_run.is_started())
    };
    let left_out: Vec<Pair> = pairs.extract_if(.., |pair| !begun(pair)).collect();
    if pairs.is_empty() {
        let text = format!("run {} was begun on none of these pairs", last.id.0);
        return Err(Fail::new(Exit::Config, text));
    }
    let mut settings = Settings {
        servers_stopped: args.live.servers_stopped,
        to: last.to,
        undoes: last.undoes,
        rehash: last.rehash(),
        verb,
        ..Settings::upgrade()
    };
    args.ahead.apply(&mut settings);
    with_runtime(async move {
        common.limits.check().await?;
        let session =
            Session::begin(common, settings, pairs, Arc::from(store), &last.words).await?;
        let what = Arc::new(what);
        let done = session.each(0..session.pairs.len(), |session, at| {
            let what = Arc::clone(&what);
            async move {
                session
                    .around_pair(at, retry_pair(&session, at, &what))
                    .await
            }
        });
        let work = async {
            let done = session.finish(done.await)?;
            Ok(worst([done, tell_left_out(&last, &left_out)]))
        };
        session.around(work).await
    })
}

/// Whether a run takes mailboxes below version 10, and does not say so itself as a rollback does.
/// Journals of earlier releases have upgrades to such a version.
fn is_way_down(verb: Verb, to: u8) -> bool {
    !matches!(verb, Verb::Rollback | Verb::Rehearse) && to < 10
}

/// Names the pairs of a run that has still to begin on them: nothing was retried there.
fn tell_left_out(run: &RunOfPairs, pairs: &[Pair]) -> Exit {
    let is_of_it = |pair: &&Pair| run.pairs.iter().any(|of_run| of_run.name == pair.name);
    let waiting: Vec<&Pair> = pairs.iter().filter(is_of_it).collect();
    if waiting.is_empty() || run.finished_ms.is_some() {
        return Exit::Ok;
    }
    for pair in waiting {
        text::complain(&pair.line(&format!(
            "run {} ({}) has not begun here, so nothing was retried: the command that began it \
             takes it up",
            run.id.0,
            run.task()
        )));
    }
    Exit::RolledBack
}

async fn retry_pair(session: &Session, at: usize, what: &Retry) -> Result<Summary, RunError> {
    let at_work = &session.pairs[at];
    at_work.pair.check_left_out().await?;
    loop {
        let done = run::retry(at_work.parts(), what, at_work.control()).await;
        if !session.raises(at, &done)? {
            return done;
        }
    }
}

/// What one pair knows by a name another one may know too.
pub(super) const ONE_PAIR: &str = "with NAMEs give --pairs and the one pair that they are on";

fn reason(word: &str) -> Result<Reason, String> {
    Reason::from_word(word).ok_or_else(|| {
        let words: Vec<&str> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        format!("one of {} is expected", words.join(", "))
    })
}

pub(super) fn recover(args: RecoverArgs) -> Result<Exit, Fail> {
    let common = args.common;
    let mut settings = Settings::upgrade();
    args.ahead.apply(&mut settings);
    let pairs = common.hosts.pairs()?;
    let store = common.state.open(How::Existing)?;
    with_runtime(async move {
        let session = Session::begin(common, settings, pairs, Arc::from(store), "").await?;
        let done = session.each(0..session.pairs.len(), |session, at| async move {
            session.around_pair(at, recover_pair(&session, at)).await
        });
        let work = async {
            let done = done.await;
            session.end_progress();
            recovered(&session, done)
        };
        session.around(work).await
    })
}

async fn recover_pair(session: &Session, at: usize) -> Result<Recovered, RunError> {
    let at_work = &session.pairs[at];
    loop {
        let done = run::recover_controlled(at_work.parts(), at_work.control()).await;
        if !session.raises(at, &done)? {
            return done;
        }
    }
}

/// Prints what became of the open transactions.
fn recovered(
    session: &Session,
    done: Vec<(usize, Result<Recovered, RunError>)>,
) -> Result<Exit, Fail> {
    let mut each = Each::new(session.common.output.json);
    for (at, result) in done {
        let pair = &session.pairs[at].pair;
        if let Some(found) = each.take(pair, result)? {
            each.say(pair, &found, found.exit())?;
        }
    }
    each.end()
}
