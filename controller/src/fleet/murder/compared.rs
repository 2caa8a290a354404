//! The master's list compared with what each pair's slotd finds, and what that leaves to be done.
//!
//! # What it promises
//!
//! * A pair whose slotd is away stops no other pair: its comparison is outstanding, which is said,
//!   and is made up for when it is back.
//! * Of what the master has on a pair that was not compared, nothing is worked on anywhere.
//!
//! # What a crash leaves
//!
//! Nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use indexfile::exit::Exit;
use indexfile::mailbox::list::Reader;
use parking_lot::Mutex;

use super::super::check::Named;
use super::super::side_by_side::{AT_ONCE, at_most};
use super::list::{MurderList, of_lists, read, refused};
use crate::error::RunError;
use crate::murder::compare::{Action, Found, Lists, Summary};
use crate::observer::Observer;
use crate::stop::StopSignal;
use crate::survey::{Source, each_listed};

/// Names in a step of the comparison.
const STEP: usize = 2000;

/// The lists, and what they amount to.
pub struct Compared {
    lists: Arc<Mutex<Lists>>,
    /// Counts, backends, and the first of each kind.
    pub(super) summary: Mutex<Summary>,
    /// Servers whose slotd was away, and why.
    pub(super) outstanding: Mutex<BTreeMap<String, String>>,
}

/// Reads the Murder's list and that of each pair's master, and compares them. A pair whose slotd is
/// away is outstanding.
///
/// # Errors
/// Another list cannot be read to its end.
pub async fn compare(
    list: &MurderList,
    pairs: &[Named],
    observer: &dyn Observer,
    stop: &StopSignal,
) -> Result<Compared, RunError> {
    let servers = pairs.iter().map(|pair| pair.servername.as_str());
    let lists = Lists::new(servers, list.skipped.iter().map(String::as_str));
    let mut lists = lists.map_err(|e| of_lists(&e))?;
    read(list, &mut lists, observer, stop).await?;
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
    let lists = Arc::new(Mutex::new(lists));
    let asked = pairs.iter().map(|pair| {
        let (lists, pair, stop) = (Arc::clone(&lists), pair.clone(), stop.clone());
        async move { (ask(&lists, &pair, &stop).await, pair) }
    });
    let mut outstanding = BTreeMap::new();
    for (asked, pair) in at_most(AT_ONCE, asked).await {
        match asked {
            Ok(()) => {}
            Err(error) if error.is_away() => {
                outstanding.insert(pair.servername, error.to_string());
            }
            Err(error) => return Err(error.of_pair(&pair.name)),
        }
    }
    let summary = lists.lock().compare().map_err(|e| of_lists(&e))?;
    Ok(Compared {
        lists,
        summary: Mutex::new(summary),
        outstanding: Mutex::new(outstanding),
    })
}

/// Takes a pair's whole list from its master's slotd.
async fn ask(lists: &Mutex<Lists>, pair: &Named, stop: &StopSignal) -> Result<(), RunError> {
    let Some(backend) = lists.lock().backend(&pair.servername) else {
        let text = format!("{} is the server of no pair", pair.servername);
        return Err(RunError::Config(text));
    };
    // What an earlier attempt had given before it broke off is of no use.
    let mut kept = lists.lock().forget(backend);
    let listed = each_listed(vec![Source::Master], &pair.connect, stop, |batch| {
        let found = batch.iter().map(|one| Found {
            name: one.name.clone(),
            partition: one.partition.clone().unwrap_or_default(),
        });
        let found: Vec<Found> = found.collect();
        if kept.is_ok() {
            kept = lists.lock().add_found(backend, &found);
        }
    });
    listed.await?;
    kept.map_err(|e| of_lists(&e))?;
    lists.lock().found_is_whole(backend);
    Ok(())
}

