//! Mailbox lists, read by the parser that all of reguid shares.
//!
//! A mailbox whose directory is named after its unique id (Cyrus 3.6 and later) is one that the
//! controller does not handle: it has SHA-1 GUIDs already. It is counted as skipped.

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use serde::Serialize;
use slotd::protocol::{Listed, OddKind};

pub use indexfile::mailbox::list::{Item, Reader, Skip, Skipped};

/// How many of what is odd are kept by name.
const NAMED: usize = 20;
/// How many of what is left out are in the sentence about it.
const IN_SENTENCE: usize = 3;

/// What a list had that is not worked on. Memory is flat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excluded {
    /// Entries without a mailbox on this host, by reason.
    pub skipped: Skipped,
    /// Directories that may be mailboxes and that the master's slotd does not list.
    pub odd: Odd,
    /// Of these, what a walk of every mailbox should not have left out.
    pub left_out: LeftOut,
    /// Mailboxes that the replica has and the master does not.
    pub only_replica: Odd,
    /// Entries of the list that are none: the name can be no mailbox's, or the line is broken.
    pub bad: Odd,
    /// Names that are on more than one partition of the master.
    pub two_places: Odd,
}

/// Places that may hold mailboxes and that a walk could not list: a command over every mailbox has
/// not done what it was asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// How many, and the first of them.
    #[serde(flatten)]
    pub places: Odd,
    #[serde(skip)]
    exit: Option<Exit>,
}

/// What a command over every mailbox ends with, by what it met; `None` if that is no mailbox.
fn exit_of(kind: OddKind) -> Option<Exit> {
    match kind {
        // Snapshots, backups, what a file system check found: Cyrus has no mailbox there.
        OddKind::Name | OddKind::LostAndFound => None,
        OddKind::Denied => Some(Exit::Denied),
        OddKind::Unreadable => Some(Exit::Io),
        OddKind::Unmounted => Some(Exit::RolledBack),
        _ => Some(Exit::Data),
    }
}

impl LeftOut {
    fn of_page(page: &Listed) -> Self {
        let mut kinds = page.odd_kinds.clone();
        if kinds.is_empty() {
            // A slotd of an earlier release counts all kinds together.
            for odd in &page.odd_list {
                *kinds.entry(odd.kind).or_default() += 1;
            }
        }
        let known: u64 = kinds.values().sum();
        let later = page.odd.saturating_sub(known);
        let counted = kinds.into_iter().map(|(kind, n)| (exit_of(kind), n));
        let mut left_out = Self::default();
        for (exit, n) in counted.chain([(Some(Exit::Data), later)]) {
            if exit.is_some() && n > 0 {
                left_out.places.count += n;
                left_out.exit = left_out.exit.max(exit);
            }
        }
        let named = page
            .odd_list
            .iter()
            .filter(|odd| exit_of(odd.kind).is_some());
        let first = named.take(NAMED).map(ToString::to_string);
        left_out.places.first = first.collect();
        left_out
    }

    fn add(&mut self, more: &Self) {
        self.places.add(&more.places);
        self.exit = self.exit.max(more.exit);
    }

    /// What a command ends with that does all else: of several kinds the highest number.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit.unwrap_or(Exit::Ok)
    }

    /// What was left out, if anything was.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let Odd { count, first } = &self.places;
        if *count == 0 {
            return None;
        }
        let mut few: Vec<String> = first.iter().take(IN_SENTENCE).cloned().collect();
        let more = count.saturating_sub(few.len() as u64);
        if more > 0 {
            few.push(format!("{more} more"));
        }
        Some(format!(
            "left out, because the master does not list what may be there: {count} place(s): {}",
            few.join("; ")
        ))
    }
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
        self.left_out.add(&more.left_out);
        self.only_replica.add(&more.only_replica);
        self.bad.add(&more.bad);
        self.two_places.add(&more.two_places);
    }

    /// For a person: what is not worked on, and why; last what the exit code follows from. None if
    /// all is well.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.warnings();
        lines.extend(self.left_out.sentence());
        lines
    }

    /// The same, before the work is done.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let odd = "place(s) on the master may be mailboxes and are NOT worked on";
        let bad = "entries of the list are no mailboxes and are NOT worked on";
        let only_replica = "mailbox(es) are on the replica and not on the master, and are NOT \
                            worked on";
        let places = "mailbox(es) of the master have a name that is on two partitions, and are NOT \
                      touched until you say which one is meant, by --partition or a list with \
                      partitions";
        [
            self.odd.lines(odd),
            self.only_replica.lines(only_replica),
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
            left_out: LeftOut::of_page(page),
            ..Self::default()
        }
    }

    /// What a command that does or finds all else in order ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let faults = self.bad.count + self.two_places.count + self.only_replica.count;
        let exit = self.left_out.exit();
        if faults > 0 {
            exit.max(Exit::Data)
        } else {
            exit
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let all = [&self.odd, &self.only_replica, &self.bad, &self.two_places];
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

#[cfg(test)]
mod tests {
    use super::*;

    fn page(kinds: &[(OddKind, u64)], odd: u64) -> Listed {
        let listed = |(kind, _): &(OddKind, u64)| slotd::protocol::Odd {
            kind: *kind,
            path: "/p".into(),
        };
        Listed {
            odd,
            odd_list: kinds.iter().map(listed).collect(),
            odd_kinds: kinds.iter().copied().collect(),
            ..Listed::default()
        }
    }

    #[test]
    fn what_may_hold_mailboxes_is_left_out_and_what_cannot_is_a_warning() {
        for (kinds, odd, count, exit) in [
            (
                &[(OddKind::Name, 300), (OddKind::LostAndFound, 1)][..],
                301,
                0,
                Exit::Ok,
            ),
            (&[(OddKind::NoIndex, 1)], 1, 1, Exit::Data),
            (
                &[
                    (OddKind::NoHeader, 1),
                    (OddKind::Remains, 2),
                    (OddKind::Symlink, 3),
                ],
                6,
                6,
                Exit::Data,
            ),
            (
                &[
                    (OddKind::Denied, 1),
                    (OddKind::Symlink, 9),
                    (OddKind::Name, 1),
                ],
                11,
                10,
                Exit::Denied,
            ),
            (&[(OddKind::Unreadable, 1)], 1, 1, Exit::Io),
            (&[(OddKind::Unmounted, 1)], 1, 1, Exit::RolledBack),
            // A kind of a later release may hold one.
            (&[(OddKind::Name, 1)], 2, 1, Exit::Data),
        ] {
            let found = Excluded::of_page(&page(kinds, odd));
            assert_eq!(found.left_out.places.count, count, "{kinds:?}");
            assert_eq!(found.exit(), exit, "{kinds:?}");
            assert_eq!(found.left_out.sentence().is_some(), count > 0, "{kinds:?}");
            assert_eq!(found.odd.count, odd, "{kinds:?}");
        }
    }

    #[test]
    fn a_slotd_that_does_not_count_by_kind_is_understood() {
        let mut page = page(&[(OddKind::Name, 1), (OddKind::Symlink, 1)], 2);
        page.odd_kinds.clear();
        let found = Excluded::of_page(&page);
        let places = &found.left_out.places;
        assert_eq!((places.count, places.first.len()), (1, 1));
        let mut twice = found.clone();
        twice.add(&found);
        let text = twice.left_out.sentence().unwrap();
        assert!(text.contains("2 place(s): /p is a symbolic link"), "{text}");
    }
}
