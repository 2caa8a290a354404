//! Which directories a host keeps its index files in, so that two slotds that see one spool are not
//! taken for two hosts.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::answer::Value;
use super::{FieldError, Fields};

/// No more are named: an answer has a limit, and one directory in common is enough.
const MOST: usize = 256;

/// One directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootIdentity {
    /// Number of its file system.
    pub device: u64,
    /// Its inode number.
    pub inode: u64,
    /// Its path there.
    pub path: String,
}

/// As an item of the list: `DEVICE-INODE:PATH`.
impl fmt::Display for RootIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}:{}", self.device, self.inode, self.path)
    }
}

impl FromStr for RootIdentity {
    type Err = ();

    fn from_str(item: &str) -> Result<Self, ()> {
        let (numbers, path) = item.split_once(':').ok_or(())?;
        let (device, inode) = numbers.split_once('-').ok_or(())?;
        Ok(Self {
            device: device.parse().map_err(drop)?,
            inode: inode.parse().map_err(drop)?,
            path: path.to_owned(),
        })
    }
}

/// The directories that index files lie in, as one run of one kernel numbers them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreRoots {
    /// The kernel's run (`boot_id`); empty from servers that do not say so.
    pub boot: String,
    /// The directories that could be looked at when slotd started.
    pub roots: Vec<RootIdentity>,
}

impl StoreRoots {
    /// Looks at these directories.
    #[must_use]
    pub fn look<'a>(boot: String, paths: impl Iterator<Item = &'a Path>) -> Self {
        use std::os::unix::fs::MetadataExt;
        let identity = |path: &Path| {
            let meta = path.metadata().ok()?;
            Some(RootIdentity {
                device: meta.dev(),
                inode: meta.ino(),
                path: path.to_string_lossy().into_owned(),
            })
        };
        Self {
            boot,
            roots: paths.filter_map(identity).take(MOST).collect(),
        }
    }

    /// The path here of a directory that is one of the other's, too.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Option<&str> {
        let same = |root: &&RootIdentity| {
            let is = |o: &RootIdentity| (o.device, o.inode) == (root.device, root.inode);
            other.roots.iter().any(is)
        };
        let one_kernel = !self.boot.is_empty() && self.boot == other.boot;
        let shared = self.roots.iter().filter(|_| one_kernel).find(same);
        shared.map(|root| root.path.as_str())
    }

    pub(super) fn add(&self, fields: Fields) -> Fields {
        if self.boot.is_empty() {
            return fields;
        }
        self.roots.add(fields.with("boot", &self.boot), "roots")
    }

    pub(super) fn read(fields: &Fields) -> Result<Self, FieldError> {
        Ok(Self {
            boot: fields.get_optional("boot")?.unwrap_or_default(),
            roots: Option::read(fields, "roots")?.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(boot: &str, roots: &[(u64, u64, &str)]) -> StoreRoots {
        let identity = |(device, inode, path): &(u64, u64, &str)| RootIdentity {
            device: *device,
            inode: *inode,
            path: (*path).to_owned(),
        };
        StoreRoots {
            boot: boot.to_owned(),
            roots: roots.iter().map(identity).collect(),
        }
    }

    #[test]
    fn one_directory_under_two_names_is_shared_on_one_kernel_only() {
        let here = roots("a", &[(1, 2, "/spool"), (1, 3, "/an, odd:one")]);
        assert_eq!(
            here.shared_with(&roots("a", &[(1, 3, "/x")])),
            Some("/an, odd:one")
        );
        assert_eq!(here.shared_with(&roots("b", &[(1, 3, "/x")])), None);
        assert_eq!(
            here.shared_with(&roots("a", &[(2, 3, "/x"), (1, 4, "/y")])),
            None
        );
        let unknown = roots("", &[(1, 2, "/spool")]);
        assert_eq!(unknown.shared_with(&unknown), None, "no kernel said");
        let fields = here.add(Fields::new());
        assert_eq!(StoreRoots::read(&fields), Ok(here));
        assert_eq!(StoreRoots::read(&Fields::new()), Ok(StoreRoots::default()));
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let tmp = tempfile::tempdir().unwrap();
        let paths = [tmp.path().to_owned(), tmp.path().join("missing")];
        let looked = StoreRoots::look("a".to_owned(), paths.iter().map(AsRef::as_ref));
        let found: Vec<_> = looked.roots.iter().map(|root| root.path.as_str()).collect();
        assert_eq!(found, [tmp.path().to_str().unwrap()]);
    }
}
