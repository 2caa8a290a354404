//! `indexfile dump`: a file as text or JSON Lines.
//!
//! The records of a damaged file are printed, and then the damage is named and the exit code is 65.
//! Where the header or the length is wrong nobody knows what a record is, and nothing is printed.

use super::fail::Fail;
use crate::dir::open_named;
use crate::error::IoError;
use crate::exit::Exit;
use crate::header::Header;
use crate::hex;
use crate::kind::FileKind;
use crate::layout::RecordField;
use crate::mailbox::HeaderFile;
use crate::reader::IndexFile;
use crate::record::{Record, flags};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "dump cyrus.index"
    "dump --json cyrus.expunge"
    ; "the file is damaged; its records were printed, unless header or length is wrong"
))]
pub(super) struct Args {
    /// A cyrus.index or cyrus.expunge; the names of user flags are taken from the cyrus.header
    /// next to it.
    file: PathBuf,
    /// Print JSON Lines: the header, then each record.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Fail> {
    let path = &args.file;
    let file = open_named(path).map_err(IoError::from)?;
    let index = IndexFile::from_file_unverified(&file, path, FileKind::of_path(path))?;
    // Only for the names of user flags: without it, or if it cannot be read, they have numbers.
    let names = HeaderFile::open(&path.with_file_name("cyrus.header")).ok();
    if args.json {
        json_line(out, &Tagged("header", HeaderView(index.header())))?;
        for record in index.records() {
            let record = record?;
            json_line(
                out,
                &Tagged(
                    "record",
                    RecordView {
                        record,
                        index: &index,
                        names: names.as_ref(),
                    },
                ),
            )?;
        }
    } else {
        text_header(out, &index)?;
        for record in index.records() {
            text_record(out, &index, &record?, names.as_ref())?;
        }
    }
    index.verify()?;
    Ok(Exit::Ok)
}

fn json_line(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Fail> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

/// `{"tag": value}`
struct Tagged<T>(&'static str, T);

impl<T: Serialize> Serialize for Tagged<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

/// A header as a JSON object, fields in the order of the file.
pub(super) struct HeaderView<'a>(pub(super) &'a Header);

impl Serialize for HeaderView<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        let minor = self.0.minor_version();
        for (field, value) in self.0.fields() {
            map.serialize_entry(field.name_in(minor), &value)?;
        }
        map.end()
    }
}

/// A record as a JSON object, fields in the order of the file, then the names of its flags.
struct RecordView<'a> {
    record: Record<'a>,
    index: &'a IndexFile,
    names: Option<&'a HeaderFile>,
}

impl Serialize for RecordView<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        let minor = self.index.minor_version();
        for (field, slot) in self.index.record_slots().present() {
            let key = field.name_in(minor);
            if let Some(value) = self.record.get(field) {
                map.serialize_entry(key, &number(field, minor, value))?;
            } else if let Some(bytes) = slot.of(self.record.bytes()) {
                map.serialize_entry(key, &hex(bytes))?;
            }
        }
        map.serialize_entry("flags", &flag_names(&self.record, self.names))?;
        map.end()
    }
}

/// From 3.2 on the upper half of `cache_version` belongs to `cache_offset`.
pub(super) fn number(field: RecordField, minor: u32, value: u64) -> u64 {
    if field == RecordField::CacheVersion && minor >= 12 {
        value & 0xffff
    } else {
        value
    }
}

/// System flags by their IMAP names, then user flags by name, or as `#number` where there is none.
pub(super) fn flag_names(record: &Record<'_>, names: Option<&HeaderFile>) -> Vec<String> {
    let bits = record.system_flags();
    let mut all: Vec<String> = flags::NAMES
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    all.extend(record.user_flag_numbers().map(|k| {
        names
            .and_then(|n| n.flag_name(k))
            .map_or_else(|| format!("#{k}"), ToOwned::to_owned)
    }));
    all
}

fn text_header(out: &mut dyn Write, index: &IndexFile) -> std::io::Result<()> {
    let minor = index.minor_version();
    writeln!(
        out,
        "{} ({}), version {minor}",
        index.path().display(),
        index.kind()
    )?;
    for (field, value) in index.header().fields() {
        writeln!(out, "  {:<20} {value}", field.name_in(minor))?;
    }
    if index.trailing_bytes() > 0 {
        writeln!(
            out,
            "  ({} bytes after the last record are ignored)",
            index.trailing_bytes()
        )?;
    }
    Ok(())
}

fn text_record(
    out: &mut dyn Write,
    index: &IndexFile,
    record: &Record<'_>,
    names: Option<&HeaderFile>,
) -> std::io::Result<()> {
    let minor = index.minor_version();
    for (field, slot) in index.record_slots().present() {
        let key = field.name_in(minor);
        let gap = if field == RecordField::Uid { "" } else { " " };
        match (field, record.get(field)) {
            (RecordField::SystemFlags, Some(value)) => write!(out, "{gap}{key}={value:08x}")?,
            (_, Some(value)) => write!(out, "{gap}{key}={}", number(field, minor, value))?,
            (_, None) => write!(
                out,
                "{gap}{key}={}",
                slot.of(record.bytes()).map(hex).unwrap_or_default()
            )?,
        }
    }
    writeln!(out, " flags=({})", flag_names(record, names).join(" "))
}
