//! `indexfile convert`: a file written again in version 6 to 10, under a new name; for versions 12
//! to 19 see [`cutover`].
//!
//! On any failure there is no OUT, not being able to print the summary as JSON included. Nothing is
//! ever written under the input's name.

mod cutover;

use super::fail::Fail;
use super::guids::{GuidSource, OldFile};
use super::new_file::NewFile;
use crate::dir::open_named;
use crate::error::IoError;
use crate::exit::Exit;
use crate::kind::FileKind;
use crate::layout::CUTOVER;
use crate::reader::IndexFile;
use crate::stream_copy::{CopyError, CopyReport, Decision, StreamCopy};
use crate::write_behind::WriteBehind;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "convert cyrus.index new.index --to 10 --messages ."
    "convert cyrus.index new.index --to 16 --expunge cyrus.expunge --header cyrus.header \\\n\
     \x20     --cache cyrus.cache --seen /var/lib/imap/user/j/joe.seen"
    ; "it is refused, or a file is damaged; OUT was not made"
))]
#[allow(clippy::struct_excessive_bools)] // each is a switch of its own on the command line
pub(super) struct Args {
    /// The file to read: a cyrus.index or cyrus.expunge.
    input: PathBuf,
    /// The file to make; it must not exist.
    output: PathBuf,
    /// The version to write: 6 to 10 or 12 to 19. Below 10 identifiers are cut or padded, never
    /// computed; from 12 on each must be a SHA-1 already.
    #[arg(long, value_name = "N")]
    to: u32,
    /// Where the message files lie, to compute the SHA-1 of those whose GUID is old-style; with
    /// versions 12 to 19 to compare each with its GUID.
    #[arg(long, value_name = "DIR", conflicts_with = "keep_guids")]
    messages: Option<PathBuf>,
    /// A cyrus.sha1s file with SHA-1s computed before. Without --messages its sizes alone are
    /// compared.
    #[arg(long, value_name = "FILE", conflicts_with = "keep_guids")]
    sha1s: Option<PathBuf>,
    /// Do to GUIDs what Cyrus itself does: pad 12 bytes to 20 with zeros, cut 20 to 12.
    #[arg(long)]
    keep_guids: bool,
    /// Below version 10: take the UUIDs from this older copy of the file, which gives its bytes
    /// back.
    #[arg(long, value_name = "OLDFILE")]
    uuids_from: Option<PathBuf>,
    /// Drop what the version cannot hold: modseqs below 8, UUIDs below 7, option bits below 8.
    #[arg(long)]
    lossy: bool,
    /// What the file is, if its name does not say.
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    kind: Option<FileKind>,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    /// Print no summary.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    mailbox: cutover::MailboxArgs,
}

/// Reads the value of `--kind`.
pub(super) fn parse_kind(text: &str) -> Result<FileKind, String> {
    match text {
        "index" => Ok(FileKind::Index),
        "expunge" => Ok(FileKind::Expunge),
        _ => Err("expected index or expunge".to_owned()),
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, Fail> {
    if CUTOVER.contains(&args.to) {
        return cutover::run(args, out, err);
    }
    args.mailbox.forbid()?;
    if args.uuids_from.is_some() && args.to >= 10 {
        return Err(Fail::new(
            Exit::Usage,
            "--uuids-from is for versions below 10",
        ));
    }
    let input = open_named(&args.input).map_err(IoError::from)?;
    let kind = args.kind.unwrap_or_else(|| FileKind::of_path(&args.input));
    let index = IndexFile::from_file(&input, &args.input, kind)?;
    let copy = StreamCopy::new(&index)
        .to_version(args.to)
        .lossy(args.lossy);
    // Refused before OUT exists, however short-lived.
    copy.prepare()?;
    let mut source = GuidSource::open(&index, args.sha1s.as_deref(), args.messages.as_deref())?;
    let old = args
        .uuids_from
        .as_deref()
        .map(|path| OldFile::open(path, &index))
        .transpose()?;
    let replace = args.to >= 10 && !args.keep_guids;

    let new = NewFile::create(&args.output, &input, &args.input)?;
    let report = copy.write(&mut WriteBehind::new(&new.file), |record| {
        if let Some(old) = &old {
            return Ok(old.decide(&record)?);
        }
        if replace && record.guid().is_old_style() {
            return Ok(Decision::Alter(source.guid(&record)?));
        }
        Ok(Decision::Keep)
    });
    let report = report.map_err(|e| match e {
        CopyError::Write(e) => IoError::new("write", &args.output, e).into(),
        e => Fail::from(e),
    })?;
    new.publish(|| {
        if args.json {
            printed(summary_json(out, &report, &source))
        } else {
            Ok(())
        }
    })?;

    if args.to < 10 && !args.quiet && (args.messages.is_some() || args.sha1s.is_some()) {
        let _ = writeln!(
            err,
            "note: --messages and --sha1s had nothing to do: below version 10 GUIDs are cut, never \
             computed"
        );
    }
    if !args.json && !args.quiet {
        // The work is done; a closed terminal does not undo it.
        let _ = summary_text(err, args, &report, &source);
    }
    Ok(Exit::Ok)
}

/// Whether the summary is out, or nobody reads it: that does not undo the work.
fn printed(result: std::io::Result<()>) -> Result<(), Fail> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn summary_json(
    out: &mut dyn Write,
    report: &CopyReport,
    source: &GuidSource,
) -> std::io::Result<()> {
    let value = json!({
        "from": report.from,
        "to": report.to,
        "records": report.records,
        "altered": report.altered,
        "cached": source.cached,
        "hashed": source.hashed,
        "padded": report.padded,
        "cut": report.cut,
        "zero_modseqs": report.zero_modseqs,
        "lost_modseqs": report.losses.modseqs,
        "lost_highestmodseq": report.losses.highestmodseq,
        "lost_guids": report.losses.guids,
        "lost_options": report.losses.options,
    });
    writeln!(out, "{value}")?;
    out.flush()
}

fn summary_text(
    err: &mut dyn Write,
    args: &Args,
    report: &CopyReport,
    source: &GuidSource,
) -> std::io::Result<()> {
    write!(
        err,
        "{}: version {} to {}, {} records, {} GUIDs altered ({} from the cache, {} from message \
         files)",
        args.output.display(),
        report.from,
        report.to,
        report.records,
        report.altered,
        source.cached,
        source.hashed
    )?;
    for (count, what) in [(report.padded, "padded"), (report.cut, "cut")] {
        if count > 0 {
            write!(err, ", {count} {what}")?;
        }
    }
    if report.losses.any() {
        write!(err, "; lost: {}", report.losses)?;
    }
    writeln!(err)
}
