//! The mailboxes whose locks were held longest: a few of them, while all go by.

/// What has the longest times, in microseconds, the longest first. Of those that are alike the
/// first ones stay.
#[derive(Clone, Debug)]
pub(crate) struct Longest<T> {
    most: usize,
    kept: Vec<(u64, T)>,
}

impl<T> Longest<T> {
    /// At most this many.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            kept: Vec::new(),
        }
    }

    /// Offers one; it is made only if it is kept.
    pub(crate) fn offer(&mut self, us: u64, make: impl FnOnce() -> T) {
        let at = self.kept.partition_point(|(longer, _)| *longer >= us);
        if at < self.most {
            self.kept.insert(at, (us, make()));
            self.kept.truncate(self.most);
        }
    }

    /// Those that were kept, with their times.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &(u64, T)> {
        self.kept.iter()
    }

    /// Those that were kept.
    pub(crate) fn into_list(self) -> Vec<T> {
        self.kept.into_iter().map(|(_, one)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_are_kept_in_order_and_no_other_is_made() {
        let (mut longest, mut made) = (Longest::new(2), 0);
        for (n, us) in [3, 9, 3, 1, 9].into_iter().enumerate() {
            longest.offer(us, || {
                made += 1;
                n
            });
        }
        assert_eq!((longest.into_list(), made), (vec![1, 4], 3));
        let mut none = Longest::new(0);
        none.offer(1, || -> u8 { panic!("nothing is kept") });
        assert_eq!(none.into_list(), [0_u8; 0]);
    }
}
