//! Writing a page for a browser to a new file: whole, or not at all.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
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

/// Where a page goes.
#[derive(Debug, Args)]
pub(super) struct NewPageArgs {
    /// Write a page for a browser, in one file that needs no other. A file that is there already is
    /// kept, and the command refused.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Let the new page replace a file that is there.
    #[arg(long, requires = "html")]
    replace: bool,
}

impl NewPageArgs {
    /// Refuses a name that a file has, unless it may be replaced: known at once, and not after
    /// minutes of work.
    pub(super) fn refuse_what_is_there(&self) -> Result<(), Fail> {
        match &self.html {
            Some(path) if !self.replace && path.symlink_metadata().is_ok() => Err(is_there(path)),
            _ => Ok(()),
        }
    }

    /// Writes what `make` makes, if a page is asked for, and gives its name. A file that is there
    /// is kept, and the command refused, unless it may be replaced; and the page can be seen by its
    /// owner alone.
    pub(super) fn write(
        &self,
        make: impl FnOnce() -> Result<String, Fail>,
    ) -> Result<Option<&Path>, Fail> {
        let Some(path) = self.html.as_deref() else {
            return Ok(None);
        };
        self.refuse_what_is_there()?;
        let before = if self.replace {
            Before::Replaced
        } else {
            Before::Kept
        };
        let mut file = WholeFile::create(path)?;
        let text = make()?;
        file.write_all(text.as_bytes()).io_context("write", path)?;
        match file.publish(before) {
            Err(error) if error.source.kind() == ErrorKind::AlreadyExists => Err(is_there(path)),
            done => Ok(done.map(|()| Some(path))?),
        }
    }
}
