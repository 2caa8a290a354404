//! Looks at what a Cyrus leaves in its configuration directory and in the first mailboxes. All
//! looks are bounded: a large store is sampled, and every mailbox is looked at once more when it is
//! to be locked.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use indexfile::cutover::STAMP_NAME;
use indexfile::mailbox::ImapdConf;
use rustix::fs::OFlags;

use super::{Evidence, entries, mailbox};

/// The most directory entries looked at in one tree.
const ENTRIES: usize = 20_000;
/// The most mailboxes of the sample.
const MAILBOXES: usize = 100;
/// How deep a tree is looked into.
const DEPTH: usize = 12;
/// How much of a database is read: its first entries.
const DATABASE: u64 = 64 << 10;

/// The beginning of a twoskip database.
const TWOSKIP: &[u8] = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0";

/// Options that came after 2.3, and never had another meaning there.
const OPTIONS: [&str; 14] = [
    "mboxname_lockpath",
    "mailbox_legacy_dirs",
    "conversations",
    "conversations_db",
    "conversations_db_path",
    "archive_enabled",
    "archive_days",
    "httpmodules",
    "search_engine",
    "specialusealways",
    "reverseacls",
    "mailbox_initial_flags",
    "jmapsubmission_deleteonsend",
    "mboxlist_db_path",
];
/// Databases by the option that names their format.
const FORMATS: [&str; 10] = [
    "mboxlist_db",
    "annotation_db",
    "duplicate_db",
    "statuscache_db",
    "seenstate_db",
    "subscription_db",
    "quota_db",
    "tlscache_db",
    "ptscache_db",
    "conversations_db",
];
/// The list of mailboxes in the configuration directory.
const MAILBOXES_DB: &str = "mailboxes.db";
/// Other databases there.
const DATABASES: [&str; 6] = [
    "annotations.db",
    "deliver.db",
    "statuscache.db",
    "tls_sessions.db",
    "quotas.db",
    "user_deny.db",
];
/// What a user has beside .seen and .sub since 2.5.
const USER_FILES: [&str; 6] = [
    "conversations",
    "counters",
    "dav",
    "xapianactive",
    "alarms",
    "jmapsubmission",
];

/// Everything that tells the store's server from one of 2.3.
pub(super) fn look(conf: &ImapdConf, roots: &[PathBuf]) -> Vec<Evidence> {
    let mut found = Vec::new();
    options(conf, &mut found);
    found.extend(look_shortly(conf));
    if let Some(dir) = conf.config_directory() {
        user_files(&dir.join("user"), &mut found);
        domains(&dir.join("domain"), &mut found);
    }
    for root in roots {
        sample(root, &mut found);
    }
    found
}

/// What a server leaves there as soon as it works: its databases and its name locks. A few system
/// calls where there is none, so that it can be asked for again while slotd runs.
pub(super) fn look_shortly(conf: &ImapdConf) -> Vec<Evidence> {
    let mut found = Vec::new();
    let Some(dir) = conf.config_directory() else {
        return found;
    };
    let named = conf.setting("mboxlist_db_path").map(PathBuf::from);
    for path in named.into_iter().chain([dir.join(MAILBOXES_DB)]) {
        database(&path, Some(entries::any_in_list_form), &mut found);
    }
    for name in DATABASES {
        // What users write into these is not looked at.
        database(&dir.join(name), None, &mut found);
    }
    let locks = conf.setting("mboxname_lockpath").map(PathBuf::from);
    name_locks(&locks.unwrap_or_else(|| dir.join("lock")), &mut found);
    found
}

fn options(conf: &ImapdConf, found: &mut Vec<Evidence>) {
    for key in OPTIONS {
        if conf.setting(key).is_some() {
            found.push(Evidence::Option(key.to_owned()));
        }
    }
    for partition in conf.partitions() {
        let key = format!("archivepartition-{}", partition.name);
        if conf.setting(&key).is_some() {
            found.push(Evidence::Option(key));
        }
    }
    for key in FORMATS {
        if let Some(value) = conf.setting(key)
            && value.eq_ignore_ascii_case("twoskip")
        {
            found.push(Evidence::Format(format!("{key}: {value}")));
        }
    }
}

/// Opens a regular file; never a link, never one that would block.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

fn head(path: &Path, len: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// `has_lists`: whether its first entries are in the form of 2.5, where that is of interest.
fn database(path: &Path, has_lists: Option<fn(&[u8]) -> bool>, found: &mut Vec<Evidence>) {
    let len = has_lists.map_or(TWOSKIP.len() as u64, |_| DATABASE);
    match head(path, len) {
        Ok(Some(bytes)) if bytes.starts_with(TWOSKIP) => {
            found.push(Evidence::Twoskip(path.to_path_buf()));
        }
        Ok(Some(bytes)) if has_lists.is_some_and(|has| has(&bytes)) => {
            found.push(Evidence::ListEntries(path.to_path_buf()));
        }
        Ok(_) => {}
        // A link to another place is what an administrator may have made; the database behind it
        // says as much.
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            if let Ok(real) = path.canonicalize() {
                database(&real, has_lists, found);
            }
        }
        Err(e) => unseen(path, &e, found),
    }
}

