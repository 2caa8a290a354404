//! Mailbox lists, read by the parser that all of reguid shares.
//!
//! A mailbox whose directory is named after its unique id (Cyrus 3.6 and later) is one that the
//! controller does not handle: it has SHA-1 GUIDs already. It is counted as skipped.

use indexfile::mailbox::MailboxName;
use serde::Serialize;
use slotd::protocol::Listed;

pub use indexfile::mailbox::list::{Item, Reader, Skip, Skipped};

/// How many of what is odd are kept by name.
const NAMED: usize = 20;

/// What a list had that is not worked on. Memory is flat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excluded {
    /// Entries without a mailbox on this host, by reason.
    pub skipped: Skipped,
    /// Directories that may be mailboxes and that the master's slotd does not list.
    pub odd: Odd,
    /// Entries of the list that are none: the name can be no mailbox's, or the line is broken.
    pub bad: Odd,
    /// Names that are on more than one partition of the master.
    pub two_places: Odd,
}

/// What is not worked on and should be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Odd {
    /// How many.
    pub count: u64,
    /// The first of them, a sentence each.
    pub first: Vec<String>,
}

impl Excluded {
    /// Adds another one.
    pub fn add(&mut self, more: &Self) {
        for (why, n) in &more.skipped {
            *self.skipped.entry(*why).or_default() += n;
        }
        self.odd.add(&more.odd);
        self.bad.add(&more.bad);
        self.two_places.add(&more.two_places);
    }

    /// For a person: what is not worked on, and why. None if all is well.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let odd = "place(s) on the master may be mailboxes and are NOT worked on";
        let bad = "entries of the list are no mailboxes and are NOT worked on";
        let places = "mailbox(es) of the master have a name that is on two partitions, and are NOT \
                      touched until you say which one is meant, by --partition or a list with \
                      partitions";
        [
            self.odd.lines(odd),
            self.bad.lines(bad),
            self.two_places.lines(places),
        ]
        .concat()
    }

    /// Counts a mailbox whose name is on another partition too.
    pub(crate) fn note_places(&mut self, name: &MailboxName, places: Option<&str>) {
        if let Some(places) = places {
            self.two_places
                .note(|| format!("{name}: on the partitions {places}"));
        }
    }

    /// What a page of the master's own list leaves out.
    #[must_use]
    pub fn of_page(page: &Listed) -> Self {
        Self {
            odd: Odd {
                count: page.odd,
                first: page.odd_list.iter().map(ToString::to_string).collect(),
            },
            ..Self::default()
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let all = [&self.odd, &self.bad, &self.two_places];
        self.skipped.is_empty() && all.iter().all(|odd| odd.count == 0)
    }
}

impl Odd {
    /// Notes one.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(text());
        }
    }

    fn add(&mut self, more: &Self) {
        self.count += more.count;
        let free = NAMED.saturating_sub(self.first.len());
        self.first.extend(more.first.iter().take(free).cloned());
    }

    /// For a person: a line that says what it means, and one for each that is known by name. None
    /// if all is well.
    fn lines(&self, meaning: &str) -> Vec<String> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut lines = vec![format!("WARNING: {} {meaning}:", self.count)];
        lines.extend(self.first.iter().map(|one| format!("  {one}")));
        let more = self.count.saturating_sub(self.first.len() as u64);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        lines
    }
}
