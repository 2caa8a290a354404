//! A listing: what a live store is like, in a few numbers, so that a bench can make one like it, on
//! this machine or another.
//!
//! It comes from what a slotd answers to `STATUS`, which looks without locks and writes nothing.
//! No mailbox is named in it. What is alike afterwards: how many messages mailboxes have (by
//! percentiles), how large messages are on average, the share of expunged ones, and the share of
//! mailboxes with nothing to do. What it does not know: which messages are hard links, and how
//! sizes are distributed within a mailbox.

use std::fmt;
use std::path::Path;

use indexfile::exit::Exit;
use indicatif::{BinaryBytes, HumanCount};
use serde::{Deserialize, Serialize};
use slotd::protocol::Status;
use stores::{Counts, POINTS};

use super::corpus::{Messages, Order, Sizes};
use super::file::{ReadError, text_of};

/// The version of the format: raised when an older reader would misread a listing.
pub const FORMAT: u32 = 1;

/// A listing takes less than a kilobyte.
const MOST: u64 = 1 << 20;

/// The most that a made store has of either share, percent.
const SHARE: u32 = 90;

/// What a store is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// Mailboxes that were looked into.
    pub mailboxes: u64,
    /// Of them, those with nothing to do for an upgrade to version 10.
    pub done: u64,
    /// Messages, expunged ones included.
    pub messages: u64,
    /// Of them, those that are expunged and still there.
    pub expunged: u64,
    /// Bytes of all messages.
    pub bytes: u64,
    /// Messages of a mailbox, expunged ones included, at each of [`POINTS`].
    pub percentiles: [u32; POINTS.len()],
    /// Mailboxes about which the slotd gave no answer.
    pub unanswered: u64,
}

/// Adds mailboxes up to a listing.
#[derive(Clone, Debug, Default)]
pub struct Lister {
    done: u64,
    expunged: u64,
    bytes: u64,
    unanswered: u64,
    /// Messages of each mailbox: four bytes of memory for each.
    counts: Vec<u32>,
}

impl Lister {
    /// Adds a mailbox.
    pub fn add(&mut self, status: &Status) {
        let facts = &status.facts;
        let done = facts.index >= 10 && facts.old == Some(0);
        self.done += u64::from(done);
        self.expunged += u64::from(facts.expunged);
        self.bytes = self.bytes.saturating_add(status.bytes);
        self.counts
            .push(facts.exists.saturating_add(facts.expunged));
    }

    /// Adds a mailbox about which there is no answer.
    pub fn add_unanswered(&mut self) {
        self.unanswered += 1;
    }

    /// All of them.
    #[must_use]
    pub fn listing(mut self) -> Listing {
        Listing {
            format: FORMAT,
            mailboxes: self.counts.len() as u64,
            done: self.done,
            messages: self.counts.iter().copied().map(u64::from).sum(),
            expunged: self.expunged,
            bytes: self.bytes,
            percentiles: Counts::percentiles(&mut self.counts),
            unanswered: self.unanswered,
        }
    }
}

impl Listing {
    /// Reads one that `controller bench listing --json` printed.
    ///
    /// # Errors
    /// The file cannot be read, is something else, or lists nothing.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let other = |why: String| ReadError::NoListing {
            path: path.to_owned(),
            why,
        };
        let text = text_of(path, MOST, other)?;
        let listing: Self = serde_json::from_str(&text).map_err(|e| other(e.to_string()))?;
        if listing.format != FORMAT {
            return Err(other(format!("its format is {}", listing.format)));
        }
        if listing.messages == 0 {
            return Err(other("there is no message in it".to_owned()));
        }
        Ok(listing)
    }

    /// As `controller bench listing` ends: with 65 if nothing was found that a store could be like.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.messages == 0 || self.unanswered > 0 {
            Exit::Data
        } else {
            Exit::Ok
        }
    }

    /// A store that is like it; mailboxes, hard links and the seed are those of `order`.
    #[must_use]
    pub fn like(&self, order: &Order) -> Order {
        let mean = self.bytes / self.messages.max(1);
        Order {
            messages: Messages::By(Counts::Percentiles(self.percentiles)),
            sizes: Sizes::of_mean(u32::try_from(mean).unwrap_or(u32::MAX)),
            expunged: percent(self.expunged, self.messages),
            done: percent(self.done, self.mailboxes),
            ..order.clone()
        }
    }
}

/// At most [`SHARE`]: where all is done there is nothing to measure.
fn percent(part: u64, whole: u64) -> u32 {
    let percent = (part.saturating_mul(100) + whole / 2) / whole.max(1);
    u32::try_from(percent).unwrap_or(SHARE).min(SHARE)
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = HumanCount;
        writeln!(
            f,
            "{} mailboxes, {} of them with nothing to do; {} messages, {} of them expunged; {}",
            count(self.mailboxes),
            count(self.done),
            count(self.messages),
            count(self.expunged),
            BinaryBytes(self.bytes)
        )?;
        if self.unanswered > 0 {
            let count = count(self.unanswered);
            writeln!(
                f,
                "{count} mailboxes more, about which slotd gave no answer"
            )?;
        }
        writeln!(
            f,
            "messages of a mailbox, by the share of mailboxes that have no more:"
        )?;
        for (percent, messages) in POINTS.into_iter().zip(self.percentiles) {
            writeln!(f, "  {percent:>5} %  {}", count(messages.into()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            mailboxes: 9,
            messages: Messages::Each(1),
            sizes: Sizes(400..=400),
            expunged: 0,
            done: 0,
            linked: 5,
            seed: 3,
        }
    }

    fn listing(exists: u64, expunged: u64, done: u64) -> Listing {
        let mut counts = [3, 3, 3];
        Listing {
            format: FORMAT,
            mailboxes: 3,
            done,
            messages: exists + expunged,
            expunged,
            bytes: (exists + expunged) * 5000,
            percentiles: Counts::percentiles(&mut counts),
            unanswered: 0,
        }
    }

    #[test]
    fn a_store_like_it_has_its_shares_and_what_was_ordered_of_the_rest() {
        let like = listing(8, 1, 1).like(&order());
        assert_eq!((like.mailboxes, like.linked, like.seed), (9, 5, 3));
        assert_eq!((like.expunged, like.done), (11, 33));
        assert_eq!(like.sizes, Sizes::of_mean(5000));
        assert_eq!(
            like.messages,
            Messages::By(Counts::Percentiles([3; POINTS.len()]))
        );
        let done = listing(9, 0, 3).like(&order());
        assert_eq!(done.done, SHARE, "something must be left to measure");
    }

    #[test]
    fn a_listing_is_read_again_and_what_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("listing.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Listing::read(&path)
        };
        let one = listing(8, 1, 1);
        assert_eq!(one.exit(), Exit::Ok);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(read(&text).unwrap(), one);
        let none = Lister::default().listing();
        assert_eq!(none.exit(), Exit::Data);
        let later = Listing { format: 2, ..one };
        for bad in [
            String::new(),
            "user.joe 5".to_owned(),
            serde_json::to_string(&none).unwrap(),
            serde_json::to_string(&later).unwrap(),
        ] {
            let error = read(&bad).unwrap_err();
            assert_eq!(error.exit(), Exit::Data, "{error}");
            assert!(error.to_string().contains("bench listing"), "{error}");
        }
    }
}
