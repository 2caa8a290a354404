//! `cyrus.header`: unique id, quota root and the names of the user flags.
//!
//! Promises: both forms are read, the text form of every release up to 3.4 and the list form of
//! 3.6. The file is never written here.

use crate::dir::{limit, read_in_store};
use crate::error::IoError;
use std::path::{Path, PathBuf};

/// The bytes every `cyrus.header` begins with.
pub const MAGIC: &[u8] = b"\xa1\x02\x8b\x0dCyrus mailbox header\n\
\"The best thing about this system was that it had lots of goals.\"\n\t--Jim Morris on Andrew\n";

/// Most user flags a mailbox can have.
const MAX_FLAGS: usize = 128;

/// Which of the two forms a header file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderForm {
    /// Lines of text: all releases up to 3.4.
    Text,
    /// One parenthesised list: written by 3.6 and later, unreadable for 2.x.
    Dlist,
}

/// What `cyrus.header` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderFile {
    /// The mailbox's own name, which only the list form has.
    pub name: Option<String>,
    /// Identifies this incarnation of the mailbox; empty in files from before 2.0.
    pub uniqueid: String,
    /// The quota root, if the mailbox has one.
    pub quota_root: Option<String>,
    /// Names of the user flags by their number; `None` for a number that is not in use.
    pub user_flags: Vec<Option<String>>,
    /// The form of the file.
    pub form: HeaderForm,
}

/// Why a `cyrus.header` cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The system could not read it.
    #[error(transparent)]
    Io(#[from] IoError),
    /// It does not begin as every `cyrus.header` does.
    #[error("{} is not a cyrus.header", path.display())]
    NotHeader {
        /// The file.
        path: PathBuf,
    },
    /// It begins well and goes on badly.
    #[error("{} is a damaged cyrus.header: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

impl HeaderFile {
    /// Reads a file of a store: not through a link, and not beyond [`limit::HEADER`].
    ///
    /// # Errors
    /// [`HeaderError`]
    pub fn open(path: &Path) -> Result<Self, HeaderError> {
        let bytes = read_in_store(path, limit::HEADER).map_err(IoError::from)?;
        Self::parse_at(&bytes, path)
    }

    /// Parses the content of a file.
    ///
    /// # Errors
    /// [`HeaderError`], with `cyrus.header` as the path.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        Self::parse_at(bytes, Path::new("cyrus.header"))
    }

    /// Parses the content of a file; `path` is for messages.
    ///
    /// # Errors
    /// [`HeaderError`]
    pub fn parse_at(bytes: &[u8], path: &Path) -> Result<Self, HeaderError> {
        let path = || path.to_path_buf();
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| HeaderError::NotHeader { path: path() })?;
        let rest = String::from_utf8_lossy(rest);
        let parsed = if rest.starts_with("%(") {
            dlist(&rest)
        } else {
            text(&rest)
        };
        let header = parsed.map_err(|reason| HeaderError::Damaged {
            path: path(),
            reason,
        })?;
        if header.user_flags.len() > MAX_FLAGS {
            return Err(HeaderError::Damaged {
                path: path(),
                reason: "more than 128 user flags",
            });
        }
        Ok(header)
    }

    /// The name of user flag number `k`, if it has one.
    #[must_use]
    pub fn flag_name(&self, k: usize) -> Option<&str> {
        self.user_flags.get(k)?.as_deref()
    }
}

/// `QUOTAROOT<TAB>UNIQUEID[<TAB>...]`, then the flag names each followed by a space, then the ACL.
fn text(rest: &str) -> Result<HeaderFile, &'static str> {
    let (first, rest) = rest.split_once('\n').ok_or("the first line does not end")?;
    let (quota, uniqueid) = match first.split_once('\t') {
        Some((quota, more)) => (quota, more.split('\t').next().unwrap_or("")),
        // Before 2.0 there was no unique id.
        None => (first, ""),
    };
    let flags = rest
        .split_once('\n')
        .ok_or("the line of user flags does not end")?
        .0;
    let flags = flags.strip_suffix(' ').unwrap_or(flags);
    let names = flags
        .split(' ')
        .map(|name| Some(name.to_owned()).filter(|n| !n.is_empty()));
    Ok(HeaderFile {
        name: None,
        uniqueid: uniqueid.to_owned(),
        quota_root: Some(quota.to_owned()).filter(|q| !q.is_empty()),
        user_flags: if flags.is_empty() {
            Vec::new()
        } else {
            names.collect()
        },
        form: HeaderForm::Text,
    })
}

