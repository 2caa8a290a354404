//! `indexfile convert --to 12..19`: one index out of the files of a mailbox of version 10.
//!
//! On any failure there is no OUT. None of the mailbox's files is written to.

use super::Args;
use crate::cache_file::CacheFile;
use crate::cli::fail::Fail;
use crate::cli::new_file::NewFile;
use crate::cutover::{self, CutoverError, HeaderImage, Report, Sources};
use crate::dir::{limit, open_named, read_named};
use crate::error::IoError;
use crate::exit::Exit;
use crate::guid::RecordGuid;
use crate::kind::FileKind;
use crate::message::Spool;
use crate::reader::IndexFile;
use crate::seen::{self, SeenRecord};
use crate::write_behind::WriteBehind;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Versions 12 to 19")]
pub(super) struct MailboxArgs {
    /// The mailbox's cyrus.expunge, if there is one: its messages go into the index. It must be
    /// moved away once the new index is in place, before any newer server starts.
    #[arg(long, value_name = "FILE")]
    expunge: Option<PathBuf>,
    /// The mailbox's cyrus.header: names of the user flags, and the unique id.
    #[arg(long, value_name = "FILE")]
    header: Option<PathBuf>,
    /// The mailbox's cyrus.cache: checksums, and the dates of the messages.
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// The seen database of the mailbox's owner (of the user anyone, if the mailbox has the option
    /// SHAREDSEEN): skiplist, flat or twoskip. `--` says that there is none.
    #[arg(long, value_name = "FILE|--", allow_hyphen_values = true)]
    seen: Option<PathBuf>,
    /// When the mailbox was rewritten, as the new index will say, in seconds since 1970; else
    /// now.
    #[arg(long, value_name = "SECONDS")]
    time: Option<u32>,
}

impl MailboxArgs {
    /// Refuses these options with other versions.
    pub(super) fn forbid(&self) -> Result<(), Fail> {
        let files = [&self.expunge, &self.header, &self.cache, &self.seen];
        if files.iter().any(|file| file.is_some()) || self.time.is_some() {
            return Err(usage(
                "--expunge, --header, --cache, --seen and --time go with versions 12 to 19",
            ));
        }
        Ok(())
    }
}

fn usage(text: &str) -> Fail {
    Fail::new(Exit::Usage, text)
}

pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, Fail> {
    let (header, cache) = sources_of(args)?;
    let input = open_named(&args.input).map_err(IoError::from)?;
    let index = IndexFile::from_file(&input, &args.input, FileKind::Index)?;
    let expunge = args.mailbox.expunge.as_deref();
    let expunge = expunge.map(|path| IndexFile::open(path, FileKind::Expunge));
    let expunge = expunge.transpose()?;
    let bytes = read_named(header, limit::HEADER).map_err(IoError::from)?;
    let header = HeaderImage::new(&bytes, header)?;
    let mut cache = CacheFile::open(cache)?;
    let seen = seen_of(args, &header.file().uniqueid)?;
    if let Some(dir) = &args.messages {
        compare_messages(dir, std::iter::once(&index).chain(&expunge))?;
    }

    let new = NewFile::create(&args.output, &input, &args.input)?;
    let sources = Sources {
        index: &index,
        expunge: expunge.as_ref(),
        header: &header,
        cache: &mut cache,
        seen: seen.as_ref(),
    };
    let now = args.mailbox.time.map_or_else(now, Ok)?;
    let report = cutover::write(sources, args.to, now, &mut WriteBehind::new(&new.file));
    let report = report.map_err(|e| match e {
        CutoverError::Write(e) => IoError::new("write", &args.output, e).into(),
        e => Fail::new(e.exit(), e),
    })?;
    new.publish(|| {
        if args.json {
            super::printed(summary_json(out, args.to, &report, seen.is_some()))
        } else {
            Ok(())
        }
    })?;

    if !args.json && !args.quiet {
        // The work is done; a closed terminal does not undo it.
        let _ = summary_text(err, args, &report, seen.is_some(), &index);
    }
    Ok(Exit::Ok)
}

