//! A part of a state that many states have in common, with what was worked out of it once.
//!
//! A step changes one mailbox on one host, or one coordinator; the rest of the new state is the
//! same as in the old one. So parts are shared until they are written to, and a part's hash, and
//! what holds of it, are computed once for all states that have it.
//!
//! Promise: two are equal only if their values are. Their hash is one word, and equal values have
//! the same.

use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use super::names::quick;

/// A value that is copied when it is written to, and hashed when its hash is first asked for.
#[derive(Clone, Debug)]
pub struct Hashed<T>(Arc<Known<T>>);

#[derive(Debug)]
struct Known<T> {
    value: T,
    hash: OnceLock<u64>,
    holds: OnceLock<[bool; 2]>,
}

impl<T> Known<T> {
    const fn new(value: T) -> Self {
        Self {
            value,
            hash: OnceLock::new(),
            holds: OnceLock::new(),
        }
    }
}

// A copy is made to be written to: what is known of the value does not hold of it.
impl<T: Clone> Clone for Known<T> {
    fn clone(&self) -> Self {
        Self::new(self.value.clone())
    }
}

impl<T> Hashed<T> {
    /// Whether two things hold of the value; asked once for it.
    pub(super) fn holds(&self, judge: impl FnOnce(&T) -> [bool; 2]) -> [bool; 2] {
        *self.0.holds.get_or_init(|| judge(&self.0.value))
    }
}

impl<T> From<T> for Hashed<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(Known::new(value)))
    }
}

impl<T> Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Clone> DerefMut for Hashed<T> {
    fn deref_mut(&mut self) -> &mut T {
        let known = Arc::make_mut(&mut self.0);
        known.hash = OnceLock::new();
        known.holds = OnceLock::new();
        &mut known.value
    }
}

impl<T: PartialEq> PartialEq for Hashed<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for Hashed<T> {}

impl<T: Hash> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(*self.0.hash.get_or_init(|| quick(&self.0.value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_value_is_forgotten_when_it_changes() {
        let one = Hashed::from(7_u32);
        let even = |value: &u32| [value.is_multiple_of(2), true];
        assert_eq!(one.holds(even), [false, true]);
        let mut other = one.clone();
        assert_eq!((quick(&one), &one), (quick(&other), &other));
        *other += 1;
        assert_eq!(other.holds(even), [true, true]);
        assert_eq!(one.holds(even), [false, true]);
        assert_ne!((quick(&one), &one), (quick(&other), &other));
        // The only one that has it: it is written to in place, and known anew.
        *other += 1;
        assert_eq!(other.holds(even), [false, true]);
        *other -= 2;
        assert_eq!((quick(&one), &one), (quick(&other), &other));
    }
}
