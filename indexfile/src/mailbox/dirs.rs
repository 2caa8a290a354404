//! From a mailbox name to its directories.
//!
//! Promises: the layout of Cyrus 1.x to 3.4 (and of legacy mailboxes of 3.6), hashing, domains and
//! metapartitions included. Makes paths only; nothing is looked up on disk.

use super::conf_file::ConfError;
use super::imapd_conf::{ImapdConf, Partition, VirtDomains};
use super::name::MailboxName;
use crate::kind::MetaFile;
use std::path::{Path, PathBuf};

/// A directory as a partition's root and the path below it, so that it can be opened beneath the
/// root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Root of a partition, absolute.
    pub root: PathBuf,
    /// Path below it; no component is `..`.
    pub sub: PathBuf,
}

impl Location {
    /// Root and path below it in one.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        if self.sub.as_os_str().is_empty() {
            // Joining would leave a slash at the end.
            return self.root.clone();
        }
        self.root.join(&self.sub)
    }
}

/// The directories of one mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxDirs {
    data: Location,
    meta: Vec<(MetaFile, Location)>,
    archive: Option<Location>,
}

impl MailboxDirs {
    /// Those at `sub` of a plain tree: messages below `data` and `archive`, all else below `meta`.
    #[must_use]
    pub fn plain(data: &Path, meta: Option<&Path>, archive: Option<&Path>, sub: &Path) -> Self {
        const ALL: [MetaFile; 6] = [
            MetaFile::Header,
            MetaFile::Index,
            MetaFile::Cache,
            MetaFile::Expunge,
            MetaFile::Squat,
            MetaFile::Sha1s,
        ];
        let at = |root: &Path| Location {
            root: root.to_path_buf(),
            sub: sub.to_path_buf(),
        };
        Self {
            data: at(data),
            meta: meta.map_or(Vec::new(), |meta| ALL.map(|file| (file, at(meta))).to_vec()),
            archive: archive.map(at),
        }
    }

    /// Where the message files lie.
    #[must_use]
    pub fn data(&self) -> &Location {
        &self.data
    }

    /// Where archived message files lie, if apart from the others (3.0 and later).
    #[must_use]
    pub fn archive(&self) -> Option<&Location> {
        self.archive.as_ref()
    }

    /// Where this file lies.
    #[must_use]
    pub fn file_dir(&self, file: MetaFile) -> &Location {
        self.meta
            .iter()
            .find(|(f, _)| *f == file)
            .map_or(&self.data, |(_, location)| location)
    }

    /// The whole path of this file.
    #[must_use]
    pub fn file(&self, file: MetaFile) -> PathBuf {
        self.file_dir(file).path().join(file.file_name())
    }
}

impl ImapdConf {
    /// The directories of a mailbox on a partition.
    ///
    /// # Errors
    /// [`ConfError::UnknownPartition`], and [`ConfError::DomainWithoutVirtdomains`].
    pub fn dirs(&self, mailbox: &MailboxName, partition: &str) -> Result<MailboxDirs, ConfError> {
        let partition = self
            .partition(partition)
            .ok_or_else(|| ConfError::UnknownPartition {
                mailbox: mailbox.to_string(),
                partition: partition.to_owned(),
            })?;
        let sub = self.sub_path(mailbox)?;
        Ok(self.dirs_at(partition, &sub))
    }

    /// The directories by the rule of every release, that of 2.x ([`Self::dirs`]) first, each once:
    /// for callers that do not know which server made the store. With `fulldirhash` 2.x
    /// takes the letter from the internal name, and 3.x from the external one, whose dot ends what
    /// counts (`first^last` is `first.last` there).
    ///
    /// # Errors
    /// As of [`Self::dirs`].
    pub fn dirs_of_any_release(
        &self,
        mailbox: &MailboxName,
        partition: &str,
    ) -> Result<Vec<MailboxDirs>, ConfError> {
        let mut all = vec![self.dirs(mailbox, partition)?];
        let external = self.hashed_path(mailbox, before_caret)?;
        if let Some(partition) = self.partition(partition)
            && external != all[0].data.sub
        {
            all.push(self.dirs_at(partition, &external));
        }
        Ok(all)
    }

