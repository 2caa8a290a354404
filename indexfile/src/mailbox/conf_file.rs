//! The syntax of `imapd.conf`: lines of `key: value`, comments, `@include`; and what can be wrong
//! with it.

use crate::dir::{limit, read_named};
use crate::error::IoError;
use crate::exit::Exit;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Includes deeper than this are a circle.
const MAX_DEPTH: usize = 16;

/// The settings of a configuration, keys in lower case.
pub(super) type Settings = BTreeMap<String, String>;

/// A configuration that cannot be used, or a mailbox that it has no place for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfError {
    /// A file cannot be read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A line is not `key: value`.
    #[error("{} line {line}: expected `key: value`", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A key is set twice, which Cyrus refuses too.
    #[error("{} line {line}: {key} is set a second time", path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// Files include each other without end.
    #[error("{}: too many nested @include", path.display())]
    IncludeDepth {
        /// The file at which it was given up.
        path: PathBuf,
    },
    /// A value is not one of those allowed.
    #[error("{key}: {value:?} is not {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// No `partition-NAME` at all.
    #[error("the configuration names no partition (partition-NAME)")]
    NoPartitions,
    /// A mailbox is on a partition that the configuration does not have.
    #[error(
        "mailbox {mailbox} is on partition {partition:?}, which the configuration does not have"
    )]
    UnknownPartition {
        /// The mailbox.
        mailbox: String,
        /// The partition.
        partition: String,
    },
    /// A name with a domain while `virtdomains` is off.
    #[error("mailbox {mailbox} has a domain, but virtdomains is off")]
    DomainWithoutVirtdomains {
        /// The mailbox.
        mailbox: String,
    },
}

impl ConfError {
    /// The exit code that fits: a file that may not be read is not one that is wrong.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Config,
        }
    }
}

/// Reads a file and everything it includes.
pub(super) fn load(path: &Path) -> Result<Settings, ConfError> {
    let mut settings = Settings::new();
    include(path, 0, &mut settings)?;
    Ok(settings)
}

fn include(path: &Path, depth: usize, settings: &mut Settings) -> Result<(), ConfError> {
    if depth > MAX_DEPTH {
        return Err(ConfError::IncludeDepth {
            path: path.to_path_buf(),
        });
    }
    let bytes = read_named(path, limit::CONF).map_err(IoError::from)?;
    parse(
        &String::from_utf8_lossy(&bytes),
        path,
        settings,
        &mut |target, settings| {
            // Cyrus opens the name as it is, from whatever directory it runs in; a relative name is
            // meant to lie next to the file that includes it.
            let target = path.parent().unwrap_or(Path::new("")).join(target);
            include(&target, depth + 1, settings)
        },
    )
}

/// Lines with what continues them, each with the number of its first line, from 1.
///
/// As Cyrus reads them: a backslash right before the line feed joins the next line, before anything
/// else is looked at. So a comment that ends in one swallows the next line. What is continued by
/// nothing is dropped.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    let mut lines = (1_usize..).zip(text.split_inclusive('\n'));
    std::iter::from_fn(move || {
        let (number, mut line) = lines.next()?;
        let mut joined = String::new();
        while let Some(start) = line.strip_suffix("\\\n") {
            joined.push_str(start);
            (_, line) = lines.next()?;
        }
        joined.push_str(line);
        Some((number, joined))
    })
}

/// Parses one file's text; `@include` is handed to `include`.
pub(super) fn parse(
    text: &str,
    path: &Path,
    settings: &mut Settings,
    include: &mut dyn FnMut(&Path, &mut Settings) -> Result<(), ConfError>,
) -> Result<(), ConfError> {
    for (number, line) in logical_lines(text) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let syntax = || ConfError::Syntax {
            path: path.to_path_buf(),
            line: number,
        };
        let (key, value) = match line.split_once(':') {
            Some(pair) => pair,
            // `@include FILE` without a colon is not Cyrus's spelling, but seen in the wild.
            None if line.starts_with('@') => {
                line.split_once(char::is_whitespace).ok_or_else(syntax)?
            }
            None => return Err(syntax()),
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        if key == "@include" {
            include(&PathBuf::from(value), settings)?;
            continue;
        }
        if key.is_empty() || key.contains(char::is_whitespace) || key.starts_with('@') {
            return Err(syntax());
        }
        if settings.contains_key(&key) {
            return Err(ConfError::Duplicate {
                path: path.to_path_buf(),
                line: number,
                key,
            });
        }
        settings.insert(key, value.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Settings {
        let mut settings = Settings::new();
        let mut none = |_: &Path, _: &mut Settings| Ok(());
        parse(text, Path::new("imapd.conf"), &mut settings, &mut none).unwrap();
        settings
    }

    #[test]
    fn a_backslash_at_the_end_of_a_line_joins_the_next_one() {
        let settings = parsed("metapartition_files: header \\\n  index\\\n cache\nadmins: cyrus\n");
        assert_eq!(settings["metapartition_files"], "header   index cache");
        assert_eq!(settings["admins"], "cyrus");
    }

    #[test]
    fn a_comment_that_ends_in_a_backslash_swallows_the_next_line() {
        let settings = parsed("# the old root \\\npartition-old: /old\npartition-new: /new\n");
        assert_eq!(settings.keys().collect::<Vec<_>>(), ["partition-new"]);
    }

    #[test]
    fn a_backslash_elsewhere_is_a_character() {
        let settings = parsed("a: x\\y\nb: x\\ \nc: x\\\r\nd: z\\");
        assert_eq!(settings["a"], "x\\y");
        assert_eq!(settings["b"], "x\\");
        assert_eq!(settings["c"], "x\\");
        assert_eq!(settings["d"], "z\\");
    }

    #[test]
    fn an_error_names_the_line_that_the_setting_begins_on() {
        let mut settings = Settings::new();
        let mut none = |_: &Path, _: &mut Settings| Ok(());
        let text = "a: x\\\ny\nno setting\n";
        let error = parse(text, Path::new("f"), &mut settings, &mut none).unwrap_err();
        assert!(
            matches!(error, ConfError::Syntax { line: 3, .. }),
            "{error}"
        );
    }
}
