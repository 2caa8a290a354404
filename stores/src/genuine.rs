//! The store that a genuine Cyrus 2.3.9 wrote, for tests: unpacked, copied, laid out otherwise.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::{Host, Layout, apart};

/// What every store of ours has in its root.
const DIRS: [&str; 3] = ["conf", "spool", "meta"];

/// The committed fixtures.
#[must_use]
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// Unpacks the store that a genuine Cyrus 2.3.9 wrote into `into` (made new) and points its
/// imapd.conf there. As root the files keep their owner, else they belong to the caller.
///
/// # Errors
/// If `tar` is missing or fails.
pub fn unpack_239(into: &Path) -> io::Result<Host> {
    fs::create_dir_all(into)?;
    for dir in DIRS {
        apart(into, dir)?;
    }
    let status = Command::new("tar")
        .args(["-xzp", "--strip-components=1", "-f"])
        .arg(fixtures().join("cyrus-2.3.9.tar.gz"))
        .arg("-C")
        .arg(into)
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("tar: {status}")));
    }
    point_conf_at(into, Path::new("@ROOT@"))?;
    Host::from_conf(&into.join("imapd.conf"))
}

/// The mailbox list that came with the 2.3.9 store.
#[must_use]
pub fn list_239(host: &Host) -> PathBuf {
    host.root.join("mailboxes.txt")
}

/// Copies a whole host to another root: hard links within it stay links, and modes, owners and
/// mtimes stay.
///
/// # Errors
/// The first operation that failed.
pub fn copy_host(host: &Host, to: &Path) -> io::Result<Host> {
    fs::create_dir_all(to)?;
    for dir in DIRS.iter().filter(|dir| host.root.join(dir).exists()) {
        apart(to, dir)?;
    }
    copy_tree(&host.root, to, &mut BTreeMap::new())?;
    point_conf_at(to, &host.root)?;
    Host::from_conf(&to.join(host.conf.file_name().unwrap_or_default()))
}

/// Copies these mailboxes only.
///
/// # Errors
/// The first operation that failed.
pub fn copy_mailboxes(host: &Host, to: &Path, mailboxes: &[&str]) -> io::Result<Host> {
    fs::create_dir_all(to)?;
    for dir in DIRS {
        apart(to, dir)?;
    }
    let conf = to.join(host.conf.file_name().unwrap_or_default());
    fs::copy(&host.conf, &conf)?;
    point_conf_at(to, &host.root)?;
    let copy = Host::from_conf(&conf)?;
    let mut linked = BTreeMap::new();
    for name in mailboxes {
        let (from, to) = (host.place(name), copy.place(name));
        copy_files(&from.data, &to.data, &mut linked)?;
        if from.meta != from.data {
            copy_files(&from.meta, &to.meta, &mut linked)?;
        }
    }
    Ok(copy)
}

/// Gives the store `copies` more users like the one called `user`, with all their mailboxes.
///
/// # Errors
/// The first operation that failed.
pub fn multiply(host: &Host, user: &str, copies: usize) -> io::Result<()> {
    for n in 0..copies {
        for root in [&host.data, &host.meta] {
            let users = root.join("user");
            let copy = users.join(format!("{user}{n:03}"));
            copy_tree(&users.join(user), &copy, &mut BTreeMap::new())?;
        }
    }
    Ok(())
}

/// Makes a store with the mailboxes of `host` in another layout; the files are moved.
///
/// # Errors
/// The first operation that failed.
pub fn relayout(host: &Host, to: &Path, layout: Layout<'_>) -> io::Result<Host> {
    let new = Host::lay_out(to, layout)?;
    for (name, dirs) in host.mailboxes()? {
        let target = new.place(&name);
        fs::create_dir_all(&target.data)?;
        fs::create_dir_all(&target.meta)?;
        for from in [&dirs.data, &dirs.meta] {
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                if !entry.file_type()?.is_dir() {
                    let name = entry.file_name();
                    fs::rename(entry.path(), target.file(&name.to_string_lossy()))?;
                }
            }
        }
    }
    Ok(new)
}

