//! The last good list of a Murder in a file, for the day when its master is away.
//!
//! # What it promises
//!
//! * The file has a whole list or is not there: a new one is written, synced and renamed, and its
//!   last line says how many entries there are and their SHA-1.
//! * It says where the list is from and of when. It is used only where that is asked for.
//! * It is read and written entry by entry.
//!
//! # What a crash leaves
//!
//! The old file, and maybe a temporary one beside it, which nothing reads.
//!
//! # The file
//!
//! Lines of words; names and locations are URI-escaped. It has no ACLs.
//!
//! ```text
//! reguid-murder-list 1
//! source mupdate://mupdate.test:3905 (master)
//! time 2026-11-27T15:00:00Z
//! mailbox user.joe be1.test%21default
//! reserve user.bob be2.test%21p2
//! end 2 6b1c...
//! ```

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexfile::dir::{OpenError, open_named};
use indexfile::exit::Exit;
use indexfile::{IoContext, IoError, hex};
use jiff::Timestamp;
use sha1::{Digest, Sha1};
use slotd::protocol::{escape, unescape};

use super::wire::{Entry, MAX_STRING, shown};
use crate::survey::duration;
use crate::whole_file::{Before, WholeFile};

const FORMAT: &str = "reguid-murder-list 1";
/// Longest line in bytes: two strings, each byte escaped, and their words.
const MAX_LINE: u64 = 2 * 3 * MAX_STRING as u64 + 100;

/// Why a kept list cannot be written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// It cannot be opened.
    #[error("the kept list of the Murder: {0}")]
    Open(#[from] OpenError),
    /// It cannot be read or written.
    #[error("the kept list of the Murder: {0}")]
    Io(#[from] IoError),
    /// It is none, or not whole.
    #[error("{} is no whole list of a Murder: line {line}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

impl CacheError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Open(OpenError::Denied(_)) => Exit::Denied,
            Self::Open(OpenError::Io(error)) | Self::Io(error) => Exit::of_io(&error.source),
            Self::Open(_) | Self::Damaged { .. } => Exit::Data,
        }
    }
}

/// Where a list is from, and of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The server's address, and how it introduced itself.
    pub source: String,
    /// When it was asked.
    pub time: Timestamp,
}

impl Origin {
    /// How old the list is; zero if it is of a later time than `now`.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.time)).unwrap_or_default()
    }

    /// One sentence that says so.
    #[must_use]
    pub fn sentence(&self, now: Timestamp) -> String {
        let Self { source, time } = self;
        let age = duration(self.age(now));
        format!(
            "the list of mailboxes is a kept one, {age} old: {source} gave it at {time}; what was \
             created, moved or deleted since is not in it"
        )
    }
}

/// A list that is being kept. Dropped before [`CacheWriter::finish`] it leaves the old one.
#[derive(Debug)]
pub struct CacheWriter {
    path: PathBuf,
    out: BufWriter<WholeFile>,
    sha1: Sha1,
    count: u64,
}

impl CacheWriter {
    /// Begins a file beside `path`.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn create(path: &Path, origin: &Origin) -> Result<Self, CacheError> {
        let mut writer = Self {
            path: path.to_owned(),
            out: BufWriter::new(WholeFile::create(path)?),
            sha1: Sha1::new(),
            count: 0,
        };
        let source: Vec<String> = origin
            .source
            .split(' ')
            .map(|w| escape(w.as_bytes()))
            .collect();
        writer.line(&format!("{FORMAT}\n"))?;
        writer.line(&format!("source {}\n", source.join(" ")))?;
        writer.line(&format!("time {}\n", origin.time))?;
        Ok(writer)
    }

    /// Adds an entry. One that is gone is not in a list, and is not written.
    ///
    /// # Errors
    /// The disk.
    pub fn add(&mut self, entry: &Entry) -> Result<(), CacheError> {
        let (word, location) = match entry {
            Entry::Mailbox { location, .. } => ("mailbox", location),
            Entry::Reserve { location, .. } => ("reserve", location),
            Entry::Delete { .. } => return Ok(()),
        };
        self.count += 1;
        let (name, location) = (escape(entry.name()), escape(location));
        self.line(&format!("{word} {name} {location}\n"))
    }

    /// Ends the file and puts it in the place of the old one. Only now is there a new list.
    ///
    /// # Errors
    /// The disk; the old list stays.
    pub fn finish(mut self) -> Result<(), CacheError> {
        let sum = hex(&std::mem::take(&mut self.sha1).finalize());
        let end = format!("end {} {sum}\n", self.count);
        self.line(&end)?;
        let path = &self.path;
        let file = self
            .out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        let file = file.io_context("write", path)?;
        Ok(file.publish(Before::Replaced)?)
    }

    fn line(&mut self, line: &str) -> Result<(), CacheError> {
        self.sha1.update(line);
        let written = self.out.write_all(line.as_bytes());
        Ok(written.io_context("write", &self.path)?)
    }
}

