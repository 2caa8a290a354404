//! Mailboxes by name, of any release: legacy directories first, then the uuid directories of 3.6.
//!
//! A list may be plain names, `ctl_mboxlist -d` of 2.0 to 3.4, or its JSON of 3.6, which alone says
//! where a uuid directory is. Other names that have no legacy directory are looked for by walking the
//! uuid directories once and reading each `cyrus.header`, which has the mailbox's name since 3.6.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::mailbox::{ImapdConf, MailboxName};

use super::finding::{Code, Finding};
use super::mailbox::Mailbox;
use super::walk::{Step, Walk, mailbox_at, uuid_dir};
use crate::targets::names::{Listed, parse_line};

/// Reads the lines of one list.
#[derive(Debug, Default)]
pub struct ListReader {
    json: bool,
    line: usize,
}

/// A mailbox of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its internal name.
    pub name: String,
    /// The partition, if the list says.
    pub partition: Option<String>,
    /// The unique id, if the list says that the directory is named by it.
    pub uniqueid: Option<String>,
}

impl Wanted {
    /// A mailbox of which only the name is known.
    #[must_use]
    pub fn name(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            partition: None,
            uniqueid: None,
        }
    }
}

/// A line of a list that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the list of mailboxes cannot be understood: {text:?}")]
pub struct ListError {
    line: usize,
    text: String,
}

impl ListReader {
    /// Reads the next line; `None` if it names no local mailbox.
    ///
    /// # Errors
    /// [`ListError`]
    pub fn line(&mut self, line: &str) -> Result<Option<Wanted>, ListError> {
        self.line += 1;
        let trimmed = line.trim();
        if trimmed.starts_with('{') {
            self.json = true;
            return Ok(None);
        }
        let error = || ListError {
            line: self.line,
            text: trimmed.chars().take(80).collect(),
        };
        if self.json {
            return match trimmed {
                "" | "}" => Ok(None),
                member => json(member).map_err(|()| error()),
            };
        }
        let listed = parse_line(line, self.line).map_err(|_| error())?;
        Ok(listed.map(|Listed { name, partition }| Wanted {
            name,
            partition,
            uniqueid: None,
        }))
    }
}

/// `"NAME": {...},`; `Err` if it is not that, `Ok(None)` if no local mailbox is behind it.
fn json(member: &str) -> Result<Option<Wanted>, ()> {
    let member = member.strip_suffix(',').unwrap_or(member);
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&format!("{{{member}}}")).map_err(drop)?;
    let (name, entry) = object.into_iter().next().ok_or(())?;
    let entry = entry.as_object().ok_or(())?;
    let text = |key: &str| {
        entry
            .get(key)
            .and_then(|value| value.as_str())
            .map(str::to_owned)
    };
    // A letter for the kind of mailbox, then flags: deleted, intermediate, remote, reserved; legacy.
    let flags: String = text("mbtype").unwrap_or_default().chars().skip(1).collect();
    if flags.contains(['d', 'i', 'r', 'z']) {
        return Ok(None);
    }
    let uniqueid = text("uniqueid").filter(|_| !flags.contains('l'));
    Ok(Some(Wanted {
        name,
        partition: text("partition"),
        uniqueid,
    }))
}

/// Turns names into mailboxes.
pub struct Resolver<I> {
    conf: Arc<ImapdConf>,
    wanted: I,
    /// Names that have no legacy directory.
    unresolved: BTreeSet<String>,
    /// The walk for them, once all names were tried.
    walk: Option<Walk>,
}

impl<I: Iterator<Item = Wanted>> Resolver<I> {
    /// Looks up `wanted` in the partitions of `conf`.
    pub fn new(conf: Arc<ImapdConf>, wanted: I) -> Self {
        Self {
            conf,
            wanted,
            unresolved: BTreeSet::new(),
            walk: None,
        }
    }

