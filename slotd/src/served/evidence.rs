//! What tells a later Cyrus from one of 2.3, and the rule by which it is judged. Knows no file and
//! no process.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

/// So many reasons are spelled out.
const SPELLED_OUT: usize = 3;
/// At most this many characters are shown of a proof that is not known.
const SHOWN: usize = 100;

/// Who serves a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Cyrus 2.3 or earlier, as far as everything that was looked at says.
    Cyrus23,
    /// Cyrus 2.4 or later.
    Cyrus24,
    /// It could not be found out.
    Unknown,
}

impl Served {
    /// The word in `HELLO`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Served::Cyrus23 => "2.3",
            Served::Cyrus24 => "2.4+",
            Served::Unknown => "unknown",
        }
    }
}

/// Something that tells a later Cyrus from one of 2.3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A mailbox name lock: 2.4 and later leave them for ever, 2.3 has none.
    NameLock(#[serde(serialize_with = "lossy")] PathBuf),
    /// A twoskip database, which 2.5 brought.
    Twoskip(#[serde(serialize_with = "lossy")] PathBuf),
    /// A mailboxes.db with entries in the list form of 2.5.
    ListEntries(#[serde(serialize_with = "lossy")] PathBuf),
    /// A user's file that 2.3 does not know: conversations, counters and the like.
    UserFile(#[serde(serialize_with = "lossy")] PathBuf),
    /// A cyrus.header in the list form of 3.6.
    ListHeader(#[serde(serialize_with = "lossy")] PathBuf),
    /// A unique id in the form of 2.5 and later; 2.3 makes 16 hexadecimal digits.
    UniqueId(#[serde(serialize_with = "lossy")] PathBuf),
    /// An index of version 12 or later.
    Version(#[serde(serialize_with = "lossy")] PathBuf, u32),
    /// `imapd.conf` asks for a database format that 2.3 does not start with.
    Format(String),
    /// An option of `imapd.conf` that 2.3 does not know: it was written for a later server.
    Option(String),
    /// A directory for name locks, without any.
    EmptyLockDirectory(PathBuf),
    /// Something that could not be looked at, and why.
    Unseen(#[serde(serialize_with = "lossy")] PathBuf, String),
    /// A proof that was kept, of a kind that this release does not know.
    #[serde(untagged)]
    Other(serde_json::Value),
}

/// A path may be no text, which JSON has not.
fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

impl Evidence {
    /// Whether no Cyrus of 2.3 can have left it. What is no proof is a doubt.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        !matches!(
            self,
            Evidence::Option(_) | Evidence::EmptyLockDirectory(_) | Evidence::Unseen(..)
        )
    }

    /// Whether it is proof for ever, because a later Cyrus left it in the store. A line of
    /// `imapd.conf` is proof only while it is there: it may be written before the server comes.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.is_proof() && !matches!(self, Evidence::Format(_))
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Evidence::NameLock(path) => write!(f, "{} is a mailbox name lock", path.display()),
            Evidence::Twoskip(path) => write!(f, "{} is a twoskip database", path.display()),
            Evidence::ListEntries(path) => {
                write!(f, "{} has entries in the form of 2.5", path.display())
            }
            Evidence::UserFile(path) => {
                write!(f, "{} is a file that 2.3 does not know", path.display())
            }
            Evidence::ListHeader(path) => {
                write!(f, "{} has the list form of 3.6", path.display())
            }
            Evidence::UniqueId(path) => {
                write!(
                    f,
                    "{} has a unique id in the form of 2.5 and later",
                    path.display()
                )
            }
            Evidence::Version(path, version) => {
                write!(f, "{} has version {version}", path.display())
            }
            Evidence::Format(option) => {
                write!(f, "imapd.conf says {option}, with which 2.3 does not start")
            }
            Evidence::Option(option) => {
                write!(
                    f,
                    "imapd.conf has the option {option}, which 2.3 does not know"
                )
            }
            Evidence::EmptyLockDirectory(path) => write!(
                f,
                "{} is a directory for mailbox name locks",
                path.display()
            ),
            Evidence::Unseen(path, why) => {
                write!(f, "{} could not be looked at: {why}", path.display())
            }
            Evidence::Other(proof) => {
                let text: String = proof.to_string().chars().take(SHOWN).collect();
                write!(f, "a later release of slotd kept {text}")
            }
        }
    }
}

/// The rule: one proof is enough, and one doubt is enough not to know.
#[must_use]
pub fn judge(evidence: &[Evidence]) -> Served {
    if evidence.iter().any(Evidence::is_proof) {
        Served::Cyrus24
    } else if evidence.is_empty() {
        Served::Cyrus23
    } else {
        Served::Unknown
    }
}

/// Why a store is not taken for one of 2.3, in words: the proofs, or else the doubts.
pub(super) fn reasons(evidence: &[Evidence]) -> String {
    let proofs = evidence.iter().any(Evidence::is_proof);
    let all: Vec<String> = evidence
        .iter()
        .filter(|e| e.is_proof() == proofs)
        .map(ToString::to_string)
        .collect();
    let mut text = all[..all.len().min(SPELLED_OUT)].join("; ");
    if all.len() > SPELLED_OUT {
        text.push_str("; and more");
    }
    text
}
