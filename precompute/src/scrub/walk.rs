//! Finding mailboxes by walking the partitions: legacy directories, hashed or not, and `uuid/C1/C2/ID`.
//!
//! The walk is [`indexfile::walk`], over all roots of a partition: a mailbox whose spool is not mounted, and messages whose
//! index is gone, are found and told of. Links are not followed; a link to a directory is told of, because a mailbox may
//! hide behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::mailbox::MetaFile;
use indexfile::mailbox::{HeaderFile, ImapdConf, name_of_dir};
use indexfile::walk::{self, Leaves, Odd, OddKind, Tree, partitions_once};

use super::finding::{Code, Finding};
use super::mailbox::Mailbox;

/// What a walk brings.
pub type Step = Result<Mailbox, Finding>;

/// Where the mailbox at one place below the roots of a partition has its files.
#[must_use]
pub fn mailbox_at(
    conf: &ImapdConf,
    partition: &str,
    sub: &Path,
    name: Option<&str>,
) -> Option<Mailbox> {
    let partition = conf.partition(partition)?;
    let dirs = conf.dirs_at(partition, sub);
    let data = dirs.data().path();
    let named = name.is_some();
    Some(Mailbox {
        name: name.map_or_else(|| data.display().to_string(), str::to_owned),
        archive: partition.archive_root.as_ref().map(|root| root.join(sub)),
        header: dirs.file(MetaFile::Header),
        index: dirs.file(MetaFile::Index),
        expunge: dirs.file(MetaFile::Expunge),
        data,
        named,
    })
}

/// Where 3.6 and later put the mailbox with this unique id.
pub(super) fn uuid_dir(uniqueid: &str) -> Option<PathBuf> {
    let good = uniqueid
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (first, second) = (uniqueid.get(..1)?, uniqueid.get(1..2)?);
    good.then(|| ["uuid", first, second, uniqueid].iter().collect())
}

fn is_uuid_dir(sub: &Path) -> bool {
    let uniqueid = sub.file_name().and_then(std::ffi::OsStr::to_str);
    uniqueid.and_then(uuid_dir).is_some_and(|dir| dir == sub)
}

/// The roots of one partition, or of a tree without any configuration.
#[derive(Clone, Debug)]
enum Part {
    Conf(Arc<ImapdConf>, String),
    Plain {
        data: PathBuf,
        meta: PathBuf,
        archive: Option<PathBuf>,
    },
}

impl Part {
    /// What findings about its roots are told under.
    fn name(&self) -> String {
        match self {
            Self::Conf(_, partition) => format!("partition-{partition}"),
            Self::Plain { data, .. } => data.display().to_string(),
        }
    }

    /// The mailbox at `sub` with the best name there is for it.
    fn mailbox(&self, sub: &Path) -> Option<Mailbox> {
        let (conf, partition) = match self {
            Self::Conf(conf, partition) => (conf, partition),
            Self::Plain {
                data,
                meta,
                archive,
            } => {
                let archive = archive.as_ref().map(|root| root.join(sub));
                let (data, meta) = (data.join(sub), meta.join(sub));
                let mailbox = Mailbox::plain(&data, Some(&meta), archive.as_deref());
                return Some(Mailbox {
                    named: false,
                    ..mailbox
                });
            }
        };
        let mut mailbox = mailbox_at(conf, partition, sub, None)?;
        if is_uuid_dir(sub) {
            let header = HeaderFile::open(&mailbox.header).ok();
            if let Some(name) = header.and_then(|header| header.name) {
                mailbox.name = name;
            }
        } else if let Some(name) = name_of_dir(conf, partition, sub) {
            mailbox.name = name.to_string();
        }
        Some(mailbox)
    }
}

/// Walks the roots of partitions, or a plain tree.
pub struct Walk {
    parts: std::vec::IntoIter<Part>,
    current: Option<(Part, walk::Walk)>,
}

impl Walk {
    /// Walks all partitions of a configuration, each directory once.
    #[must_use]
    pub fn new(conf: &Arc<ImapdConf>) -> Self {
        let part = |name: &str| Part::Conf(Arc::clone(conf), name.to_owned());
        let partitions = partitions_once(conf).into_iter();
        Self::of(partitions.map(|p| part(&p.name)).collect())
    }

    /// Walks a tree of messages, whose indexes lie in a tree of the same form, or beside them.
    #[must_use]
    pub fn plain(data: &Path, meta: Option<&Path>, archive: Option<&Path>) -> Self {
        Self::of(vec![Part::Plain {
            data: data.to_owned(),
            meta: meta.unwrap_or(data).to_owned(),
            archive: archive.map(Path::to_owned),
        }])
    }

    fn of(parts: Vec<Part>) -> Self {
        Self {
            parts: parts.into_iter(),
            current: None,
        }
    }
}

impl Part {
    fn walk(&self) -> Option<walk::Walk> {
        Some(match self {
            Self::Conf(conf, partition) => {
                let tree = Tree::of_partition(conf, conf.partition(partition)?);
                walk::Walk::new(&tree, Leaves::Read).beside(conf)
            }
            Self::Plain {
                data,
                meta,
                archive,
            } => {
                let tree = Tree::plain(data, Some(meta), archive.as_deref());
                walk::Walk::new(&tree, Leaves::Read)
            }
        })
    }

    fn odd(&self, odd: Odd) -> Option<Finding> {
        let (code, text) = match odd.kind {
            OddKind::Link => (
                Code::Link,
                "a symbolic link to a directory, not followed".to_owned(),
            ),
            OddKind::NoRoot => (
                Code::NoSpool,
                "no such directory (is it mounted?)".to_owned(),
            ),
            OddKind::Denied => (
                Code::Unreadable,
                "not permitted to read the directory".to_owned(),
            ),
            OddKind::LostAndFound | OddKind::NotText => return None,
            _ => (Code::Io, format!("cannot read the directory: {}", odd.why)),
        };
        Some(Finding::new(code, &self.name(), odd.path, text))
    }

    fn step(&self, step: walk::Step) -> Option<Step> {
        match step {
            walk::Step::Odd(odd) => self.odd(odd).map(Err),
            walk::Step::Found(found) => {
                // An expunge file alone lists nothing that anybody could open.
                let of_use = found.index.is_there() || found.header.is_there() || found.messages;
                let mailbox = of_use.then(|| self.mailbox(&found.sub)).flatten();
                mailbox.map(Ok)
            }
        }
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some((part, walk)) = &mut self.current {
                if let Some(step) = walk.next() {
                    match part.step(step) {
                        Some(step) => return Some(step),
                        None => continue,
                    }
                }
                self.current = None;
            }
            let part = self.parts.next()?;
            self.current = part.walk().map(|walk| (part, walk));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_directories_are_told_from_mailboxes_that_look_like_them() {
        let dir = uuid_dir("6t1vo4vdbkrdyc31bte53jwh").expect("an id");
        assert_eq!(dir, Path::new("uuid/6/t/6t1vo4vdbkrdyc31bte53jwh"));
        assert!(is_uuid_dir(&dir));
        for other in [
            "uuid",
            "uuid/6/t",
            "uuid/6/x/6t1vo",
            "user/6/t/6t1vo",
            "uuid/6/t/6t1vo/sub",
            "",
        ] {
            assert!(!is_uuid_dir(Path::new(other)), "{other}");
        }
        for bad in ["", "x", "../etc", "a/b", "a.b"] {
            assert_eq!(uuid_dir(bad), None, "{bad}");
        }
    }
}
