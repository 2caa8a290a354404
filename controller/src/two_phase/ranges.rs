//! Finds where two lists differ by asking for digests of ranges of UIDs, and for the lists only
//! where they differ.
//!
//! One message that replication has not brought yet makes the digests of two whole lists differ.
//! Fetching both lists takes a command for each 800 messages, under the locks. Digests of parts of
//! a range take one command, and one more for each part that differs: a hundred thousand messages
//! of which one differs take four commands. Where the parts that differ are many, the lists are
//! cheaper, and are fetched after all. Pure; a driver asks.

use slotd::protocol::{DigestRange, GuidPage, PartDigest};

use super::lists::{ListError, ListItem, Merger};
use super::types::{Comparison, Side};

/// Where both sides have at most this many messages their lists are fetched: one command each.
const FEW: u32 = 800;
const _: () = assert!(FEW as usize == GuidPage::MAX);
/// Where more parts of a range differ, the lists between the first and the last of them are
/// fetched.
const SPREAD: usize = 16;
/// After this many differing messages the search ends: the sides differ.
const ENOUGH: u64 = 5;

/// What is asked for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Digests of the same range, from both sides.
    Digests(DigestRange),
    /// A page of a list, from each side that has a UID to begin at.
    Lists {
        /// The first UID of interest, by side.
        from: [Option<u32>; 2],
        /// The last one.
        to: u32,
    },
}

#[derive(Clone, Copy, Debug)]
enum Task {
    Digests(DigestRange),
    Lists { from: u32, to: u32 },
}

/// Compares two lists; see the module documentation.
#[derive(Debug)]
pub struct Finder {
    /// The next one last: UIDs ascend.
    todo: Vec<Task>,
    digests: Option<DigestRange>,
    /// The range whose lists are fetched.
    lists: Option<(u32, u32)>,
    merger: Merger,
}

impl Finder {
    /// Nothing asked yet. `messages`: how many the longer list has, as far as is known;
    /// `by_content`: the lists are of what the messages are.
    #[must_use]
    pub fn new(messages: u64, by_content: bool) -> Self {
        let all = DigestRange::default();
        let first = if messages <= u64::from(FEW) {
            Task::Lists {
                from: all.from,
                to: all.to,
            }
        } else {
            Task::Digests(all)
        };
        Self {
            todo: vec![first],
            digests: None,
            lists: None,
            merger: Merger::new(by_content),
        }
    }

    /// What is to be asked next; `None` when done.
    #[must_use]
    pub fn wants(&mut self) -> Option<Want> {
        loop {
            if let Some((first, to)) = self.lists {
                let wants = |side| self.merger.wants_of(side).map(|uid| uid.max(first));
                let from = Side::ALL.map(wants);
                if from != [None, None] {
                    return Some(Want::Lists { from, to });
                }
                self.lists = None;
                self.merger.restart();
            }
            if let Some(range) = self.digests {
                return Some(Want::Digests(range));
            }
            if self.merger.result.differing >= ENOUGH && !self.todo.is_empty() {
                self.merger.result.at_least = true;
                self.todo.clear();
            }
            match self.todo.pop()? {
                Task::Digests(range) => self.digests = Some(range),
                Task::Lists { from, to } => self.lists = Some((from, to)),
            }
        }
    }

    /// Takes the digests that were asked for, master's and replica's.
    ///
    /// # Errors
    /// If there are not as many as there are parts.
    pub fn digests(&mut self, of: [&[PartDigest]; 2]) -> Result<(), ListError> {
        let Some(range) = self.digests.take() else {
            return Ok(());
        };
        let pieces: Vec<(u32, u32)> = range.pieces().collect();
        for side in Side::ALL {
            if of[side.index()].len() != pieces.len() {
                return Err(ListError::Parts { side });
            }
        }
        let parts = of[0].iter().zip(of[1]).zip(pieces);
        let differing: Vec<_> = parts.filter(|((a, b), _)| a != b).collect();
        let both = |a: &PartDigest, b: &PartDigest| a.count > 0 && b.count > 0;
        let spread = differing.iter().filter(|((a, b), _)| both(a, b)).count();
        if spread > SPREAD {
            if let (Some((_, (from, _))), Some((_, (_, to)))) =
                (differing.first(), differing.last())
            {
                self.todo.push(Task::Lists {
                    from: *from,
                    to: *to,
                });
            }
            return Ok(());
        }
        for ((a, b), (from, to)) in differing.into_iter().rev() {
            if !both(a, b) {
                // One of them has none there.
                self.merger.result.master_only += u64::from(a.count);
                self.merger.result.replica_only += u64::from(b.count);
            } else if a.count.max(b.count) <= FEW || from == to {
                self.todo.push(Task::Lists { from, to });
            } else {
                self.todo.push(Task::Digests(DigestRange {
                    from,
                    to,
                    ..DigestRange::default()
                }));
            }
        }
        Ok(())
    }

    /// Takes a page of a list. `ended`: no UID of the range follows it.
    ///
    /// # Errors
    /// As [`Merger::page`].
    pub fn page(&mut self, side: Side, items: &[ListItem], ended: bool) -> Result<(), ListError> {
        match self.lists {
            Some(_) => self.merger.page(side, items, ended),
            None => Ok(()),
        }
    }

