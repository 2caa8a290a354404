//! A path that is a file, a mailbox directory, or a tree of them.

use super::findings::Findings;
use super::mailbox::{MailboxFiles, check_mailbox, open_and_check};
use super::{Code, Options};
use crate::error::{IoContext, IoError};
use crate::kind::FileKind;
use crate::mailbox::MetaFile;
use std::path::Path;

/// Checks a file by itself, or a mailbox directory, or all mailbox directories below a directory.
///
/// A mailbox directory is one that holds a `cyrus.index`, `cyrus.header` or `cyrus.expunge`.
/// Symbolic links below `path` are not followed.
///
/// # Errors
/// Only if `path` itself cannot be looked at; whatever is wrong below it is a finding.
pub fn check_path(path: &Path, options: &Options, findings: &mut Findings) -> Result<(), IoError> {
    let meta = path.metadata().io_context("stat", path)?;
    if !meta.is_dir() {
        open_and_check(path, FileKind::of_path(path), findings);
        return Ok(());
    }
    std::fs::read_dir(path).io_context("list", path)?;
    let mut waiting = vec![path.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        let is_there = |file: MetaFile| dir.join(file.file_name()).symlink_metadata().is_ok();
        if [MetaFile::Index, MetaFile::Header, MetaFile::Expunge]
            .into_iter()
            .any(is_there)
        {
            check_mailbox(&MailboxFiles::in_dir(&dir), options, findings);
        }
        let listed = std::fs::read_dir(&dir).and_then(|entries| {
            let mut below = Vec::new();
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    below.push(entry.path());
                }
            }
            Ok(below)
        });
        match listed {
            Ok(mut below) => {
                // Popped from the end: the order of the report is that of the names.
                below.sort_unstable_by(|a, b| b.cmp(a));
                waiting.extend(below);
            }
            Err(e) => findings.push(
                Code::Io,
                &dir,
                None,
                IoError::new("list", &dir, e).to_string(),
            ),
        }
    }
    Ok(())
}
