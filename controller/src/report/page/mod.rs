//! The page that explains a run: one file that needs no other, for anybody who asks afterwards what
//! was done.
//!
//! # What it promises
//!
//! * Nothing is loaded and no script runs, as of every [`crate::page`].
//! * Whatever a mailbox, a partition, a pair or a failure is called is text. Characters that cannot
//!   be seen are shown by their numbers.
//! * The numbers of each chart are in a table under it.
//!
//! It is made in memory, and its size does not grow with the mailboxes of the run.

mod compared;
mod facts;
mod failures;
mod locks;
mod parts;
mod rate;
mod slowest;

#[cfg(test)]
mod tests;

use maud::{Markup, html};

use super::account::Account;
use super::time::utc;
use crate::chart::visible;
use crate::journal::{JournalError, JournalStore, RunOfPairs};
use crate::page::whole;

/// What a page needs to know besides the journal.
#[derive(Clone, Debug)]
pub struct PageOptions {
    /// How many of the slowest mailboxes are named.
    pub slowest: usize,
    /// The fleet file, as commands name it; of a run without one it is not used.
    pub fleet: String,
    /// The journal, as commands name it, without a password.
    pub state: String,
    /// When the page is made, milliseconds since 1970.
    pub now_ms: i64,
}

/// The page about a run.
///
/// # Errors
/// The journal cannot be read.
pub fn page(
    store: &dyn JournalStore,
    run: &RunOfPairs,
    options: &PageOptions,
) -> Result<String, JournalError> {
    let account = Account::collect(store, run, options.slowest)?;
    Ok(document(&account, options).into_string())
}

fn document(account: &Account, options: &PageOptions) -> Markup {
    let title = format!("Run {}: {}", account.run.id.0, account.run.task());
    let main = html! {
        (facts::section(account, options))
        (rate::section(account))
        (locks::section(account))
        (parts::section(account))
        (slowest::section(account))
        (failures::section(account, options))
        (compared::section(account))
    };
    let footer = html! {
        "Made by reguid " (env!("CARGO_PKG_VERSION")) " on " (utc(options.now_ms))
        ", from the journal " code { (visible(&options.state)) } ". All times are UTC."
    };
    whole(&title, &main, &footer)
}
