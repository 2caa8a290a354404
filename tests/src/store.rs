//! Mail stores for tests: the fixtures unpacked, copied, and read from the outside.
//!
//! A [`Host`] is one host's store: an imapd.conf, a data root and a meta root (the same where there
//! is no metapartition). It finds mailboxes by walking directories, with no help from `indexfile`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The committed fixtures.
#[must_use]
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// One host's mail store.
#[derive(Clone, Debug)]
pub struct Host {
    /// Directory everything of this host lies in.
    pub root: PathBuf,
    /// Its imapd.conf.
    pub conf: PathBuf,
    /// Root of the message files.
    pub data: PathBuf,
    /// Root of the cyrus.* files that have one of their own.
    pub meta: PathBuf,
    /// Which those are: the words of `metapartition_files`.
    pub on_meta: Vec<String>,
    /// Whether `hashimapspool` puts a letter before each mailbox directory.
    pub hashed: bool,
}

/// The two directories of one mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// Where `<uid>.` lie.
    pub data: PathBuf,
    /// Where those cyrus.* lie that do not lie beside the messages.
    pub meta: PathBuf,
    /// Which those are: `header`, `index`, `expunge`, ...
    pub on_meta: Vec<String>,
}

impl Dirs {
    /// Where a file lies: `cyrus.expunge`, `cyrus.expunge.OLD` and so on beside each other, each on
    /// its own root.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        let kind = name.split('.').nth(1).unwrap_or_default();
        let on_meta = name.starts_with("cyrus.") && self.on_meta.iter().any(|k| k == kind);
        let dir = if on_meta { &self.meta } else { &self.data };
        dir.join(name)
    }
}

impl Host {
    /// Every mailbox: a directory with a cyrus.header in it, by internal name.
    ///
    /// # Errors
    /// What reading the directories says.
    pub fn mailboxes(&self) -> io::Result<BTreeMap<String, Dirs>> {
        let mut found = BTreeMap::new();
        let mut todo = vec![PathBuf::new()];
        let headers = if self.on_meta.iter().any(|k| k == "header") {
            &self.meta
        } else {
            &self.data
        };
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(headers.join(&dir))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    todo.push(dir.join(entry.file_name()));
                } else if entry.file_name() == "cyrus.header" {
                    let skip = usize::from(self.hashed);
                    let name: Vec<_> = dir
                        .iter()
                        .skip(skip)
                        .map(|c| c.to_string_lossy().into_owned())
                        .collect();
                    let dirs = Dirs {
                        data: self.data.join(&dir),
                        meta: self.meta.join(&dir),
                        on_meta: self.on_meta.clone(),
                    };
                    found.insert(name.join("."), dirs);
                }
            }
        }
        Ok(found)
    }

    /// The directories of one mailbox that must be there.
    ///
    /// # Panics
    /// If there is no such mailbox.
    #[must_use]
    pub fn dirs(&self, name: &str) -> Dirs {
        self.mailboxes()
            .unwrap()
            .remove(name)
            .unwrap_or_else(|| panic!("no mailbox {name}"))
    }

    /// A directory for slotd's own state, made if need be.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        let dir = self.root.join("slotd-state");
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Describes a store whose imapd.conf has partition `default`, as the demo and the fixture
    /// have.
    ///
    /// # Errors
    /// If the file cannot be read or names no `partition-default`.
    pub fn from_conf(conf: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(conf)?;
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(k, _)| k.trim() == key)
                .map(|(_, v)| v.trim().to_owned())
        };
        let data = value("partition-default")
            .map(PathBuf::from)
            .ok_or_else(|| io::Error::other("no partition-default"))?;
        Ok(Self {
            root: conf.parent().unwrap_or(Path::new("/")).to_owned(),
            conf: conf.to_owned(),
            meta: value("metapartition-default").map_or_else(|| data.clone(), PathBuf::from),
            data,
            on_meta: value("metapartition_files")
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            hashed: value("hashimapspool")
                .is_some_and(|v| matches!(&*v, "yes" | "1" | "true" | "on")),
        })
    }
}

