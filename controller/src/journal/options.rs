//! The options of a run that say what is done to a mailbox. They are a part of what the run is:
//! they stand at the end of its selection and of its words, so that whatever takes it up does the
//! same, whatever it is itself started with.

use slotd::protocol::Rehash;

/// What is done to each mailbox of a run, besides its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Below version 10 GUIDs are cut, on both hosts alike, and no UUID comes back.
    pub cut: bool,
    /// The `.OLD` files are removed once both sides are committed.
    pub drop_old: bool,
    /// At version 10 every GUID is compared with its message, and this is done about the wrong
    /// ones.
    pub rehash: Option<Rehash>,
}

/// The selection of a run, before its options, that is of all that the hosts have.
pub const ALL: &str = "all";

const CUT: &str = "--uuids cut";
const DROP_OLD: &str = "--drop-old";
const REHASH: &str = "--rehash=";

impl Options {
    /// As they are given on the command line.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let cut = self.cut.then(|| CUT.to_owned());
        let drop_old = self.drop_old.then(|| DROP_OLD.to_owned());
        let rehash = self.rehash.map(|r| format!("{REHASH}{}", r.as_str()));
        cut.into_iter().chain(drop_old).chain(rehash).collect()
    }

    /// Those at the end of a selection, or of words, and what stands before them.
    pub(super) fn split(text: &str) -> (&str, Self) {
        let mut options = Self::default();
        let mut rest = text;
        loop {
            if let Some(before) = before(rest, CUT) {
                (options.cut, rest) = (true, before);
            } else if let Some(before) = before(rest, DROP_OLD) {
                (options.drop_old, rest) = (true, before);
            } else if let Some((before, found)) = rehash(rest) {
                (options.rehash, rest) = (Some(found), before);
            } else {
                return (rest, options);
            }
        }
    }
}

/// What stands before an option at the end.
fn before<'a>(text: &'a str, option: &str) -> Option<&'a str> {
    match text.strip_suffix(option)? {
        "" => Some(""),
        before => before.strip_suffix(' '),
    }
}

fn rehash(text: &str) -> Option<(&str, Rehash)> {
    let (before, last) = text.rsplit_once(' ').unwrap_or(("", text));
    Some((before, Rehash::from_word(last.strip_prefix(REHASH)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_at_the_end_is_read_there_and_nowhere_else() {
        for cut in [false, true] {
            for drop_old in [false, true] {
                for rehash in [None, Some(Rehash::Report), Some(Rehash::Fix)] {
                    let options = Options {
                        cut,
                        drop_old,
                        rehash,
                    };
                    for what in ["", "all", "3 0123 --user joe"] {
                        let mut words = options.words();
                        words.insert(0, what.to_owned());
                        let text = words.join(" ");
                        assert_eq!(Options::split(text.trim_start()), (what, options), "{text}");
                    }
                }
            }
        }
        for text in [
            "all --match '* --uuids cut'",
            "all --drop-older",
            "all --rehash=",
            "--rehash=fix all",
            "x--drop-old",
        ] {
            assert_eq!(Options::split(text), (text, Options::default()));
        }
    }
}
