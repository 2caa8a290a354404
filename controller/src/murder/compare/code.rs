//! What can be said about a name, and what a run does with it.

use std::fmt;

use serde::Serialize;

use crate::words::words;

words! {
    /// What is so with a name on a backend, in the order of reports. The words are stable; they are
    /// those of JSON and of docs/murder.md.
    Code {
        /// The master says so, and the backend has it there.
        Normal = "normal",
        /// A backend has it, and the master does not say so.
        Unpushed = "unpushed",
        /// It is on that backend, and not everybody says on the same partition.
        PartitionDiffers = "partition-differs",
        /// It is in more than one place.
        Duplicate = "duplicate",
        /// The master says that it is on a backend that has no such mailbox.
        Stale = "stale",
        /// The master has it reserved.
        Reserved = "reserved",
        /// The master says that it is on a server that is none of the backends.
        UnknownServer = "unknown-server",
        /// The master names no server.
        NoServer = "no-server",
        /// The name is none that a mailbox can have.
        BadName = "bad-name",
        /// The backend's slotd did not give its whole list.
        NotAsked = "not-asked",
    }
}

/// What a run does with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is worked on.
    Migrate,
    /// It is left out, and that is no error.
    Skip,
    /// It is left out, and a person has to decide.
    Refuse,
}

impl Code {
    /// One sentence about it, without its subject.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Normal => "the master says so, and the backend has it there",
            Self::Stale => "the master has it on a backend that has no such mailbox",
            Self::Unpushed => "the backend has it, and the master does not say so",
            Self::Duplicate => {
                "it is in more than one place, and only a person can say which is \
                                the mail"
            }
            Self::PartitionDiffers => "master, backend and files do not agree on its partition",
            Self::Reserved => {
                "the master has it reserved: it is being created or moved, or a \
                               crash left this"
            }
            Self::UnknownServer => "the master has it on a server that is none of the backends",
            Self::NoServer => "the master names no server for it",
            Self::BadName => "no mailbox can have that name, and it is not followed",
            Self::NotAsked => "its backend's slotd did not give a whole list",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Action {
    /// The word in reports and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::Skip => "skip",
            Self::Refuse => "refuse",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_docs() {
        let docs = include_str!("../../../../docs/murder.md");
        let table = docs.split_once("<!-- begin codes -->").unwrap().1;
        let table = table.split_once("<!-- end codes -->").unwrap().0;
        let rows: Vec<&str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
            .map(|(word, _)| word)
            .collect();
        assert_eq!(rows, Code::ALL.map(Code::as_str));
    }
}
