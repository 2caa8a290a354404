//! Where mailboxes come from: names, lists, or the master itself. All of it streams, in batches.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use indexfile::mailbox::MailboxName;
use slotd::protocol::{Command, ListRange, Listed as Page, Reply};
use tokio::sync::mpsc;

use super::connect::Connect;
use super::peer::Peer;
use super::settings::{RunError, Stop, StopSignal};
use crate::journal::{Journal, Listed, RunId};
use crate::listing::{Beside, Item, Odd, Reader, Skip, Skipped};
use crate::two_phase::Side;

/// Mailboxes in a batch: what one journal transaction takes.
const BATCH: usize = 2000;
/// Batches that may wait.
const AHEAD: usize = 4;

/// Where mailboxes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Named one by one.
    Names(Vec<MailboxName>),
    /// A list in a file.
    File(PathBuf),
    /// A list on standard input.
    Stdin,
    /// Every mailbox of the master, as its slotd finds them on the disks.
    Master,
}

/// A piece of a list.
#[derive(Debug)]
pub(crate) enum Batch {
    Listed(Vec<Listed>),
    /// What is not worked on.
    Beside(Beside),
}

pub(crate) type Batches = mpsc::Receiver<Result<Batch, RunError>>;
type Out = mpsc::Sender<Result<Batch, RunError>>;

/// Begins to read the sources, one after the other.
pub(crate) fn stream(sources: Vec<Source>, connect: Arc<dyn Connect>, stop: StopSignal) -> Batches {
    let (out, batches) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        for source in sources {
            if let Err(error) = feed(source, &connect, &stop, &out).await {
                // If nobody listens any more, nobody wants to know.
                let _ = out.send(Err(error)).await;
                return;
            }
        }
    });
    batches
}

/// Adds everything to a run.
pub(super) async fn fill(
    journal: &Arc<dyn Journal>,
    run: RunId,
    mut batches: Batches,
) -> Result<Beside, RunError> {
    let mut beside = Beside::default();
    while let Some(batch) = batches.recv().await {
        match batch? {
            Batch::Listed(listed) => {
                journal.add(run, &listed)?;
            }
            Batch::Beside(more) => beside.add(&more),
        }
    }
    Ok(beside)
}

async fn feed(
    source: Source,
    connect: &Arc<dyn Connect>,
    stop: &StopSignal,
    out: &Out,
) -> Result<(), RunError> {
    match source {
        Source::Names(names) => {
            for chunk in names.chunks(BATCH) {
                let listed = |name: &MailboxName| Listed::new(name.clone(), true);
                let batch = Batch::Listed(chunk.iter().map(listed).collect());
                if out.send(Ok(batch)).await.is_err() {
                    break;
                }
            }
            Ok(())
        }
        Source::File(path) => {
            let file = File::open(&path).map_err(|source| RunError::ListFile { path, source })?;
            read(BufReader::new(file), stop.clone(), out.clone()).await
        }
        Source::Stdin => read(BufReader::new(std::io::stdin()), stop.clone(), out.clone()).await,
        Source::Master => walk(connect, stop, out).await,
    }
}

async fn read(
    input: impl BufRead + Send + 'static,
    stop: StopSignal,
    out: Out,
) -> Result<(), RunError> {
    // A pipe may let us wait for long; a thread of its own does that.
    let task = tokio::task::spawn_blocking(move || {
        let (mut skipped, mut bad) = (Skipped::new(), Odd::default());
        let mut batch = Vec::new();
        for item in Reader::new(input) {
            match item? {
                Item::Mailbox { name, partition } => batch.push(Listed {
                    partition,
                    ..Listed::new(name, true)
                }),
                Item::ByUniqueId { .. } => {
                    *skipped.entry(Skip::ByUniqueId).or_default() += 1;
                }
                Item::Skipped(why) => *skipped.entry(why).or_default() += 1,
                Item::Bad { line, what } => bad.note(|| format!("line {line}: {what}")),
            }
            if batch.len() == BATCH {
                let full = Batch::Listed(std::mem::take(&mut batch));
                if out.blocking_send(Ok(full)).is_err() || stop.level() != Stop::No {
                    return Ok(());
                }
            }
        }
        let beside = Beside {
            skipped,
            bad,
            ..Beside::default()
        };
        for last in [Batch::Listed(batch), Batch::Beside(beside)] {
            if out.blocking_send(Ok(last)).is_err() {
                break;
            }
        }
        Ok(())
    });
    task.await.unwrap_or_else(|error| {
        Err(RunError::Config(format!(
            "the list's reader failed: {error}"
        )))
    })
}

async fn walk(connect: &Arc<dyn Connect>, stop: &StopSignal, out: &Out) -> Result<(), RunError> {
    let unavailable = |text: String| RunError::Unavailable {
        side: "master",
        text,
    };
    let mut master = Peer::new(Side::Master, Arc::clone(connect));
    let mut range = ListRange::default();
    while stop.level() == Stop::No {
        let reply = master.call(&Command::List(range.clone())).await;
        let fields = match reply.map_err(|error| unavailable(error.to_string()))? {
            Reply::Ok(fields) => fields,
            Reply::No { code, text } => return Err(unavailable(format!("LIST: [{code}] {text}"))),
            Reply::Bad(text) => return Err(unavailable(format!("LIST: BAD {text}"))),
        };
        let page =
            Page::from_fields(&fields).map_err(|error| unavailable(format!("LIST: {error}")))?;
        let beside = Beside::of_page(&page);
        if !beside.is_empty() && out.send(Ok(Batch::Beside(beside))).await.is_err() {
            break;
        }
        let partition = (!page.partition.is_empty()).then(|| page.partition.clone());
        let listed = |name| Listed {
            partition: partition.clone(),
            ..Listed::new(name, false)
        };
        let batch = Batch::Listed(page.names.into_iter().map(listed).collect());
        if out.send(Ok(batch)).await.is_err() {
            break;
        }
        match page.next {
            None => break,
            Some(next) if range.after.as_ref() == Some(&next) => {
                return Err(unavailable("LIST makes no progress".to_owned()));
            }
            Some(next) => range.after = Some(next),
        }
    }
    Ok(())
}