    /// The directories of whatever mailbox lies at `sub` below the roots of `partition`: of one
    /// whose directory was found by walking, or of `uuid/C1/C2/UNIQUEID` of 3.6 and later.
    #[must_use]
    pub fn dirs_at(&self, partition: &Partition, sub: &Path) -> MailboxDirs {
        let at = |root: &Path| Location {
            root: root.to_path_buf(),
            sub: sub.to_path_buf(),
        };
        let mut meta: Vec<_> = partition
            .overrides
            .iter()
            .map(|(f, root)| (*f, at(root)))
            .collect();
        if let Some(root) = &partition.meta_root {
            meta.extend(self.meta_files.iter().map(|&f| (f, at(root))));
        }
        MailboxDirs {
            data: at(&partition.root),
            meta,
            archive: partition.archive_root.as_deref().map(at),
        }
    }

    /// The path of a mailbox below any root of its partition.
    pub(super) fn sub_path(&self, mailbox: &MailboxName) -> Result<PathBuf, ConfError> {
        self.hashed_path(mailbox, |text| text)
    }

    /// The same, where `counts` gives what of a component is hashed.
    fn hashed_path(
        &self,
        mailbox: &MailboxName,
        counts: fn(&str) -> &str,
    ) -> Result<PathBuf, ConfError> {
        let mut sub = PathBuf::new();
        if let Some(domain) = mailbox.domain() {
            if self.virtdomains == VirtDomains::Off {
                return Err(ConfError::DomainWithoutVirtdomains {
                    mailbox: mailbox.to_string(),
                });
            }
            sub.push("domain");
            if self.hashimapspool {
                sub.push(self.hash(domain).to_string());
            }
            sub.push(domain);
        }
        if self.hashimapspool {
            // The user's name, or the name itself where there is but one component.
            let first = mailbox.local();
            let second = first.split_once('.').map_or(first, |(_, rest)| rest);
            sub.push(self.hash(counts(second)).to_string());
        }
        sub.extend(mailbox.components());
        Ok(sub)
    }

    /// The one-letter directory for `text`, of which what follows a dot does not count.
    pub(super) fn hash(&self, text: &str) -> char {
        if self.fulldirhash {
            full_hash(text)
        } else {
            simple_hash(text)
        }
    }
}

/// What of an internal name stands before the first dot of the external one.
fn before_caret(text: &str) -> &str {
    text.split('^').next().unwrap_or(text)
}

/// First letter in lower case, `q` for anything that is no letter.
fn simple_hash(text: &str) -> char {
    let first = text.chars().next().unwrap_or('q').to_ascii_lowercase();
    if first.is_ascii_lowercase() {
        first
    } else {
        'q'
    }
}

