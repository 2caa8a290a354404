//! Fills a run's queue: from names, from lists, or from the master itself.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use indexfile::mailbox::MailboxName;
use slotd::protocol::{Command, ListRange, Listed as Page, Reply};

use super::peer::Peer;
use super::settings::{RunError, Stop, StopSignal};
use crate::journal::{Journal, Listed, RunId};
use crate::listing::{Item, Reader, Skipped};

/// How many mailboxes one journal transaction takes.
const BATCH: usize = 2000;

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

/// Adds everything of a source to the run.
pub(super) async fn fill(
    journal: &Arc<dyn Journal>,
    run: RunId,
    source: &Source,
    master: &mut Peer,
    stop: &StopSignal,
) -> Result<Skipped, RunError> {
    match source {
        Source::Names(names) => {
            for chunk in names.chunks(BATCH) {
                let listed = |name: &MailboxName| Listed {
                    name: name.clone(),
                    partition: None,
                    named: true,
                };
                journal.add(run, &chunk.iter().map(listed).collect::<Vec<_>>())?;
            }
            Ok(Skipped::new())
        }
        Source::File(path) => {
            let file = File::open(path).map_err(|source| RunError::ListFile {
                path: path.clone(),
                source,
            })?;
            read(journal, run, BufReader::new(file), stop).await
        }
        Source::Stdin => read(journal, run, BufReader::new(std::io::stdin()), stop).await,
        Source::Master => walk(journal, run, master, stop).await,
    }
}

async fn read(
    journal: &Arc<dyn Journal>,
    run: RunId,
    input: impl BufRead + Send + 'static,
    stop: &StopSignal,
) -> Result<Skipped, RunError> {
    let (journal, stop) = (Arc::clone(journal), stop.clone());
    // A pipe may let us wait for long; a thread of its own does that.
    let task = tokio::task::spawn_blocking(move || {
        let mut skipped = Skipped::new();
        let mut batch = Vec::with_capacity(BATCH);
        for item in Reader::new(input) {
            match item? {
                Item::Mailbox { name, partition } => batch.push(Listed {
                    name,
                    partition,
                    named: true,
                }),
                Item::Skipped(why) => *skipped.entry(why).or_default() += 1,
            }
            if batch.len() == BATCH {
                journal.add(run, &batch)?;
                batch.clear();
                if stop.level() != Stop::No {
                    break;
                }
            }
        }
        journal.add(run, &batch)?;
        Ok(skipped)
    });
    task.await.unwrap_or_else(|error| {
        Err(RunError::Config(format!(
            "the list's reader failed: {error}"
        )))
    })
}

async fn walk(
    journal: &Arc<dyn Journal>,
    run: RunId,
    master: &mut Peer,
    stop: &StopSignal,
) -> Result<Skipped, RunError> {
    let unavailable = |text: String| RunError::Unavailable {
        side: "master",
        text,
    };
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
        let partition = (!page.partition.is_empty()).then(|| page.partition.clone());
        let listed = |name| Listed {
            name,
            partition: partition.clone(),
            named: false,
        };
        journal.add(run, &page.names.into_iter().map(listed).collect::<Vec<_>>())?;
        match page.next {
            None => break,
            Some(next) if range.after.as_ref() == Some(&next) => {
                return Err(unavailable("LIST makes no progress".to_owned()));
            }
            Some(next) => range.after = Some(next),
        }
    }
    Ok(Skipped::new())
}
