//! Compares the (UID, GUID) lists of two sides page by page, with flat memory.
//!
//! Digests that differ do not say where. Both lists come in ascending UID order, so a merge
//! finds every UID that both have with different GUIDs (one side's message is damaged) and
//! counts those that only one has (replication lag). Lists of what messages are, and not of what
//! they are called, have no GUID where a record's is old-style: there the size alone is compared.
//! Pure; a driver fetches the pages.

use std::collections::VecDeque;

use indexfile::hex;

use super::types::{Comparison, Side};

/// How many differing UIDs are spelled out.
const EXAMPLES: u64 = 5;

/// One message of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListItem {
    /// The message's UID.
    pub uid: u32,
    /// Its GUID.
    pub guid: [u8; 20],
    /// Its size in bytes, as the index has it.
    pub size: u64,
}

/// A list that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// UIDs must not descend, within a page or from page to page, and are never 0.
    #[error("the {side}'s list is out of order at UID {uid}")]
    OutOfOrder {
        /// Whose list.
        side: Side,
        /// The UID that should not be there.
        uid: u32,
    },
    /// Digests that do not fit the ranges that were asked for.
    #[error("the {side} gave digests of other ranges than were asked for")]
    Parts {
        /// Whose.
        side: Side,
    },
    /// A page that says there is more and brings nothing.
    #[error("the {side}'s list makes no progress")]
    NoProgress {
        /// Whose list.
        side: Side,
    },
}

impl ListError {
    /// Whose list it is.
    #[must_use]
    pub fn side(self) -> Side {
        match self {
            Self::OutOfOrder { side, .. } | Self::Parts { side } | Self::NoProgress { side } => {
                side
            }
        }
    }
}

#[derive(Debug, Default)]
struct Input {
    waiting: VecDeque<ListItem>,
    last: u32,
    ended: bool,
}

/// Merges two lists; see the module documentation.
#[derive(Debug, Default)]
pub struct Merger {
    inputs: [Input; 2],
    pub(super) result: Comparison,
    by_content: bool,
}

impl Merger {
    /// Nothing seen yet. `by_content`: the lists are of what the messages are.
    #[must_use]
    pub fn new(by_content: bool) -> Self {
        Self {
            by_content,
            ..Self::default()
        }
    }

    /// Whether two entries of one UID are of different messages.
    fn are_different(&self, a: &ListItem, b: &ListItem) -> bool {
        if self.by_content && (is_unknown(&a.guid) || is_unknown(&b.guid)) {
            a.size != b.size
        } else {
            a.guid != b.guid
        }
    }

    /// The side whose next page is needed, and the first UID of interest; `None` when done.
    #[must_use]
    pub fn wants(&self) -> Option<(Side, u32)> {
        let mut sides = Side::ALL.into_iter();
        sides.find_map(|side| Some((side, self.wants_of(side)?)))
    }

    /// The first UID of interest, if that side's next page is needed.
    #[must_use]
    pub fn wants_of(&self, side: Side) -> Option<u32> {
        let input = &self.inputs[side.index()];
        (input.waiting.is_empty() && !input.ended).then(|| input.last.saturating_add(1))
    }

    /// Takes a page. `ended` means that no UID follows it.
    ///
    /// # Errors
    /// If UIDs descend, or the page is empty without being the last.
    pub fn page(&mut self, side: Side, items: &[ListItem], ended: bool) -> Result<(), ListError> {
        let input = &mut self.inputs[side.index()];
        for item in items {
            // A damaged mailbox may have a UID both in its index and in its expunge file.
            if item.uid < input.last || item.uid == 0 {
                return Err(ListError::OutOfOrder {
                    side,
                    uid: item.uid,
                });
            }
            input.last = item.uid;
        }
        if items.is_empty() && !ended {
            return Err(ListError::NoProgress { side });
        }
        input.ended = ended || input.last == u32::MAX;
        input.waiting.extend(items);
        self.merge();
        Ok(())
    }

    /// Begins two other lists; what was found so far stays.
    pub(super) fn restart(&mut self) {
        self.inputs = Default::default();
    }

    /// What was found so far; complete once [`Merger::wants`] says `None`.
    #[must_use]
    pub fn into_comparison(self) -> Comparison {
        self.result
    }

    fn merge(&mut self) {
        loop {
            let [master, replica] = &mut self.inputs;
            match (
                master.waiting.front().copied(),
                replica.waiting.front().copied(),
            ) {
                (Some(a), Some(b)) if a.uid == b.uid => {
                    master.waiting.pop_front();
                    replica.waiting.pop_front();
                    if self.are_different(&a, &b) {
                        self.differ(a, b);
                    }
                }
                (Some(a), Some(b)) if a.uid < b.uid => {
                    master.waiting.pop_front();
                    self.result.master_only += 1;
                }
                (Some(_), Some(_)) => {
                    replica.waiting.pop_front();
                    self.result.replica_only += 1;
                }
                (Some(_), None) if replica.ended => {
                    self.result.master_only += master.waiting.len() as u64;
                    master.waiting.clear();
                }
                (None, Some(_)) if master.ended => {
                    self.result.replica_only += replica.waiting.len() as u64;
                    replica.waiting.clear();
                }
                _ => return,
            }
        }
    }

