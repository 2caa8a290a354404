//! What a walk met and `LIST` does not list, until the next page tells it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use indexfile::walk;

use crate::protocol::{Code, Listed, Odd, OddKind};

/// Room for what is odd, as it is on the wire; what does not fit is counted.
pub(super) const ODD_BYTES: usize = 4096;

/// What was met since the last page and is not listed.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    kinds: BTreeMap<OddKind, u64>,
    named: Vec<Odd>,
    bytes: usize,
}

impl Oddities {
    pub(super) fn note(&mut self, kind: OddKind, path: PathBuf) {
        *self.kinds.entry(kind).or_default() += 1;
        let odd = Odd { kind, path };
        let bytes = odd.wire_len();
        if self.bytes + bytes <= ODD_BYTES {
            self.bytes += bytes;
            self.named.push(odd);
        }
    }

    /// Tells it all with this page.
    pub(super) fn tell(&mut self, page: &mut Listed) {
        let all = std::mem::take(self);
        page.odd = all.kinds.values().sum();
        (page.odd_kinds, page.odd_list) = (all.kinds, all.named);
    }
}

/// Whether no mailbox can lie at or below this path under a root: names that begin with a dot are
/// those of snapshots and of other programs, and Cyrus gives them to no directory.
pub(super) fn is_hidden(sub: &Path) -> bool {
    let dot = |part: Component<'_>| part.as_os_str().as_bytes().starts_with(b".");
    sub.components().any(dot)
}

/// What a walk met; `sub` is where, under its root.
pub(super) fn kind_of(odd: &walk::Odd, sub: &Path) -> OddKind {
    let unread = matches!(odd.kind, walk::OddKind::Denied | walk::OddKind::Failed);
    match odd.kind {
        _ if is_hidden(sub) => OddKind::Name,
        // Of a file system that is mounted further down.
        _ if unread && sub.file_name() == Some(OsStr::new("lost+found")) => OddKind::LostAndFound,
        walk::OddKind::Link => OddKind::Symlink,
        walk::OddKind::LostAndFound => OddKind::LostAndFound,
        walk::OddKind::NotText => OddKind::Name,
        walk::OddKind::Denied => OddKind::Denied,
        walk::OddKind::NoRoot => OddKind::Unmounted,
        _ => OddKind::Unreadable,
    }
}

/// What a root is that cannot be walked.
pub(super) fn kind_of_root(code: Code) -> OddKind {
    match code {
        Code::Unmounted => OddKind::Unmounted,
        Code::Denied => OddKind::Denied,
        Code::Damaged => OddKind::NotDirectory,
        _ => OddKind::Unreadable,
    }
}
