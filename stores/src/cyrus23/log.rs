//! The log of one mailbox on one host, and the state it says the mailbox must be in.
//!
//! A line is written under the index lock, after the write it tells of:
//!
//! ```text
//! A REC MODSEQ         appended: bytes 0..60 of the record in hex, modseq
//! S REC MODSEQ         changed in place
//! X REC MODSEQ         moved to the end of cyrus.expunge
//! H HEX                index header after the change, minor version and record size zeroed
//! E HEX                expunge header likewise
//! K HEX                SHA-1 of the new cyrus.header
//! U                    upgraded at open
//! V TEXT               saw what must never be seen
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::Dirs;
use crate::judge::image::{Image, hex, sha1_of, unhex};

use super::record::{Header, modseq_at};

/// The writing end.
pub struct Log {
    file: File,
}

impl Log {
    /// Opens the log for appending; several processes may write the same one.
    ///
    /// # Errors
    /// What open says.
    pub fn append_to(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::options().append(true).create(true).open(path)?,
        })
    }

    /// Writes one line.
    ///
    /// # Errors
    /// What write says.
    pub fn note(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes())
    }

    /// Tells that something was seen that must never be.
    ///
    /// # Errors
    /// What write says.
    pub fn violation(&mut self, text: &str) -> io::Result<()> {
        self.note(&format!("V {text}"))
    }

    /// Tells of one record.
    ///
    /// # Errors
    /// What write says.
    pub fn record(&mut self, what: char, record: &[u8]) -> io::Result<()> {
        let modseq = crate::judge::image::long(record, modseq_at(record.len()));
        self.note(&format!("{what} {} {modseq}", hex(&record[..60])))
    }

    /// Tells of a header.
    ///
    /// # Errors
    /// What write says.
    pub fn header(&mut self, what: char, header: &Header) -> io::Result<()> {
        self.note(&format!("{what} {}", hex(&header.lasting())))
    }
}

/// The state of a mailbox as its files or its log have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    header: Vec<u8>,
    records: Vec<(Vec<u8>, u64)>,
    expunge_header: Option<Vec<u8>>,
    expunged: Vec<(Vec<u8>, u64)>,
    cyrus_header: [u8; 20],
    /// How many changes the log has.
    pub changes: usize,
    /// Lines `V`.
    pub violations: Vec<String>,
}

impl Content {
    /// Reads the mailbox from disk.
    ///
    /// # Errors
    /// What reading says, or that a file is torn.
    pub fn read(dirs: &Dirs) -> io::Result<Self> {
        let image = |name: &str| -> io::Result<Option<Image>> {
            match fs::read(dirs.file(name)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(e),
                Ok(bytes) => Image::parse(bytes)
                    .map(Some)
                    .map_err(|e| io::Error::other(format!("{name} is torn: {e}"))),
            }
        };
        let lasting = |image: &Image| image.records().map(Image::lasting).collect();
        let index = image("cyrus.index")?.ok_or_else(|| io::Error::other("no cyrus.index"))?;
        let expunge = image("cyrus.expunge")?;
        Ok(Self {
            header: index.lasting_header(),
            records: lasting(&index),
            expunge_header: expunge.as_ref().map(Image::lasting_header),
            expunged: expunge.as_ref().map(lasting).unwrap_or_default(),
            cyrus_header: sha1_of(&fs::read(dirs.file("cyrus.header"))?),
            changes: 0,
            violations: Vec::new(),
        })
    }

    /// Applies a log to the state at its start.
    ///
    /// # Errors
    /// That the log does not fit, which is a fault of the harness.
    pub fn replay(&mut self, log: &str) -> Result<(), String> {
        for line in log.lines() {
            let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
            match what {
                "H" => self.header = unhex(rest),
                "E" => self.expunge_header = Some(unhex(rest)),
                "K" => self.cyrus_header = unhex(rest).try_into().map_err(|_| line.to_owned())?,
                "V" => self.violations.push(rest.to_owned()),
                "U" => {}
                "A" | "S" | "X" => {
                    self.changes += 1;
                    self.replay_record(what, rest)
                        .ok_or_else(|| format!("does not fit: {line}"))?;
                }
                _ => return Err(format!("no such line: {line}")),
            }
        }
        Ok(())
    }

    fn replay_record(&mut self, what: &str, rest: &str) -> Option<()> {
        let (record, modseq) = rest.split_once(' ')?;
        let record = (unhex(record), modseq.parse().ok()?);
        let uid = Image::uid(&record.0);
        // They ascend in an index.
        let place = self
            .records
            .binary_search_by_key(&uid, |(record, _)| Image::uid(record));
        let place = place.ok();
        match what {
            "A" if place.is_none() => self.records.push(record),
            "S" => self.records[place?] = record,
            "X" => {
                self.records.remove(place?);
                self.expunged.push(record);
            }
            _ => return None,
        }
        Some(())
    }

    /// What differs between the state the log demands and the state on disk, a line each.
    #[must_use]
    pub fn lost_in(&self, disk: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.header != disk.header {
            lines.push("index header is not the one last written".to_owned());
        }
        if self.expunge_header != disk.expunge_header {
            lines.push("expunge header is not the one last written".to_owned());
        }
        if self.cyrus_header != disk.cyrus_header {
            lines.push("cyrus.header is not the one last written".to_owned());
        }
        for (file, want, have) in [
            ("index", &self.records, &disk.records),
            ("expunge", &self.expunged, &disk.expunged),
        ] {
            if want.len() != have.len() {
                lines.push(format!(
                    "{file}: {} records written, {} there",
                    want.len(),
                    have.len()
                ));
            }
            for (w, h) in want.iter().zip(have).filter(|(w, h)| w != h) {
                let (wanted, found) = (Image::uid(&w.0), Image::uid(&h.0));
                lines.push(format!(
                    "{file}: UID {wanted} was written, UID {found} with other bytes is there"
                ));
            }
        }
        lines
    }
}