/// Unpacks the store that a genuine Cyrus 2.3.9 wrote into `into` (made new) and points its
/// imapd.conf there. As root the files keep their owner, else they belong to the caller.
///
/// # Panics
/// If `tar` is missing or fails.
#[must_use]
pub fn unpack_239(into: &Path) -> Host {
    fs::create_dir_all(into).unwrap();
    let tarball = fixtures().join("cyrus-2.3.9.tar.gz");
    let status = Command::new("tar")
        .args([
            "--extract",
            "--gzip",
            "--preserve-permissions",
            "--strip-components=1",
        ])
        .arg("--file")
        .arg(&tarball)
        .arg("--directory")
        .arg(into)
        .status()
        .unwrap();
    assert!(status.success(), "tar failed on {}", tarball.display());
    point_conf_at(into, "@ROOT@");
    Host::from_conf(&into.join("imapd.conf")).unwrap()
}

/// The mailbox list that came with the 2.3.9 store.
#[must_use]
pub fn list_239(host: &Host) -> PathBuf {
    host.root.join("mailboxes.txt")
}

/// Copies a whole host to another root: hard links within it stay links, and modes, owners and
/// mtimes stay.
///
/// # Panics
/// If the copy fails.
#[must_use]
pub fn copy_host(host: &Host, to: &Path) -> Host {
    let mut linked = BTreeMap::new();
    copy_tree(&host.root, to, &mut linked).unwrap();
    point_conf_at(to, host.root.to_str().unwrap());
    Host::from_conf(&to.join(host.conf.file_name().unwrap())).unwrap()
}

/// Gives the store `copies` more users like the one called `user`, with all their mailboxes.
///
/// # Panics
/// If they cannot be copied.
pub fn multiply(host: &Host, user: &str, copies: usize) {
    for n in 0..copies {
        for root in [&host.data, &host.meta] {
            let users = root.join("user");
            let mut linked = BTreeMap::new();
            copy_tree(
                &users.join(user),
                &users.join(format!("{user}{n:03}")),
                &mut linked,
            )
            .unwrap();
        }
    }
}

/// How a store is laid out on disk.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// `hashimapspool: yes`
    pub hashed: bool,
    /// A metapartition for the cyrus.* files.
    pub meta: bool,
}

/// All cyrus.* files that 2.3 knows, as `metapartition_files` names them.
pub const ALL_META: &str = "header index cache expunge squat";

/// Makes a store with the mailboxes of `host` in another layout; the files are moved.
///
/// # Panics
/// If anything cannot be moved.
#[must_use]
pub fn relayout(host: &Host, to: &Path, layout: Layout) -> Host {
    moved(host, to, layout.hashed, layout.meta.then_some(ALL_META))
}

/// The same with a metapartition for these files only (words of `metapartition_files`); all others
/// lie beside the messages.
///
/// # Panics
/// If anything cannot be moved.
#[must_use]
pub fn split_layout(host: &Host, to: &Path, on_meta: &str) -> Host {
    moved(host, to, false, Some(on_meta))
}