fn unseen(path: &Path, error: &io::Error, found: &mut Vec<Evidence>) {
    found.push(Evidence::Unseen(path.to_path_buf(), error.to_string()));
}

/// What a look at one entry of a tree says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// On, and into it if it is a directory.
    On,
    /// On, and not into it.
    Past,
    /// That was enough.
    Stop,
}

/// Goes through a tree, breadth first, until `look` has seen enough. `false` if the tree's root is
/// not there.
fn walk(
    root: &Path,
    found: &mut Vec<Evidence>,
    mut look: impl FnMut(&Path, std::fs::FileType, &mut Vec<Evidence>) -> Next,
) -> bool {
    let mut todo = std::collections::VecDeque::from([(root.to_path_buf(), 0)]);
    let mut left = ENTRIES;
    let mut there = false;
    while let Some((dir, depth)) = todo.pop_front() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            // One directory that is not ours says nothing of who serves the store; the tree's root
            // does.
            Err(e) => {
                if depth == 0 {
                    unseen(&dir, &e, found);
                    there = true;
                }
                continue;
            }
        };
        there = true;
        for entry in entries.flatten() {
            left = left.saturating_sub(1);
            if left == 0 {
                return there;
            }
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let next = look(&entry.path(), kind, found);
            if next == Next::Stop {
                return there;
            }
            if next == Next::On && kind.is_dir() && depth < DEPTH {
                todo.push_back((entry.path(), depth + 1));
            }
        }
    }
    there
}

fn name_locks(dir: &Path, found: &mut Vec<Evidence>) {
    let before = found.len();
    let there = walk(dir, found, |path, kind, found| {
        if kind.is_file() {
            found.push(Evidence::NameLock(path.to_path_buf()));
            return Next::Stop;
        }
        Next::On
    });
    if there && found.len() == before {
        found.push(Evidence::EmptyLockDirectory(dir.to_path_buf()));
    }
}

fn user_files(dir: &Path, found: &mut Vec<Evidence>) {
    walk(dir, found, user_file);
}

/// Users' files of virtual domains: `domain/H/NAME/user/H/...`. Beside `user` are files that users
/// name, such as those of quota roots, and a domain may have any name.
fn domains(dir: &Path, found: &mut Vec<Evidence>) {
    walk(dir, found, |path, kind, found| {
        let below = path.strip_prefix(dir).unwrap_or(path);
        match below.components().nth(2) {
            None => Next::On,
            Some(beside) if beside.as_os_str() != "user" => Next::Past,
            Some(_) => user_file(path, kind, found),
        }
    });
}

fn user_file(path: &Path, kind: std::fs::FileType, found: &mut Vec<Evidence>) -> Next {
    let extension = path.extension().and_then(|e| e.to_str());
    let Some(extension) = extension.filter(|_| kind.is_file()) else {
        return Next::On;
    };
    if USER_FILES.contains(&extension) {
        found.push(Evidence::UserFile(path.to_path_buf()));
        return Next::Stop;
    }
    // 3.x turns a seen database into twoskip when it first opens it.
    let is_twoskip = || head(path, 64).is_ok_and(|h| h.is_some_and(|h| h.starts_with(TWOSKIP)));
    if extension == "seen" && is_twoskip() {
        found.push(Evidence::Twoskip(path.to_path_buf()));
        return Next::Stop;
    }
    Next::On
}

/// The first mailboxes below a root. What cannot be read is looked at when it is to be locked.
fn sample(root: &Path, found: &mut Vec<Evidence>) {
    let mut left = MAILBOXES;
    let mut ignored = Vec::new();
    // One index of a later version may be a damaged one, or one that was copied here; it is refused
    // for itself.
    let mut versions = Vec::new();
    walk(root, &mut ignored, |path, _, _| {
        let evidence = match path.file_name().and_then(|n| n.to_str()) {
            Some("cyrus.header") => head(path, mailbox::HEADER)
                .ok()
                .flatten()
                .and_then(|bytes| mailbox::of_header(&bytes, path)),
            // slotd put it there itself, and may take it back.
            Some("cyrus.index") if path.with_file_name(STAMP_NAME).is_file() => None,
            Some("cyrus.index") => {
                let bytes = head(path, 12).ok().flatten();
                versions.extend(bytes.and_then(|bytes| mailbox::of_index(&bytes, path)));
                None
            }
            _ => return Next::On,
        };
        left = left.saturating_sub(1);
        found.extend(evidence);
        if left > 0 { Next::On } else { Next::Stop }
    });
    if versions.len() > 1 {
        found.append(&mut versions);
    }
}
