//! What is there of a mailbox on one partition, and whether an open one still is what its name
//! stands for. Only looks, so a crash leaves nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexfile::mailbox::{Location, MailboxDirs, MailboxName, MetaFile};
use indexfile::{IoContext as _, IoError};
use rustix::fs::FileType;

use super::directories::{NEEDED, has_nothing, locations, open_location, roots_of};
use super::{Place, Store};
use crate::fs::Dir;
use crate::protocol::Code;
use crate::refusal::Refusal;

/// How long what looks incomplete is given to become complete, or to go.
const SETTLE: Duration = Duration::from_millis(30);

/// What a look at one partition showed.
pub(super) enum Seen {
    /// Nothing of the mailbox.
    Nothing,
    /// A mailbox, complete.
    Mailbox(Box<Place>),
    /// Messages or an expunge file, without anything that Cyrus could open.
    Remains(Refusal),
}

impl Store {
    /// Cyrus makes, renames and removes mailboxes meanwhile, one directory after the other: what
    /// looks incomplete is looked at again before it is refused.
    pub(super) fn look_twice(
        &self,
        mailbox: &MailboxName,
        partition: &str,
    ) -> Result<Seen, Refusal> {
        match self.look(mailbox, partition) {
            Ok(Seen::Remains(_)) => {}
            Err(refusal) if matches!(refusal.code, Code::Damaged | Code::Incomplete) => {}
            sure => return sure,
        }
        std::thread::sleep(SETTLE);
        self.look(mailbox, partition)
    }

    fn look(&self, mailbox: &MailboxName, partition: &str) -> Result<Seen, Refusal> {
        let dirs = self.conf.dirs(mailbox, partition)?;
        let roots = roots_of(&dirs);
        for root in &roots {
            self.mounts.check_lately(root)?;
        }
        let seen = look_in(mailbox, partition, &dirs, roots.clone());
        // That it is not there, or not whole, is also how a mailbox beneath a lost mount looks.
        if !matches!(seen, Ok(Seen::Mailbox(_))) {
            for root in &roots {
                self.mounts.check(root)?;
            }
        }
        seen
    }

    /// Looks whether the directories of an open mailbox still are those under its name: one that
    /// was renamed away, or lies beneath a mount that is gone, can be read through its handle as if
    /// nothing had happened.
    ///
    /// # Errors
    /// [`Code::Incomplete`] names the one that is not.
    pub fn check_directories(&self, place: &Place) -> Result<(), Refusal> {
        let dirs = self.conf.dirs(&place.mailbox, &place.partition)?;
        let all = [
            (dirs.data(), &place.data),
            (dirs.file_dir(MetaFile::Header), &place.header),
            (dirs.file_dir(MetaFile::Index), &place.index),
            (dirs.file_dir(MetaFile::Expunge), &place.expunge),
            (dirs.file_dir(MetaFile::Cache), &place.cache),
        ];
        let mut looked_at: Vec<&Location> = Vec::new();
        for (location, open) in all {
            if looked_at.contains(&location) {
                continue;
            }
            looked_at.push(location);
            let now = open_location(location)?;
            let id = |dir: &Dir| {
                let stat = rustix::fs::fstat(dir).map_err(std::io::Error::from);
                stat.io_context("look at", dir.path())
                    .map(|stat| crate::fs::FileId::from(&stat))
            };
            let same = match &now {
                Some(now) => id(now)? == id(open)?,
                None => false,
            };
            if !same {
                let text = format!(
                    "{} is not the directory any more that it was when the mailbox was opened",
                    location.path().display()
                );
                return Err(Refusal::new(Code::Incomplete, text));
            }
        }
        Ok(())
    }
}

