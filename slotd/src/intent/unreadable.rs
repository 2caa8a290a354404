//! Records that were damaged: what they were about nobody knows any more, so it is not worked on.
//!
//! The log is written anew at every start, so they live on in the copies that are kept beside it
//! (`intents.log.damaged-N`). As long as such a copy is there, the mailbox that a damaged record
//! names is refused, and so is every mailbox that looks as if something were open in it. The
//! operator's way out is to move the copy away.

use std::path::{Path, PathBuf};

use indexfile::{IoContext, IoError};

use super::contents::{self, Contents};

/// One damaged record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The copy of the log that has it.
    pub copy: PathBuf,
    /// Its line there, from 1.
    pub line: usize,
    /// The mailbox that it names, if that can be read.
    pub mailbox: Option<String>,
}

impl Unreadable {
    /// Whether its copy still lies there. One that cannot be looked for does.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.copy.try_exists().unwrap_or(true)
    }
}

/// The damaged records of all copies of a log.
pub(super) fn find(log: &Path) -> Result<Vec<Unreadable>, IoError> {
    let mut all = Vec::new();
    for copy in copies(log)? {
        let text = contents::read(&copy)?.unwrap_or_default();
        let (_, damaged) = Contents::parse(&text, &copy);
        all.extend(damaged.into_iter().map(|(line, text)| Unreadable {
            copy: copy.clone(),
            line,
            mailbox: mailbox_in(&text),
        }));
    }
    Ok(all)
}

/// Where copies of a log are kept.
fn copies(log: &Path) -> Result<Vec<PathBuf>, IoError> {
    let dir = log.parent().unwrap_or(Path::new("."));
    let begin = contents::copy_name(log, "");
    let begin = begin.file_name().unwrap_or_default();
    let mut all = Vec::new();
    let entries = std::fs::read_dir(dir).io_context("read directory", dir)?;
    for entry in entries {
        let entry = entry.io_context("read directory", dir)?;
        let name = entry.file_name();
        if name
            .as_encoded_bytes()
            .starts_with(begin.as_encoded_bytes())
        {
            all.push(entry.path());
        }
    }
    all.sort();
    Ok(all)
}

/// The mailbox that a damaged record names. Of one that came only in part, which a power cut leaves
/// and nobody acted upon, it does not count.
fn mailbox_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(r#""mailbox":"#)?;
    contents::is_complete(line)
        .then(|| serde_json::Deserializer::from_str(rest).into_iter().next())?
        .and_then(|name: serde_json::Result<String>| name.ok())
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} line {}", self.copy.display(), self.line)
    }
}
