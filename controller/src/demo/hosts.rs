//! The two hosts of the demo: their directories and their imapd.conf.

use std::path::{Path, PathBuf};

use indexfile::mailbox::ImapdConf;
use indexfile::{IoContext, IoError};
use stores::Layout;
use stores::judge::Before;

use super::DemoError;

/// One host: a directory with spool, configuration and slotd's state in it.
#[derive(Debug)]
pub struct Host {
    /// "master" or "replica".
    pub name: &'static str,
    /// Its directories.
    pub store: stores::Host,
    /// What its imapd.conf says.
    pub conf: ImapdConf,
}

impl Host {
    /// Lays a host out below `parent`.
    ///
    /// # Errors
    /// If a directory or the imapd.conf cannot be written.
    pub fn lay_out(
        parent: &Path,
        name: &'static str,
        layout: Layout<'_>,
    ) -> Result<Self, DemoError> {
        let root = parent.join(name);
        let store = stores::Host::lay_out(&root, layout).io_context("lay out", &root)?;
        std::fs::create_dir_all(root.join("state")).io_context("create", &root)?;
        let conf = ImapdConf::load(&store.conf)?;
        Ok(Self { name, store, conf })
    }

    /// slotd's own directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.store.root.join("state")
    }

    /// Remembers the host as it is now.
    ///
    /// # Errors
    /// If its trees cannot be read.
    pub fn remember(&self) -> Result<Before, IoError> {
        Before::remember(&self.store).io_context("read", &self.store.root)
    }
}
