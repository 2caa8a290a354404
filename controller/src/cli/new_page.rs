//! Writing a page for a browser to a new file: whole, or not at all.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use indexfile::IoContext;
use indexfile::exit::Exit;

use super::Fail;
use crate::whole_file::{Before, WholeFile};

fn is_there(path: &Path) -> Fail {
    let text = format!(
        "{} is there already: give another name, or --replace",
        path.display()
    );
    Fail::new(Exit::Io, text)
}

/// Refuses a name that a file has, unless it may be replaced.
pub(super) fn refuse_what_is_there(path: &Path, replace: bool) -> Result<(), Fail> {
    if !replace && path.symlink_metadata().is_ok() {
        return Err(is_there(path));
    }
    Ok(())
}

/// Writes what `make` makes. A file that is there is kept, and the command refused, unless it may
/// be replaced; and the page can be seen by its owner alone.
pub(super) fn write(
    path: &Path,
    replace: bool,
    make: impl FnOnce() -> Result<String, Fail>,
) -> Result<(), Fail> {
    // Known at once, and not after a long run has been read.
    refuse_what_is_there(path, replace)?;
    let before = if replace {
        Before::Replaced
    } else {
        Before::Kept
    };
    let mut file = WholeFile::create(path)?;
    let text = make()?;
    file.write_all(text.as_bytes()).io_context("write", path)?;
    match file.publish(before) {
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => Err(is_there(path)),
        done => Ok(done?),
    }
}
