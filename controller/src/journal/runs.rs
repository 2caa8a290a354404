//! Runs: what they do, and how far each of their pairs is.

use slotd::protocol::Rehash;

use super::options::{ALL, Options};
use crate::words::words;

/// Names a run; ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub i64);

words! {
    /// What a run does.
    Verb {
        /// To a higher index version, with SHA-1 GUIDs.
        Upgrade = "upgrade",
        /// To a lower one.
        Downgrade = "downgrade",
        /// What a run changed is brought back to what it was before.
        Rollback = "rollback",
        /// To a version of Cyrus 2.4 and later, while no server runs.
        Cutover = "cutover",
        /// What a change-over did is taken back.
        Undo = "undo",
        /// An upgrade or downgrade up to the decision, and back: nothing is changed.
        Rehearse = "rehearse",
    }
}

impl Verb {
    /// What has become of a mailbox that it changed.
    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            Self::Upgrade => "upgraded",
            Self::Downgrade => "downgraded",
            Self::Rollback => "restored",
            Self::Cutover => "changed over",
            Self::Undo => "taken back",
            Self::Rehearse => "rehearsed",
        }
    }

    /// What is said of a mailbox for which there was nothing to do.
    #[must_use]
    pub const fn nothing_to_do(self) -> &'static str {
        if self.takes_back() {
            "needed no change"
        } else {
            "unchanged"
        }
    }

    /// What is said of a mailbox that it could not change. Of one that was to be taken back nobody
    /// says that it was rolled back: it was not.
    #[must_use]
    pub const fn failed(self) -> &'static str {
        if self.rehearses() {
            "would fail"
        } else if self.takes_back() {
            "failed, unchanged"
        } else {
            "rolled back"
        }
    }

    /// Whether it takes back what other runs did.
    #[must_use]
    pub const fn takes_back(self) -> bool {
        matches!(self, Self::Rollback | Self::Undo)
    }

    /// Whether nothing is changed, only found out whether it could be.
    #[must_use]
    pub const fn rehearses(self) -> bool {
        matches!(self, Self::Rehearse)
    }

    /// Whether mailboxes go from the versions of Cyrus 2.3 to those of 2.4 and later, or back:
    /// while no server runs, and only while the way back stays open.
    #[must_use]
    pub const fn crosses(self) -> bool {
        matches!(self, Self::Cutover | Self::Undo)
    }
}

/// What a run was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSpec {
    /// What it does.
    pub verb: Verb,
    /// The index version wanted; 0 if each mailbox has its own, as in a rollback.
    pub to: u8,
    /// The run whose changes are taken back, if this is a rollback.
    pub undoes: Option<RunId>,
    /// Address of the master's slotd.
    pub master: String,
    /// Address of the replica's, if there is one.
    pub replica: Option<String>,
    /// What the master's slotd calls its host; empty if not known.
    pub master_id: String,
    /// What the replica's slotd calls its host; empty if not known, or if there is none.
    pub replica_id: String,
    /// Of which mailboxes, so that two starts can be compared; empty if not known, from a journal
    /// of an earlier release.
    pub selection: String,
    /// The same as it was given on the command line, for a person.
    pub words: String,
    /// The pairs of a fleet that the run is of: their names, sorted, with commas between them.
    /// Empty without a fleet.
    pub pairs: String,
}

impl RunSpec {
    /// What it does, in a few words: `upgrade to version 10`, `rollback of run 3`,
    /// `undo of the change-over`.
    #[must_use]
    pub fn task(&self) -> String {
        task(self.verb, self.to, self.undoes)
    }
}

fn task(verb: Verb, to: u8, undoes: Option<RunId>) -> String {
    match undoes {
        Some(run) => format!("{} of run {}", verb.as_str(), run.0),
        None if verb == Verb::Rollback => "rollback of all runs".to_owned(),
        None if verb == Verb::Undo => "undo of the change-over".to_owned(),
        None if verb.rehearses() => format!("rehearsal of version {to}"),
        None => format!("{} to version {}", verb.as_str(), to),
    }
}

/// In a selection, before the partitions that are left out of it.
pub const LEFT_OUT: &str = "leave-out=";

impl RunSpec {
    /// What is done to a mailbox besides its version. It is a part of what the run is, and so of
    /// its selection.
    #[must_use]
    pub fn options(&self) -> Options {
        Options::split(&self.selection).1
    }

    /// Whether every GUID is compared with its message, and what becomes of the wrong ones.
    #[must_use]
    pub fn rehash(&self) -> Option<Rehash> {
        self.options().rehash
    }

    /// Whether the journal knows which mailboxes it is of.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.selection.is_empty()
    }

    /// Whether the operator said on which partition its mailboxes are.
    #[must_use]
    pub fn names_partition(&self) -> bool {
        self.words.starts_with("--partition ") || self.words.contains(" --partition ")
    }

    /// Whether it is of every mailbox of its pair. That pairs were chosen does not matter to each.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let rest = match self.words.strip_prefix("--pairs ") {
            Some(words) => words.split_once(' ').map_or("", |(_, rest)| rest),
            None => &self.words,
        };
        self.selection == ALL && rest.is_empty()
    }

    /// The partitions that the fleet file left out of it, with commas between them.
    #[must_use]
    pub fn left_out(&self) -> Option<&str> {
        let mut words = self.selection.split(' ');
        words.find_map(|word| word.strip_prefix(LEFT_OUT))
    }

    /// Its mailboxes in a few words, as they were given.
    #[must_use]
    pub fn of_what(&self) -> String {
        const SHOWN: usize = 200;
        let words = self.words.as_str();
        match (self.is_known(), words.char_indices().nth(SHOWN)) {
            (false, _) => "begun by an earlier release".to_owned(),
            (_, Some((at, _))) => format!("{} ...", &words[..at]),
            _ if words.is_empty() && self.undoes.is_some() => "all that it changed".to_owned(),
            _ if words.is_empty() => "every mailbox".to_owned(),
            _ => words.to_owned(),
        }
    }
}

