//! What a bench is measured on: a store made to order, or a copy of one that is there.
//!
//! A corpus is copied first and then left alone: nothing in it is opened for writing.

use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use indexfile::{IoContext, IoError};
use stores::{Counts, Host, StoreSpec, Variety};

/// A store that is made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Mailboxes.
    pub mailboxes: usize,
    /// Messages in each.
    pub messages: Messages,
    /// Sizes of messages.
    pub sizes: Sizes,
    /// Percentage of messages that are expunged.
    pub expunged: u32,
    /// Percentage of mailboxes that are done already.
    pub done: u32,
    /// Percentage of messages that are hard links.
    pub linked: u32,
    /// Another one makes another store.
    pub seed: u64,
}

/// What the store is.
#[derive(Clone, Debug)]
pub enum Corpus {
    /// Made to order.
    Made(Order),
    /// A copy of this directory: a partition, or one with an imapd.conf in it.
    Copy(PathBuf),
}

/// How many messages mailboxes have: `25`, `10-500`, `lognormal` (median 25) or `lognormal:100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messages {
    /// The same number in each.
    Each(u32),
    /// As the store's builder knows them.
    By(Counts),
}

/// Most messages of a mailbox that is made.
const MOST: u32 = 1_000_000;

/// Sizes of messages, bytes; small ones are far more frequent. `small` is 4 KiB at most, `mixed`
/// 22 KiB on average, `large` 1 MiB, and a number that many each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(pub RangeInclusive<u32>);

impl FromStr for Messages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.parse() {
            Ok(n) if n <= MOST => Ok(n),
            _ => Err(format!("{text:?} is no number up to {MOST}")),
        };
        if let Some(median) = text.strip_prefix("lognormal") {
            let median =
                median
                    .strip_prefix(':')
                    .unwrap_or(if median.is_empty() { "25" } else { median });
            return Ok(Self::By(Counts::LogNormal(number(median)?)));
        }
        match text.split_once('-') {
            Some((least, most)) => {
                let (least, most) = (number(least)?, number(most)?);
                if least > most {
                    return Err(format!("{least} is more than {most}"));
                }
                Ok(Self::By(Counts::Between(least, most)))
            }
            None => match number(text)? {
                0 => Err("a mailbox without messages has nothing to measure".into()),
                each => Ok(Self::Each(each)),
            },
        }
    }
}

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each(each) => write!(f, "{each}"),
            Self::By(Counts::Between(least, most)) => write!(f, "{least}-{most}"),
            Self::By(Counts::LogNormal(median)) => write!(f, "lognormal:{median}"),
            Self::By(Counts::Percentiles(of)) => write!(f, "by percentiles {of:?}"),
            Self::By(other) => write!(f, "{other:?}"),
        }
    }
}

/// The smallest message that is made, bytes; and the largest.
const BYTES: [u32; 2] = [400, 100_000_000];

impl Sizes {
    /// Of messages that are that large on average, as far as such can be made.
    #[must_use]
    pub fn of_mean(mean: u32) -> Self {
        let [least, most] = BYTES;
        let above = mean.saturating_sub(least);
        // A fifth of the way, on average: sizes are the fourth power of what is drawn.
        Self(least..=least.saturating_add(above.saturating_mul(5)).min(most))
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [least, most] = BYTES;
        let range = match text {
            "small" => least..=4096,
            // 22 KiB on average, see `of_mean`.
            "mixed" => least..=111_000,
            "large" => 1 << 20..=1 << 20,
            number => match number.parse() {
                Ok(n) if (least..=most).contains(&n) => n..=n,
                _ => {
                    let text = format!("small, mixed, large, or bytes from {least} to {most}");
                    return Err(text);
                }
            },
        };
        Ok(Self(range))
    }
}

impl Corpus {
    /// What it is, for the document.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Made(order) => format!(
                "{} mailboxes, messages {}, sizes {:?}, {} % expunged, {} % done, {} % linked, \
                 seed {}",
                order.mailboxes,
                order.messages,
                order.sizes.0,
                order.expunged,
                order.done,
                order.linked,
                order.seed
            ),
            Self::Copy(dir) => format!("a copy of {}", dir.display()),
        }
    }
}

impl Order {
    pub(super) fn spec(&self) -> StoreSpec {
        let (messages, counts) = match self.messages {
            Messages::Each(each) => (each, Counts::Mean),
            Messages::By(counts) => (25, counts),
        };
        StoreSpec::new(self.mailboxes, messages)
            .variety(Variety::Plain)
            .counts(counts)
            .message_bytes(self.sizes.0.clone())
            .expunged(self.expunged)
            .done(self.done)
            .linked(self.linked)
            .seed(self.seed)
    }
}

