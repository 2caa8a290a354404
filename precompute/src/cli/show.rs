//! `precompute show`.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use indexfile::exit::Exit;
use serde_json::json;

use super::output::{complain, written};
use crate::cache::{Cache, CacheError};

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "show /var/spool/imap/user/joe/cyrus.sha1s"
    "show --json cyrus.sha1s"
))]
pub struct Args {
    /// A cyrus.sha1s file
    file: PathBuf,
    /// JSON Lines: first the header, then an object a message
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(args: &Args) -> Exit {
    match Cache::open(&args.file) {
        Ok(cache) => {
            let mut unread = None;
            let exit = written(print(args, &cache, &mut unread));
            unread.map_or(exit, |error| failed(&error))
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &CacheError) -> Exit {
    complain(error);
    match error {
        CacheError::Io(io) => Exit::of_io(&io.source),
        _ => Exit::Data,
    }
}

/// Prints what can be read; why that is not all goes to `unread`.
fn print(args: &Args, cache: &Cache, unread: &mut Option<CacheError>) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.json {
        let header = json!({"header": {
            "uidvalidity": cache.uidvalidity(),
            "uniqueid": cache.uniqueid(),
            "messages": cache.len(),
        }});
        writeln!(out, "{header}")?;
    } else {
        writeln!(
            out,
            "# uidvalidity {} uniqueid {} messages {}",
            cache.uidvalidity(),
            cache.uniqueid(),
            cache.len()
        )?;
    }
    for entry in cache {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                *unread = Some(error);
                break;
            }
        };
        if args.json {
            let record = json!({"record": {
                "uid": entry.uid,
                "size": entry.size,
                "sha1": entry.guid.to_string(),
                "mtime_ns": entry.stamp.mtime_ns,
                "ctime_ns": entry.stamp.ctime_ns,
                "inode": entry.stamp.inode,
            }});
            writeln!(out, "{record}")?;
        } else {
            writeln!(out, "{} {} {}", entry.uid, entry.size, entry.guid)?;
        }
    }
    out.flush()
}
