//! Puts the files that a migration replaced back in their places, in a store that a bench made.

use std::fs;
use std::path::Path;

use indexfile::{IoContext, IoError};

/// Renames every `cyrus.index.OLD` and `cyrus.expunge.OLD` below `root` over the live file.
pub(super) fn put_back(root: &Path) -> Result<(), IoError> {
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).io_context("read directory", &dir)? {
            let entry = entry.io_context("read directory", &dir)?;
            let path = entry.path();
            if entry.file_type().io_context("look at", &path)?.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "OLD") {
                let live = path.with_extension("");
                fs::rename(&path, &live).io_context("rename", &path)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_come_back_and_others_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join("user/x").join(name);
        fs::create_dir_all(at("")).expect("made");
        for (name, text) in [
            ("cyrus.index", "new"),
            ("cyrus.index.OLD", "old"),
            ("1.", "mail"),
        ] {
            fs::write(at(name), text).expect("written");
        }
        put_back(dir.path()).expect("put back");
        assert_eq!(fs::read_to_string(at("cyrus.index")).expect("there"), "old");
        assert!(!at("cyrus.index.OLD").exists() && at("1.").exists());
    }
}
