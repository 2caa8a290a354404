//! Mailboxes by name: from the command line, or from a list.
//!
//! A list has one mailbox a line: a plain name, or a line of `ctl_mboxlist -d` of Cyrus 2.0 to 3.4
//! (`NAME<TAB>[TYPE ]PARTITION<TAB or space>ACL`). Empty lines and lines that begin with `#` are
//! skipped. A name without a partition is looked for in the default partition, then in the others.

use std::collections::HashMap;
use std::sync::Arc;

use indexfile::mailbox::{ImapdConf, MailboxName, MetaFile};

use super::walk::Step;
use super::{Roots, Target};
use crate::finding::{Code, Finding};

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name, not yet checked.
    pub name: String,
    /// The partition, if the list says.
    pub partition: Option<String>,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListError {
    /// The JSON of Cyrus 3.6.
    #[error(
        "line {line}: this is the JSON dump of Cyrus 3.6, whose mailboxes mostly lie in uuid \
         directories; leave the list out, and the partitions are walked"
    )]
    Json {
        /// The line, from 1.
        line: usize,
    },
}

/// Reads one line; `None` if it names no local mailbox.
///
/// # Errors
/// [`ListError`].
pub fn parse_line(line: &str, number: usize) -> Result<Option<Listed>, ListError> {
    const NOT_HERE: u32 = 1 | 2 | 16; // remote, being made, deleted
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.starts_with('{') {
        return Err(ListError::Json { line: number });
    }
    let Some((name, rest)) = line.split_once('\t') else {
        return Ok(Some(Listed {
            name: line.to_owned(),
            partition: None,
        }));
    };
    let (kind, rest) = match rest.split_once(' ') {
        Some((kind, rest)) if !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_digit()) => {
            (kind.parse().unwrap_or(u32::MAX), rest)
        }
        _ => (0, rest),
    };
    let partition = rest.split([' ', '\t']).next().unwrap_or_default();
    if kind & NOT_HERE != 0 || partition.contains('!') {
        return Ok(None);
    }
    Ok(Some(Listed {
        name: name.to_owned(),
        partition: Some(partition.to_owned()).filter(|p| !p.is_empty()),
    }))
}

/// Turns names into targets.
pub struct Resolver<'a> {
    conf: &'a ImapdConf,
    roots: HashMap<String, Arc<Roots>>,
}

impl<'a> Resolver<'a> {
    /// Looks names up in the partitions of `conf`.
    #[must_use]
    pub fn new(conf: &'a ImapdConf) -> Self {
        Self {
            conf,
            roots: HashMap::new(),
        }
    }

    /// Finds one mailbox.
    ///
    /// # Errors
    /// A finding that says why there is none.
    pub fn resolve(&mut self, listed: &Listed) -> Step {
        let finding = |code, path, why: &dyn std::fmt::Display| {
            Err(Finding::new(&listed.name, code, path, why))
        };
        let name = match MailboxName::parse(&listed.name) {
            Ok(name) => name,
            Err(error) => return finding(Code::NoMailbox, std::path::PathBuf::new(), &error),
        };
        let default = self.conf.default_partition().map(|p| p.name.as_str());
        let all = self.conf.partitions().map(|p| p.name.as_str());
        let others = all.filter(|name| Some(*name) != default);
        let candidates: Vec<&str> = match &listed.partition {
            Some(partition) => vec![partition],
            None => default.into_iter().chain(others).collect(),
        };
        let mut first = None;
        for partition in candidates {
            let dirs = match self.conf.dirs(&name, partition) {
                Ok(dirs) => dirs,
                Err(error) => return finding(Code::NoMailbox, std::path::PathBuf::new(), &error),
            };
            let there = [MetaFile::Header, MetaFile::Index]
                .into_iter()
                .any(|file| std::fs::symlink_metadata(dirs.file(file)).is_ok());
            if there {
                let roots = match self.roots.get(partition) {
                    Some(roots) => Arc::clone(roots),
                    None => match Roots::of_partition(self.conf, partition) {
                        Ok(roots) => {
                            let roots = Arc::new(roots);
                            self.roots.insert(partition.to_owned(), Arc::clone(&roots));
                            roots
                        }
                        Err(error) => {
                            return finding(Code::NoMailbox, std::path::PathBuf::new(), &error);
                        }
                    },
                };
                return Ok(Target {
                    mailbox: name.to_string(),
                    roots,
                    sub: dirs.data().sub.clone(),
                });
            }
            first.get_or_insert_with(|| dirs.file_dir(MetaFile::Index).path());
        }
        let path = first.unwrap_or_default();
        let why = format!("{}: no such mailbox (no {})", listed.name, path.display());
        finding(Code::NoMailbox, path, &why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<(String, Option<String>)> {
        parse_line(text, 1)
            .expect("text")
            .map(|l| (l.name, l.partition))
    }

    #[test]
    fn lines_of_every_release_are_read() {
        let joe = |partition: &str| Some(("user.joe".to_owned(), Some(partition.to_owned())));
        assert_eq!(line("user.joe"), Some(("user.joe".to_owned(), None)));
        assert_eq!(line("user.joe\tdefault\tjoe\tlrs\t\n"), joe("default"));
        assert_eq!(line("user.joe\t0 default\tjoe\tlrs\t"), joe("default"));
        assert_eq!(line("user.joe\t0 fast joe\tlrs\t"), joe("fast"));
        assert_eq!(line("user.joe\t0 default "), joe("default"));
        let spaces = line("user.a b\t0 default a b\tlrs\t");
        assert_eq!(
            spaces,
            Some(("user.a b".to_owned(), Some("default".to_owned())))
        );
    }

    #[test]
    fn what_is_not_here_is_skipped() {
        for text in [
            "",
            "# comment",
            "user.x\t1 far!default x\tl\t",
            "user.x\t1 default x\tl\t",
        ] {
            assert_eq!(line(text), None, "{text}");
        }
        assert_eq!(parse_line("{", 3), Err(ListError::Json { line: 3 }));
    }
}
