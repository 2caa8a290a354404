//! The answer of `LIST`: mailboxes, and what may be one and is not listed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use indexfile::mailbox::MailboxName;

use super::answer::name;
use super::escape::visible;
use super::{FieldError, Fields, Named, escape, unescape};

/// `LIST`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Mailboxes, all on one partition.
    pub names: Vec<MailboxName>,
    /// The partition of all of them.
    pub partition: String,
    /// The last one, to go on after; `None` at the end of the list.
    pub next: Option<Named>,
    /// How many directories were met on the way here, since the page before, that may be mailboxes
    /// and are not listed.
    pub odd: u64,
    /// How many of each kind. They may come to less than `odd`, by kinds of a later release.
    pub odd_kinds: BTreeMap<OddKind, u64>,
    /// The first of them.
    pub odd_list: Vec<Odd>,
    /// Of `names` those that other partitions have too, and which: only Cyrus's mailboxes database
    /// knows which is right.
    pub twice: Vec<DuplicateName>,
}

/// A name on more than one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateName {
    /// The mailbox.
    pub mailbox: MailboxName,
    /// The other partitions.
    pub partitions: Vec<String>,
}

impl DuplicateName {
    fn to_word(&self) -> String {
        let others = self.partitions.iter().map(|p| escape(p.as_bytes()));
        let others: Vec<String> = others.collect();
        format!("{}:{}", self.mailbox.uri_escaped(), others.join(":"))
    }

    /// How many bytes it takes on the wire, with its comma.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.to_word().len() + 1
    }

    fn from_word(word: &str) -> Result<DuplicateName, FieldError> {
        let key = "twice";
        let text = |word: &str| unescape(word).map_err(|source| FieldError::Escape { key, source });
        let mut words = word.split(':');
        let mailbox = name(key, &text(words.next().unwrap_or_default())?)?;
        let partitions = words
            .map(|word| Ok(String::from_utf8_lossy(&text(word)?).into_owned()))
            .collect::<Result<_, FieldError>>()?;
        Ok(DuplicateName {
            mailbox,
            partitions,
        })
    }
}

/// A directory that may be a mailbox and is not listed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Odd {
    /// Why it is not.
    pub kind: OddKind,
    /// Where it is on that host.
    pub path: PathBuf,
}

/// Why a directory is not listed.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum OddKind {
    /// A symbolic link to a directory: what is behind it is not looked at.
    Symlink,
    /// It has a cyrus.header and no cyrus.index.
    NoIndex,
    /// It has a cyrus.index and no cyrus.header.
    NoHeader,
    /// Its name is not one that Cyrus gives to a mailbox's directory.
    Name,
    /// It has messages or a cyrus.expunge, and neither cyrus.header nor cyrus.index.
    Remains,
    /// The system could not read it.
    Unreadable,
    /// slotd may not read it.
    Denied,
    /// The root of a partition that is not mounted, or not there.
    Unmounted,
    /// The root of a partition that is no directory.
    NotDirectory,
    /// The file system's own `lost+found`, not empty or not ours to read.
    LostAndFound,
}

impl OddKind {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    const fn sentence(self) -> &'static str {
        match self {
            OddKind::Symlink => "is a symbolic link, and what is behind it is not listed",
            OddKind::NoIndex => "has a cyrus.header and no cyrus.index",
            OddKind::NoHeader => "has a cyrus.index and no cyrus.header",
            OddKind::Name => "is not named as Cyrus names a mailbox's directory",
            OddKind::Remains => {
                "has messages or a cyrus.expunge, and neither cyrus.header nor cyrus.index"
            }
            OddKind::Unreadable => "could not be read, and what is below it is not listed",
            OddKind::Denied => "may not be read by slotd, and what is below it is not listed",
            OddKind::Unmounted => "is not mounted, or not there, and nothing on it is listed",
            OddKind::NotDirectory => "is no directory, and nothing on it is listed",
            OddKind::LostAndFound => {
                "is the file system's own, and what may be in it is not listed"
            }
        }
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line end in a name must not begin a line of its own.
        let path = visible(&self.path.to_string_lossy());
        write!(f, "{path} {}", self.kind.sentence())
    }
}

impl Odd {
    fn to_word(&self) -> String {
        let path = escape(self.path.as_os_str().as_bytes());
        format!("{}:{path}", self.kind.as_str())
    }

    /// How many bytes it takes on the wire, with its comma.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.to_word().len() + 1
    }

    /// From the wire; `None` for a kind that this release does not know.
    fn from_word(word: &str) -> Result<Option<Odd>, FieldError> {
        let key = "odd_list";
        let malformed = || FieldError::Malformed {
            key,
            value: word.to_owned(),
        };
        let (kind, path) = word.split_once(':').ok_or_else(malformed)?;
        let path = unescape(path).map_err(|source| FieldError::Escape { key, source })?;
        Ok(kind.parse().ok().map(|kind| Odd {
            kind,
            path: Path::new(OsStr::from_bytes(&path)).to_owned(),
        }))
    }
}

