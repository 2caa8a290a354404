//! What a start was asked to work on: by this a run that was stopped is known again.
//!
//! A run is its verb, its target, its pair and its selection. The selection is everything (of a
//! partition), or a set of mailboxes; two sets are the same if they have the same names on the same
//! partitions, wherever they were written down. What a fleet file leaves out belongs to it,
//! and so do options that change what is done to a mailbox ([`Settings::part_of_the_run`]).

use super::context::Parts;
use super::settings::Settings;
use crate::error::RunError;
use crate::journal::{ALL, LEFT_OUT};
use crate::survey::{Source, Spool};

/// Behind [`ALL`] where something of what the master has is not in another list.
const LISTED_ELSEWHERE: &str = " but what is left out";

/// What was asked for.
pub(super) struct Selection {
    /// As the journal keeps it, to be compared.
    pub(super) text: String,
    /// As it was given, for a person.
    pub(super) words: String,
    /// Its mailboxes, if they could be read without asking the master.
    spool: Option<Spool>,
}

impl Selection {
    /// Reads what there is to read: names and lists.
    ///
    /// # Errors
    /// A list cannot be read, or there is nothing in it.
    pub(super) async fn read(parts: &Parts, sources: &[Source]) -> Result<Self, RunError> {
        let options = parts.settings.part_of_the_run();
        let left_out = sources.iter().find_map(Source::left_out);
        let (what, spool) = if sources.iter().any(Source::is_walk) {
            let partition = sources.iter().filter_map(Source::partition).next_back();
            let mut all = partition.map_or_else(|| ALL.to_owned(), |p| format!("{ALL} of {p}"));
            if left_out.is_none() && sources.iter().any(Source::is_listed_elsewhere) {
                all.push_str(LISTED_ELSEWHERE);
            }
            (
                with(
                    all,
                    &sources.iter().flat_map(Source::keeps).collect::<Vec<_>>(),
                ),
                None,
            )
        } else {
            let spool = Spool::whole(sources, &parts.connect, &parts.stop).await?;
            (
                format!("{} {}", spool.count(), spool.digest()?),
                Some(spool),
            )
        };
        let left_out = left_out.map(|partitions| format!("{LEFT_OUT}{partitions}"));
        let rest: Vec<String> = left_out.into_iter().chain(options).collect();
        Ok(Self {
            text: with(what, &rest),
            words: words(&parts.settings, sources),
            spool,
        })
    }

    /// All of something that the journal knows.
    pub(super) fn all(settings: &Settings) -> Self {
        let options = settings.part_of_the_run();
        Self {
            text: with(ALL.to_owned(), &options),
            words: options.join(" "),
            spool: None,
        }
    }

    /// Its mailboxes; the master is asked for them if need be.
    ///
    /// # Errors
    /// They cannot be read, or there is none.
    pub(super) async fn mailboxes(
        self,
        parts: &Parts,
        sources: &[Source],
    ) -> Result<Spool, RunError> {
        match self.spool {
            Some(spool) => Ok(spool),
            None => Spool::whole(sources, &parts.connect, &parts.stop).await,
        }
    }
}

/// Whether two starts were asked for the same: what is left out is left out of the list, once.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let asked = |text: &str| text.replacen(LISTED_ELSEWHERE, "", 1);
    asked(one) == asked(other)
}

/// What was asked for, as it was given on the command line; empty if that is everything.
#[must_use]
pub fn words(settings: &Settings, sources: &[Source]) -> String {
    let mut words: Vec<String> = sources.iter().filter_map(Source::words).collect();
    words.extend(settings.part_of_the_run());
    words.join(" ")
}

fn with(what: String, options: &[String]) -> String {
    std::iter::once(what)
        .chain(options.iter().cloned())
        .collect::<Vec<_>>()
        .join(" ")
}
