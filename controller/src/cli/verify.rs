//! `verify`: GUIDs against message files, and master against replica, without a transaction.

use std::sync::Arc;

use indexfile::exit::Exit;
use slotd::protocol::{Command, Named, Verify};

use super::args::{Mailboxes, UnusedState};
use super::each::{Each, Notes};
use super::imap::{self, ImapArgs};
use super::of_murder::Lines;
use super::pairs::{Hosts, Pair};
use super::session::with_runtime;
use super::targets::Targets;
use super::{Fail, signals, text};
use crate::error::RunError;
use crate::fleet::{AT_ONCE, in_order};
use crate::hosts::Question;
use crate::stop::StopSignal;
use crate::survey::{Asking, Excluded, VerifyReport, survey};

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    _state: UnusedState,
    #[command(flatten)]
    mailboxes: Mailboxes,
    #[command(flatten)]
    imap: ImapArgs,
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

pub(super) fn verify(args: &VerifyArgs) -> Result<Exit, Fail> {
    if let Some(address) = &args.imap.imap {
        return imap::verify(address, &args.imap, &args.mailboxes, args.json);
    }
    let sample = (!args.full).then_some(args.sample);
    let question: Arc<Question> = Arc::new(move |of: Named| Command::Verify(Verify { of, sample }));
    let parallel = args.parallel.into();
    with_runtime(async move {
        let stop = signals::stop();
        let targets = Targets::of(&args.hosts, &args.mailboxes, false, &stop).await?;
        let targets = Arc::new(targets);
        targets.check(&Lines { quiet: false })?;
        let mut each = Each::new(args.json);
        let work = (0..targets.pairs.len()).map(|at| {
            let (targets, stop) = (Arc::clone(&targets), stop.clone());
            let question = Arc::clone(&question);
            async move {
                let asked = verify_pair((&targets, at), parallel, question, &stop);
                (at, asked.await)
            }
        });
        let done = in_order(AT_ONCE, work, |(at, asked)| {
            let pair = &targets.pairs[at];
            match each.take(pair, asked)? {
                Some((report, excluded)) => {
                    say_verified(&mut each, pair, &report, &excluded, &args.hosts.spelled())
                }
                None => Ok(()),
            }
        });
        done.await?;
        Ok(signals::exit(&stop, each.end()?))
    })
}

async fn verify_pair(
    (targets, at): (&Targets, usize),
    parallel: usize,
    question: Arc<Question>,
    stop: &StopSignal,
) -> Result<(VerifyReport, Excluded), RunError> {
    let pair = &targets.pairs[at];
    let asking = Asking {
        connect: &pair.connect(),
        parallel,
        stop,
        question,
        then: None,
    };
    let mut report = VerifyReport::default();
    let sources = targets.sources(at, &Notes::of(pair), stop).await?;
    match survey(&asking, sources, |a| report.answered(&a)).await {
        Err(RunError::Empty(_)) if targets.may_be_empty() => Ok(Default::default()),
        excluded => Ok((report, excluded?)),
    }
}

fn say_verified(
    each: &mut Each,
    pair: &Pair,
    report: &VerifyReport,
    excluded: &Excluded,
    hosts: &str,
) -> Result<(), Fail> {
    for line in excluded.lines() {
        text::note(&pair.line(&line));
    }
    let exit = match (report.unknown, report.is_good()) {
        (0, true) => excluded.exit(),
        (0, false) => excluded.exit().max(Exit::Data),
        _ => Exit::NoMailbox,
    };
    each.say(pair, report, exit)?;
    for hint in hints(report, hosts) {
        text::note(&pair.line(&hint));
    }
    Ok(())
}

/// What can be done about what was found.
fn hints(report: &VerifyReport, hosts: &str) -> Vec<String> {
    let mut hints = Vec::new();
    if report.is_unfinished() {
        let name = report.unfinished_name();
        let name = name.map_or_else(String::new, |name| format!(" {name}"));
        hints.push(format!(
            "old GUIDs are left at version 10, as of messages that an open session copied: finish \
             them with controller upgrade {hosts}{name}"
        ));
    }
    if report.has_wrong_guids() {
        hints.push(format!(
            "GUIDs are not the SHA-1s of their messages. If the messages are what they should be, \
             set the GUIDs right with controller upgrade --rehash=fix {hosts}; --rehash alone \
             names each of them"
        ));
    }
    hints
}
