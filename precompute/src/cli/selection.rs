//! Which mailboxes a command is about: the arguments that all of them share.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;
use indexfile::mailbox::ImapdConf;
use indexfile::mailbox::list::{ListError, Reader, Skip};
use indexfile::walk::partitions_once;

use super::output::{complain, nothing};
use crate::targets::names::{Listed, Resolver};
use crate::targets::walk::{Step, Walk};
use crate::targets::{Roots, Target};

/// Which mailboxes.
#[derive(Clone, Debug, Args)]
pub struct Selection {
    /// Cyrus's configuration; says where mailboxes lie
    #[arg(long, value_name = "FILE", required_unless_present = "spool")]
    imapd_conf: Option<PathBuf>,
    /// A list of mailboxes: names, or the output of `ctl_mboxlist -d` of any release; - is standard input
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

/// What the arguments say, with configuration and list read.
#[derive(Clone, Debug)]
pub enum Source {
    /// A directory, perhaps another for the `cyrus.*` files, and whether to look below a mailbox.
    Spool {
        /// The messages.
        dir: PathBuf,
        /// See `--meta`.
        meta: Option<PathBuf>,
        /// See `--recursive`.
        recursive: bool,
    },
    /// A configuration, and the mailboxes if they were named.
    Conf(Arc<ImapdConf>, Option<Vec<Listed>>),
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
    pub fn source(&self) -> Result<Source, Exit> {
        if let Some(dir) = &self.spool {
            return Ok(Source::Spool {
                dir: dir.clone(),
                meta: self.meta.clone(),
                recursive: self.recursive,
            });
        }
        let Some(path) = &self.imapd_conf else {
            return Err(Exit::Usage); // clap does not let this happen
        };
        let conf = ImapdConf::load(path).map_err(|error| {
            complain(&error);
            Exit::Config
        })?;
        let mut names: Vec<Listed> = self.names.iter().map(|n| Listed::name(n)).collect();
        if let Some(path) = &self.mailboxes {
            names.extend(list(path)?);
            if names.is_empty() {
                return Err(nothing("the list has no mailbox of this host"));
            }
        } else if names.is_empty() {
            return Ok(Source::Conf(Arc::new(conf), None));
        }
        Ok(Source::Conf(Arc::new(conf), Some(names)))
    }

    /// The same for what works on indexes up to version 10: mailboxes in directories named after their
    /// unique id are left out, and that is said.
    pub fn load(&self) -> Result<Selected, Exit> {
        Ok(match self.source()? {
            Source::Spool {
                dir,
                meta,
                recursive,
            } => plain(&dir, meta.as_deref(), recursive),
            Source::Conf(conf, None) => Selected::All(conf),
            Source::Conf(conf, Some(mut names)) => {
                let all = names.len();
                names.retain(|listed| listed.uniqueid.is_none());
                if names.len() < all {
                    complain(&format!(
                        "{} mailboxes of the list skipped: Cyrus 3.6 keeps them in directories named after \
                         their unique id, with SHA-1s in the index already; only scrub looks at them",
                        all - names.len()
                    ));
                }
                if names.is_empty() {
                    return Err(nothing(
                        "none of the mailboxes of the list is one for this command",
                    ));
                }
                Selected::Names(conf, Arc::new(names))
            }
        })
    }
}

fn plain(spool: &Path, meta: Option<&Path>, recursive: bool) -> Selected {
    let roots = Roots::plain(spool, meta);
    let there = |name: &str| roots.index.join(name).symlink_metadata().is_ok();
    if !recursive && (there("cyrus.index") || there("cyrus.header")) {
        return Selected::One(Target {
            mailbox: spool.display().to_string(),
            roots: Arc::new(roots),
            sub: PathBuf::new(),
        });
    }
    Selected::Tree(roots)
}

fn list(path: &Path) -> Result<Vec<Listed>, Exit> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = std::fs::File::open(path).map_err(|error| {
            complain(&format!("cannot read {}: {error}", path.display()));
            Exit::of_io(&error)
        })?;
        Box::new(file)
    };
    let mut names = Vec::new();
    let mut skipped: BTreeMap<Skip, u64> = BTreeMap::new();
    for item in Reader::new(BufReader::new(source)) {
        match item.map(Listed::of) {
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
    /// The mailboxes, one after the other; can be asked again.
    pub fn steps(&self) -> Box<dyn Iterator<Item = Step> + Send + '_> {
        match self {
            Self::Names(conf, names) => {
                let mut resolver = Resolver::new(conf);
                Box::new(names.iter().map(move |listed| resolver.resolve(listed)))
            }
            Self::All(conf) => {
                // Of partitions that share all their directories one.
                let partitions = partitions_once(conf).into_iter();
                let roots = partitions.filter_map(|p| Roots::of_partition(conf, &p.name).ok());
                let roots: Vec<Roots> = roots.collect();
                let walks = roots.into_iter().map(|roots| Walk::new(roots, Some(conf)));
                Box::new(walks.flatten())
            }
            Self::One(target) => Box::new(std::iter::once(Ok(target.clone()))),
            Self::Tree(roots) => Box::new(Walk::new(roots.clone(), None)),
        }
    }
}
