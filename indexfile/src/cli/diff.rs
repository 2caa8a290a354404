//! `indexfile diff`: 0 if two files say the same, 65 if not.

use super::convert::parse_kind;
use super::fail::Fail;
use crate::diff::{Difference, Value, diff};
use crate::exit::Exit;
use crate::hex;
use crate::kind::FileKind;
use crate::layout::{HeaderField, RecordField};
use crate::reader::IndexFile;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "diff cyrus.index cyrus.index.OLD"
    "diff --ignore minor_version,record_size a b"
    ; "the files differ, or one is damaged"
))]
pub(super) struct Args {
    /// A cyrus.index or cyrus.expunge.
    a: PathBuf,
    /// Another.
    b: PathBuf,
    /// Fields that may differ, by name, separated by commas (such as `minor_version,record_size`).
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', value_parser = field_name)]
    ignore: Vec<&'static str>,
    /// What the files are, if their names do not say.
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    kind: Option<FileKind>,
    /// Print JSON Lines, one a difference.
    #[arg(long)]
    json: bool,
    /// Print nothing; the exit code is the answer.
    #[arg(long, short)]
    quiet: bool,
}

fn field_name(text: &str) -> Result<&'static str, String> {
    let headers = HeaderField::ALL.iter().map(|f| f.name());
    let known = headers.chain(RecordField::ALL.iter().map(|f| f.name()));
    known
        .into_iter()
        .find(|name| *name == text)
        .ok_or_else(|| "there is no such field".to_owned())
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Fail> {
    let open = |path: &PathBuf| {
        IndexFile::open(path, args.kind.unwrap_or_else(|| FileKind::of_path(path)))
    };
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let mut exit = Exit::Ok;
    diff(&a, &b, |difference| {
        let name = match &difference {
            Difference::Header { field, .. } => field.name(),
            Difference::Record { field, .. } => field.name(),
            _ => "",
        };
        if args.ignore.contains(&name) {
            return Ok(());
        }
        exit = Exit::Data;
        match (args.quiet, args.json) {
            (true, _) => {}
            (_, true) => writeln!(out, "{}", as_json(&difference))?,
            _ => text(out, &difference)?,
        }
        Ok::<_, Fail>(())
    })?;
    Ok(exit)
}

fn as_json(difference: &Difference) -> serde_json::Value {
    let value = |v: &Value| match v {
        Value::Absent => serde_json::Value::Null,
        Value::Number(n) => (*n).into(),
        Value::Bytes(bytes) => hex(bytes).into(),
    };
    match difference {
        Difference::Header { field, a, b } => {
            json!({"header": field.name(), "a": value(a), "b": value(b)})
        }
        Difference::OnlyA(uid) => json!({"uid": uid, "only": "a"}),
        Difference::OnlyB(uid) => json!({"uid": uid, "only": "b"}),
        Difference::Record { uid, field, a, b } => {
            json!({"uid": uid, "field": field.name(), "a": value(a), "b": value(b)})
        }
        Difference::Order => json!({"order": "differs"}),
    }
}

fn text(out: &mut dyn Write, difference: &Difference) -> std::io::Result<()> {
    let value = |v: &Value| match v {
        Value::Absent => "-".to_owned(),
        Value::Number(n) => n.to_string(),
        Value::Bytes(bytes) => hex(bytes),
    };
    match difference {
        Difference::Header { field, a, b } => {
            writeln!(out, "header {}: {} -> {}", field.name(), value(a), value(b))
        }
        Difference::OnlyA(uid) => writeln!(out, "uid {uid}: only in the first file"),
        Difference::OnlyB(uid) => writeln!(out, "uid {uid}: only in the second file"),
        Difference::Record { uid, field, a, b } => {
            writeln!(
                out,
                "uid {uid} {}: {} -> {}",
                field.name(),
                value(a),
                value(b)
            )
        }
        Difference::Order => writeln!(out, "the records are in another order"),
    }
}
