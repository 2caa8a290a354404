//! `verify` and `clean`: questions about many mailboxes to both hosts, without a transaction.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::{Clean, Command, FieldError, Fields, Named, Verify};

use super::args::{Hosts, Mailboxes, StateFile, UnusedState, parse_names};
use super::session::with_runtime;
use super::{Fail, signals, text};
use crate::hosts::{Connect, Question, Registration};
use crate::journal::{Journal, MailboxId, RunId, SqliteJournal, State, Verb};
use crate::observer::Observer;
use crate::survey::{
    Answered, Asking, Refused, Source, VerifyReport, each_host, survey, survey_rows,
};

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    _state: UnusedState,
    #[command(flatten)]
    mailboxes: Mailboxes,
    /// Messages to read in each mailbox, spread over it.
    #[arg(long, value_name = "N", default_value_t = 20)]
    sample: u32,
    /// Read every message.
    #[arg(long, conflicts_with = "sample")]
    full: bool,
    /// Mailboxes at once.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

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

pub(super) fn verify(args: &VerifyArgs) -> Result<Exit, Fail> {
    let sources = args.mailboxes.sources()?;
    let connect: Arc<dyn Connect> = args.hosts.slotds();
    let sample = (!args.full).then_some(args.sample);
    let parallel = args.parallel.into();
    let question: Arc<Question> = Arc::new(move |of: Named| Command::Verify(Verify { of, sample }));
    let mut audit = VerifyReport::default();
    let (audit, excluded, stop) = with_runtime(async move {
        let stop = signals::stop();
        let asking = Asking {
            connect: &connect,
            parallel,
            stop: &stop,
            question,
            then: None,
        };
        let excluded = survey(&asking, sources, |a| audit.answered(&a)).await?;
        Ok((audit, excluded, stop))
    })?;
    excluded.lines().iter().for_each(|line| text::note(line));
    if args.json {
        text::json(&serde_json::to_value(&audit).map_err(std::io::Error::from)?)?;
    } else {
        text::say(audit.to_string().trim_end())?;
    }
    if audit.is_unfinished() {
        let name = audit.unfinished_name();
        let name = name.map_or_else(String::new, |name| format!(" {name}"));
        text::note(&format!(
            "old GUIDs are left at version 10, as of messages that an open session copied: finish \
             them with \
             controller upgrade {}{name}",
            args.hosts.spelled()
        ));
    }
    if audit.has_wrong_guids() {
        text::note(&format!(
            "GUIDs are not the SHA-1s of their messages. If the messages are what they should be, \
             set the GUIDs right with \
             controller upgrade --rehash=fix {0}; --rehash alone names each of them",
            args.hosts.spelled()
        ));
    }
    let good = audit.is_good() && excluded.bad.count + excluded.two_places.count == 0;
    let exit = match (audit.unknown, good) {
        (0, true) => Exit::Ok,
        (0, false) => Exit::Data,
        _ => Exit::NoMailbox,
    };
    Ok(signals::exit(&stop, exit))
}

/// What went from one host.
#[derive(Default, serde::Serialize)]
struct Removed {
    mailboxes: u64,
    files: u64,
    bytes: u64,
    refused: Refused,
}

/// Sentences for a person.
struct Notes;

impl Observer for Notes {
    fn say(&self, text: &str) {
        text::note(text);
    }
}

/// States in which nothing of a mailbox is needed any more for going back or on.
const DONE: &[State] = &[State::Upgraded, State::Unchanged];

pub(super) fn clean(args: &CleanArgs) -> Result<Exit, Fail> {
    let journal = Arc::new(SqliteJournal::open_read_only(&args.state.state)?);
    if let Some(open) = journal.open_transactions(MailboxId(0), 1)?.first() {
        let text = format!(
            "{} is decided and not settled, perhaps others too: nothing is cleaned before \
             `controller recover` has settled \
             them",
            open.row.name
        );
        return Err(Fail::new(Exit::Config, text));
    }
    let Some(last) = journal.last_run()? else {
        let text = format!("{}: no run was started yet", args.state.state.display());
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
    let names = checked_names(args, journal.as_ref(), last.id)?;
    let connect: Arc<dyn Connect> = args.hosts.slotds();
    let (dry_run, parallel) = (args.dry_run, args.parallel.into());
    let question: Arc<Question> = Arc::new(move |of: Named| Command::Clean(Clean { of, dry_run }));
    let mut hosts: BTreeMap<&'static str, Removed> = BTreeMap::new();
    let (hosts, stop) = with_runtime(async move {
        let stop = signals::stop();
        let bound = Registration::engage(&connect, journal.as_ref(), &Notes).await?;
        let connect = Arc::clone(&bound) as Arc<dyn Connect>;
        let asking = Asking {
            connect: &connect,
            parallel,
            stop: &stop,
            question,
            then: None,
        };
        let sink = |answered: Answered| add(&mut hosts, &answered);
        let asked = if names.is_empty() {
            let journal = Arc::clone(&journal) as Arc<dyn Journal>;
            survey_rows(&asking, journal, last.id, DONE, sink).await
        } else {
            let sources = vec![Source::Names(names)];
            survey(&asking, sources, sink).await.map(drop)
        };
        bound.leave(journal.as_ref()).await;
        asked?;
        Ok((hosts, stop))
    })?;
    let refused = hosts.values().any(|host| !host.refused.is_empty());
    if args.json {
        let value = serde_json::json!({ "dry_run": dry_run, "hosts": hosts });
        text::json(&value)?;
    } else {
        text::say(&describe(&hosts, dry_run))?;
    }
    let exit = if refused { Exit::RolledBack } else { Exit::Ok };
    Ok(signals::exit(&stop, exit))
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

fn describe(hosts: &BTreeMap<&'static str, Removed>, dry_run: bool) -> String {
    let verb = if dry_run { "would go" } else { "removed" };
    let mut out = String::new();
    for (side, host) in hosts {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{side}: {verb}: {} files of {} mailboxes, {} bytes",
            host.files, host.mailboxes, host.bytes
        );
        let _ = host.refused.lines(&mut out, "left alone");
    }
    if hosts.is_empty() {
        out.push_str("nothing is done yet, so nothing is cleaned\n");
    }
    out.truncate(out.trim_end().len());
    out
}
