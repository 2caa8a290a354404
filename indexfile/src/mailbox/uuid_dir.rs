//! The directories of Cyrus 3.6 and later, which are named after the mailbox's unique id.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Where 3.6 and later put the mailbox with this unique id, below a root of its partition; `None`
/// if it cannot be one.
#[must_use]
pub fn uuid_dir(uniqueid: &str) -> Option<PathBuf> {
    let good = uniqueid
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (first, second) = (uniqueid.get(..1)?, uniqueid.get(1..2)?);
    good.then(|| ["uuid", first, second, uniqueid].iter().collect())
}

/// Whether this path below a root of a partition is such a directory.
#[must_use]
pub fn is_uuid_dir(sub: &Path) -> bool {
    let uniqueid = sub.file_name().and_then(OsStr::to_str);
    uniqueid.and_then(uuid_dir).is_some_and(|dir| dir == sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_directories_are_distinguished_from_mailboxes_that_look_like_them() {
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
