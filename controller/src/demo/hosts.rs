//! The two hosts of the demo: their directories and their imapd.conf.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use indexfile::mailbox::ImapdConf;
use indexfile::{IoContext, IoError};

use super::DemoError;
use super::verify::Originals;

/// How a host lays its mail out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Everything of a mailbox in one directory, below a letter (`hashimapspool`).
    Hashed,
    /// Messages on one partition, the cyrus.* files on another (`metapartition-default`).
    Metapartition,
}

/// One host: a directory with spool, configuration and slotd's state in it.
#[derive(Debug)]
pub struct Host {
    /// "master" or "replica".
    pub name: &'static str,
    /// Everything of it lies here.
    pub root: PathBuf,
    /// Its imapd.conf.
    pub conf_path: PathBuf,
    /// What that says.
    pub conf: ImapdConf,
    layout: Layout,
}

impl Host {
    /// Lays a host out below `parent`.
    ///
    /// # Errors
    /// If a directory or the imapd.conf cannot be written.
    pub fn lay_out(parent: &Path, name: &'static str, layout: Layout) -> Result<Self, DemoError> {
        let root = parent.join(name);
        let dir = |path: &Path| -> Result<(), IoError> {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .io_context("create directory", path)
        };
        for below in ["conf", "spool", "state"] {
            dir(&root.join(below))?;
        }
        let r = root.display();
        let rest = match layout {
            Layout::Hashed => "hashimapspool: yes\n".to_owned(),
            Layout::Metapartition => {
                dir(&root.join("meta"))?;
                format!(
                    "metapartition-default: {r}/meta\n\
                     metapartition_files: header index cache expunge\n"
                )
            }
        };
        let text = format!(
            "# An imapd.conf as Cyrus 2.3.9 has it; made by `controller demo`.\n\
             configdirectory: {r}/conf\n\
             partition-default: {r}/spool\n\
             expunge_mode: delayed\n\
             {rest}"
        );
        let conf_path = root.join("imapd.conf");
        fs::write(&conf_path, text).io_context("write", &conf_path)?;
        let conf = ImapdConf::load(&conf_path)?;
        Ok(Self {
            name,
            root,
            conf_path,
            conf,
            layout,
        })
    }

    /// Where message files lie.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// Where the cyrus.* files lie.
    #[must_use]
    pub fn meta(&self) -> PathBuf {
        match self.layout {
            Layout::Hashed => self.data(),
            Layout::Metapartition => self.root.join("meta"),
        }
    }

    /// slotd's own directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Remembers the host as it is now.
    ///
    /// # Errors
    /// If its trees cannot be read.
    pub fn remember(&self) -> Result<Originals, IoError> {
        Originals::take(
            self.name,
            &self.data(),
            &self.meta(),
            self.layout == Layout::Hashed,
        )
    }
}
