//! What the demo says: for people a few lines that need no manual, for programs one JSON object.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// The first words.
pub(super) const OPENING: &str = "\
reguid moves Cyrus mailboxes to index version 10, in which every message is known by its SHA-1 (its
GUID). It does so on a mail server (the master) and its copy (the replica) together, while both serve.
";

/// Everything the demo did, with its figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The stores, each host's alike.
    pub store: StoreReport,
    /// The hashing ahead of time.
    pub precompute: PrecomputeReport,
    /// The migration, with the keys of every run's summary.
    pub run: serde_json::Value,
    /// The check afterwards, both hosts together.
    pub verify: VerifyReport,
    /// The directory that was kept.
    pub kept: Option<String>,
    /// All of it.
    pub seconds: f64,
}

/// The stores.
#[derive(Clone, Debug, Serialize)]
pub struct StoreReport {
    /// Mailboxes.
    pub mailboxes: u64,
    /// Live messages.
    pub messages: u64,
    /// Expunged messages that are still on disk.
    pub expunged: u64,
    /// Bytes of messages.
    pub bytes: u64,
    /// Seconds it took, both hosts.
    pub seconds: f64,
}

/// The hashing.
#[derive(Clone, Debug, Serialize)]
pub struct PrecomputeReport {
    /// Messages whose GUID has to be replaced.
    pub messages: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Seconds it took.
    pub seconds: f64,
}

/// The check.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Right GUIDs.
    pub guids: u64,
    /// Files found as they were.
    pub untouched: u64,
    /// What is wrong, word for word, at most fifty.
    pub findings: Vec<String>,
    /// How much is wrong.
    pub wrong: u64,
    /// Seconds it took.
    pub seconds: f64,
}

/// One step done: number, what was done, figures, time. Further lines stand below the first.
pub(super) fn step(number: u32, what: &str, lines: &[String], took: Duration) -> String {
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        if i == 0 {
            let _ = writeln!(
                out,
                "{number}. {what:<12} {line}  [{:.2} s]",
                took.as_secs_f64()
            );
        } else {
            let _ = writeln!(out, "   {:<12} {line}", "");
        }
    }
    out
}

/// Where to go from here.
pub(super) fn closing(kept: Option<&Path>) -> String {
    let Some(kept) = kept else {
        return "All is well; the stores are removed again. `controller demo --keep DIR` leaves them to look at;\n\
                README.md shows the same on stores of your own.\n"
            .to_owned();
    };
    let index = kept.join("master/spool/a/user/alice/cyrus.index");
    let (kept, index) = (kept.display(), index.display());
    format!(
        "All is well. The stores are kept in {kept}. To look at them:\n\
         \x20  indexfile dump '{index}'\n\
         \x20  indexfile diff '{index}.OLD' '{index}'\n\
         \x20  precompute show '{kept}/replica/meta/user/alice/cyrus.sha1s'\n\
         README.md shows the same on stores of your own.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_fits_a_terminal() {
        for line in OPENING.lines().chain(closing(None).lines()) {
            assert!(line.len() <= 110, "{line}");
        }
    }
}