/// Copies the mailboxes of `host` into `to`, whatever the layout of either; links between them stay
/// links. Nothing of `host` is opened for writing. Gives their names.
///
/// # Errors
/// The first operation that failed.
pub fn copy_into(host: &Host, to: &Host) -> io::Result<Vec<String>> {
    let (mut names, mut linked) = (Vec::new(), BTreeMap::new());
    for (name, dirs) in host.mailboxes()? {
        let target = to.place(&name);
        fs::create_dir_all(&target.data)?;
        fs::create_dir_all(&target.meta)?;
        let both = [&dirs.data, &dirs.meta];
        let apart = if dirs.data == dirs.meta { 1 } else { 2 };
        for from in both.into_iter().take(apart) {
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                let file = entry.file_name();
                if entry.file_type()?.is_file() {
                    let new = target.file(&file.to_string_lossy());
                    copy_file(&entry.path(), &new, &mut linked)?;
                }
            }
        }
        names.push(name);
    }
    Ok(names)
}

/// The same, not hashed, with a metapartition for these files only (words of
/// `metapartition_files`).
///
/// # Errors
/// The first operation that failed.
pub fn split_layout(host: &Host, to: &Path, on_meta: &str) -> io::Result<Host> {
    let layout = Layout {
        hashed: false,
        on_meta: Some(on_meta),
    };
    relayout(host, to, layout)
}

fn point_conf_at(root: &Path, instead_of: &Path) -> io::Result<()> {
    let [from, to] = [instead_of, root].map(Path::to_string_lossy);
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "conf") {
            let text = fs::read_to_string(&path)?;
            fs::write(&path, text.replace(&*from, &to))?;
        }
    }
    Ok(())
}

/// Copies of files that have several names, by device and inode.
pub type Linked = BTreeMap<(u64, u64), PathBuf>;

/// Copies a directory tree as `cp -a` does, for what a mail store holds.
///
/// # Errors
/// The first operation that failed.
pub fn copy_tree(from: &Path, to: &Path, linked: &mut Linked) -> io::Result<()> {
    copy_files(from, to, linked)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to.join(entry.file_name()), linked)?;
        }
    }
    Ok(())
}

/// The same without the directories in it.
fn copy_files(from: &Path, to: &Path, linked: &mut Linked) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_file(&entry.path(), &to.join(entry.file_name()), linked)?;
    }
    let meta = fs::metadata(from)?;
    fs::set_permissions(to, meta.permissions())?;
    keep_owner(to, &meta)
}

/// Copies a link or a file; anything else is left out.
fn copy_file(source: &Path, target: &Path, linked: &mut Linked) -> io::Result<()> {
    let meta = fs::symlink_metadata(source)?;
    if meta.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(source)?, target)?;
    } else if let Some(first) = linked.get(&(meta.dev(), meta.ino())) {
        fs::hard_link(first, target)?;
    } else if meta.is_file() {
        fs::copy(source, target)?;
        if meta.nlink() > 1 {
            linked.insert((meta.dev(), meta.ino()), target.to_owned());
        }
        fs::File::options()
            .write(true)
            .open(target)?
            .set_modified(meta.modified()?)?;
        keep_owner(target, &meta)?;
    }
    Ok(())
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
    use crate::judge::snapshot;

    #[test]
    fn the_239_store_unpacks_to_eighteen_mailboxes_and_copies_true() {
        let dir = tempfile::tempdir().unwrap();
        let master = unpack_239(&dir.path().join("master")).unwrap();
        assert_eq!(master.mailboxes().unwrap().len(), 18);
        assert!(
            master
                .dirs("user.alice.With space &AOk-t&AOk- caf&AOk-")
                .data
                .is_dir()
        );
        let replica = copy_host(&master, &dir.path().join("replica")).unwrap();
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
