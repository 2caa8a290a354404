//! What of a Murder each pair works on: the master's list compared with what the slotds find.
//!
//! Asks only: the mupdate server, and each pair's master for its whole list.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use indexfile::mailbox::list::Reader;
use jiff::Timestamp;

use super::check::Named;
use crate::error::RunError;
use crate::murder::client::{Patience, Settings, connect_patiently};
use crate::murder::compare::{Action, Code, CompareError, Found, Lists, Summary};
use crate::murder::{read_cache, read_server};
use crate::observer::Observer;
use crate::stop::StopSignal;
use crate::survey::{Source, each_listed};

/// Names in a step of the comparison.
const STEP: usize = 2000;

/// Where the list of a Murder comes from.
#[derive(Clone)]
pub struct MurderList {
    /// The mupdate server.
    pub settings: Settings,
    /// How long one that is away is waited for.
    pub patience: Patience,
    /// Where the last whole list is kept.
    pub cache: Option<PathBuf>,
    /// That list is used, and the server is not asked.
    pub from_cache: bool,
    /// Backends' own lists, by `servername`: what `ctl_mboxlist -d` prints there.
    pub own: Vec<(String, PathBuf)>,
    /// Servers on which nothing is done, though the list has them.
    pub skipped: Vec<String>,
}

/// The lists, and what they amount to.
pub struct Compared {
    lists: Lists,
    /// Counts, backends, and the first of each kind.
    pub summary: Summary,
}

fn refused(exit: Exit, text: impl Into<String>) -> RunError {
    RunError::Preflight {
        exit,
        text: text.into(),
    }
}

fn of_lists(error: &CompareError) -> RunError {
    refused(error.exit(), error.to_string())
}

/// Reads the Murder's list and that of each pair's master, and compares them.
///
/// # Errors
/// A list cannot be read to its end.
pub async fn compare(
    list: &MurderList,
    pairs: &[Named],
    observer: &dyn Observer,
    stop: &StopSignal,
) -> Result<Compared, RunError> {
    let servers = pairs.iter().map(|pair| pair.servername.as_str());
    let lists = Lists::new(servers, list.skipped.iter().map(String::as_str));
    let mut lists = lists.map_err(|e| of_lists(&e))?;
    read_master(list, &mut lists, observer, stop).await?;
    for pair in pairs {
        let Some(backend) = lists.backend(&pair.servername) else {
            continue;
        };
        let source = vec![Source::Master];
        let mut failed = None;
        let listed = each_listed(source, &pair.connect, stop, |batch| {
            let found: Vec<Found> = batch
                .iter()
                .map(|one| Found {
                    name: one.name.clone(),
                    partition: one.partition.clone().unwrap_or_default(),
                })
                .collect();
            if let Err(error) = lists.add_found(backend, &found) {
                failed.get_or_insert(error);
            }
        });
        listed.await.map_err(|error| error.of_pair(&pair.name))?;
        if let Some(error) = failed {
            return Err(of_lists(&error));
        }
        lists.found_is_whole(backend);
    }
    for (server, path) in &list.own {
        let Some(backend) = lists.backend(server) else {
            let text = format!("{server}, whose own list is given, is the server of no pair");
            return Err(RunError::Config(text));
        };
        let file = std::fs::File::open(path).map_err(|source| RunError::ListFile {
            path: path.clone(),
            source,
        })?;
        let own = Reader::new(std::io::BufReader::new(file));
        lists.add_own(backend, own).map_err(|e| of_lists(&e))?;
    }
    let summary = lists.compare().map_err(|e| of_lists(&e))?;
    Ok(Compared { lists, summary })
}

async fn read_master(
    list: &MurderList,
    lists: &mut Lists,
    observer: &dyn Observer,
    stop: &StopSignal,
) -> Result<(), RunError> {
    let cache = list.cache.as_deref();
    if list.from_cache {
        let Some(path) = cache else {
            return Err(RunError::Config("there is no kept list to use".to_owned()));
        };
        let read = read_cache(path, lists).map_err(|e| refused(e.exit(), e.to_string()))?;
        let (origin, count) = read;
        let origin = origin.sentence(Timestamp::now());
        observer.warn(&format!(
            "the kept list of {count} entries is used: {origin}"
        ));
        return Ok(());
    }
    let client = connect_patiently(&list.settings, list.patience, observer, stop).await;
    let mut client = client.map_err(|e| refused(e.exit(), e.to_string()))?;
    let read = read_server(&mut client, lists, cache).await;
    let count = read.map_err(|e| refused(e.exit(), e.to_string()))?;
    observer.say(&format!("{}: {count} entries", client.address()));
    // The list is whole; how the server takes leave does not matter.
    let _ = client.logout().await;
    Ok(())
}

