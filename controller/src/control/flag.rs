//! A file by whose being there an operator says something.
//!
//! It is looked for without following a link at its end, in a bounded time, off the reactor. Doubt
//! is no "absent": a directory that may not be searched or a file system that does not answer hides
//! a file that may be there.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// No such file.
    Absent,
    /// It is there.
    There,
    /// It cannot be looked for, and why.
    Unknown(String),
}

/// The file. One look at a time: where a file system does not answer, one thread waits for it.
#[derive(Debug)]
pub struct Flag {
    path: PathBuf,
    looking: Option<JoinHandle<Presence>>,
}

impl Flag {
    /// The file at that path.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let path = path.to_owned();
        let looking = None;
        Self { path, looking }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks for it. Must be called on the runtime.
    pub async fn look(&mut self) -> Presence {
        let looking = self.looking.get_or_insert_with(|| {
            let path = self.path.clone();
            tokio::task::spawn_blocking(move || presence(&path))
        });
        let Ok(looked) = tokio::time::timeout(LOOK_LIMIT, looking).await else {
            return Presence::Unknown(format!("no answer within {LOOK_LIMIT:?}"));
        };
        self.looking = None;
        looked.unwrap_or_else(|error| Presence::Unknown(error.to_string()))
    }

    /// Looks for it, and says why it counts as there; `None` if it is not.
    pub async fn why(&mut self) -> Option<String> {
        let presence = self.look().await;
        (presence != Presence::Absent).then(|| Said(&self.path, &presence).to_string())
    }
}

fn presence(path: &Path) -> Presence {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Presence::There,
        Err(error) if error.kind() == ErrorKind::NotFound => Presence::Absent,
        Err(error) => Presence::Unknown(Error::to_string(&error)),
    }
}

/// The same as words.
struct Said<'a>(&'a Path, &'a Presence);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, presence) = self;
        let path = path.display();
        match presence {
            Presence::Absent => write!(f, "{path} does not exist"),
            Presence::There => write!(f, "{path} exists"),
            Presence::Unknown(why) => write!(
                f,
                "whether {path} exists cannot be told ({why}), and so it counts as there"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_cannot_be_looked_for_is_not_absent() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| Flag::new(&directory.path().join(name));
        let (mut flag, mut dangling) = (at("flag"), at("link"));
        assert_eq!(
            (flag.look().await, flag.why().await),
            (Presence::Absent, None)
        );
        std::fs::write(flag.path(), "").unwrap();
        assert_eq!(flag.look().await, Presence::There);
        assert!(flag.why().await.unwrap().ends_with("/flag exists"));
        std::os::unix::fs::symlink("/nonexistent", dangling.path()).unwrap();
        assert_eq!(
            dangling.look().await,
            Presence::There,
            "a link is a file too"
        );
        // As root may search every directory, what is no directory stands for one that is closed.
        for name in ["flag/below", &"x".repeat(300)] {
            let mut hidden = at(name);
            let looked = hidden.look().await;
            assert!(matches!(looked, Presence::Unknown(_)), "{name}: {looked:?}");
            let why = hidden.why().await.unwrap();
            assert!(why.ends_with("and so it counts as there"), "{why}");
        }
        std::fs::remove_file(flag.path()).unwrap();
        assert_eq!(flag.look().await, Presence::Absent);
    }
}