/// `KIND:N`; `None` for a kind that this release does not know.
fn kind_count(word: &str) -> Result<Option<(OddKind, u64)>, FieldError> {
    let malformed = || FieldError::Malformed {
        key: "odd_kinds",
        value: word.to_owned(),
    };
    let (kind, count) = word.split_once(':').ok_or_else(malformed)?;
    let count = count.parse().map_err(|_| malformed())?;
    Ok(kind.parse().ok().map(|kind| (kind, count)))
}

impl Listed {
    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let next = self
            .next
            .as_ref()
            .map_or_else(String::new, |n| n.mailbox.to_string());
        let fields = Fields::new()
            .with("count", self.names.len())
            .with("next", next)
            .with("partition", &self.partition)
            .with_list("names", &self.names);
        let fields = if self.twice.is_empty() {
            fields
        } else {
            let words: Vec<String> = self.twice.iter().map(DuplicateName::to_word).collect();
            fields.with_word("twice", words.join(","))
        };
        if self.odd == 0 {
            return fields;
        }
        let words: Vec<String> = self.odd_list.iter().map(Odd::to_word).collect();
        let kinds = self.odd_kinds.iter();
        let kinds: Vec<String> = kinds.map(|(k, n)| format!("{}:{n}", k.as_str())).collect();
        fields
            .with("odd", self.odd)
            .with_word("odd_kinds", kinds.join(","))
            .with_word("odd_list", words.join(","))
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Listed, FieldError> {
        let partition = fields.text("partition")?;
        let next = fields.bytes("next")?;
        let next = if next.is_empty() {
            None
        } else {
            Some(Named {
                mailbox: name("next", &next)?,
                partition: Some(partition.clone()),
            })
        };
        let names = fields
            .list("names")?
            .iter()
            .map(|n| name("names", n))
            .collect::<Result<_, _>>()?;
        let words = fields.word("odd_list").unwrap_or_default().split(',');
        let odd_list = words
            .filter(|word| !word.is_empty())
            .filter_map(|word| Odd::from_word(word).transpose())
            .collect::<Result<_, _>>()?;
        let kinds = fields.word("odd_kinds").unwrap_or_default().split(',');
        let odd_kinds = kinds
            .filter(|word| !word.is_empty())
            .filter_map(|word| kind_count(word).transpose())
            .collect::<Result<_, _>>()?;
        let twice = fields.word("twice").unwrap_or_default().split(',');
        let twice = twice
            .filter(|word| !word.is_empty())
            .map(DuplicateName::from_word)
            .collect::<Result<_, _>>()?;
        Ok(Listed {
            twice,
            names,
            partition,
            next,
            odd: fields.get_optional("odd")?.unwrap_or(0),
            odd_kinds,
            odd_list,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_odd_survives_the_trip_and_a_page_without_it_does_not_speak_of_it() {
        let mut page = Listed {
            partition: "default".to_owned(),
            ..Listed::default()
        };
        assert!(page.to_fields().word("odd").is_none());
        for (kind, path) in [
            (OddKind::Symlink, &b"/var/spool/user/joe/a, b: c"[..]),
            (OddKind::NoIndex, b"/var/spool/user/%41"),
            (OddKind::Name, b"/var/spool/user/\xff\n"),
        ] {
            page.odd_list.push(Odd {
                kind,
                path: PathBuf::from(OsStr::from_bytes(path)),
            });
        }
        page.odd = 7;
        page.odd_kinds = [(OddKind::Symlink, 1), (OddKind::Name, 6)].into();
        page.twice.push(DuplicateName {
            mailbox: name("twice", b"user.ann").unwrap(),
            partitions: vec!["two".to_owned(), "a:b,c d".to_owned()],
        });
        assert_eq!(Listed::from_fields(&page.to_fields()), Ok(page.clone()));
        let told = page.odd_list[2].to_string();
        assert!(told.contains("\\n is not named"), "{told}");
    }

    #[test]
    fn a_kind_of_a_later_release_is_counted_and_not_named() {
        let fields = Listed::default()
            .to_fields()
            .with("odd", 2)
            .with_word("odd_kinds", "symlink:1,other:1".to_owned())
            .with_word("odd_list", "symlink:%2Fa,other:%2Fb".to_owned());
        let page = Listed::from_fields(&fields).unwrap();
        assert_eq!((page.odd, page.odd_list.len()), (2, 1));
        assert_eq!(page.odd_kinds, [(OddKind::Symlink, 1)].into());
    }
}
