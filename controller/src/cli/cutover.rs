//! `cutover`: the change-over to a version of Cyrus 2.4 and later, the work before it, the proof
//! after it, and the way back.

use std::fmt::Display;

use clap::Args;
use indexfile::exit::Exit;
use serde::Serialize;

use super::args::{Abandon, Mailboxes};
use super::each::{Each, Notes};
use super::of_murder::Lines;
use super::pairs::Pair;
use super::runs::migrate;
use super::session::{Common, with_runtime};
use super::state::How;
use super::targets::Targets;
use super::{Fail, signals, text};
use crate::cutover::{self, Work};
use crate::error::RunError;
use crate::journal::{JournalStore, Verb};
use crate::run::Settings;
use crate::survey::Source;

/// The version that everything of 2.3 has, and that an undo comes back to.
const BEFORE: u8 = 10;

/// Mailboxes that are named in a line each.
const PRINTED: u64 = 100;

#[allow(clippy::struct_excessive_bools)] // independent switches of the command line
#[derive(Debug, Args)]
pub(super) struct CutoverArgs {
    /// The index version wanted, 12 to 19. 16 is for Cyrus 3.4 to 3.8, and 16 or 17 for 3.10 to
    /// 3.12; once its server runs, `reconstruct -V max` refreshes the caches. Others are untried.
    #[arg(long, value_name = "N", required_unless_present = "undo",
          value_parser = clap::value_parser!(u8).range(12..=19))]
    to: Option<u8>,
    /// Before it, while 2.3 serves, again and again: look at every mailbox and write its new index
    /// beside it. Nothing is changed over.
    #[arg(long, conflicts_with_all = ["verify", "undo"])]
    prepare: bool,
    /// After it: look at every mailbox of both hosts. Only if this ends with 0 may a server start;
    /// then CONFIGDIRECTORY/cutover-complete is there on both.
    #[arg(long, conflicts_with = "undo")]
    verify: bool,
    /// Take it back, while no server has written to a mailbox since.
    #[arg(long)]
    undo: bool,
    /// With --verify: messages to read in each mailbox, spread over it.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "verify")]
    sample: u32,
    /// With --verify: read every message.
    #[arg(long, conflicts_with = "sample", requires = "verify")]
    full: bool,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    mailboxes: Mailboxes,
    #[command(flatten)]
    abandon: Abandon,
}

pub(super) fn cutover(args: CutoverArgs) -> Result<Exit, Fail> {
    let verb = if args.undo { Verb::Undo } else { Verb::Cutover };
    args.common.check(verb)?;
    // Without --undo it is needed.
    let to = match args.to {
        Some(to) if !args.undo => to,
        _ => BEFORE,
    };
    if !args.undo
        && let Some(warning) = untried(to)
    {
        text::note(&warning);
    }
    if args.prepare {
        return prepare(&args.common, to, &args.mailboxes);
    }
    if args.verify {
        let sample = (!args.full).then_some(args.sample);
        return verify(&args.common, to, &args.mailboxes, sample);
    }
    let mut settings = Settings {
        verb,
        to,
        ..Settings::upgrade()
    };
    args.abandon.apply(&mut settings);
    migrate(args.common, settings, &args.mailboxes)
}

/// What is said of a version that no server was tried with.
fn untried(to: u8) -> Option<String> {
    (![16, 17].contains(&to)).then(|| {
        format!(
            "WARNING: version {to} is untried with any server: 16 is for Cyrus 3.4 to 3.8, 16 or \
             17 for 3.10 to 3.12"
        )
    })
}

/// Names mailboxes in a line each, up to [`PRINTED`].
struct Failed<'a> {
    quiet: bool,
    pair: &'a Pair,
    count: u64,
}

impl Failed<'_> {
    fn line(&mut self, name: &str, why: &str) {
        self.count += 1;
        if !self.quiet && self.count <= PRINTED {
            text::note(&self.pair.line(&format!("{name}: {why}")));
        }
    }

    fn end(&self) {
        if !self.quiet && self.count > PRINTED {
            let more = format!("and {} more", self.count - PRINTED);
            text::note(&self.pair.line(&more));
        }
    }
}

fn prepare(common: &Common, to: u8, mailboxes: &Mailboxes) -> Result<Exit, Fail> {
    let store = common.state.open(How::Make)?;
    let (done, exit) = survey(
        common,
        to,
        mailboxes,
        store.as_ref(),
        async |work, sources, failed| {
            let done = cutover::prepare(work, sources, |name, failure| {
                failed.line(name, &format!("refused: {failure}"));
            });
            let done = done.await?;
            Ok((done.excluded.lines(), done.exit(), done))
        },
    )?;
    if done.iter().any(|done| done.refused > 0) {
        text::note(
            "A change-over is complete with every mailbox or not at all: set those right, then \
             prepare again",
        );
    }
    Ok(exit)
}

fn verify(
    common: &Common,
    to: u8,
    mailboxes: &Mailboxes,
    sample: Option<u32>,
) -> Result<Exit, Fail> {
    let store = common.state.open(How::Existing)?;
    let (proofs, exit) = survey(
        common,
        to,
        mailboxes,
        store.as_ref(),
        async |work, sources, failed| {
            let proof = cutover::verify(work, sources, sample, |name, why| failed.line(name, why));
            let proof = proof.await?;
            Ok((proof.excluded.lines(), proof.exit(), proof))
        },
    )?;
    if proofs.iter().any(|proof| !proof.complete) {
        text::note(&format!(
            "The way back: controller cutover --undo {}",
            common.spelled()
        ));
    }
    Ok(exit)
}

/// Asks about many mailboxes of each pair, one pair after the other, prints what `ask` found (with
/// what was left out of the list and the exit code it stands for), and gives that with the exit
/// code of the command.
fn survey<T: Serialize + Display>(
    common: &Common,
    to: u8,
    mailboxes: &Mailboxes,
    store: &dyn JournalStore,
    ask: impl AsyncFn(
        &Work<'_>,
        Vec<Source>,
        &mut Failed<'_>,
    ) -> Result<(Vec<String>, Exit, T), RunError>,
) -> Result<(Vec<T>, Exit), Fail> {
    let output = common.output;
    let quiet = output.quiet;
    with_runtime(async move {
        let stop = signals::stop();
        let targets = Targets::of(&common.hosts, mailboxes, quiet, &stop).await?;
        targets.check(&Lines { quiet })?;
        let (mut all, mut each) = (Vec::new(), Each::new(output.json));
        for (at, pair) in targets.pairs.iter().enumerate() {
            let limits = common.limits.of_pair(&pair.limits)?;
            let journal = store.pair(&pair.name)?;
            let work = Work {
                connect: &pair.connect(),
                journal: journal.as_ref(),
                observer: &Notes { pair, quiet },
                stop: &stop,
                parallel: limits.parallel.without_locks(),
                to,
            };
            let mut failed = Failed {
                quiet,
                pair,
                count: 0,
            };
            let asked = async {
                let sources = targets.sources(at, work.observer, &stop).await?;
                ask(&work, sources, &mut failed).await
            };
            let asked = asked.await;
            let Some((excluded, exit, found)) = each.take(pair, asked)? else {
                continue;
            };
            failed.end();
            for line in excluded {
                text::note(&pair.line(&line));
            }
            each.say(pair, &found, exit)?;
            all.push(found);
        }
        Ok((all, signals::exit(&stop, each.end()?)))
    })
}