/// A kept list that is being read.
pub struct CacheReader {
    path: PathBuf,
    input: BufReader<File>,
    origin: Origin,
    sha1: Sha1,
    line: u64,
    count: u64,
    over: bool,
}

impl fmt::Debug for CacheReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheReader({})", self.path.display())
    }
}

impl CacheReader {
    /// Opens it and reads where it is from.
    ///
    /// # Errors
    /// It cannot be opened, or is no such file.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let origin = Origin {
            source: String::new(),
            time: Timestamp::UNIX_EPOCH,
        };
        let mut reader = Self {
            path: path.to_owned(),
            input: BufReader::new(open_named(path)?),
            origin,
            sha1: Sha1::new(),
            line: 0,
            count: 0,
            over: false,
        };
        let format = reader.line()?;
        if format != FORMAT {
            return Err(reader.damaged("it is no such file, or of a later release"));
        }
        let source = reader.value("source ")?;
        let words: Result<Vec<_>, _> = source.split(' ').map(unescape).collect();
        let words = words.map_err(|error| reader.damaged(&error.to_string()))?;
        reader.origin.source = shown(&words.join(&b' '));
        let time = reader.value("time ")?;
        let time = time.parse().map_err(|_| reader.damaged("no time"));
        reader.origin.time = time?;
        Ok(reader)
    }

    /// Where it is from, and of when.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The next entry, its ACL empty. `None` at the end: only then is the list whole.
    ///
    /// # Errors
    /// It cannot be read, or is not as it was written.
    #[allow(clippy::should_implement_trait)] // an iterator would go on after an error
    pub fn next(&mut self) -> Result<Option<Entry>, CacheError> {
        if self.over {
            return Ok(None);
        }
        let sum = hex(&self.sha1.clone().finalize());
        let line = self.line()?;
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["end", count, found] => {
                if *count != self.count.to_string() || *found != sum {
                    return Err(self.damaged("count or SHA-1 are not those of the entries"));
                }
                let mut rest = [0];
                let more = self.input.read(&mut rest).io_context("read", &self.path)?;
                if more > 0 {
                    return Err(self.damaged("something follows the end"));
                }
                self.over = true;
                Ok(None)
            }
            [word @ ("mailbox" | "reserve"), name, location] => {
                let unescaped = unescape(name).and_then(|name| Ok((name, unescape(location)?)));
                let (name, location) =
                    unescaped.map_err(|error| self.damaged(&error.to_string()))?;
                self.count += 1;
                Ok(Some(if *word == "mailbox" {
                    let acl = Vec::new();
                    Entry::Mailbox {
                        name,
                        location,
                        acl,
                    }
                } else {
                    Entry::Reserve { name, location }
                }))
            }
            _ => Err(self.damaged("it is no entry")),
        }
    }

    fn value(&mut self, key: &str) -> Result<String, CacheError> {
        let line = self.line()?;
        let value = line.strip_prefix(key).map(str::to_owned);
        value.ok_or_else(|| self.damaged(&format!("no {}", key.trim_end())))
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<String, CacheError> {
        self.line += 1;
        let mut line = String::new();
        let read = (&mut self.input).take(MAX_LINE).read_line(&mut line);
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(self.damaged("it is no text"));
            }
            other => other.io_context("read", &self.path)?,
        };
        self.sha1.update(&line);
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None if line.is_empty() => Err(self.damaged("the file ends before its end")),
            None => Err(self.damaged("the line has no end")),
        }
    }

    fn damaged(&self, what: &str) -> CacheError {
        CacheError::Damaged {
            path: self.path.clone(),
            line: self.line,
            what: what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
