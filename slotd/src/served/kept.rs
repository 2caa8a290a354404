//! What is kept of who serves a store: the proofs, in the state directory (`served.json`).
//!
//! A file that is not understood is never written: what it has may be a proof of which nothing else
//! is left. A crash leaves the old file or the new one.

use std::io::Write;
use std::path::{Path, PathBuf};

use indexfile::IoError;
use indexfile::dir::{OpenError, limit, read_named};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::evidence::{Evidence, judge, reasons};
use crate::fs::rewrite;

pub(super) const FILE_NAME: &str = "served.json";

/// The file, and what it has besides the proofs.
#[derive(Debug)]
pub(super) struct Kept {
    file: PathBuf,
    /// What a later release wrote there; `None` if the file is not understood.
    more: Option<Map<String, Value>>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(default)]
    served: String,
    #[serde(default)]
    stopped: bool,
    proofs: Vec<Evidence>,
    #[serde(default)]
    because: String,
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl Kept {
    /// Reads it; with the proofs that an earlier start wrote down, or the doubt that is left if
    /// they are not understood.
    pub(super) fn read(state_dir: &Path) -> Result<(Kept, Vec<Evidence>), IoError> {
        let file = state_dir.join(FILE_NAME);
        let text = match read_named(&file, limit::STATE) {
            Ok(text) => text,
            Err(OpenError::Missing { .. }) => br#"{"proofs":[]}"#.to_vec(),
            Err(error) => return Err(error.into()),
        };
        let (more, evidence) = if let Ok(mut record) = serde_json::from_slice::<Record>(&text) {
            // Earlier releases also wrote down lines of imapd.conf, which is read anew.
            record.proofs.retain(Evidence::is_lasting);
            (Some(record.more), record.proofs)
        } else {
            let why = "it is damaged, or a later release wrote it; restore it, or, if it is known \
                       that no later Cyrus served the store, remove it while slotd is stopped";
            (None, vec![Evidence::Unseen(file.clone(), why.to_owned())])
        };
        Ok((Kept { file, more }, evidence))
    }

    /// Writes the proofs down that outlive what they were found by, unless there is a file that was
    /// not understood.
    pub(super) fn write(&self, evidence: &[Evidence], stopped: bool) -> Result<(), IoError> {
        let Some(more) = &self.more else {
            return Ok(());
        };
        let lasting = evidence.iter().filter(|e| e.is_lasting());
        let record = Record {
            served: judge(evidence).as_str().to_owned(),
            stopped,
            proofs: lasting.cloned().collect(),
            because: reasons(evidence),
            more: more.clone(),
        };
        rewrite(&self.file, |file| {
            serde_json::to_writer_pretty(&mut *file, &record)?;
            writeln!(file)
        })
        .map(drop)
    }

    /// Why a store is not taken for one of 2.3, and where proofs are kept if there are any.
    pub(super) fn reasons(&self, evidence: &[Evidence]) -> String {
        self.with_place(reasons(evidence), evidence)
    }

    /// `why`, and where proofs are kept if there are any.
    pub(super) fn with_place(&self, why: String, evidence: &[Evidence]) -> String {
        if evidence.iter().any(Evidence::is_lasting) {
            format!("{why}; proofs are kept in {}", self.file.display())
        } else {
            why
        }
    }
}