/// A token of the list form.
#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Atom(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let mut all = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return Ok(all);
        };
        if let Some(after) = rest.strip_prefix("%(").or_else(|| rest.strip_prefix('(')) {
            all.push(Token::Open);
            rest = after;
        } else if first == ')' {
            all.push(Token::Close);
            rest = &rest[1..];
        } else if first == '"' {
            let mut atom = String::new();
            let mut chars = rest[1..].char_indices();
            let end = loop {
                match chars.next().ok_or("a quoted string does not end")? {
                    (i, '"') => break i,
                    (_, '\\') => atom.push(chars.next().ok_or("a quoted string does not end")?.1),
                    (_, c) => atom.push(c),
                }
            };
            all.push(Token::Atom(atom));
            rest = &rest[1 + end + 1..];
        } else if first == '{' {
            let (count, after) = rest[1..]
                .split_once("}\r\n")
                .ok_or("a literal has no length")?;
            let count: usize = count
                .trim_end_matches('+')
                .parse()
                .map_err(|_| "a literal has no length")?;
            all.push(Token::Atom(
                after
                    .get(..count)
                    .ok_or("a literal is cut short")?
                    .to_owned(),
            ));
            rest = &after[count..];
        } else {
            let end = rest.find([' ', '(', ')', '\n', '\r']).unwrap_or(rest.len());
            all.push(Token::Atom(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
}

/// `%(T e N name I UNIQUEID Q QUOTAROOT A %(...) U (flag NIL flag))`
fn dlist(rest: &str) -> Result<HeaderFile, &'static str> {
    let mut header = HeaderFile {
        name: None,
        uniqueid: String::new(),
        quota_root: None,
        user_flags: Vec::new(),
        form: HeaderForm::Dlist,
    };
    let mut tokens = tokens(rest)?.into_iter();
    if tokens.next() != Some(Token::Open) {
        return Err("the list does not begin");
    }
    loop {
        let key = match tokens.next().ok_or("the list does not end")? {
            Token::Close => return Ok(header),
            Token::Open => return Err("a list stands where a key should"),
            Token::Atom(key) => key,
        };
        let (mut list, mut depth) = (Vec::new(), 0_usize);
        loop {
            match tokens.next().ok_or("a value is missing")? {
                Token::Open => depth += 1,
                Token::Close => depth = depth.checked_sub(1).ok_or("a value is missing")?,
                Token::Atom(atom) => list.push(Some(atom).filter(|a| a != "NIL")),
            }
            if depth == 0 {
                break;
            }
        }
        match key.as_str() {
            "N" => header.name = list.pop().flatten(),
            "I" => header.uniqueid = list.pop().flatten().unwrap_or_default(),
            "Q" => header.quota_root = list.pop().flatten().filter(|q| !q.is_empty()),
            "U" => header.user_flags = list,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_magic(rest: &str) -> Vec<u8> {
        [MAGIC, rest.as_bytes()].concat()
    }

    #[test]
    fn the_magic_is_115_bytes() {
        assert_eq!(MAGIC.len(), 115);
    }

    #[test]
    fn both_forms_of_one_real_mailbox_say_the_same() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
        let text = HeaderFile::open(&fixtures.join("cyrus-2.3.16/a-v9-before/cyrus.header"))
            .expect("text form");
        let list =
            HeaderFile::open(&fixtures.join("cyrus-3.6.1/v17/cyrus.header")).expect("list form");
        assert_eq!(
            (text.form, list.form),
            (HeaderForm::Text, HeaderForm::Dlist)
        );
        assert_eq!(text.uniqueid, "6t1vo4vdbkrdyc31bte53jwh");
        assert_eq!(text.uniqueid, list.uniqueid);
        assert_eq!(text.user_flags, list.user_flags);
        assert_eq!(
            (text.name, list.name.as_deref()),
            (None, Some("user.joe.Old"))
        );
        assert_eq!(list.flag_name(2), Some("$Forwarded"));
        assert_eq!((list.flag_name(8), text.user_flags.len()), (None, 8));
    }

    #[test]
    fn holes_between_flags_keep_the_numbers() {
        let text = HeaderFile::parse(&with_magic(
            "user.joe\tabc\ta third\none  three \njoe\tlrs\t\n",
        ))
        .expect("sound");
        assert_eq!(text.quota_root.as_deref(), Some("user.joe"));
        assert_eq!(text.uniqueid, "abc");
        assert_eq!(
            text.user_flags,
            [Some("one".to_owned()), None, Some("three".to_owned())]
        );
        let list = HeaderFile::parse(&with_magic(
            "%(T e N \"a (b\" I abc Q user.joe A %(joe lrs) U (one NIL three))\n",
        ));
        let list = list.expect("sound");
        assert_eq!(
            (list.user_flags, list.quota_root),
            (text.user_flags, text.quota_root)
        );
    }

    #[test]
    fn old_and_empty_headers_are_read() {
        let old = HeaderFile::parse(&with_magic("\n\n")).expect("sound");
        assert_eq!((old.uniqueid.as_str(), old.user_flags.len()), ("", 0));
    }

    #[test]
    fn damage_is_distinguished_from_other_files() {
        assert!(matches!(
            HeaderFile::parse(b"From: me"),
            Err(HeaderError::NotHeader { .. })
        ));
        for bad in [
            "",
            "\tid\n",
            "%(I",
            "%(I \"x",
            "%(I x",
            "%(U (a b",
            "%(() x)",
            "%(I )",
            "%(I {9}\r\nab)",
        ] {
            assert!(
                matches!(
                    HeaderFile::parse(&with_magic(bad)),
                    Err(HeaderError::Damaged { .. })
                ),
                "{bad}"
            );
        }
        let many = format!("\tid\n{}\n\n", "f ".repeat(129));
        assert!(matches!(
            HeaderFile::parse(&with_magic(&many)),
            Err(HeaderError::Damaged { .. })
        ));
    }
}
