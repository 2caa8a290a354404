//! Reads where mailboxes come from: names, lists, or a host itself. All of it streams, in batches.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::{Code, Command, ListRange, Listed as Page, Reply};
use tokio::sync::mpsc;

use super::excluded::{Excluded, Item, Odd, Reader, Skip, Skipped};
use super::keep::{Canaries, Keep};
use super::source::Source;
use crate::error::RunError;
use crate::hosts::{Connect, Link};
use crate::journal::Candidate;
use crate::stop::{Stop, StopSignal};
use crate::two_phase::Side;

/// Mailboxes in a batch: what one journal transaction takes.
pub(crate) const BATCH: usize = 2000;
/// Batches that may wait.
const BUFFERED: usize = 4;

/// A piece of a list.
#[derive(Debug)]
pub(crate) enum Batch {
    Listed(Vec<Candidate>),
    /// What is not worked on.
    Excluded(Excluded),
}

pub(crate) type Batches = mpsc::Receiver<Result<Batch, RunError>>;
type Out = mpsc::Sender<Result<Batch, RunError>>;

/// Begins to read the sources, one after the other.
pub(crate) fn stream(sources: Vec<Source>, connect: Arc<dyn Connect>, stop: StopSignal) -> Batches {
    let (out, batches) = mpsc::channel(BUFFERED);
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

async fn feed(
    source: Source,
    connect: &Arc<dyn Connect>,
    stop: &StopSignal,
    out: &Out,
) -> Result<(), RunError> {
    match source {
        Source::Names(names) => {
            for chunk in names.chunks(BATCH) {
                let listed = |name: &MailboxName| Candidate::new(name.clone(), true);
                let batch = Batch::Listed(chunk.iter().map(listed).collect());
                if out.send(Ok(batch)).await.is_err() {
                    break;
                }
            }
            Ok(())
        }
        Source::Typed(names) => Err(RunError::NoMailbox(names.join(", "))),
        Source::File(path) => read(open(path)?, true, stop.clone(), out.clone()).await,
        Source::Listed(path) => read(open(path)?, false, stop.clone(), out.clone()).await,
        Source::Stdin => {
            let input = BufReader::new(std::io::stdin());
            read(input, true, stop.clone(), out.clone()).await
        }
        Source::Master => walk(Side::Master, None, connect, stop, out).await,
        Source::Replica => walk(Side::Replica, None, connect, stop, out).await,
        // What is wrong with other partitions is not asked.
        Source::On(partition, source) if *source == Source::Master => {
            walk(Side::Master, Some(partition), connect, stop, out).await
        }
        Source::On(partition, source) => {
            let on = |one: &mut Candidate| {
                let there = one.partition.get_or_insert_with(|| partition.clone());
                there.eq_ignore_ascii_case(&partition)
            };
            filtered(*source, connect, stop, out, on).await
        }
        Source::Kept(Keep::Canary(n), source) => canaries(n, *source, connect, stop, out).await,
        Source::Kept(keep, source) => {
            filtered(*source, connect, stop, out, |one| keep.keeps(one)).await
        }
    }
}

/// What of another source is wanted.
async fn filtered(
    source: Source,
    connect: &Arc<dyn Connect>,
    stop: &StopSignal,
    out: &Out,
    wanted: impl Fn(&mut Candidate) -> bool,
) -> Result<(), RunError> {
    let mut batches = stream(vec![source], Arc::clone(connect), stop.clone());
    while let Some(batch) = batches.recv().await {
        let mut batch = batch?;
        if let Batch::Listed(listed) = &mut batch {
            listed.retain_mut(&wanted);
        }
        if out.send(Ok(batch)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A few of another source, which has to be read to its end.
async fn canaries(
    n: u32,
    source: Source,
    connect: &Arc<dyn Connect>,
    stop: &StopSignal,
    out: &Out,
) -> Result<(), RunError> {
    let mut batches = stream(vec![source], Arc::clone(connect), stop.clone());
    let mut few = Canaries::new(n);
    while let Some(batch) = batches.recv().await {
        match batch? {
            Batch::Listed(listed) => listed.into_iter().for_each(|one| few.add(one)),
            excluded @ Batch::Excluded(_) => {
                if out.send(Ok(excluded)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    // If nobody listens any more, nobody wants them.
    let _ = out.send(Ok(Batch::Listed(few.into_list()))).await;
    Ok(())
}

fn open(path: PathBuf) -> Result<BufReader<File>, RunError> {
    let file = File::open(&path).map_err(|source| RunError::ListFile { path, source })?;
    Ok(BufReader::new(file))
}

/// Reads a list. `named`: a person wrote it.
async fn read(
    input: impl BufRead + Send + 'static,
    named: bool,
    stop: StopSignal,
    out: Out,
) -> Result<(), RunError> {
    // A pipe may let us wait for long; a thread of its own does that.
    let task = tokio::task::spawn_blocking(move || {
        let (mut skipped, mut bad) = (Skipped::new(), Odd::default());
        let mut batch = Vec::new();
        for item in Reader::new(input) {
            match item? {
                Item::Mailbox { name, partition } => batch.push(Candidate {
                    partition,
                    ..Candidate::new(name, named)
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
        let excluded = Excluded {
            skipped,
            bad,
            ..Excluded::default()
        };
        for last in [Batch::Listed(batch), Batch::Excluded(excluded)] {
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

/// What follows from a refusal to list anything at all.
fn refused(side: Side, code: Code, text: &str) -> RunError {
    let said = format!("LIST: [{code}] {text}");
    let exit = match code {
        Code::Unmounted => Exit::RolledBack,
        Code::Damaged => Exit::Data,
        _ => return RunError::refused(side.as_str(), code, said),
    };
    let text = format!("{side}: {said}");
    RunError::LeftOut { exit, text }
}

async fn walk(
    side: Side,
    only: Option<String>,
    connect: &Arc<dyn Connect>,
    stop: &StopSignal,
    out: &Out,
) -> Result<(), RunError> {
    let unavailable = |text: String| RunError::Unavailable {
        side: side.as_str(),
        text,
    };
    let mut link = Link::new(side, connect);
    let mut range = ListRange {
        only,
        ..ListRange::default()
    };
    while stop.level() == Stop::No {
        let reply = link.call(&Command::List(range.clone())).await;
        let fields = match reply.map_err(|error| RunError::unanswered(side.as_str(), &error))? {
            Reply::Ok(fields) => fields,
            Reply::No { code, text } => return Err(refused(side, code, &text)),
            Reply::Bad(text) => return Err(unavailable(format!("LIST: BAD {text}"))),
        };
        let page =
            Page::from_fields(&fields).map_err(|error| unavailable(format!("LIST: {error}")))?;
        // What is odd is reported of the master; each slotd knows its own, and judges it.
        let excluded = match side {
            Side::Master => Excluded::of_page(&page),
            Side::Replica => Excluded::default(),
        };
        if !excluded.is_empty() && out.send(Ok(Batch::Excluded(excluded))).await.is_err() {
            break;
        }
        let on_master = side == Side::Master && !page.partition.is_empty();
        let partition = on_master.then(|| page.partition.clone());
        let listed = |name| Candidate {
            partition: partition.clone(),
            ..Candidate::new(name, false)
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
