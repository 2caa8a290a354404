//! What the intent log says when it is read from its first line to its last, and the shortest text
//! that says the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use indexfile::dir::OpenError;
use indexfile::{IoContext, IoError};

use super::file::COMPACT_AT;
use super::record::{Intent, Line, Scratch};

/// More than a log has, in bytes: it is written anew when it is longer than a quarter of that.
const LIMIT: u64 = 4 * COMPACT_AT;

/// What is open.
#[derive(Debug)]
pub(super) struct Contents {
    /// Intents that are not settled.
    pub open: BTreeMap<u64, Intent>,
    /// How many sessions have scratch files in a mailbox.
    pub touched: BTreeMap<Scratch, u32>,
    /// No intent had it yet.
    pub next_id: u64,
    /// Whole records that this release does not know, as they are: a later one knows what they are
    /// about.
    pub unknown: Vec<String>,
}

impl Contents {
    /// Reads the file, if there is one. A record that is not whole was never acted upon.
    pub fn read(path: &Path) -> Result<Contents, IoError> {
        let text = read(path)?.unwrap_or_default();
        let (contents, damaged) = Contents::parse(&text, path);
        if !damaged.is_empty() || !contents.unknown.is_empty() {
            let copy = keep_copy(path)?;
            tracing::error!(
                "{} has records that cannot be read; it is kept as {}",
                path.display(),
                copy.display()
            );
        }
        Ok(contents)
    }

    /// Why a mailbox may not be touched: a record that cannot be understood may be about it.
    pub fn concerns(&self, mailbox: &str) -> bool {
        self.unknown.iter().any(|line| {
            let json = line.split_once(' ').map_or("", |(_, json)| json);
            let value = serde_json::from_str::<serde_json::Value>(json);
            let named = value.ok().and_then(|value| {
                let of = value.as_object()?.values().next()?;
                Some(of.get("mailbox")?.as_str()? == mailbox)
            });
            named.unwrap_or(true)
        })
    }

    /// Also the records that are damaged, with their line numbers: all that are not whole, but for
    /// a last one that came only in part.
    pub(super) fn parse(text: &str, path: &Path) -> (Contents, Vec<(usize, String)>) {
        let mut contents = Contents {
            open: BTreeMap::new(),
            touched: BTreeMap::new(),
            next_id: 1,
            unknown: Vec::new(),
        };
        let full = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.is_empty());
        let last = full.last().map(|(number, _)| number);
        let mut damaged = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() {
                continue;
            }
            if let Some(line) = Line::parse(line) {
                contents.apply(line);
                continue;
            }
            if Line::is_whole(line) {
                contents.next_id = contents.next_id.max(id_in(line).saturating_add(1));
                contents.unknown.push(line.to_owned());
                continue;
            }
            if Some(number) != last || is_complete(line) {
                damaged.push((number + 1, line.to_owned()));
            }
            // Records after it, if any, are whole and count: a hole can only be of records that
            // were never acknowledged.
            tracing::warn!(
                "{} line {}: not whole, left out",
                path.display(),
                number + 1
            );
        }
        (contents, damaged)
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Begin(intent) => {
                self.next_id = self.next_id.max(intent.id.saturating_add(1));
                self.open.insert(intent.id, intent);
            }
            Line::End { id } => {
                self.open.remove(&id);
            }
            Line::Touch(scratch) => {
                self.touched.insert(scratch, 1);
            }
            Line::Clear(scratch) => {
                self.touched.remove(&scratch);
            }
        }
    }

    /// What is open and nothing else.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let mut text = String::new();
        for intent in self.open.values() {
            text.push_str(&Line::Begin(intent.clone()).to_text()?);
        }
        for scratch in self.touched.keys() {
            text.push_str(&Line::Touch(scratch.clone()).to_text()?);
        }
        for line in &self.unknown {
            text.push_str(line);
            text.push('\n');
        }
        Ok(text)
    }
}

/// The number of an intent in a record that is not understood; 0 if it has none.
fn id_in(line: &str) -> u64 {
    let json = line.split_once(' ').map_or("", |(_, json)| json);
    let value = serde_json::from_str::<serde_json::Value>(json).unwrap_or_default();
    let of = value.as_object().and_then(|o| o.values().next());
    of.and_then(|of| of.get("id")?.as_u64()).unwrap_or(0)
}

/// What a file says, if there is one.
pub(super) fn read(path: &Path) -> Result<Option<String>, IoError> {
    match indexfile::dir::read_named(path, LIMIT) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(OpenError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether all of a line came: a record ends with `}}`, of which a flipped bit leaves one. What a
/// power cut left of the last record hardly ever ends so.
pub(super) fn is_complete(line: &str) -> bool {
    let bytes = line.as_bytes();
    bytes[bytes.len().saturating_sub(2)..].contains(&b'}')
}

/// The name of a copy of the log.
pub(super) fn copy_name(path: &Path, n: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{n}"));
    PathBuf::from(name)
}

/// Copies the log beside itself, under a name that is not taken.
fn keep_copy(path: &Path) -> Result<PathBuf, IoError> {
    let mut n = 1;
    loop {
        let copy = copy_name(path, &n.to_string());
        match File::create_new(&copy) {
            Ok(mut to) => {
                let mut from = File::open(path).io_context("open", path)?;
                std::io::copy(&mut from, &mut to)
                    .and_then(|_| to.sync_all())
                    .io_context("write", &copy)?;
                return Ok(copy);
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => n += 1,
            Err(e) => return Err(IoError::new("create", &copy, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(json: &str) -> String {
        format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
    }

    #[test]
    fn a_record_of_a_later_release_is_kept_and_what_it_is_about_is_not_touched() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("log");
        let newer = whole(r#"{"swap":{"id":7,"mailbox":"user.a","partition":"default"}}"#);
        std::fs::write(&path, &newer).unwrap();
        let contents = Contents::read(&path).unwrap();
        assert!(contents.concerns("user.a") && !contents.concerns("user.b"));
        assert_eq!(contents.next_id, 8);
        assert_eq!(
            contents.to_text().unwrap(),
            newer,
            "for the release that knows it"
        );
        let copy = tmp.path().join("log.damaged-1");
        assert_eq!(std::fs::read_to_string(copy).unwrap(), newer);
        // One that names nothing may be about anything.
        std::fs::write(&path, whole(r#"{"all":3}"#)).unwrap();
        assert!(Contents::read(&path).unwrap().concerns("user.b"));
    }

    #[test]
    fn a_damaged_record_is_kept_in_a_copy_and_one_torn_at_the_end_is_a_crash_s() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("log");
        let copies = || std::fs::read_dir(tmp.path()).unwrap().count() - 1;
        let end = whole(r#"{"end":{"id":1}}"#);
        std::fs::write(&path, format!("{end}0000")).unwrap();
        Contents::read(&path).unwrap();
        assert_eq!(copies(), 0);
        std::fs::write(&path, format!("00000000 {{}}\n{end}\n")).unwrap();
        Contents::read(&path).unwrap();
        Contents::read(&path).unwrap();
        assert_eq!(copies(), 2);
    }
}
