//! `--allow-root`: what a command that root started does.

use std::path::PathBuf;

use indexfile::exit::Exit;

use super::output::complain;
use crate::run_as::become_owner;

/// Whether root stays root.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Root {
    /// Stay root if root starts this; otherwise it goes on as the user to whom the store belongs
    #[arg(long)]
    allow_root: bool,
}

impl Root {
    /// Becomes the user to whom these belong, if root started this and was not asked for; what is
    /// wrong has been said when it fails. To be called before any thread is started.
    pub fn leave(self, directories: &[PathBuf]) -> Result<(), Exit> {
        if self.allow_root {
            return Ok(());
        }
        match become_owner(directories) {
            Ok(None) => Ok(()),
            Ok(Some(became)) => {
                complain(&became);
                Ok(())
            }
            Err(error) => {
                complain(&error);
                Err(error.exit())
            }
        }
    }
}
