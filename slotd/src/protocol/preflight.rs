//! The answer of `PREFLIGHT`: what a host can do, before anybody relies on it.

use std::str::FromStr;

use super::answer::answer;
use super::{Code, FieldError, Fields};

/// One root of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFacts {
    /// Its path.
    pub path: String,
    /// Number of its file system: roots on the same one share its room.
    pub device: u64,
    /// Bytes that slotd may still write there.
    pub free: u64,
    /// Index or expunge files lie there.
    pub written: bool,
    /// Why mailboxes on it would be refused, if they would.
    pub trouble: Option<Code>,
}

/// Where index files of a partition lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRoot {
    /// The partition.
    pub partition: String,
    /// The path of one of [`HostFacts::roots`].
    pub path: String,
}

/// As an item of the list: `PARTITION:PATH`; no name of a partition has a colon.
impl std::fmt::Display for IndexRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.partition, self.path)
    }
}

impl FromStr for IndexRoot {
    type Err = ();

    fn from_str(item: &str) -> Result<IndexRoot, ()> {
        let (partition, path) = item.split_once(':').ok_or(())?;
        Ok(IndexRoot {
            partition: partition.to_owned(),
            path: path.to_owned(),
        })
    }
}

answer! {
    /// `PREFLIGHT`
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct HostFacts {
        /// The version of the server.
        pub version: String = "slotd",
        /// The limit on its open files.
        pub nofile: u64 = "nofile",
        /// It may give a file to any owner.
        pub chown: bool = "chown",
        /// The roots of all partitions.
        pub roots: Vec<RootFacts> = "roots",
        /// Of each root that has a trouble, in that order, what it is, in words; none from servers
        /// that do not say so.
        pub troubles: Vec<String> = "troubles" via or_default,
        /// Where index files lie, by partition; none from servers that do not say so.
        pub index_roots: Vec<IndexRoot> = "index_roots" via or_default,
        /// Another process that has a file of a partition open, in words.
        pub open: Option<String> = "open",
        /// The fence that a change-over needs: [`FENCE_UP`], or why it does not stand; absent from
        /// servers that know none.
        pub fence: Option<String> = "fence",
        /// `servername` of the store's `imapd.conf`, or the name of the host, which is its default.
        pub servername: Option<String> = "servername",
        /// The host's clock, milliseconds since 1970.
        pub clock: Option<u64> = "clock",
        /// Administrators part names by slashes (`unixhierarchysep`).
        pub slashes: Option<bool> = "slashes",
        /// Names may end with a domain (`virtdomains`).
        pub domains: Option<bool> = "domains",
        /// `defaultdomain`.
        pub default_domain: Option<String> = "default_domain",
    }
}

/// What [`HostFacts::fence`] is while the fence stands.
pub const FENCE_UP: &str = "up";

/// As an item of the list: `DEVICE:FREE:WRITTEN:CODE|OK:PATH`, where WRITTEN is 1 or 0.
impl std::fmt::Display for RootFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let written = u8::from(self.written);
        write!(f, "{}:{}:{written}:", self.device, self.free)?;
        match self.trouble {
            Some(code) => write!(f, "{code}")?,
            None => f.write_str("OK")?,
        }
        write!(f, ":{}", self.path)
    }
}

impl FromStr for RootFacts {
    type Err = ();

    fn from_str(item: &str) -> Result<RootFacts, ()> {
        let mut parts = item.splitn(5, ':');
        let mut next = || parts.next().ok_or(());
        let device = next()?.parse().map_err(|_| ())?;
        let free = next()?.parse().map_err(|_| ())?;
        let written = next()? == "1";
        let trouble = match next()? {
            "OK" => None,
            code => Some(Code::from_word(code)),
        };
        Ok(RootFacts {
            device,
            free,
            written,
            trouble,
            path: next()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_says_of_itself_goes_over_the_wire_and_back() {
        let root = |path: &str, trouble: Option<Code>| RootFacts {
            path: path.to_owned(),
            device: 64_768,
            free: 1 << 40,
            written: trouble.is_none(),
            trouble,
        };
        let facts = HostFacts {
            version: "1.2.3".to_owned(),
            nofile: 1024,
            chown: true,
            roots: vec![
                root("/var/spool/imap a,b:c", None),
                root("/meta", Some(Code::Unmounted)),
            ],
            troubles: vec!["/meta is not mounted, and /meta/a,b lies on it".to_owned()],
            index_roots: vec![IndexRoot {
                partition: "default".to_owned(),
                path: "/var/spool/imap a,b:c".to_owned(),
            }],
            open: Some("imapd (process 7) has /spool/a b/cyrus.index open".to_owned()),
            fence: Some("imapd.conf's configdirectory has no msg/shutdown".to_owned()),
            servername: Some("be1.example.com".to_owned()),
            clock: Some(1_795_791_600_000),
            slashes: Some(true),
            domains: Some(false),
            default_domain: Some("example.com".to_owned()),
        };
        let back = HostFacts::from_fields(&facts.to_fields()).unwrap();
        assert_eq!(back, facts);
        // An earlier server does not say where index files lie, nor why a root is refused.
        let all = facts.to_fields();
        let said = all
            .iter()
            .filter(|(key, _)| !["index_roots", "troubles"].contains(key));
        let said = said.fold(Fields::new(), |fields, (key, word)| {
            fields.with_word(key, word.to_owned())
        });
        let earlier = HostFacts::from_fields(&said).unwrap();
        assert_eq!(earlier.index_roots, []);
        assert!(earlier.troubles.is_empty());
    }
}
