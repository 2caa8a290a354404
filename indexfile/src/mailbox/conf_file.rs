//! The syntax of `imapd.conf`: lines of `key: value`, comments, `@include`.

use super::imapd_conf::ConfError;
use crate::dir::{limit, read_named};
use crate::error::IoError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Includes deeper than this are a circle.
const MAX_DEPTH: usize = 16;

/// The settings of a configuration, keys in lower case.
pub(super) type Settings = BTreeMap<String, String>;

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
            // meant to lie beside the file that includes it.
            let target = path.parent().unwrap_or(Path::new("")).join(target);
            include(&target, depth + 1, settings)
        },
    )
}

/// Parses one file's text; `@include` is handed to `include`.
pub(super) fn parse(
    text: &str,
    path: &Path,
    settings: &mut Settings,
    include: &mut dyn FnMut(&Path, &mut Settings) -> Result<(), ConfError>,
) -> Result<(), ConfError> {
    for (number, line) in (1_usize..).zip(text.lines()) {
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