/// Header and cache, if the options go together.
fn sources_of(args: &Args) -> Result<(&Path, &Path), Fail> {
    if args.sha1s.is_some() || args.keep_guids || args.uuids_from.is_some() || args.lossy {
        return Err(usage(
            "--sha1s, --keep-guids, --uuids-from and --lossy go with versions 6 to 10: \
             upgrade the mailbox to 10 first",
        ));
    }
    let kind = args.kind.unwrap_or_else(|| FileKind::of_path(&args.input));
    if kind == FileKind::Expunge {
        return Err(usage(
            "versions 12 to 19 have no expunge file: give the index, and this with --expunge",
        ));
    }
    let beside = args.input.with_file_name(FileKind::Expunge.file_name());
    if args.mailbox.expunge.is_none() && beside.symlink_metadata().is_ok() {
        return Err(Fail::new(
            Exit::Usage,
            format!(
                "there is a {}: give it with --expunge, or the messages in it are lost",
                beside.display()
            ),
        ));
    }
    match (&args.mailbox.header, &args.mailbox.cache) {
        (Some(header), Some(cache)) => Ok((header, cache)),
        _ => Err(usage("versions 12 to 19 need --header and --cache")),
    }
}

fn seen_of(args: &Args, uniqueid: &str) -> Result<Option<SeenRecord>, Fail> {
    let none = |path: &&PathBuf| !matches!(path.to_str(), Some("-" | "--"));
    let Some(path) = args.mailbox.seen.as_ref().filter(none) else {
        return Ok(None);
    };
    if uniqueid.is_empty() {
        let text = "cyrus.header has no unique id, which seen databases go by";
        return Err(Fail::new(Exit::Data, text));
    }
    seen::open(path, uniqueid).map_err(|e| Fail::new(e.exit(), e))
}

/// Reads each message: all must be there, and be what their GUIDs say.
fn compare_messages<'a>(
    dir: &Path,
    files: impl Iterator<Item = &'a IndexFile>,
) -> Result<(), Fail> {
    let messages = Spool::open(dir)?;
    for file in files {
        for record in file.records() {
            let record = record?;
            let message = messages.hash(record.uid())?;
            if record.guid() != RecordGuid::Guid(message.guid) {
                let path = messages.path_of(record.uid());
                let text = format!(
                    "{}: its SHA-1 is {}, the GUID in {} another",
                    path.display(),
                    message.guid,
                    file.path().display()
                );
                return Err(Fail::new(Exit::Data, text));
            }
        }
    }
    Ok(())
}

fn now() -> Result<u32, Fail> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since
        .ok()
        .and_then(|since| u32::try_from(since.as_secs()).ok());
    seconds.ok_or_else(|| Fail::new(Exit::Data, "the clock is out of range: give --time"))
}

fn summary_json(
    out: &mut dyn Write,
    to: u32,
    report: &Report,
    seen_record: bool,
) -> std::io::Result<()> {
    let value = json!({
        "from": cutover::FROM,
        "to": to,
        "records": report.counts.num_records,
        "exists": report.counts.exists,
        "expunged": report.counts.expunged,
        "seen": report.counts.exists - report.counts.unseen,
        "seen_record": seen_record,
        "zero_modseqs": report.zero_modseqs,
        "without_date": report.without_date,
        "superseded": report.superseded,
    });
    writeln!(out, "{value}")?;
    out.flush()
}

fn summary_text(
    err: &mut dyn Write,
    args: &Args,
    report: &Report,
    seen_record: bool,
    index: &IndexFile,
) -> std::io::Result<()> {
    let counts = &report.counts;
    write!(
        err,
        "{}: version {} to {}, {} messages, {} of them seen, {} expunged",
        args.output.display(),
        cutover::FROM,
        args.to,
        counts.exists,
        counts.exists - counts.unseen,
        counts.expunged
    )?;
    for (count, what) in [
        (report.without_date, "without a date in the cache"),
        (report.superseded, "expunge records superseded"),
    ] {
        if count > 0 {
            write!(err, ", {count} {what}")?;
        }
    }
    writeln!(err)?;
    if !seen_record {
        writeln!(
            err,
            "note: there is no seen record, so no message is marked seen"
        )?;
    }
    if cutover::shares_seen(index) {
        writeln!(
            err,
            "note: the mailbox has the option SHAREDSEEN: --seen must be that of the user anyone"
        )?;
    }
    Ok(())
}
