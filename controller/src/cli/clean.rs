//! `clean`: what a run left for going back is removed on both hosts, without a transaction.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::{Clean, Command, FieldError, Fields, Named};

use super::args::parse_names;
use super::each::{Each, Notes};
use super::migrate::ONE_PAIR;
use super::pairs::{Hosts, Pair};
use super::session::with_runtime;
use super::state::{How, StateFile};
use super::{Fail, signals};
use crate::hosts::{Connect, Question, Registration};
use crate::journal::{Journal, MailboxId, RunId, State, Verb};
use crate::stop::StopSignal;
use crate::survey::{Answered, Asking, Refused, Source, each_host, survey, survey_rows};

#[derive(Debug, clap::Args)]
pub(super) struct CleanArgs {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    state: StateFile,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// After a change-over: what would go is the only way back, and is not needed any more.
    #[arg(long)]
    no_way_back: bool,
    /// Mailboxes at once.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// Only these; without any, every mailbox that the last run has done.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// What went from one host.
#[derive(Default, serde::Serialize)]
struct Removed {
    mailboxes: u64,
    files: u64,
    bytes: u64,
    refused: Refused,
}

/// States in which nothing of a mailbox is needed any more for going back or on.
const DONE: &[State] = &[State::Upgraded, State::Unchanged];

pub(super) fn clean(args: &CleanArgs) -> Result<Exit, Fail> {
    let pairs = args.hosts.pairs()?;
    if !args.names.is_empty() && pairs.len() > 1 {
        return Err(Fail::new(Exit::Usage, ONE_PAIR));
    }
    let store = args.state.open(How::Read)?;
    let mut runs = Vec::with_capacity(pairs.len());
    for pair in &pairs {
        let journal = store.pair(&pair.name)?;
        let last = may_clean(args, journal.as_ref());
        let last = last.map_err(|fail| Fail::new(fail.exit, pair.line(&fail.text)))?;
        runs.push((journal, last));
    }
    with_runtime(async move {
        let stop = signals::stop();
        let mut each = Each::new(args.json);
        for (pair, (journal, last)) in pairs.iter().zip(runs) {
            let cleaned = clean_pair(args, pair, &journal, last, &stop).await;
            let Some(hosts) = each.take(pair, cleaned)? else {
                continue;
            };
            let refused = hosts.values().any(|host| !host.refused.is_empty());
            let cleaned = Cleaned {
                dry_run: args.dry_run,
                hosts,
            };
            let exit = if refused { Exit::RolledBack } else { Exit::Ok };
            each.say(pair, &cleaned, exit)?;
        }
        Ok(signals::exit(&stop, each.end()?))
    })
}

/// What went, or would go, from both hosts.
#[derive(serde::Serialize)]
struct Cleaned {
    dry_run: bool,
    hosts: BTreeMap<&'static str, Removed>,
}

/// The run after which it is cleaned, if nothing speaks against that.
fn may_clean(args: &CleanArgs, journal: &dyn Journal) -> Result<RunId, Fail> {
    if let Some(open) = journal.open_transactions(MailboxId(0), 1)?.first() {
        let text = format!(
            "{} is decided and not settled, perhaps others too: nothing is cleaned before \
             `controller recover` has settled \
             them",
            open.row.name
        );
        return Err(Fail::new(Exit::Config, text));
    }
    let Some(last) = journal.last_of(Verb::Upgrade)? else {
        let text = format!("{}: no run was started yet", args.state.shown());
        return Err(Fail::new(Exit::Config, text));
    };
    if last.spec.verb == Verb::Cutover && !args.dry_run && !args.no_way_back {
        let text = format!(
            "run {} was a change-over, and its .OLD files are the only way back (controller \
             cutover --undo): give --no-way-back if the new server is to stay",
            last.id.0
        );
        return Err(Fail::new(Exit::Config, text));
    }
    checked_names(args, journal, last.id)?;
    Ok(last.id)
}

async fn clean_pair(
    args: &CleanArgs,
    pair: &Pair,
    journal: &Arc<dyn Journal>,
    last: RunId,
    stop: &StopSignal,
) -> Result<BTreeMap<&'static str, Removed>, Fail> {
    let names = checked_names(args, journal.as_ref(), last)?;
    let connect = pair.connect();
    let dry_run = args.dry_run;
    let question: Arc<Question> = Arc::new(move |of: Named| Command::Clean(Clean { of, dry_run }));
    let mut hosts: BTreeMap<&'static str, Removed> = BTreeMap::new();
    let bound = Registration::engage(&connect, journal.as_ref(), &Notes::of(pair)).await?;
    let connect = Arc::clone(&bound) as Arc<dyn Connect>;
    let asking = Asking {
        connect: &connect,
        parallel: args.parallel.into(),
        stop,
        question,
        then: None,
    };
    let sink = |answered: Answered| add(&mut hosts, &answered);
    let asked = if names.is_empty() {
        survey_rows(&asking, Arc::clone(journal), last, DONE, sink).await
    } else {
        let sources = vec![Source::Names(names)];
        survey(&asking, sources, sink).await.map(drop)
    };
    bound.leave(journal.as_ref()).await;
    asked?;
    Ok(hosts)
}

/// The names given, once it is sure that the last run has brought each to its end.
fn checked_names(
    args: &CleanArgs,
    journal: &dyn Journal,
    run: RunId,
) -> Result<Vec<MailboxName>, Fail> {
    let names = parse_names(&args.names)?;
    for name in &names {
        match journal.find(run, name)? {
            Some(row) if DONE.contains(&row.state) => {}
            Some(row) => {
                let text = format!("{name} is {} and is not cleaned", row.state.as_str());
                return Err(Fail::new(Exit::Config, text));
            }
            None => {
                let text = format!("no such mailbox in the last run: {name}");
                return Err(Fail::new(Exit::NoMailbox, text));
            }
        }
    }
    Ok(names)
}

/// Files and bytes of an answer to `CLEAN`.
fn cleaned(fields: &Fields) -> Result<(u64, u64), FieldError> {
    Ok((fields.get("count")?, fields.get("bytes")?))
}

/// Adds what the hosts said about one mailbox.
fn add(hosts: &mut BTreeMap<&'static str, Removed>, answered: &Answered) {
    each_host(
        answered,
        hosts,
        cleaned,
        |host: &mut Removed, _, (files, bytes)| {
            host.mailboxes += u64::from(*files > 0);
            host.files += files;
            host.bytes += bytes;
        },
        |host| &mut host.refused,
    );
}

impl Display for Cleaned {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.dry_run { "would go" } else { "removed" };
        for (side, host) in &self.hosts {
            writeln!(
                out,
                "{side}: {verb}: {} files of {} mailboxes, {} bytes",
                host.files, host.mailboxes, host.bytes
            )?;
            host.refused.lines(out, "left alone")?;
        }
        if self.hosts.is_empty() {
            writeln!(out, "nothing is done yet, so nothing is cleaned")?;
        }
        Ok(())
    }
}
