//! Which mailboxes a command is about: the arguments that all of them share.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;
use indexfile::mailbox::ImapdConf;
use indexfile::mailbox::list::{ListError, Reader, Skip};
use indexfile::walk::Leaves;

use super::output::{complain, nothing};
use crate::run_as::directories;
use crate::store::names::{MailboxEntry, Resolver};
use crate::store::{Step, Store, Target, walk};

/// Which mailboxes.
#[derive(Clone, Debug, Args)]
pub struct Selection {
    /// Cyrus's configuration; says where mailboxes lie
    #[arg(long, value_name = "FILE", required_unless_present = "spool")]
    imapd_conf: Option<PathBuf>,
    /// A list of mailboxes: names, or the output of `ctl_mboxlist -d` of any release; - is standard
    /// input
    #[arg(long, value_name = "FILE", conflicts_with = "spool")]
    mailboxes: Option<PathBuf>,
    /// Names of mailboxes; without any and without a list, all mailboxes of all partitions
    #[arg(value_name = "NAME", conflicts_with = "spool")]
    names: Vec<String>,
    /// One mailbox directory, or a tree of them, without any configuration
    #[arg(long, value_name = "DIR", conflicts_with = "imapd_conf")]
    spool: Option<PathBuf>,
    /// Where the cyrus.* files lie, if not with the messages
    #[arg(long, value_name = "DIR", requires = "spool")]
    meta: Option<PathBuf>,
    /// With --spool: also the mailboxes below one
    #[arg(long, short, requires = "spool")]
    recursive: bool,
}

/// A selection whose configuration and list have been read.
#[derive(Clone, Debug)]
pub enum Selected {
    /// By name.
    Names(Arc<ImapdConf>, Vec<MailboxEntry>),
    /// All of a store.
    All(Store),
    /// The mailbox in the root of a plain tree.
    One(Target),
}

impl Selection {
    /// Reads configuration and list for a command that works on indexes up to version 10. Mailboxes
    /// in directories named after their unique id are left out, and that is said.
    pub fn load(&self) -> Result<Selected, Exit> {
        let mut selected = self.load_all(None)?;
        if let Selected::Names(_, names) = &mut selected {
            let all = names.len();
            names.retain(|listed| listed.uniqueid.is_none());
            if names.len() < all {
                complain(&format!(
                    "{} mailboxes of the list skipped: Cyrus 3.6 keeps them in directories named \
                     after their unique id, with SHA-1s in the index already; only scrub \
                     looks at them",
                    all - names.len()
                ));
            }
            if names.is_empty() {
                let why = "none of the mailboxes of the list is one for this command";
                return Err(nothing(why));
            }
        }
        Ok(selected)
    }

    /// Reads configuration and list; what is wrong has been said when it fails. `archive` is where
    /// archived messages of a plain tree lie.
    pub fn load_all(&self, archive: Option<&Path>) -> Result<Selected, Exit> {
        if let Some(dir) = &self.spool {
            let store = Store::plain(dir, self.meta.as_deref(), archive);
            let one = store.root().filter(|_| !self.recursive);
            return Ok(one.map_or(Selected::All(store), Selected::One));
        }
        let Some(path) = &self.imapd_conf else {
            return Err(Exit::Usage); // clap does not let this happen
        };
        let conf = Arc::new(load_conf(path)?);
        let mut names: Vec<MailboxEntry> =
            self.names.iter().map(|n| MailboxEntry::name(n)).collect();
        if let Some(path) = &self.mailboxes {
            names.extend(list(path)?);
            if names.is_empty() {
                return Err(nothing("the list has no mailbox of this host"));
            }
        }
        Ok(if names.is_empty() {
            Selected::All(Store::Conf(conf))
        } else {
            Selected::Names(conf, names)
        })
    }
}

/// Reads an `imapd.conf`; what is wrong has been said when it fails.
pub fn load_conf(path: &Path) -> Result<ImapdConf, Exit> {
    ImapdConf::load(path).map_err(|error| {
        complain(&error);
        error.exit()
    })
}

/// Opens a list that a person named, which may well be a pipe; `-` is standard input.
fn open_list(path: &Path) -> Result<File, Exit> {
    let file = if path == Path::new("-") {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::open(path)
    };
    file.map_err(|error| {
        complain(&format!("cannot read {}: {error}", path.display()));
        Exit::of_io(&error)
    })
}

/// The same, with the mtime of a regular file, nanoseconds since 1970.
pub fn open_dated_list(path: &Path) -> Result<(File, Option<i64>), Exit> {
    let list = open_list(path)?;
    let meta = list.metadata().ok().filter(std::fs::Metadata::is_file);
    let written = meta.map(|meta| meta.mtime().saturating_mul(1_000_000_000) + meta.mtime_nsec());
    Ok((list, written))
}

fn list(path: &Path) -> Result<Vec<MailboxEntry>, Exit> {
    let mut names = Vec::new();
    let mut skipped: BTreeMap<Skip, u64> = BTreeMap::new();
    for item in Reader::new(BufReader::new(open_list(path)?)) {
        match item.map(MailboxEntry::of) {
            Ok(Ok(listed)) => names.push(listed),
            Ok(Err(skip)) => *skipped.entry(skip).or_default() += 1,
            Err(error) => {
                complain(&format!("{}: {error}", path.display()));
                return Err(match error {
                    ListError::Io { source, .. } => Exit::of_io(&source),
                    _ => Exit::Data,
                });
            }
        }
    }
    if !skipped.is_empty() {
        let counts = skipped.iter().map(|(skip, n)| format!("{n} {skip}"));
        let counts: Vec<String> = counts.collect();
        let text = format!(
            "entries of the list that have no mailbox here: {}",
            counts.join(", ")
        );
        complain(&text);
    }
    Ok(names)
}

impl Selected {
    /// The directories whose user is the store's.
    pub fn directories(&self) -> Vec<PathBuf> {
        match self {
            Self::Names(conf, _) => directories(conf),
            Self::All(store) => store.directories(),
            Self::One(target) => vec![target.dirs.data().path()],
        }
    }

    /// The mailboxes, one after the other; can be asked again. With [`Leaves::Read`], for a scrub,
    /// also those that have messages only, and those of 3.6 in directories named after a unique id.
    pub fn steps(&self, leaves: Leaves) -> Box<dyn Iterator<Item = Step> + Send + '_> {
        match self {
            Self::Names(conf, names) => {
                let names = names.iter().cloned();
                Box::new(Resolver::new(Arc::clone(conf), names, leaves))
            }
            Self::All(store) => Box::new(walk(store, leaves)),
            Self::One(target) => Box::new(std::iter::once(Ok(target.clone()))),
        }
    }
}
