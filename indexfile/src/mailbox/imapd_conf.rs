//! What `imapd.conf` says about where mailboxes lie.
//!
//! Promises: every setting that moves a file of a mailbox is understood or refused; nothing is
//! guessed. Reads files only.

use super::conf_file::{self, ConfError, Settings};
use crate::error::IoError;
use crate::kind::MetaFile;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name: what follows `partition-`.
    pub name: String,
    /// Where message files lie.
    pub root: PathBuf,
    /// Where the files named in `metapartition_files` lie, if set.
    pub meta_root: Option<PathBuf>,
    /// Where archived messages lie, if that is set and `archive_enabled` (3.0 and later).
    pub archive_root: Option<PathBuf>,
    /// Overrides for single files (`metadir-index-NAME` and so on of 3.x).
    pub(super) overrides: Vec<(MetaFile, PathBuf)>,
}

/// The setting `virtdomains`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtDomains {
    /// No domains.
    Off,
    /// From the userid only.
    Userid,
    /// From the userid or the server's address.
    On,
}

/// The part of `imapd.conf` that decides where mailboxes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImapdConf {
    pub(super) partitions: Vec<Partition>,
    pub(super) meta_files: BTreeSet<MetaFile>,
    pub(super) hashimapspool: bool,
    pub(super) fulldirhash: bool,
    pub(super) virtdomains: VirtDomains,
    unixhierarchysep: bool,
    default_partition: Option<String>,
    config_directory: Option<PathBuf>,
    settings: Settings,
    file: Option<PathBuf>,
}

impl ImapdConf {
    /// Reads `imapd.conf` and what it includes.
    ///
    /// # Errors
    /// [`ConfError`] for files that cannot be read and settings that cannot be understood.
    pub fn load(path: &Path) -> Result<Self, ConfError> {
        let mut conf = Self::from_settings(conf_file::load(path)?)?;
        let absolute = std::path::absolute(path);
        conf.file = Some(absolute.unwrap_or_else(|_| path.to_path_buf()));
        Ok(conf)
    }

    /// Parses text; an `@include` is refused.
    ///
    /// # Errors
    /// [`ConfError`] for settings that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, ConfError> {
        let mut settings = Settings::new();
        conf_file::parse(
            text,
            Path::new("imapd.conf"),
            &mut settings,
            &mut |target, _| {
                let unsupported = std::io::Error::from(std::io::ErrorKind::Unsupported);
                Err(IoError::new("include from text", target, unsupported).into())
            },
        )?;
        Self::from_settings(settings)
    }

    fn from_settings(mut settings: Settings) -> Result<Self, ConfError> {
        expand_config_directory(&mut settings);
        let virtdomains = match settings
            .get("virtdomains")
            .map(|v| v.to_ascii_lowercase())
            .as_deref()
        {
            Some("userid") => VirtDomains::Userid,
            _ if switch(&settings, "virtdomains")? => VirtDomains::On,
            _ => VirtDomains::Off,
        };
        let conf = Self {
            partitions: partitions(&settings)?,
            meta_files: meta_files(&settings)?,
            hashimapspool: switch(&settings, "hashimapspool")?,
            fulldirhash: switch(&settings, "fulldirhash")?,
            virtdomains,
            unixhierarchysep: switch(&settings, "unixhierarchysep")?,
            default_partition: settings
                .get("defaultpartition")
                .map(|v| v.to_ascii_lowercase()),
            config_directory: settings.get("configdirectory").map(PathBuf::from),
            settings,
            file: None,
        };
        if conf.partitions.is_empty() {
            Err(ConfError::NoPartitions)
        } else {
            Ok(conf)
        }
    }

    /// The partitions, by name.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter()
    }

    /// The partition of this name (compared without case, as Cyrus lower-cases keys).
    #[must_use]
    pub fn partition(&self, name: &str) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// `defaultpartition`, or the only partition if there is just one.
    #[must_use]
    pub fn default_partition(&self) -> Option<&Partition> {
        match (&self.default_partition, self.partitions.as_slice()) {
            (Some(name), _) => self.partition(name),
            (None, [only]) => Some(only),
            (None, _) => self.partition("default"),
        }
    }

    /// `configdirectory`.
    #[must_use]
    pub fn config_directory(&self) -> Option<&Path> {
        self.config_directory.as_deref()
    }

    /// `hashimapspool`.
    #[must_use]
    pub fn hashimapspool(&self) -> bool {
        self.hashimapspool
    }

    /// `fulldirhash`.
    #[must_use]
    pub fn fulldirhash(&self) -> bool {
        self.fulldirhash
    }

    /// `virtdomains`.
    #[must_use]
    pub fn virtdomains(&self) -> VirtDomains {
        self.virtdomains
    }

    /// `unixhierarchysep`.
    #[must_use]
    pub fn unixhierarchysep(&self) -> bool {
        self.unixhierarchysep
    }

    /// The file that it was read from, as an absolute path; none if it was parsed from text.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Any setting by its key in lower case, as it stands in the file but for `{configdirectory}`
    /// at its beginning, which is that directory.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }
}

