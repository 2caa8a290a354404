//! One host's store, seen from the outside: an imapd.conf, a data root and a meta root (the same
//! where there is no metapartition). Mailboxes are found by walking directories, with no help from
//! `indexfile`.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

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

/// How a store is laid out on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout<'a> {
    /// `hashimapspool: yes`
    pub hashed: bool,
    /// The `metapartition_files` of a metapartition; without, all lie beside the messages.
    pub on_meta: Option<&'a str>,
}

impl Layout<'static> {
    /// Everything of a mailbox in one directory, below a letter.
    pub const HASHED: Self = Self {
        hashed: true,
        on_meta: None,
    };
    /// Messages on one partition, all cyrus.* files that 2.3 knows on another.
    pub const METAPARTITION: Self = Self {
        hashed: false,
        on_meta: Some("header index cache expunge squat"),
    };
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
    /// Makes the directories and the imapd.conf of a store in `root`: partition `default`, without
    /// a mailbox.
    ///
    /// # Errors
    /// What cannot be made.
    pub fn lay_out(root: &Path, layout: Layout<'_>) -> io::Result<Self> {
        let at = root.display();
        let mut text = format!(
            "configdirectory: {at}/conf\ndefaultpartition: default\n\
             partition-default: {at}/spool\nexpunge_mode: delayed\n"
        );
        let mut dirs = vec!["conf", "spool"];
        if layout.hashed {
            text += "hashimapspool: yes\n";
        }
        if let Some(files) = layout.on_meta {
            let meta = format!("metapartition-default: {at}/meta\nmetapartition_files: {files}\n");
            text.push_str(&meta);
            dirs.push("meta");
        }
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        for dir in dirs {
            apart(root, dir)?;
        }
        let conf = root.join("imapd.conf");
        fs::write(&conf, text)?;
        Self::from_conf(&conf)
    }

    /// Describes a store whose imapd.conf has partition `default`.
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
                    let name: Vec<_> = dir
                        .iter()
                        .skip(usize::from(self.hashed))
                        .map(|c| c.to_string_lossy().into_owned())
                        .collect();
                    found.insert(name.join("."), self.below(&dir));
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
        let found = self.mailboxes().ok().and_then(|mut all| all.remove(name));
        found.unwrap_or_else(|| panic!("no mailbox {name}"))
    }

    /// Where a mailbox lies, or would lie.
    #[must_use]
    pub fn place(&self, name: &str) -> Dirs {
        let mut relative: PathBuf = name.split('.').collect();
        if self.hashed {
            let hashed = name.split('.').nth(1).unwrap_or(name);
            let letter = match hashed.bytes().next().unwrap_or(0).to_ascii_lowercase() {
                letter @ b'a'..=b'z' => letter,
                _ => b'q',
            };
            relative = Path::new(&char::from(letter).to_string()).join(relative);
        }
        self.below(&relative)
    }

    fn below(&self, relative: &Path) -> Dirs {
        Dirs {
            data: self.data.join(relative),
            meta: self.meta.join(relative),
            on_meta: self.on_meta.clone(),
        }
    }

    /// A directory for slotd's own state, made if need be.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn state_dir(&self) -> io::Result<PathBuf> {
        let dir = self.root.join("slotd-state");
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }
}

/// Asks the file system to place what lies below a directory apart.
///
/// Without that, a file system without a journal places all directories side by side and, for
/// minutes, looks again at every inode that an earlier store left there: making the third store in
/// a row was measured to take 28 s instead of 1.8 s. Where the wish is not understood it changes
/// nothing.
pub(crate) fn spread(dir: &Path) {
    if let Ok(dir) = File::open(dir)
        && let Ok(flags) = ioctl_getflags(&dir)
    {
        let _ = ioctl_setflags(&dir, flags | IFlags::TOPDIR);
    }
}

/// Makes a directory in `root`, in a part of the file system of its own. ext4 finds that by the
/// name under which a directory is made; so the first name is one that no other store had.
///
/// # Errors
/// If it cannot be made.
pub fn apart(root: &Path, name: &str) -> io::Result<()> {
    spread(root);
    let first = root.join(format!(".{:016x}", fastrand::u64(..)));
    DirBuilder::new().mode(0o700).create(&first)?;
    fs::rename(&first, root.join(name))
}
