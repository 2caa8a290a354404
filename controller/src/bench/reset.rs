//! Makes a store that a bench made what it was before something was measured.

use std::fs;
use std::path::{Path, PathBuf};

use indexfile::{IoContext, IoError};

/// Renames every `cyrus.index.OLD` and `cyrus.expunge.OLD` below `root` over the live file.
pub(super) fn put_back(root: &Path) -> Result<(), IoError> {
    each_file(root, |path| {
        if path.extension().is_some_and(|e| e == "OLD") {
            let live = path.with_extension("");
            fs::rename(&path, &live).io_context("rename", &path)?;
        }
        Ok(())
    })
}

/// Removes every `cyrus.sha1s` below `root`: no message is hashed ahead any more.
pub(super) fn forget(root: &Path) -> Result<(), IoError> {
    each_file(root, |path| {
        if path.file_name().is_some_and(|name| name == "cyrus.sha1s") {
            fs::remove_file(&path).io_context("remove", &path)?;
        }
        Ok(())
    })
}

fn each_file(
    root: &Path,
    mut each: impl FnMut(PathBuf) -> Result<(), IoError>,
) -> Result<(), IoError> {
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).io_context("read directory", &dir)? {
            let entry = entry.io_context("read directory", &dir)?;
            let path = entry.path();
            if entry.file_type().io_context("look at", &path)?.is_dir() {
                todo.push(path);
            } else {
                each(path)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_come_back_hashes_go_and_others_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join("user/x").join(name);
        fs::create_dir_all(at("")).expect("made");
        for (name, text) in [
            ("cyrus.index", "new"),
            ("cyrus.index.OLD", "old"),
            ("cyrus.sha1s", "hashes"),
            ("1.", "mail"),
        ] {
            fs::write(at(name), text).expect("written");
        }
        put_back(dir.path()).expect("put back");
        assert_eq!(fs::read_to_string(at("cyrus.index")).expect("there"), "old");
        assert!(!at("cyrus.index.OLD").exists() && at("cyrus.sha1s").exists());
        forget(dir.path()).expect("removed");
        assert!(!at("cyrus.sha1s").exists() && at("1.").exists());
    }
}
