//! A page as a file, for `node_exporter`'s textfile collector: whole or not at all, and readable by
//! everybody, as it is read by another user.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use indexfile::IoError;

use super::Page;
use crate::fs::rewrite;

/// Writes the page beside the file and renames it over it.
///
/// # Errors
/// The system's; before the rename the old file is still there.
pub fn write_file(path: &Path, page: Page) -> Result<(), IoError> {
    let text = page.into_text();
    let written = rewrite(path, |file| {
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())
    });
    written.map(drop)
}
