//! What mailboxes are asked for: names, lists, or all that a host has; and of those, which.

use std::path::PathBuf;

use indexfile::mailbox::MailboxName;

use super::keep::Keep;
use super::leave_out::LeaveOut;

/// Where mailboxes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Named one by one.
    Names(Vec<MailboxName>),
    /// Named one by one as administrators write them; [`super::resolve`] makes these internal names
    /// before anything else is done with them.
    Typed(Vec<String>),
    /// A list in a file.
    File(PathBuf),
    /// A list on standard input.
    Stdin,
    /// Every mailbox of the master, as its slotd finds them on the disks.
    Master,
    /// What hosts listed, written down in a file. Nobody named these mailboxes one by one: that one
    /// is gone when its turn comes is no error, and a start at which the hosts list others goes on
    /// with the same run.
    Listed(PathBuf),
    /// Every mailbox of the replica, in the same way. Its partitions need not be the master's, so
    /// none is named.
    Replica,
    /// Those of another source that are on this partition, or that do not tell theirs and are meant
    /// there.
    On(String, Box<Source>),
    /// Those of another source that are meant.
    Kept(Keep, Box<Source>),
}

impl Source {
    /// Whether it is what hosts list, and not what somebody named.
    pub(crate) fn is_walk(&self) -> bool {
        match self {
            Self::Master | Self::Replica | Self::Listed(_) => true,
            Self::On(_, source) | Self::Kept(_, source) => source.is_walk(),
            _ => false,
        }
    }

    /// Whether it is of another list than the master's own, and may be less than what that has.
    pub(crate) fn is_listed_elsewhere(&self) -> bool {
        match self {
            Self::Master => false,
            Self::On(_, source) | Self::Kept(_, source) => source.is_listed_elsewhere(),
            _ => true,
        }
    }

    /// The same of the replica, if it is what the master lists; its partitions are its own.
    pub(crate) fn on_replica(&self) -> Option<Self> {
        match self {
            Self::Master => Some(Self::Replica),
            Self::Kept(keep @ (Keep::User(_) | Keep::Match(_) | Keep::Tranche(_)), source) => {
                Some(Self::Kept(keep.clone(), Box::new(source.on_replica()?)))
            }
            _ => None,
        }
    }

    /// Whether one pair of several may have none of it: it is chosen by a rule, or was listed for
    /// all pairs together.
    pub(crate) fn may_be_empty(&self) -> bool {
        match self {
            Self::Listed(_) => true,
            Self::On(_, source) => source.may_be_empty(),
            Self::Kept(keep, source) => keep.words().is_some() || source.may_be_empty(),
            _ => false,
        }
    }

    /// The partition to which it is restricted.
    pub(crate) fn partition(&self) -> Option<&str> {
        match self {
            Self::On(partition, _) => Some(partition),
            Self::Kept(_, source) => source.partition(),
            _ => None,
        }
    }

    /// The same without what is on these partitions. Canaries are taken of what that leaves.
    #[must_use]
    pub fn without(self, partitions: &LeaveOut) -> Self {
        match self {
            Self::Kept(canaries @ Keep::Canary(_), source) => {
                Self::Kept(canaries, Box::new(source.without(partitions)))
            }
            source => Self::Kept(Keep::NotOn(partitions.clone()), Box::new(source)),
        }
    }

    /// The partitions that are left out of it.
    pub(crate) fn left_out(&self) -> Option<&LeaveOut> {
        match self {
            Self::Kept(Keep::NotOn(partitions), _) => Some(partitions),
            Self::On(_, source) | Self::Kept(_, source) => source.left_out(),
            _ => None,
        }
    }

    /// What a person calls it, if it is a list.
    pub(crate) fn list(&self) -> Option<String> {
        match self {
            Self::File(path) => Some(format!("the list {}", path.display())),
            Self::Stdin => Some("the list on standard input".to_owned()),
            Self::On(_, source) | Self::Kept(_, source) => source.list(),
            Self::Listed(_) => Some("what was listed for this pair".to_owned()),
            Self::Names(_) | Self::Typed(_) | Self::Master | Self::Replica => None,
        }
    }

    /// What of it is meant, in words.
    pub(crate) fn keeps(&self) -> Vec<String> {
        match self {
            Self::On(_, source) => source.keeps(),
            Self::Kept(keep, source) => {
                let mut keeps = source.keeps();
                keeps.extend(keep.words());
                keeps
            }
            _ => Vec::new(),
        }
    }

    /// As it is given on the command line; `None` where nothing is.
    pub(crate) fn words(&self) -> Option<String> {
        match self {
            Self::Names(names) => {
                let names: Vec<String> = names.iter().map(|n| quoted(n.as_str())).collect();
                Some(names.join(" "))
            }
            Self::Typed(names) => {
                let names: Vec<String> = names.iter().map(|n| quoted(n)).collect();
                Some(names.join(" "))
            }
            Self::File(path) => Some(format!("--mailboxes {}", quoted(&path.to_string_lossy()))),
            Self::Stdin => Some("--mailboxes -".to_owned()),
            Self::Master | Self::Replica | Self::Listed(_) => None,
            Self::On(partition, source) => {
                let words = source.words().map(|w| w + " ").unwrap_or_default();
                Some(format!("{words}--partition {}", quoted(partition)))
            }
            Self::Kept(keep, source) => match (source.words(), keep.words()) {
                (Some(source), Some(keep)) => Some(format!("{source} {keep}")),
                (source, keep) => source.or(keep),
            },
        }
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
