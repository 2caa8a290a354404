//! A set of UIDs of one mailbox, in little memory. No file is touched.

/// A set of UIDs, filled in any order; 8 KiB for each 65536 UIDs of which at least one is in it.
///
/// A million messages that were delivered one after the other take 128 KiB.
#[derive(Debug, Default)]
pub(crate) struct UidSet {
    /// Ascending by the upper half of the UID.
    blocks: Vec<(u16, Box<[u64; BLOCK]>)>,
}

const BLOCK: usize = 65536 / 64;

fn split(uid: u32) -> (u16, usize, u64) {
    // Both halves fit by construction.
    let [a, b, c, d] = uid.to_be_bytes();
    let low = usize::from(u16::from_be_bytes([c, d]));
    (u16::from_be_bytes([a, b]), low / 64, 1 << (low % 64))
}

impl UidSet {
    /// Adds one; `true` if it was not in it.
    pub(crate) fn insert(&mut self, uid: u32) -> bool {
        let (high, word, bit) = split(uid);
        // Nearly always the last block, as an index ascends.
        let at = match self.blocks.last() {
            Some((last, _)) if *last == high => self.blocks.len() - 1,
            _ => match self.blocks.binary_search_by_key(&high, |(h, _)| *h) {
                Ok(at) => at,
                Err(at) => {
                    self.blocks.insert(at, (high, Box::new([0; BLOCK])));
                    at
                }
            },
        };
        if let Some(word) = self
            .blocks
            .get_mut(at)
            .and_then(|(_, block)| block.get_mut(word))
        {
            let new = *word & bit == 0;
            *word |= bit;
            return new;
        }
        false
    }

    /// Whether it is in it.
    pub(crate) fn contains(&self, uid: u32) -> bool {
        let (high, word, bit) = split(uid);
        self.blocks
            .binary_search_by_key(&high, |(h, _)| *h)
            .ok()
            .and_then(|at| self.blocks.get(at)?.1.get(word))
            .is_some_and(|word| word & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(
            uids in proptest::collection::vec(prop_oneof![0..300_000_u32, any::<u32>()], 0..300),
            others in proptest::collection::vec(0..300_000_u32, 0..300)) {
            let mut set = UidSet::default();
            let model: BTreeSet<u32> = uids.iter().copied().collect();
            let mut inserted = 0;
            for uid in &uids {
                inserted += usize::from(set.insert(*uid));
            }
            prop_assert_eq!(inserted, model.len());
            for uid in uids.iter().chain(&others) {
                prop_assert_eq!(set.contains(*uid), model.contains(uid));
            }
        }
    }

    #[test]
    fn a_million_consecutive_uids_take_sixteen_blocks() {
        let mut set = UidSet::default();
        (1..=1_000_000).for_each(|uid| assert!(set.insert(uid)));
        assert_eq!(set.blocks.len(), 16);
        assert!(
            set.contains(1)
                && set.contains(1_000_000)
                && !set.contains(0)
                && !set.contains(1_000_001)
        );
    }
}