impl Compared {
    /// What it amounts to so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary.lock().clone()
    }

    /// Why the comparison with the list of this server's slotd is outstanding, if it is.
    #[must_use]
    pub fn outstanding(&self, server: &str) -> Option<String> {
        self.outstanding.lock().get(server).cloned()
    }

    /// All servers whose comparison is outstanding, and why.
    #[must_use]
    pub fn all_outstanding(&self) -> BTreeMap<String, String> {
        self.outstanding.lock().clone()
    }

    /// Makes up for a comparison that is outstanding.
    ///
    /// # Errors
    /// Its slotd is still away, or gives no whole list; or much is missing of what the master says
    /// it has.
    pub async fn catch_up(&self, pair: &Named, stop: &StopSignal) -> Result<(), RunError> {
        ask(&self.lists, pair, stop).await?;
        {
            // Another pair that is late compares after this has its place, and never before.
            let lists = self.lists.lock();
            let summary = lists.compare().map_err(|e| of_lists(&e))?;
            *self.summary.lock() = summary;
        }
        self.outstanding.lock().remove(&pair.servername);
        self.check_missing(|server| server == pair.servername)
    }

    /// Whether a run may begin.
    ///
    /// # Errors
    /// The list has a server that no pair is, or a backend misses much of what the master says.
    pub fn check(&self) -> Result<(), RunError> {
        let summary = self.summary.lock();
        let unknown: Vec<String> = summary
            .unknown
            .iter()
            .map(|(server, count)| format!("{server} ({count} mailboxes)"))
            .collect();
        drop(summary);
        if !unknown.is_empty() {
            let text = format!(
                "the Murder has mailboxes on servers that are no pair: {}; give each a pair, or \
                 leave it out by skip-servers",
                unknown.join(", ")
            );
            return Err(refused(Exit::Config, text));
        }
        self.check_missing(|_| true)?;
        self.check_known()
    }

    /// Refuses a list that has nothing of all that was found.
    fn check_known(&self) -> Result<(), RunError> {
        let summary = self.summary.lock();
        let found: u64 = summary.pairs.values().map(|pair| pair.found).sum();
        if found == 0 || summary.pairs.values().any(|pair| pair.said > 0) {
            return Ok(());
        }
        let text = format!(
            "the list has none of the {found} mailboxes that the slotds found: it is of another \
             Murder, of a frontend that has not followed it yet, or these backends never pushed"
        );
        Err(refused(Exit::Unavailable, text))
    }

    fn check_missing(&self, meant: impl Fn(&str) -> bool) -> Result<(), RunError> {
        let summary = self.summary.lock();
        let missing = summary.refused().filter(|(server, _)| meant(server));
        let missing: Vec<String> = missing
            .map(|(server, pair)| {
                format!(
                    "{server} has {} of the {} mailboxes that the master says it has",
                    pair.said - pair.missing,
                    pair.said
                )
            })
            .collect();
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

    /// How many mailboxes are left out about which a person has to decide.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.summary.lock().refused_names
    }

    /// Writes what is worked on of each server, as `ctl_mboxlist -d` of 2.3 prints it; how many
    /// mailboxes each has.
    ///
    /// # Errors
    /// The temporary file of the comparison, or a list.
    pub fn write<W: Write>(&self, outs: &mut [(String, W)]) -> Result<Vec<u64>, RunError> {
        let places = outs.iter().enumerate();
        let places: BTreeMap<String, usize> = places
            .map(|(at, (server, _))| (server.clone(), at))
            .collect();
        let mut counts = vec![0; outs.len()];
        let mut after = None;
        loop {
            let page = {
                let (lists, summary) = (self.lists.lock(), self.summary.lock());
                lists.page(&summary, &mut after, STEP)
            };
            let page = page.map_err(|e| of_lists(&e))?;
            if page.is_empty() {
                break;
            }
            for finding in page.iter().filter(|f| f.action == Action::Migrate) {
                let (Some(server), Some(partition)) = (&finding.server, &finding.partition) else {
                    continue;
                };
                let Some(&at) = places.get(server) else {
                    continue;
                };
                counts[at] += 1;
                let line = writeln!(outs[at].1, "{}\t0 {partition}\t", finding.name);
                line.map_err(|error| RunError::Spool(error.to_string()))?;
            }
        }
        for (_, out) in outs {
            let flushed = out.flush();
            flushed.map_err(|error| RunError::Spool(error.to_string()))?;
        }
        // What follows takes memory of its own.
        self.lists.lock().rest().map_err(|e| of_lists(&e))?;
        Ok(counts)
    }
}