/// `fulldirhash`: a letter from A to W.
fn full_hash(text: &str) -> char {
    let n = text
        .bytes()
        .take_while(|&b| b != b'.')
        .fold(0_u32, |n, b| (n << 3 ^ n >> 5) ^ u32::from(b));
    char::from(b'A' + u8::try_from(n % 23).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "partition-default: /p\n";

    #[test]
    fn with_fulldirhash_the_places_are_those_of_2_3_and_those_that_mbpath_of_3_6_prints() {
        let conf = format!("{FULL}virtdomains: userid\n");
        let conf = ImapdConf::parse(&conf).expect("sound");
        for (name, of_3_6) in [
            ("user.first^last", "H/user/first^last"),
            ("user.9^lives", "L/user/9^lives"),
            ("shared^x.y^z", "G/shared^x/y^z"),
            ("user.Upper^Case", "C/user/Upper^Case"),
            (
                "ex.com!user.first^last",
                "domain/A/ex.com/H/user/first^last",
            ),
        ] {
            let name = MailboxName::parse(name).expect("a name");
            let all = conf.dirs_of_any_release(&name, "default").expect("known");
            let subs: Vec<&Path> = all.iter().map(|dirs| dirs.data().sub.as_path()).collect();
            let of_2_3 = conf.dirs(&name, "default").expect("known");
            assert_eq!(subs[0], of_2_3.data().sub);
            assert_eq!(subs.last(), Some(&Path::new(of_3_6)), "{name}");
        }
        let plain = MailboxName::parse("user.joe.a^b").expect("a name");
        let all = conf.dirs_of_any_release(&plain, "default").expect("known");
        assert_eq!(all.len(), 1);
    }
    const HASHED: &str = "partition-default: /p\nhashimapspool: yes\n";
    const FULL: &str = "partition-default: /p\nhashimapspool: yes\nfulldirhash: yes\n";
    const DOMAINS: &str = "partition-default: /p\nhashimapspool: yes\nvirtdomains: userid\n";

    /// Name and directory, as real servers place them.
    pub(crate) const EXAMPLES: &[(&str, &str, &str)] = &[
        (PLAIN, "user.joe.Old^Stuff", "user/joe/Old^Stuff"),
        (
            PLAIN,
            "DELETED.user.del.6B022D41",
            "DELETED/user/del/6B022D41",
        ),
        (HASHED, "user.joe.Old", "j/user/joe/Old"),
        (HASHED, "user.9lives", "q/user/9lives"),
        (HASHED, "shared", "s/shared"),
        (HASHED, "shared.box", "b/shared/box"),
        (
            HASHED,
            "DELETED.user.del.6B022D45",
            "u/DELETED/user/del/6B022D45",
        ),
        (FULL, "user.joe.Old", "B/user/joe/Old"),
        (FULL, "user.9lives", "M/user/9lives"),
        (
            DOMAINS,
            "ex.com!user.joe.Old",
            "domain/e/ex.com/j/user/joe/Old",
        ),
    ];

    #[test]
    fn directories_are_those_of_real_servers_and_lead_back_to_the_name() {
        for (conf, name, dir) in EXAMPLES {
            let conf = ImapdConf::parse(conf).expect("sound");
            let mailbox = MailboxName::parse(name).expect("good");
            let dirs = conf.dirs(&mailbox, "default").expect("known");
            assert_eq!(dirs.data().path(), Path::new("/p").join(dir), "{name}");
            let back = super::super::name_of_dir(&conf, "default", Path::new(dir));
            assert_eq!(back.as_ref(), Some(&mailbox), "{dir}");
        }
    }

    #[test]
    fn full_hash_is_that_of_cyrus() {
        for (text, letter) in [
            ("joe", 'B'),
            ("9lives", 'M'),
            ("*U*joe", 'U'),
            ("*U*9lives", 'L'),
            ("joe.x", 'B'),
        ] {
            assert_eq!(full_hash(text), letter, "{text}");
        }
    }

    #[test]
    fn each_file_is_looked_up_by_itself() {
        let conf = ImapdConf::parse(
            "partition-a: /data\nmetapartition-a: /meta\nmetapartition_files: header index\n\
             partition-b: /b\nhashimapspool: on\nmetadir-index-b: /ssd\n",
        )
        .expect("sound");
        let mailbox = MailboxName::parse("user.joe").expect("good");
        let dirs = conf.dirs(&mailbox, "a").expect("known");
        let at = |file| dirs.file_dir(file).path();
        for file in [MetaFile::Header, MetaFile::Index, MetaFile::Sha1s] {
            assert_eq!(at(file), Path::new("/meta/j/user/joe"));
        }
        for file in [MetaFile::Cache, MetaFile::Expunge, MetaFile::Squat] {
            assert_eq!(at(file), Path::new("/data/j/user/joe"));
        }
        assert_eq!(
            dirs.file(MetaFile::Expunge),
            Path::new("/data/j/user/joe/cyrus.expunge")
        );
        // No meta root: the list of files moves nothing.
        let dirs = conf.dirs(&mailbox, "b").expect("known");
        assert_eq!(
            dirs.file_dir(MetaFile::Header).path(),
            Path::new("/b/j/user/joe")
        );
        assert_eq!(
            dirs.file_dir(MetaFile::Index).path(),
            Path::new("/ssd/j/user/joe")
        );
    }

    #[test]
    fn an_unknown_partition_or_a_stray_domain_is_an_error() {
        let conf = ImapdConf::parse(PLAIN).expect("sound");
        let mailbox = MailboxName::parse("ex.com!user.joe").expect("good");
        assert!(matches!(
            conf.dirs(&mailbox, "other"),
            Err(ConfError::UnknownPartition { .. })
        ));
        assert!(matches!(
            conf.dirs(&mailbox, "default"),
            Err(ConfError::DomainWithoutVirtdomains { .. })
        ));
    }
}
