//! Where mailboxes come from: names, lists, or the master itself. All of it streams, in batches.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use indexfile::mailbox::MailboxName;
use slotd::protocol::{Command, ListRange, Listed as Page, Reply};
use tokio::sync::mpsc;

use super::excluded::{Excluded, Item, Odd, Reader, Skip, Skipped};
use super::keep::{Canaries, Keep};
use crate::error::RunError;
use crate::hosts::{Connect, Link};
use crate::journal::Candidate;
use crate::stop::{Stop, StopSignal};
use crate::two_phase::Side;

/// Mailboxes in a batch: what one journal transaction takes.
pub(crate) const BATCH: usize = 2000;
/// Batches that may wait.
const BUFFERED: usize = 4;

/// Where mailboxes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Named one by one.
    Names(Vec<MailboxName>),
    /// Named one by one as administrators write them; [`super::resolve`] makes these internal names
    /// before anything else is done with them.
    Typed(Vec<String>),
    /// A list in a file.
    File(PathBuf),
    /// A list on standard input.
    Stdin,
    /// Every mailbox of the master, as its slotd finds them on the disks.
    Master,
    /// Every mailbox of the replica, in the same way. Its partitions need not be the master's, so
    /// none is named.
    Replica,
    /// Those of another source that are on this partition, or that do not tell theirs and are meant
    /// there.
    On(String, Box<Source>),
    /// Those of another source that are meant.
    Kept(Keep, Box<Source>),
}

impl Source {
    /// Whether a host has to be asked for it.
    pub(crate) fn is_walk(&self) -> bool {
        match self {
            Self::Master | Self::Replica => true,
            Self::On(_, source) | Self::Kept(_, source) => source.is_walk(),
            _ => false,
        }
    }

    /// The partition to which it is restricted.
    pub(crate) fn partition(&self) -> Option<&str> {
        match self {
            Self::On(partition, _) => Some(partition),
            Self::Kept(_, source) => source.partition(),
            _ => None,
        }
    }

    /// What a person calls it, if it is a list.
    pub(crate) fn list(&self) -> Option<String> {
        match self {
            Self::File(path) => Some(format!("the list {}", path.display())),
            Self::Stdin => Some("the list on standard input".to_owned()),
            Self::On(_, source) | Self::Kept(_, source) => source.list(),
            Self::Names(_) | Self::Typed(_) | Self::Master | Self::Replica => None,
        }
    }

    /// What of it is meant, in words.
    pub(crate) fn keeps(&self) -> Vec<String> {
        match self {
            Self::On(_, source) => source.keeps(),
            Self::Kept(keep, source) => {
                let mut keeps = source.keeps();
                keeps.extend(keep.words());
                keeps
            }
            _ => Vec::new(),
        }
    }

    /// As it is given on the command line; `None` where nothing is.
    pub(crate) fn words(&self) -> Option<String> {
        match self {
            Self::Names(names) => {
                let names: Vec<String> = names.iter().map(|n| quoted(n.as_str())).collect();
                Some(names.join(" "))
            }
            Self::Typed(names) => {
                let names: Vec<String> = names.iter().map(|n| quoted(n)).collect();
                Some(names.join(" "))
            }
            Self::File(path) => Some(format!("--mailboxes {}", quoted(&path.to_string_lossy()))),
            Self::Stdin => Some("--mailboxes -".to_owned()),
            Self::Master | Self::Replica => None,
            Self::On(partition, source) => {
                let words = source.words().map(|w| w + " ").unwrap_or_default();
                Some(format!("{words}--partition {}", quoted(partition)))
            }
            Self::Kept(keep, source) => match (source.words(), keep.words()) {
                (Some(source), Some(keep)) => Some(format!("{source} {keep}")),
                (source, keep) => source.or(keep),
            },
        }
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

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
        Source::File(path) => {
            let file = File::open(&path).map_err(|source| RunError::ListFile { path, source })?;
            read(BufReader::new(file), stop.clone(), out.clone()).await
        }
        Source::Stdin => read(BufReader::new(std::io::stdin()), stop.clone(), out.clone()).await,
        Source::Master => walk(Side::Master, connect, stop, out).await,
        Source::Replica => walk(Side::Replica, connect, stop, out).await,
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
                Item::Mailbox { name, partition } => batch.push(Candidate {
                    partition,
                    ..Candidate::new(name, true)
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

async fn walk(
    side: Side,
    connect: &Arc<dyn Connect>,
    stop: &StopSignal,
    out: &Out,
) -> Result<(), RunError> {
    let unavailable = |text: String| RunError::Unavailable {
        side: side.as_str(),
        text,
    };
    let mut link = Link::new(side, connect);
    let mut range = ListRange::default();
    while stop.level() == Stop::No {
        let reply = link.call(&Command::List(range.clone())).await;
        let fields = match reply.map_err(|error| unavailable(error.to_string()))? {
            Reply::Ok(fields) => fields,
            Reply::No { code, text } => return Err(unavailable(format!("LIST: [{code}] {text}"))),
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