fn moved(host: &Host, to: &Path, hashed: bool, on_meta: Option<&str>) -> Host {
    let data = to.join("spool");
    let meta = on_meta.map_or_else(|| data.clone(), |_| to.join("meta"));
    let mut conf = format!(
        "configdirectory: {0}/conf\ndefaultpartition: default\npartition-default: {0}/spool\n",
        to.display()
    );
    if hashed {
        conf += "hashimapspool: yes\n";
    }
    if let Some(files) = on_meta {
        conf += "metapartition-default: ";
        conf += meta.to_str().unwrap();
        conf += "\nmetapartition_files: ";
        conf += files;
        conf += "\n";
    }
    fs::create_dir_all(to.join("conf")).unwrap();
    fs::write(to.join("imapd.conf"), conf).unwrap();
    let new = Host::from_conf(&to.join("imapd.conf")).unwrap();
    for (name, dirs) in host.mailboxes().unwrap() {
        let mut relative: PathBuf = name.split('.').collect();
        if hashed {
            let hashed_part = name.split('.').nth(1).unwrap_or(&name);
            let letter = match hashed_part.as_bytes()[0].to_ascii_lowercase() {
                letter @ b'a'..=b'z' => letter,
                _ => b'q',
            };
            relative = Path::new(&char::from(letter).to_string()).join(relative);
        }
        let target = Dirs {
            data: data.join(&relative),
            meta: meta.join(&relative),
            on_meta: new.on_meta.clone(),
        };
        for from in [&dirs.data, &dirs.meta] {
            fs::create_dir_all(&target.data).unwrap();
            fs::create_dir_all(&target.meta).unwrap();
            for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
                if !entry.file_type().unwrap().is_dir() {
                    let name = entry.file_name();
                    fs::rename(entry.path(), target.file(&name.to_string_lossy())).unwrap();
                }
            }
        }
    }
    new
}

fn point_conf_at(root: &Path, instead_of: &str) {
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "conf") {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace(instead_of, root.to_str().unwrap())).unwrap();
        }
    }
}

/// Copies a directory tree as `cp -a` does, for what a mail store holds.
///
/// # Errors
/// The first operation that failed.
pub fn copy_tree(
    from: &Path,
    to: &Path,
    linked: &mut BTreeMap<(u64, u64), PathBuf>,
) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(&source)?;
        if meta.is_dir() {
            copy_tree(&source, &target, linked)?;
        } else if meta.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if let Some(first) = linked.get(&(meta.dev(), meta.ino())) {
            fs::hard_link(first, &target)?;
        } else if meta.is_file() {
            fs::copy(&source, &target)?;
            if meta.nlink() > 1 {
                linked.insert((meta.dev(), meta.ino()), target.clone());
            }
            fs::File::options()
                .write(true)
                .open(&target)?
                .set_modified(meta.modified()?)?;
            keep_owner(&target, &meta)?;
        }
    }
    let meta = fs::metadata(from)?;
    fs::set_permissions(to, meta.permissions())?;
    keep_owner(to, &meta)
}

/// Gives `path` the owner in `meta`, where that is allowed (root).
fn keep_owner(path: &Path, meta: &fs::Metadata) -> io::Result<()> {
    let now = fs::metadata(path)?;
    if (now.uid(), now.gid()) == (meta.uid(), meta.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(meta.uid()), Some(meta.gid()))?;
    fs::set_permissions(path, meta.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot;

    #[test]
    fn the_239_store_unpacks_to_eighteen_mailboxes_and_copies_true() {
        let dir = tempfile::tempdir().unwrap();
        let master = unpack_239(&dir.path().join("master"));
        assert_eq!(master.mailboxes().unwrap().len(), 18);
        assert!(
            master
                .dirs("user.alice.With space &AOk-t&AOk- caf&AOk-")
                .data
                .is_dir()
        );
        let replica = copy_host(&master, &dir.path().join("replica"));
        let strip = |host: &Host| {
            let mut tree = snapshot::take(&host.meta).unwrap();
            tree.extend(snapshot::take(&host.data).unwrap());
            tree.into_iter()
                .filter(|(_, e)| e.mode & 0o170_000 == 0o100_000)
                .map(|(p, e)| (p, (e.mode, e.uid, e.gid, e.nlink, e.mtime_ns, e.sha1)))
                .collect::<Vec<_>>()
        };
        assert_eq!(strip(&master), strip(&replica));
        assert!(
            strip(&master).iter().any(|(_, e)| e.3 == 2),
            "the hard-linked message is kept"
        );
    }
}