    /// The mailbox, a finding, or `None` if it has no legacy directory.
    fn legacy(&self, wanted: &Wanted) -> Option<Step> {
        let bad = |why: String| {
            Some(Err(Finding::new(
                Code::NoMailbox,
                &wanted.name,
                PathBuf::new(),
                why,
            )))
        };
        if let Some(partition) = wanted
            .partition
            .as_deref()
            .filter(|p| self.conf.partition(p).is_none())
        {
            return bad(format!("the configuration has no partition {partition:?}"));
        }
        let name = match MailboxName::parse(&wanted.name) {
            Ok(name) => name,
            Err(error) => return bad(error.to_string()),
        };
        let default = self.conf.default_partition().map(|p| p.name.clone());
        let others = self
            .conf
            .partitions()
            .map(|p| p.name.clone())
            .filter(|p| Some(p) != default.as_ref());
        let candidates: Vec<String> = match &wanted.partition {
            Some(partition) => vec![partition.clone()],
            None => default.clone().into_iter().chain(others).collect(),
        };
        for partition in candidates {
            let sub = match &wanted.uniqueid {
                Some(uniqueid) => match uuid_dir(uniqueid) {
                    Some(sub) => sub,
                    None => return bad(format!("{uniqueid:?} is not a unique id")),
                },
                None => match self.conf.dirs(&name, &partition) {
                    Ok(dirs) => dirs.data().sub.clone(),
                    Err(error) => return bad(error.to_string()),
                },
            };
            let mailbox = mailbox_at(&self.conf, &partition, &sub, Some(&wanted.name))?;
            let there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
            // A directory without any of these may only be on the way to a mailbox further down.
            if wanted.uniqueid.is_some()
                || there(&mailbox.index)
                || there(&mailbox.header)
                || mailbox.has_messages()
            {
                return Some(Ok(mailbox));
            }
        }
        None
    }

    fn uuid(&mut self) -> Option<Step> {
        let conf = &self.conf;
        let walk = self.walk.get_or_insert_with(|| Walk::new(conf));
        while !self.unresolved.is_empty() {
            match walk.next() {
                Some(Ok(mailbox)) if self.unresolved.remove(&mailbox.name) => {
                    return Some(Ok(Mailbox {
                        named: true,
                        ..mailbox
                    }));
                }
                Some(Ok(_)) => {}
                Some(Err(finding)) if finding.code == Code::Link => {}
                Some(Err(finding)) => return Some(Err(finding)),
                None => {
                    let name = self.unresolved.pop_first()?;
                    let text = "no such mailbox".to_owned();
                    return Some(Err(Finding::new(
                        Code::NoMailbox,
                        &name,
                        PathBuf::new(),
                        text,
                    )));
                }
            }
        }
        None
    }
}

impl<I: Iterator<Item = Wanted>> Iterator for Resolver<I> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.walk.is_none() {
            while let Some(wanted) = self.wanted.next() {
                match self.legacy(&wanted) {
                    Some(step) => return Some(step),
                    None => drop(self.unresolved.insert(wanted.name)),
                }
            }
        }
        self.uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_3_6_says_where_a_mailbox_lies() {
        let mut reader = ListReader::default();
        let mut read = |line: &str| reader.line(line).expect("understood");
        assert_eq!(read("{"), None);
        let line = r#""user.joe.Old": {"name": "user.joe.Old", "mbtype": "e", "partition": "default", "uniqueid": "6t1vo4"},"#;
        let uuid = read(line).expect("a mailbox");
        assert_eq!(uuid.name, "user.joe.Old");
        assert_eq!(
            (uuid.partition.as_deref(), uuid.uniqueid.as_deref()),
            (Some("default"), Some("6t1vo4"))
        );
        let legacy = read(r#""user.a": {"mbtype": "el", "partition": "p", "uniqueid": "x1"}"#)
            .expect("a mailbox");
        assert_eq!(
            (legacy.partition.as_deref(), legacy.uniqueid),
            (Some("p"), None)
        );
        for skipped in ["er", "edl", "ei", "ez"] {
            assert_eq!(
                read(&format!(r#""user.b": {{"mbtype": "{skipped}"}},"#)),
                None,
                "{skipped}"
            );
        }
        assert_eq!(read("}"), None);
        assert!(reader.line("nonsense").is_err());
    }

    #[test]
    fn text_lists_are_read_too() {
        let mut reader = ListReader::default();
        assert_eq!(reader.line("# names").expect("understood"), None);
        let wanted = reader
            .line("user.a b\t0 fast joe\tlrs\t")
            .expect("understood");
        let wanted = wanted.expect("a mailbox");
        assert_eq!(
            (wanted.name.as_str(), wanted.partition.as_deref()),
            ("user.a b", Some("fast"))
        );
        let plain = reader.line("user.joe\n").expect("understood");
        assert_eq!(plain, Some(Wanted::name("user.joe")));
    }
}