/// The store in a directory: as its imapd.conf says, or the directory of a partition, hashed or
/// not.
pub(super) fn store(dir: &Path) -> Result<Host, IoError> {
    let conf = dir.join("imapd.conf");
    if conf.try_exists().io_context("look for", &conf)? {
        return Host::from_conf(&conf).io_context("read", &conf);
    }
    Ok(Host {
        root: dir.to_owned(),
        conf,
        data: dir.to_owned(),
        meta: dir.to_owned(),
        on_meta: Vec::new(),
        hashed: is_hashed(dir).io_context("read directory", dir)?,
    })
}

/// Whether each mailbox lies below a letter.
fn is_hashed(dir: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().len() == 1 && entry.path().join("user").is_dir() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_ordered_is_understood_or_refused() {
        let messages = |text: &str| text.parse::<Messages>().ok();
        assert_eq!(messages("25"), Some(Messages::Each(25)));
        let between = Counts::Between(1, 9);
        assert_eq!(messages("1-9"), Some(Messages::By(between)));
        let log = |n| Some(Messages::By(Counts::LogNormal(n)));
        assert_eq!(
            (messages("lognormal"), messages("lognormal:7")),
            (log(25), log(7))
        );
        for bad in [
            "",
            "0",
            "9-1",
            "x",
            "1-",
            "lognormal:",
            "lognormalx",
            "1000001",
        ] {
            assert_eq!(messages(bad), None, "{bad}");
        }
        let sizes = |text: &str| text.parse::<Sizes>().ok();
        assert_eq!(sizes("5000"), Some(Sizes(5000..=5000)));
        assert_eq!((sizes("tiny"), sizes("10")), (None, None));
        for text in ["25", "1-9", "lognormal:7"] {
            assert_eq!(messages(text).unwrap().to_string(), text);
        }
        assert_eq!(Some(Sizes::of_mean(22_520)), sizes("mixed"));
        assert_eq!(Sizes::of_mean(7), Sizes(400..=400));
        assert_eq!(Sizes::of_mean(u32::MAX), Sizes(400..=100_000_000));
    }

    /// Everything about a tree that copying it must not change.
    fn look(dir: &Path, into: &mut Vec<(PathBuf, u64, i64, i64, Vec<u8>)>) {
        for entry in fs::read_dir(dir).expect("there") {
            let path = entry.expect("an entry").path();
            let meta = fs::symlink_metadata(&path).expect("there");
            let bytes = if meta.is_file() {
                fs::read(&path).expect("readable")
            } else {
                Vec::new()
            };
            let time = (meta.mtime(), meta.mtime_nsec());
            into.push((path.clone(), meta.ino(), time.0, time.1, bytes));
            if meta.is_dir() {
                look(&path, into);
            }
        }
    }

    #[test]
    fn a_corpus_is_copied_whole_into_other_layouts_and_stays_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let lay = |name: &str, layout| Host::lay_out(&dir.path().join(name), layout).expect("made");
        for layout in [stores::Layout::HASHED, stores::Layout::METAPARTITION] {
            let name = if layout.hashed { "hashed" } else { "apart" };
            let source = lay(name, layout);
            let order = Order {
                mailboxes: 16,
                messages: Messages::By(Counts::Between(0, 6)),
                sizes: Sizes(400..=900),
                expunged: 20,
                done: 25,
                linked: 40,
                seed: 3,
            };
            let built = order.spec().build(&[&source]).expect("built");
            assert!(built.linked > 0 && built.expunged > 0);
            let mut before = Vec::new();
            look(&source.root, &mut before);
            let copy = lay(&format!("copy-of-{name}"), stores::Layout::HASHED);
            // Hashed: as a partition, without the imapd.conf.
            let corpus = if layout.hashed {
                &source.data
            } else {
                &source.root
            };
            let found = store(corpus).expect("a store");
            let names = stores::genuine::copy_into(&found, &copy).expect("copied");
            assert_eq!(names.len(), 16);
            let mut after = Vec::new();
            look(&source.root, &mut after);
            assert_eq!(before, after);
            for name in names {
                let (from, to) = (source.place(&name), copy.place(&name));
                for file in ["cyrus.index", "cyrus.expunge", "cyrus.header"] {
                    let read = |dirs: &stores::Dirs| fs::read(dirs.file(file)).ok();
                    assert_eq!(read(&from), read(&to), "{name} {file}");
                }
                let messages = |dirs: &stores::Dirs| {
                    let entries = fs::read_dir(&dirs.data).expect("there");
                    let names = entries.map(|e| e.expect("one").file_name());
                    names
                        .filter(|n| n.as_encoded_bytes().ends_with(b"."))
                        .count()
                };
                assert_eq!(messages(&from), messages(&to), "{name}");
            }
        }
    }
}
