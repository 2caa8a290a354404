//! System calls of a slotd, counted by strace.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use indexfile::{IoContext, IoError};

/// What is counted: everything that makes something durable or changes a name.
const CALLS: &str = "fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat";
/// How long strace may take to write its table once slotd has ended.
const LATE: Duration = Duration::from_secs(10);

/// Whether strace is installed and may trace.
pub(super) fn available() -> bool {
    let tried = Command::new("strace")
        .args(["-c", "-e", "trace=fsync", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// The command that counts what comes after it; the tracer stands aside, so that slotd is our
/// child.
pub(super) fn wrapper(out: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["strace", "-D", "-f", "-c", "-e"]
        .iter()
        .map(Into::into)
        .collect();
    words.extend([
        format!("trace={CALLS}").into(),
        "-o".into(),
        out.as_os_str().to_owned(),
    ]);
    words
}

/// Calls per mailbox and host, from both hosts' tables.
pub(super) fn per_mailbox(outs: &[PathBuf], mailboxes: u64) -> Result<Vec<(String, f64)>, IoError> {
    let mut totals: Vec<(String, u64)> = Vec::new();
    for out in outs {
        let end = Instant::now() + LATE;
        let mut table = String::new();
        while !table.contains("total") && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            table = std::fs::read_to_string(out).io_context("read", out)?;
        }
        for (name, calls) in rows(&table) {
            match totals.iter_mut().find(|(n, _)| *n == name) {
                Some((_, n)) => *n += calls,
                None => totals.push((name, calls)),
            }
        }
    }
    let hosts = outs.len().max(1) as u64;
    let each = |calls: u64| super::rate(calls, 1.0) / super::rate(mailboxes.max(1) * hosts, 1.0);
    Ok(totals
        .into_iter()
        .map(|(name, calls)| (name, each(calls)))
        .collect())
}

/// Names and counts of a table that `strace -c` wrote.
fn rows(table: &str) -> Vec<(String, u64)> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (share, calls, name) = (words.first()?, words.get(3)?, words.last()?);
        share.parse::<f64>().ok()?;
        (*name != "total").then_some(())?;
        Some(((*name).to_owned(), calls.parse().ok()?))
    };
    table.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_strace_is_read() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
             89.50    0.010500          10      1050           fsync\n\
             10.50    0.001200           3       400         7 unlinkat\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.011700           8      1450         7 total\n";
        assert_eq!(
            rows(table),
            [("fsync".to_owned(), 1050), ("unlinkat".to_owned(), 400)]
        );
    }
}