/// Puts the directory in the place of `{configdirectory}` where a value begins with it, as Cyrus's
/// `config_read` does in all string options that it knows by name. Keys that name a partition are
/// none of those; there it is no absolute path, and refused.
fn expand_config_directory(settings: &mut Settings) {
    const VARIABLE: &str = "{configdirectory}";
    const OF_PARTITIONS: [&str; 4] = [
        "partition-",
        "metapartition-",
        "archivepartition-",
        "metadir-",
    ];
    let Some(directory) = settings.get("configdirectory").cloned() else {
        return;
    };
    for (key, value) in settings {
        let known = key != "configdirectory" && !OF_PARTITIONS.iter().any(|p| key.starts_with(p));
        let begins = |head: &str| head.eq_ignore_ascii_case(VARIABLE);
        if known && value.get(..VARIABLE.len()).is_some_and(begins) {
            value.replace_range(..VARIABLE.len(), &directory);
        }
    }
}

/// A boolean as Cyrus reads it: 0, n, no, f, false, off; 1, y, yes, t, true, on.
fn switch(settings: &Settings, key: &str) -> Result<bool, ConfError> {
    let Some(value) = settings.get(key) else {
        return Ok(false);
    };
    match value.to_ascii_lowercase().as_str() {
        "0" | "n" | "no" | "f" | "false" | "off" => Ok(false),
        "1" | "y" | "yes" | "t" | "true" | "on" => Ok(true),
        _ => Err(bad_value(key, value, "yes or no")),
    }
}

fn bad_value(key: &str, value: &str, expected: &'static str) -> ConfError {
    ConfError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

fn absolute(key: &str, value: &str) -> Result<PathBuf, ConfError> {
    let path = PathBuf::from(value);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(bad_value(key, value, "an absolute path"))
    }
}

fn partitions(settings: &Settings) -> Result<Vec<Partition>, ConfError> {
    let archive_enabled = switch(settings, "archive_enabled")?;
    let mut all = Vec::new();
    for (key, value) in settings {
        let Some(name) = key.strip_prefix("partition-") else {
            continue;
        };
        let path_at = |key: String| settings.get(&key).map(|v| absolute(&key, v)).transpose();
        let mut overrides = Vec::new();
        for (word, files) in [
            ("header", &[MetaFile::Header][..]),
            ("index", &[MetaFile::Index, MetaFile::Sha1s][..]),
            ("cache", &[MetaFile::Cache][..]),
            ("squat", &[MetaFile::Squat][..]),
        ] {
            if let Some(root) = path_at(format!("metadir-{word}-{name}"))? {
                overrides.extend(files.iter().map(|&f| (f, root.clone())));
            }
        }
        all.push(Partition {
            name: name.to_owned(),
            root: absolute(key, value)?,
            meta_root: path_at(format!("metapartition-{name}"))?,
            archive_root: path_at(format!("archivepartition-{name}"))?.filter(|_| archive_enabled),
            overrides,
        });
    }
    Ok(all)
}