/// A run, as one of its pairs has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInfo {
    /// Its id.
    pub id: RunId,
    /// What it was started with.
    pub spec: RunSpec,
    /// When this pair began, milliseconds since 1970.
    pub started_ms: i64,
    /// Milliseconds since 1970; `None` while something of this pair is left to do.
    pub finished_ms: Option<i64>,
    /// Whether all mailboxes of this pair have been added.
    pub list_complete: bool,
}

impl RunInfo {
    /// The command that goes on with it, with the arguments that say which hosts and which state
    /// file.
    #[must_use]
    pub fn go_on(&self, common: &str) -> String {
        let spec = &self.spec;
        let words = match spec.words.as_str() {
            "" => String::new(),
            words => format!(" {words}"),
        };
        let target = match (spec.verb, spec.undoes) {
            (Verb::Rollback, Some(run)) => format!(" {}", run.0),
            (Verb::Rollback, None) => " --all".to_owned(),
            (Verb::Undo, _) => " --undo".to_owned(),
            _ => format!(" --to {}", spec.to),
        };
        // What is in the journal already need not be listed again, and a list may be gone by now.
        let retried = self.list_complete && !spec.verb.rehearses();
        if retried && (words.contains("--mailboxes ") || !spec.is_known()) {
            return format!("controller retry {common}");
        }
        let verb = match spec.verb {
            Verb::Undo => Verb::Cutover,
            verb => verb,
        };
        format!("controller {}{target} {common}{words}", verb.as_str())
    }
}

/// A run over all its pairs. It has one number, by which an operator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOfPairs {
    /// Its id.
    pub id: RunId,
    /// What it does.
    pub verb: Verb,
    /// The index version wanted; 0 if each mailbox has its own, as in a rollback.
    pub to: u8,
    /// The run whose changes are taken back, if this is a rollback.
    pub undoes: Option<RunId>,
    /// Of which mailboxes, as it was given on the command line.
    pub words: String,
    /// Its pairs, in order of their names, also those that have not begun. Without a fleet there is
    /// one, without a name.
    pub pairs: Vec<PairRun>,
    /// When its first pair began, milliseconds since 1970.
    pub started_ms: i64,
    /// Milliseconds since 1970; `None` while something is left to do for any pair.
    pub finished_ms: Option<i64>,
}

impl RunOfPairs {
    /// What it does, as [`RunSpec::task`] has it.
    #[must_use]
    pub fn task(&self) -> String {
        task(self.verb, self.to, self.undoes)
    }

    /// As [`RunSpec::rehash`].
    #[must_use]
    pub fn rehash(&self) -> Option<Rehash> {
        Options::split(&self.words).1.rehash
    }
}

/// How far a run is on one of its pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairRun {
    /// The pair's name; empty without a fleet.
    pub name: String,
    /// When it began there, milliseconds since 1970; `None` if it has not.
    pub started_ms: Option<i64>,
    /// Whether all mailboxes of the pair have been added.
    pub listed: bool,
    /// Milliseconds since 1970; `None` while something is left to do for this pair.
    pub finished_ms: Option<i64>,
}

impl PairRun {
    /// Of a pair on which the run has not begun.
    pub(super) fn to_begin(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            started_ms: None,
            listed: false,
            finished_ms: None,
        }
    }

    /// Whether the run has begun on this pair.
    #[must_use]
    pub const fn is_started(&self) -> bool {
        self.started_ms.is_some()
    }
}

/// The names of a run's pairs, from [`RunSpec::pairs`]. Without a fleet there is one, and it is
/// empty.
pub fn pair_names(pairs: &str) -> impl Iterator<Item = &str> {
    pairs.split(',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(selection: &str, words: &str) -> RunSpec {
        RunSpec {
            verb: Verb::Undo,
            to: 10,
            undoes: None,
            master: String::new(),
            replica: None,
            master_id: String::new(),
            replica_id: String::new(),
            selection: selection.to_owned(),
            words: words.to_owned(),
            pairs: "p2".to_owned(),
        }
    }

    #[test]
    fn a_run_is_whole_for_a_pair_that_was_chosen_and_not_where_something_is_left_out() {
        for (selection, words, whole) in [
            (ALL, "", true),
            (ALL, "--pairs p2", true),
            (ALL, "--pairs p2 --murder mupdate://m", false),
            (ALL, "--murder mupdate://m", false),
            ("all leave-out=archive", "--pairs p2", false),
            ("all of default", "--partition default", false),
            ("1 5a", "--pairs p2 user.a", false),
            ("", "", false),
        ] {
            assert_eq!(
                spec(selection, words).is_whole(),
                whole,
                "{selection} {words}"
            );
        }
        let left_out = spec("all leave-out=archive,old --rehash=fix", "");
        assert_eq!(left_out.left_out(), Some("archive,old"));
        assert_eq!(left_out.rehash(), Some(Rehash::Fix));
    }
}
