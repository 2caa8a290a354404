//! The answer of `PREFLIGHT`: what a host can do, before anybody relies on it.

use std::str::FromStr;

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

/// `PREFLIGHT`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The version of the server.
    pub version: String,
    /// The limit on its open files.
    pub nofile: u64,
    /// It may give a file to any owner.
    pub chown: bool,
    /// The roots of all partitions.
    pub roots: Vec<RootFacts>,
    /// Another process that has a file of a partition open, in words.
    pub open: Option<String>,
}

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

impl HostFacts {
    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let fields = Fields::new()
            .with("slotd", &self.version)
            .with("nofile", self.nofile)
            .with("chown", u8::from(self.chown))
            .with_list("roots", &self.roots);
        match &self.open {
            Some(open) => fields.with("open", open),
            None => fields,
        }
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<HostFacts, FieldError> {
        let root = |item: &Vec<u8>| {
            let text = String::from_utf8_lossy(item).into_owned();
            text.parse().map_err(|()| FieldError::Malformed {
                key: "roots",
                value: text.clone(),
            })
        };
        Ok(HostFacts {
            version: fields.text("slotd")?,
            nofile: fields.get("nofile")?,
            chown: fields.get::<u8>("chown")? != 0,
            roots: fields
                .list("roots")?
                .iter()
                .map(root)
                .collect::<Result<_, _>>()?,
            open: fields.get_optional("open")?,
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
            open: Some("imapd (process 7) has /spool/a b/cyrus.index open".to_owned()),
        };
        let back = HostFacts::from_fields(&facts.to_fields()).unwrap();
        assert_eq!(back, facts);
    }
}