fn meta_files(settings: &Settings) -> Result<BTreeSet<MetaFile>, ConfError> {
    const KEY: &str = "metapartition_files";
    let mut files = BTreeSet::new();
    let value = settings.get(KEY).map_or("", String::as_str);
    for word in value.split([' ', '\t', ',']).filter(|w| !w.is_empty()) {
        match word.to_ascii_lowercase().as_str() {
            "header" => drop(files.insert(MetaFile::Header)),
            "index" => files.extend([MetaFile::Index, MetaFile::Sha1s]),
            "cache" => drop(files.insert(MetaFile::Cache)),
            "expunge" => drop(files.insert(MetaFile::Expunge)),
            "squat" => drop(files.insert(MetaFile::Squat)),
            // Files that we never look at.
            "annotations" | "lock" | "dav" | "archivecache" => {}
            _ => {
                return Err(bad_value(
                    KEY,
                    value,
                    "a list of header, index, cache, expunge, squat",
                ));
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_cyrus_reads_them() {
        let conf = ImapdConf::parse(
            "# a comment\n\nconfigdirectory: /var/imap\nPartition-Default:\t/var/spool/imap  \n\
             partition-two: /two\n\
             metapartition-two: /meta two\nmetapartition_files: header index, cache\n\
             defaultpartition: two\n\
             hashimapspool: t\nsievedir: /x # not ours\n",
        )
        .expect("sound");
        assert_eq!(conf.config_directory(), Some(Path::new("/var/imap")));
        assert_eq!(
            conf.partition("default").map(|p| p.root.clone()),
            Some("/var/spool/imap".into())
        );
        let two = conf.default_partition().expect("set");
        assert_eq!(two.meta_root, Some("/meta two".into()));
        assert!(conf.hashimapspool() && !conf.fulldirhash());
        assert_eq!(conf.virtdomains(), VirtDomains::Off);
        assert_eq!(conf.setting("sievedir"), Some("/x # not ours"));
    }

    #[test]
    fn the_configuration_directory_is_put_where_a_known_option_begins_with_it() {
        let text = "proc_path: {configdirectory}/proc\nmboxlist_db_path: {ConfigDirectory}/m\n\
                    sync_log_file: /x/{configdirectory}\npartition-a: /a\n";
        let conf = ImapdConf::parse(&format!("{text}configdirectory: /var/imap\n"));
        let conf = conf.expect("sound");
        assert_eq!(conf.setting("proc_path"), Some("/var/imap/proc"));
        assert_eq!(conf.setting("mboxlist_db_path"), Some("/var/imap/m"));
        assert_eq!(conf.setting("sync_log_file"), Some("/x/{configdirectory}"));
        let conf = ImapdConf::parse(text).expect("sound");
        assert_eq!(conf.setting("proc_path"), Some("{configdirectory}/proc"));
        for key in ["partition-b", "metapartition-a", "metadir-index-a"] {
            let text = format!("{text}configdirectory: /c\n{key}: {{configdirectory}}/b\n");
            assert!(ImapdConf::parse(&text).is_err(), "{key}");
        }
    }

    #[test]
    fn an_archive_partition_counts_only_while_archiving_is_enabled() {
        let text = "partition-a: /a\narchivepartition-a: /cold\n";
        let root = |text: &str| {
            let conf = ImapdConf::parse(text).expect("sound");
            conf.partition("a").and_then(|p| p.archive_root.clone())
        };
        assert_eq!(root(text), None);
        assert_eq!(
            root(&format!("{text}archive_enabled: 1\n")),
            Some("/cold".into())
        );
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for bad in [
            "configdirectory: /x",
            "partition-a: relative",
            "partition-a: /a\npartition-a: /b",
            "partition-a: /a\nhashimapspool: perhaps",
            "partition-a: /a\nmetapartition_files: headers",
            "partition-a: /a\nno colon here",
            "partition-a: /a\n@include: /other",
            "partition-a: /a\nmetapartition-a: meta",
        ] {
            assert!(ImapdConf::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn includes_are_followed_and_circles_are_noticed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let main = dir.path().join("imapd.conf");
        std::fs::write(&main, "partition-a: /a\n@include: more.conf\n").expect("write");
        std::fs::write(dir.path().join("more.conf"), "hashimapspool: yes\n").expect("write");
        let conf = ImapdConf::load(&main).expect("sound");
        assert!(conf.hashimapspool());
        assert_eq!(conf.file(), Some(main.as_path()));
        std::fs::write(dir.path().join("more.conf"), "@include: imapd.conf\n").expect("write");
        let error = ImapdConf::load(&main).expect_err("a circle");
        assert!(
            matches!(
                error,
                ConfError::Duplicate { .. } | ConfError::IncludeDepth { .. }
            ),
            "{error}"
        );
        std::fs::write(&main, "@include: more.conf\n").expect("write");
        assert!(matches!(
            ImapdConf::load(&main),
            Err(ConfError::IncludeDepth { .. })
        ));
    }
}