impl Compared {
    /// Whether a run may begin.
    ///
    /// # Errors
    /// The list has a server that no pair is, or a backend misses much of what the master says.
    pub fn check(&self) -> Result<(), RunError> {
        let unknown = self.summary.unknown.iter();
        let unknown: Vec<String> = unknown
            .map(|(server, count)| format!("{server} ({count} mailboxes)"))
            .collect();
        if !unknown.is_empty() {
            let text = format!(
                "the Murder has mailboxes on servers that are no pair: {}; give each a pair, or \
                 leave it out by skip-servers",
                unknown.join(", ")
            );
            return Err(refused(Exit::Config, text));
        }
        let missing = self.summary.refused().map(|(server, pair)| {
            format!(
                "{server} has {} of the {} mailboxes that the master says it has",
                pair.said - pair.missing,
                pair.said
            )
        });
        let missing: Vec<String> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        let text = format!(
            "{}: that something is not mounted is likelier than that so much was deleted; leave \
             the pair out by --pairs, or set that right",
            missing.join("; ")
        );
        Err(refused(Exit::Unavailable, text))
    }

    /// How many names a person has to decide about.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.summary.count(Code::Duplicate)
    }

    /// Writes what is worked on of each server, as `ctl_mboxlist -d` of 2.3 prints it; how many
    /// mailboxes each has.
    ///
    /// # Errors
    /// The temporary file of the comparison, or a list.
    pub fn write<W: Write>(&self, outs: &mut [(String, W)]) -> Result<Vec<u64>, RunError> {
        let mut counts = vec![0; outs.len()];
        let mut after = None;
        loop {
            let page = self.lists.page(&self.summary, &mut after, STEP);
            let page = page.map_err(|e| of_lists(&e))?;
            if page.is_empty() {
                break;
            }
            for finding in page.iter().filter(|f| f.action == Action::Migrate) {
                let (Some(server), Some(partition)) = (&finding.server, &finding.partition) else {
                    continue;
                };
                let at = outs.iter().position(|(name, _)| name == server);
                let Some(at) = at else { continue };
                counts[at] += 1;
                let line = writeln!(outs[at].1, "{}\t0 {partition}\t", finding.name);
                line.map_err(|error| RunError::Spool(error.to_string()))?;
            }
        }
        for (_, out) in outs {
            let flushed = out.flush();
            flushed.map_err(|error| RunError::Spool(error.to_string()))?;
        }
        Ok(counts)
    }

    /// For a person: the counts of what is not as it should be, and the first of each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .summary
            .pairs
            .iter()
            .map(|(server, pair)| {
                format!(
                    "{server}: the master says {}, its slotd found {}",
                    pair.said, pair.found
                )
            })
            .collect();
        for (code, count) in &self.summary.counts {
            if *count == 0 || *code == Code::Normal {
                continue;
            }
            lines.push(format!("{code}: {count}: {}", code.meaning()));
            let first = self.summary.first.get(code).into_iter().flatten();
            lines.extend(first.take(NAMED).map(|finding| format!("  {finding}")));
        }
        lines
    }
}

/// Findings of a kind that are shown.
const NAMED: usize = 5;

/// Asks the master once more about names that were gone when their turn came: where it has each
/// now.
pub async fn moved(
    list: &MurderList,
    names: &[MailboxName],
    observer: &Arc<dyn Observer>,
) -> Vec<(MailboxName, String)> {
    if list.from_cache || names.is_empty() {
        return Vec::new();
    }
    let settings = list.settings.clone();
    let mut locator =
        crate::murder::client::Locator::new(settings, list.patience, Arc::clone(observer));
    let mut moved = Vec::new();
    for name in names {
        if let Some(placed) = locator.locate(name).await
            && let Some(location) = placed.location
        {
            moved.push((name.clone(), location.server));
        }
    }
    moved
}
