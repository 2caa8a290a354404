//! The epoch of a store: which of several coordinators that share a journal may work on it.
//!
//! Controllers that share a journal take a pair of hosts over from one another. Each take-over has
//! a higher epoch, and a store serves the highest that it has seen. What is here is the rule,
//! without I/O: the simulation and the model ask it too. It is written to the state directory
//! (`epoch`) before anything acts on it; a crash leaves the number before or the one after.

use std::fmt;

/// The highest epoch that a store has seen, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Highest {
    /// The number, above 0.
    pub epoch: u64,
    /// The journal of the coordinators that have it.
    pub journal: String,
    /// Its owner said `LEAVE`: the store is open to coordinators without an epoch.
    pub left: bool,
}

/// Whether a coordinator may work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Admission {
    /// It may.
    Granted,
    /// It may once its epoch is durable and every older coordinator is kept out.
    Raises,
    /// A higher epoch keeps it out, or it has none where one is needed.
    Fenced,
}

/// The epoch of a store; none was ever used at first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(Option<Highest>);

impl Epoch {
    /// The highest number; 0 if none was ever used.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.as_ref().map_or(0, |highest| highest.epoch)
    }

    /// Whether the coordinator of that journal (`None`: a person without one) may work with that
    /// epoch, or without any.
    #[must_use]
    pub fn admit(&self, journal: Option<&str>, epoch: Option<u64>) -> Admission {
        let Some(highest) = &self.0 else {
            return match epoch {
                Some(_) => Admission::Raises,
                None => Admission::Granted,
            };
        };
        let owner = journal == Some(highest.journal.as_str());
        match epoch {
            Some(epoch) if epoch > highest.epoch => Admission::Raises,
            Some(epoch) if epoch == highest.epoch && owner => {
                if highest.left {
                    Admission::Raises
                } else {
                    Admission::Granted
                }
            }
            None if highest.left && !owner => Admission::Granted,
            _ => Admission::Fenced,
        }
    }

    /// What it is once that coordinator was admitted.
    #[must_use]
    pub fn raised(journal: &str, epoch: u64) -> Epoch {
        Epoch(Some(Highest {
            epoch,
            journal: journal.to_owned(),
            left: false,
        }))
    }

    /// What it is once that journal's coordinator has said `LEAVE`; `None` if that changes nothing.
    #[must_use]
    pub fn left(&self, journal: &str) -> Option<Epoch> {
        let highest = self.0.as_ref()?;
        (highest.journal == journal && !highest.left).then(|| {
            Epoch(Some(Highest {
                left: true,
                ..highest.clone()
            }))
        })
    }

    /// One sentence for a coordinator that is kept out, with the number first.
    #[must_use]
    pub fn refusal(&self, epoch: Option<u64>) -> String {
        let number = self.number();
        let journal = self.0.as_ref().map_or("", |highest| &highest.journal);
        match epoch {
            Some(epoch) => format!(
                "epoch={number} a coordinator of journal {journal} with epoch {number} has this \
                 store, and one with epoch {epoch} is kept out"
            ),
            None => format!(
                "epoch={number} coordinators of journal {journal} work on this store with epochs, \
                 and one without is kept out until the last of them says LEAVE"
            ),
        }
    }

    /// Reads what [`Epoch`] displays; `None` if it is nothing of the kind.
    #[must_use]
    pub fn parse(text: &str) -> Option<Epoch> {
        let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
        let (number, journal, left) = match words[..] {
            [number, journal] => (number, journal, false),
            [number, journal, "left"] => (number, journal, true),
            _ => return None,
        };
        let epoch = number.parse().ok().filter(|epoch| *epoch > 0)?;
        let journal = crate::protocol::unescape(journal).ok()?;
        Some(Epoch(Some(Highest {
            epoch,
            journal: String::from_utf8(journal).ok()?,
            left,
        })))
    }
}

/// A line of the number, the journal's id, and `left` where its owner has said so.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(highest) = &self.0 else {
            return Ok(());
        };
        let journal = crate::protocol::escape(highest.journal.as_bytes());
        let left = if highest.left { " left" } else { "" };
        writeln!(f, "{} {journal}{left}", highest.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_epoch_works_and_no_other_until_its_owner_leaves() {
        use Admission::{Fenced, Granted, Raises};
        let none = Epoch::default();
        let seven = Epoch::raised("a", 7);
        let left = seven.left("a").unwrap();
        let (a, b) = (Some("a"), Some("b"));
        for (journal, epoch, admitted) in [
            (None, None, [Granted, Fenced, Granted]),
            (a, None, [Granted, Fenced, Fenced]),
            (b, None, [Granted, Fenced, Granted]),
            (a, Some(6), [Raises, Fenced, Fenced]),
            (b, Some(6), [Raises, Fenced, Fenced]),
            (a, Some(7), [Raises, Granted, Raises]),
            (b, Some(7), [Raises, Fenced, Fenced]),
            (a, Some(8), [Raises, Raises, Raises]),
            (b, Some(8), [Raises, Raises, Raises]),
        ] {
            let found = [&none, &seven, &left].map(|store| store.admit(journal, epoch));
            assert_eq!(found, admitted, "{journal:?} {epoch:?}");
        }
        assert_eq!(seven.left("b"), None);
        assert_eq!(left.left("a"), None);
    }

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is() {
        let seven = Epoch::raised("a b\n", 7);
        for epoch in [seven.left("a b\n").unwrap(), seven] {
            assert_eq!(Epoch::parse(&epoch.to_string()), Some(epoch));
        }
        for text in [
            "",
            "\n",
            "7\n",
            "7 a",
            "0 a\n",
            "x a\n",
            "7 a stay\n",
            "7 a left b\n",
        ] {
            assert_eq!(Epoch::parse(text), None, "{text:?}");
        }
    }
}
