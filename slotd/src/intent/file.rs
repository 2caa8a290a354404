//! The file of the intent log: with room ahead, so that a sync has no new size and no new block to
//! write down.
//!
//! The room is empty lines, on stable storage before it is used. Overwriting them leaves a file
//! system nothing to note in its journal, and an fdatasync is one write and one flush. A crash
//! leaves whole lines, torn ones, and empty ones.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use indexfile::IoError;

use crate::fs::rewrite;

/// When the file is longer than this, in bytes, it is written anew with the open intents only.
pub(super) const COMPACT_AT: u64 = 32 << 20;
/// How much room is made at a time, in bytes: some hundred transactions.
const ROOM: usize = 256 << 10;
const EMPTY: [u8; 4096] = [b'\n'; 4096];

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    /// Where the next record goes.
    position: u64,
    /// Up to where there is room.
    end: u64,
}

impl LogFile {
    /// Replaces the file under `path` by one with this text: complete, synced, renamed.
    pub fn replace(path: &Path, text: &str) -> Result<LogFile, IoError> {
        let position = text.len() as u64;
        let file = rewrite(path, |new| {
            new.write_all(text.as_bytes())?;
            make_room(new, position)
        })?;
        Ok(LogFile {
            file,
            position,
            end: position + ROOM as u64,
        })
    }

    /// Another handle of the file, to sync it.
    pub fn handle(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// How long the text is.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The place of the next `len` bytes.
    fn reserve(&mut self, len: usize) -> std::io::Result<u64> {
        let (at, next) = (self.position, self.position + len as u64);
        while next > self.end {
            // Only where nothing has its place yet.
            make_room(&self.file, self.end)?;
            self.end += ROOM as u64;
        }
        self.position = next;
        Ok(at)
    }

    /// Gives a line to the kernel, without any sync.
    pub fn note(&mut self, line: &str) -> std::io::Result<()> {
        let at = self.reserve(line.len())?;
        self.file.write_all_at(line.as_bytes(), at)
    }
}

fn make_room(file: &File, from: u64) -> std::io::Result<()> {
    (0..ROOM / EMPTY.len())
        .try_for_each(|i| file.write_all_at(&EMPTY, from + (i * EMPTY.len()) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_follow_each_other_and_the_file_grows_only_when_the_room_is_used_up() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("log");
        let mut log = LogFile::replace(&path, "first\n").unwrap();
        let length = || std::fs::metadata(&path).unwrap().len();
        let before = length();
        log.note("2nd\n").unwrap();
        log.note("third\n").unwrap();
        assert_eq!(length(), before);
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .starts_with("first\n2nd\nthird\n\n\n")
        );
        let long = "x".repeat(ROOM) + "\n";
        log.note(&long).unwrap();
        log.note("last\n").unwrap();
        assert!(length() > before);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim_end(), format!("first\n2nd\nthird\n{long}last"));
    }
}
