//! What the intent log says when it is read from its first line to its last, and the shortest text that says the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use indexfile::{IoContext, IoError};

use super::record::{Intent, Line, Scratch};

/// What is open.
#[derive(Debug)]
pub(super) struct Contents {
    /// Intents that are not settled.
    pub open: BTreeMap<u64, Intent>,
    /// How many sessions have scratch files in a mailbox.
    pub touched: BTreeMap<Scratch, u32>,
    /// No intent had it yet.
    pub next_id: u64,
}

impl Contents {
    /// Reads the file, if there is one. A record that is not whole was never acted upon.
    pub fn read(path: &Path) -> Result<Contents, IoError> {
        let mut text = Vec::new();
        match File::open(path) {
            Ok(mut file) => {
                file.read_to_end(&mut text).io_context("read", path)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(IoError::new("open", path, e)),
        }
        Ok(Contents::parse(&String::from_utf8_lossy(&text), path))
    }

    fn parse(text: &str, path: &Path) -> Contents {
        let mut contents = Contents {
            open: BTreeMap::new(),
            touched: BTreeMap::new(),
            next_id: 1,
        };
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() {
                continue;
            }
            if let Some(line) = Line::parse(line) {
                contents.apply(line);
                continue;
            }
            // Records after it, if any, are whole and count: a hole can only be of records that
            // nobody was told about.
            tracing::warn!(
                "{} line {}: not whole, left out",
                path.display(),
                number + 1
            );
        }
        contents
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
        Ok(text)
    }
}