/// Opens what `dirs` names. The look at its `roots` was before.
fn look_in(
    mailbox: &MailboxName,
    partition: &str,
    dirs: &MailboxDirs,
    roots: Vec<PathBuf>,
) -> Result<Seen, Refusal> {
    let mut opened: Vec<(&Location, Arc<Dir>)> = Vec::new();
    let mut missing: Vec<&Location> = Vec::new();
    for location in locations(dirs) {
        if missing.contains(&location) || opened.iter().any(|(l, _)| *l == location) {
            continue;
        }
        match open_location(location)? {
            Some(dir) => opened.push((location, Arc::new(dir))),
            None => missing.push(location),
        }
    }
    let at = |location: &Location| {
        let one = opened.iter().find(|(l, _)| *l == location);
        one.map(|(_, dir)| dir)
    };
    let there = |file: MetaFile| -> Result<bool, Refusal> {
        let dir = at(dirs.file_dir(file));
        dir.map_or(Ok(false), |dir| is_there(dir, file.file_name()))
    };
    let (header, index) = (there(MetaFile::Header)?, there(MetaFile::Index)?);
    let expunge = there(MetaFile::Expunge)?;
    let anything = || -> Result<bool, Refusal> {
        let messages = || at(dirs.data()).map_or(Ok(false), |dir| has_messages(dir));
        Ok(header || index || expunge || messages()?)
    };
    if let Some(location) = missing.first() {
        return if anything()? {
            Err(unreachable(mailbox, dirs, location))
        } else {
            Ok(Seen::Nothing)
        };
    }
    let is_missing = |file: MetaFile| {
        let path = dirs.file(file);
        Refusal::new(Code::Incomplete, format!("{} is missing", path.display()))
    };
    match (header, index) {
        (true, true) => {}
        (true, false) => return Err(is_missing(MetaFile::Index)),
        (false, true) => return Err(is_missing(MetaFile::Header)),
        (false, false) if anything()? => {
            let text = format!(
                "{} and {} are missing, and yet {}",
                dirs.file(MetaFile::Header).display(),
                dirs.file(MetaFile::Index).display(),
                if expunge {
                    format!("{} is there", dirs.file(MetaFile::Expunge).display())
                } else {
                    format!("there are messages in {}", dirs.data().path().display())
                }
            );
            return Ok(Seen::Remains(Refusal::new(Code::Incomplete, text)));
        }
        (false, false) => return Ok(Seen::Nothing),
    }
    let dir = |location: &Location| {
        at(location)
            .map(Arc::clone)
            .ok_or_else(|| unreachable(mailbox, dirs, location))
    };
    Ok(Seen::Mailbox(Box::new(Place {
        mailbox: mailbox.clone(),
        partition: partition.to_owned(),
        header: dir(dirs.file_dir(MetaFile::Header))?,
        index: dir(dirs.file_dir(MetaFile::Index))?,
        expunge: dir(dirs.file_dir(MetaFile::Expunge))?,
        cache: dir(dirs.file_dir(MetaFile::Cache))?,
        data: dir(dirs.data())?,
        data_path: dirs.data().path(),
        roots,
    })))
}

/// Whether a file is there; anything else of that name is an error, because it cannot be replaced
/// by rename.
fn is_there(dir: &Dir, name: &str) -> Result<bool, Refusal> {
    let Some(stat) = dir.stat(name)? else {
        return Ok(false);
    };
    let path = dir.path_of(name);
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(true),
        FileType::Symlink => {
            let to = std::fs::read_link(&path).unwrap_or_default();
            format!(
                "is a symbolic link to {}; reguid replaces files by rename, which would put a \
                 file in the place of the \
                 link. Move the file here, or name its disk in imapd.conf (metapartition_files)",
                to.display()
            )
        }
        FileType::Directory => "is a directory".to_owned(),
        FileType::Fifo => "is a fifo".to_owned(),
        FileType::Socket => "is a socket".to_owned(),
        _ => "is no regular file".to_owned(),
    };
    Err(Refusal::new(
        Code::Damaged,
        format!("{} {what}", path.display()),
    ))
}

/// Whether a directory has a message file: a decimal number and a dot.
fn has_messages(dir: &Dir) -> Result<bool, Refusal> {
    let io = |e: rustix::io::Errno| IoError::new("read directory", dir.path(), e.into());
    for entry in rustix::fs::Dir::read_from(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let digits = entry.file_name().to_bytes().strip_suffix(b".");
        if digits.is_some_and(|d| !d.is_empty() && d.iter().all(u8::is_ascii_digit)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The refusal of a mailbox one of whose directories is not there.
fn unreachable(mailbox: &MailboxName, dirs: &MailboxDirs, location: &Location) -> Refusal {
    let mut what: Vec<&str> = NEEDED
        .into_iter()
        .filter(|&file| file != MetaFile::Sha1s && dirs.file_dir(file) == location)
        .map(MetaFile::file_name)
        .collect();
    if dirs.data() == location {
        what.push("the messages");
    }
    let (path, what) = (location.path(), what.join(", "));
    let text = format!(
        "{} does not exist, where imapd.conf puts {what} of {mailbox}",
        path.display()
    );
    if Dir::open_root(&location.root).is_ok_and(|root| has_nothing(&root)) {
        let root = location.root.display();
        let text = format!("{text}, and {root} is empty; is it mounted?");
        return Refusal::new(Code::Unmounted, text);
    }
    Refusal::new(
        Code::Damaged,
        format!("{text}; restore it, or make it if it never was there"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use indexfile::mailbox::ImapdConf;

    use super::*;
    use crate::mounts::Mounts;

    #[test]
    fn that_a_mailbox_is_not_there_is_believed_only_after_a_later_look_at_its_mounts() {
        let at = tempfile::tempdir().unwrap();
        let spool = at.path().join("spool");
        std::fs::create_dir_all(spool.join("user/other")).unwrap();
        let there = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&there);
        let mounts = Mounts::that_are_there(at.path(), move || still.load(Ordering::Relaxed));
        let conf = format!("partition-default: {}\n", spool.display());
        let store = Store::new(ImapdConf::parse(&conf).unwrap(), mounts);
        let joe = MailboxName::parse("user.joe").unwrap();
        let none = store.open(&joe, "default").unwrap();
        assert!(none.is_none());
        there.store(false, Ordering::Relaxed);
        // The look that was good may still be recent enough to open files.
        let refused = store.open(&joe, "default").unwrap_err();
        assert_eq!(refused.code, Code::Unmounted, "{refused}");
    }
}
