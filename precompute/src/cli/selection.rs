//! Which mailboxes a command is about: the arguments that all of them share.

use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;
use indexfile::mailbox::ImapdConf;

use super::output::complain;
use crate::targets::names::{Listed, Resolver, parse_line};
use crate::targets::walk::{Step, Walk};
use crate::targets::{Roots, Target};

/// Which mailboxes.
#[derive(Clone, Debug, Args)]
pub struct Selection {
    /// Cyrus's configuration; says where mailboxes lie
    #[arg(long, value_name = "FILE", required_unless_present = "spool")]
    imapd_conf: Option<PathBuf>,
    /// A list of mailboxes: names, or the output of `ctl_mboxlist -d`; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "spool")]
    mailboxes: Option<PathBuf>,
    /// Names of mailboxes; without any and without a list, all mailboxes of all partitions
    #[arg(value_name = "NAME", conflicts_with = "spool")]
    names: Vec<String>,
    /// One mailbox directory, or a tree of them, without any configuration
    #[arg(long, value_name = "DIR", conflicts_with = "imapd_conf")]
    spool: Option<PathBuf>,
    /// Where the cyrus.* files lie, if not beside the messages
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
    Names(Arc<ImapdConf>, Arc<Vec<Listed>>),
    /// All of a configuration.
    All(Arc<ImapdConf>),
    /// One directory.
    One(Target),
    /// A tree.
    Tree(Roots),
}

impl Selection {
    /// Reads configuration and list; what is wrong has been said when it fails.
    pub fn load(&self) -> Result<Selected, Exit> {
        if let Some(spool) = &self.spool {
            return Ok(self.plain(spool));
        }
        let Some(path) = &self.imapd_conf else {
            return Err(Exit::Usage); // clap does not let this happen
        };
        let conf = ImapdConf::load(path).map_err(|error| {
            complain(&error);
            Exit::Config
        })?;
        let conf = Arc::new(conf);
        let name = |name: &String| Listed {
            name: name.clone(),
            partition: None,
        };
        let mut names: Vec<Listed> = self.names.iter().map(name).collect();
        if let Some(path) = &self.mailboxes {
            names.extend(list(path)?);
        } else if names.is_empty() {
            return Ok(Selected::All(conf));
        }
        Ok(Selected::Names(conf, Arc::new(names)))
    }

    fn plain(&self, spool: &Path) -> Selected {
        let roots = Roots::plain(spool, self.meta.as_deref());
        let there = |name: &str| roots.index.join(name).symlink_metadata().is_ok();
        if !self.recursive && (there("cyrus.index") || there("cyrus.header")) {
            return Selected::One(Target {
                mailbox: spool.display().to_string(),
                roots: Arc::new(roots),
                sub: PathBuf::new(),
            });
        }
        Selected::Tree(roots)
    }
}

fn list(path: &Path) -> Result<Vec<Listed>, Exit> {
    let failed = |error: io::Error| {
        complain(&format!("cannot read {}: {error}", path.display()));
        Exit::of_io(&error)
    };
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let mut names = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(source).split(b'\n')) {
        let line = line.map_err(failed)?;
        let Ok(line) = String::from_utf8(line) else {
            complain(&format!("{} line {number}: not UTF-8", path.display()));
            return Err(Exit::Data);
        };
        match parse_line(&line, number) {
            Ok(listed) => names.extend(listed),
            Err(error) => {
                complain(&format!("{}: {error}", path.display()));
                return Err(Exit::Usage);
            }
        }
    }
    Ok(names)
}

impl Selected {
    /// The mailboxes, one after the other; can be asked again.
    pub fn steps(&self) -> Box<dyn Iterator<Item = Step> + Send + '_> {
        match self {
            Self::Names(conf, names) => {
                let mut resolver = Resolver::new(conf);
                Box::new(names.iter().map(move |listed| resolver.resolve(listed)))
            }
            Self::All(conf) => {
                let partitions = conf.partitions().map(|p| p.name.as_str());
                let roots = partitions.filter_map(|name| Roots::of_partition(conf, name).ok());
                let roots: Vec<Roots> = roots.collect();
                let walks = roots.into_iter().map(|roots| Walk::new(roots, Some(conf)));
                Box::new(walks.flatten().flatten())
            }
            Self::One(target) => Box::new(std::iter::once(Ok(target.clone()))),
            Self::Tree(roots) => Box::new(Walk::new(roots.clone(), None).flatten()),
        }
    }
}
