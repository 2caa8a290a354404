//! What a user saw: the mailboxes and messages, as they are kept in a file to be compared later.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::Path;

use indexfile::IoContext;
use indexfile::dir::read_named;
use serde::{Deserialize, Serialize};

use super::error::SeenError;
use crate::whole_file::{Before, WholeFile};

/// Longest file that is read, in bytes: some ten million messages.
const LIMIT: u64 = 2 << 30;

/// What a user saw at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The user.
    pub user: String,
    /// The mailboxes by their names, as the server spells them (modified UTF-7).
    pub mailboxes: BTreeMap<String, Mailbox>,
}

/// A mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// UIDVALIDITY; 0 if the server did not say.
    pub uidvalidity: u32,
    /// UIDNEXT; 0 if the server did not say.
    pub uidnext: u32,
    /// The messages by UID.
    pub messages: BTreeMap<u32, Message>,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its bytes, counted.
    pub size: u64,
    /// SHA-1 of its bytes, lower-case hex.
    pub sha1: String,
    /// INTERNALDATE, in seconds since 1970; none if the server's cannot be read.
    pub date: Option<i64>,
    /// Its flags, all but `\Recent`, which is the session's.
    pub flags: BTreeSet<String>,
}

impl Seen {
    /// Reads what [`Seen::save`] has written.
    ///
    /// # Errors
    /// The file cannot be read, is no such file, or is about another user.
    pub fn load(path: &Path, user: &str) -> Result<Self, SeenError> {
        let bytes = read_named(path, LIMIT)?;
        let seen: Self = serde_json::from_slice(&bytes).map_err(|error| SeenError::Damaged {
            path: path.to_owned(),
            text: error.to_string(),
        })?;
        if seen.user != user {
            return Err(SeenError::OtherUser {
                path: path.to_owned(),
                was: seen.user,
                is: user.to_owned(),
            });
        }
        Ok(seen)
    }

    /// Writes it to a new file, complete and on stable storage, or not at all.
    ///
    /// # Errors
    /// There is a file of that name, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), SeenError> {
        let mut file = WholeFile::create(path)?;
        let text = serde_json::to_vec(self).map_err(std::io::Error::other);
        let written = text.and_then(|text| file.write_all(&text));
        written.io_context("write", path)?;
        match file.publish(Before::Kept) {
            Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {
                let path = path.to_owned();
                Err(SeenError::Exists { path })
            }
            done => Ok(done?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_no_file_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("joe.seen");
        let message = Message {
            size: 5,
            sha1: "ab".repeat(20),
            date: Some(837_597_000),
            flags: BTreeSet::from(["\\Seen".to_owned(), "$Work".to_owned()]),
        };
        let inbox = Mailbox {
            uidvalidity: 7,
            uidnext: 9,
            messages: BTreeMap::from([(3, message)]),
        };
        let seen = Seen {
            user: "joe".to_owned(),
            mailboxes: BTreeMap::from([("INBOX".to_owned(), inbox)]),
        };
        seen.save(&path).unwrap();
        assert_eq!(Seen::load(&path, "joe").unwrap(), seen);
        let error = Seen::default().save(&path).unwrap_err();
        assert!(matches!(error, SeenError::Exists { .. }), "{error}");
        assert_eq!(Seen::load(&path, "joe").unwrap(), seen, "it is as it was");
        let error = Seen::load(&path, "bob").unwrap_err();
        assert!(matches!(error, SeenError::OtherUser { .. }), "{error}");
        assert_eq!(
            std::fs::read_dir(&dir).unwrap().count(),
            1,
            "nothing else is left"
        );
    }

    #[test]
    fn a_file_that_is_something_else_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("joe.seen");
        for text in [
            "",
            "{}",
            "[]",
            "{\"user\":\"joe\",\"mailboxes\":{\"INBOX\":{}}}",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Seen::load(&path, "joe").unwrap_err();
            assert!(
                matches!(error, SeenError::Damaged { .. }),
                "{text}: {error}"
            );
            assert!(error.to_string().contains("joe.seen"), "{error}");
        }
    }
}