    /// What was found; complete once [`Finder::wants`] says `None`.
    #[must_use]
    pub fn into_comparison(self) -> Comparison {
        self.merger.into_comparison()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::Guid;
    use slotd::protocol::GuidEntry;
    use slotd::stage::digest_of;

    fn item(uid: u32, tag: u8) -> ListItem {
        ListItem {
            uid,
            guid: [tag; 20],
            size: 7,
        }
    }

    /// As slotd has it.
    fn digest(list: &[ListItem], (from, to): (u32, u32)) -> PartDigest {
        let within = within(list, from, to);
        let entry = |item: &ListItem| GuidEntry {
            uid: item.uid,
            guid: Guid::from_bytes(item.guid),
            size: item.size,
        };
        PartDigest {
            count: u32::try_from(within.len()).unwrap(),
            digest: digest_of(&within.iter().map(entry).collect::<Vec<_>>()),
        }
    }

    fn within(list: &[ListItem], from: u32, to: u32) -> &[ListItem] {
        let start = list.partition_point(|i| i.uid < from);
        &list[start..list.partition_point(|i| i.uid <= to)]
    }

    /// Compares the way a driver does; with the number of commands to one side.
    fn compare(master: &[ListItem], replica: &[ListItem]) -> (Comparison, usize) {
        let mut finder = Finder::new(master.len().max(replica.len()) as u64, false);
        let mut commands = 0;
        while let Some(want) = finder.wants() {
            commands += 1;
            match want {
                Want::Digests(range) => {
                    let of = [master, replica]
                        .map(|list| range.pieces().map(|p| digest(list, p)).collect::<Vec<_>>());
                    finder.digests([&of[0], &of[1]]).unwrap();
                }
                Want::Lists { from, to } => {
                    for (side, list) in Side::ALL.into_iter().zip([master, replica]) {
                        let Some(from) = from[side.index()] else {
                            continue;
                        };
                        let rest = within(list, from, to);
                        let page = &rest[..rest.len().min(GuidPage::MAX)];
                        finder.page(side, page, page.len() == rest.len()).unwrap();
                    }
                }
            }
        }
        (finder.into_comparison(), commands)
    }

    fn list(uids: impl Iterator<Item = u32>) -> Vec<ListItem> {
        uids.map(|uid| item(uid, 1)).collect()
    }

    #[test]
    fn one_lagging_message_of_a_hundred_thousand_takes_a_few_commands() {
        let master = list(1..=100_000);
        for missing in [1, 777, 50_000, 100_000] {
            let replica = list((1..=100_000).filter(|uid| *uid != missing));
            let (found, commands) = compare(&master, &replica);
            assert_eq!(
                (found.differing, found.master_only, found.replica_only),
                (0, 1, 0)
            );
            assert!(commands <= 5, "{commands} commands for UID {missing}");
            let (found, _) = compare(&replica, &master);
            assert_eq!((found.master_only, found.replica_only), (0, 1));
        }
    }

    #[test]
    fn one_differing_message_is_found_and_named_wherever_it_is() {
        let master: Vec<_> = (0..100_000).map(|n| item(1 + n * 40_000, 1)).collect();
        for at in [0, 49_999, 99_999] {
            let mut replica = master.clone();
            replica[at].guid = [9; 20];
            let (found, commands) = compare(&master, &replica);
            assert_eq!((found.differing, found.master_only), (1, 0));
            assert!(!found.at_least);
            let named = format!("UID {} is 0101", master[at].uid);
            assert!(found.examples.starts_with(&named), "{}", found.examples);
            assert!(commands <= 5, "{commands}");
        }
    }

    #[test]
    fn whatever_differs_the_result_is_that_of_the_whole_lists() {
        let mut dice = fastrand::Rng::with_seed(1);
        for round in 0..60 {
            let (density, faults) = (dice.u32(1..2_000_000), dice.usize(0..40));
            let whole: Vec<_> = (1..=3_000_u32)
                .filter_map(|n| Some(item(n.checked_mul(density)?, 1)))
                .collect();
            let mut both = [whole.clone(), whole];
            for _ in 0..faults {
                let list = &mut both[dice.usize(0..2)];
                let at = dice.usize(0..list.len());
                match dice.u8(0..3) {
                    0 => list[at].guid[19] ^= 1,
                    1 => drop(list.remove(at)),
                    _ => drop(list.drain(at..list.len().min(at + 900))),
                }
                if list.len() < 2 {
                    break;
                }
            }
            let (found, _) = compare(&both[0], &both[1]);
            let mut merger = Merger::new(false);
            for (side, list) in Side::ALL.into_iter().zip(&both) {
                merger.page(side, list, true).unwrap();
            }
            let all = merger.into_comparison();
            if found.at_least {
                assert!(found.differing >= ENOUGH && all.differing >= found.differing);
                continue;
            }
            assert_eq!(
                (found.differing, found.master_only, found.replica_only),
                (all.differing, all.master_only, all.replica_only),
                "round {round}"
            );
        }
    }

    #[test]
    fn lists_that_differ_everywhere_cost_no_more_than_themselves() {
        let master = list(1..=100_000);
        let replica: Vec<_> = (1..=100_000).map(|uid| item(uid, 2)).collect();
        let (found, commands) = compare(&master, &replica);
        assert!(found.differing >= ENOUGH);
        assert!(
            commands <= 100_000_usize.div_ceil(GuidPage::MAX) + 3,
            "{commands}"
        );
    }

    #[test]
    fn digests_of_another_number_of_parts_are_refused() {
        let mut finder = Finder::new(1_000_000, false);
        assert!(matches!(finder.wants(), Some(Want::Digests(_))));
        let part = digest(&[], (1, 1));
        let error = finder.digests([&[part; 512], &[part; 3]]);
        assert_eq!(
            error,
            Err(ListError::Parts {
                side: Side::Replica
            })
        );
    }
}