    fn name(&self, guid: &[u8; 20]) -> String {
        if self.by_content && is_unknown(guid) {
            "without a SHA-1".to_owned()
        } else {
            hex(guid)
        }
    }

    fn differ(&mut self, master: ListItem, replica: ListItem) {
        use std::fmt::Write as _;
        let mut example = String::new();
        if self.result.differing < EXAMPLES {
            if !self.result.examples.is_empty() {
                example.push_str("; ");
            }
            // Writing to a String cannot fail.
            let _ = write!(
                example,
                "UID {} is {} ({} bytes) on the master and {} ({} bytes) on the replica",
                master.uid,
                self.name(&master.guid),
                master.size,
                self.name(&replica.guid),
                replica.size
            );
        } else if self.result.differing == EXAMPLES {
            example.push_str("; ...");
        }
        self.result.examples.push_str(&example);
        self.result.differing += 1;
    }
}

/// Whether it is of no message: its last eight bytes are zero.
fn is_unknown(guid: &[u8; 20]) -> bool {
    guid[12..] == [0; 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(uid: u32, tag: u8) -> ListItem {
        ListItem {
            uid,
            guid: [tag; 20],
            size: 7,
        }
    }

    /// Feeds both lists in pages of `size`, the way a driver does.
    fn compare(master: &[ListItem], replica: &[ListItem], size: usize) -> Comparison {
        let mut merger = Merger::new(false);
        while let Some((side, from)) = merger.wants() {
            let list = if side == Side::Master {
                master
            } else {
                replica
            };
            let rest: Vec<_> = list.iter().filter(|i| i.uid >= from).copied().collect();
            let page = &rest[..rest.len().min(size)];
            merger.page(side, page, page.len() == rest.len()).unwrap();
        }
        merger.into_comparison()
    }

    #[test]
    fn lag_on_both_sides_is_counted_and_is_no_difference() {
        let master: Vec<_> = [1, 2, 3, 7, 9].map(|u| item(u, 1)).into();
        let replica: Vec<_> = [2, 3, 4, 9, 10, 11].map(|u| item(u, 1)).into();
        for size in 1..8 {
            let found = compare(&master, &replica, size);
            assert_eq!(
                (found.differing, found.master_only, found.replica_only),
                (0, 2, 3)
            );
        }
    }

    #[test]
    fn where_a_host_has_no_sha1_of_a_message_its_size_is_compared() {
        let unknown = |uid: u32, size: u64| ListItem {
            uid,
            guid: [0; 20],
            size,
        };
        let master = [item(1, 1), unknown(2, 7), unknown(3, 7), item(4, 1)];
        let replica = [unknown(1, 7), item(2, 9), unknown(3, 8), item(4, 2)];
        for size in 1..5 {
            let mut merger = Merger::new(true);
            while let Some((side, from)) = merger.wants() {
                let list = [&master, &replica][side.index()];
                let rest: Vec<_> = list.iter().filter(|i| i.uid >= from).copied().collect();
                let page = &rest[..rest.len().min(size)];
                merger.page(side, page, page.len() == rest.len()).unwrap();
            }
            let found = merger.into_comparison();
            assert_eq!(found.differing, 2, "{}", found.examples);
            assert!(
                found
                    .examples
                    .starts_with("UID 3 is without a SHA-1 (7 bytes)")
            );
        }
        assert_eq!(compare(&master, &replica, 9).differing, 3);
    }

    #[test]
    fn a_differing_guid_is_found_and_named() {
        let master = [item(1, 1), item(2, 1), item(u32::MAX, 1)];
        let replica = [item(1, 1), item(2, 9), item(u32::MAX, 1)];
        let found = compare(&master, &replica, 1);
        assert_eq!(
            (found.differing, found.master_only, found.replica_only),
            (1, 0, 0)
        );
        assert!(
            found.examples.starts_with("UID 2 is 0101"),
            "{}",
            found.examples
        );
        assert!(found.examples.contains("0909"), "{}", found.examples);
    }

    #[test]
    fn examples_are_bounded_while_the_count_is_not() {
        let master: Vec<_> = (1..100).map(|u| item(u, 1)).collect();
        let replica: Vec<_> = (1..100).map(|u| item(u, 2)).collect();
        let found = compare(&master, &replica, 10);
        assert_eq!(found.differing, 99);
        assert!(found.examples.len() < 1000 && found.examples.ends_with("..."));
    }

    #[test]
    fn a_list_out_of_order_or_without_progress_is_refused() {
        let mut merger = Merger::new(false);
        let back = [item(3, 1), item(2, 1)];
        assert_eq!(
            merger.page(Side::Master, &back, true),
            Err(ListError::OutOfOrder {
                side: Side::Master,
                uid: 2
            })
        );
        assert_eq!(
            Merger::new(false).page(Side::Replica, &[], false),
            Err(ListError::NoProgress {
                side: Side::Replica
            })
        );
    }
}
