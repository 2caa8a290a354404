//! From a directory below a partition's root back to the mailbox name.
//!
//! Promises: a name is returned only if [`ImapdConf::dirs`] leads back to the very same directory;
//! a hash directory, a stray one or one with a dot in its name gives none.

use super::imapd_conf::{ImapdConf, VirtDomains};
use super::name::MailboxName;
use std::path::{Component, Path};

/// The mailbox whose data directory is `dir` (relative to a root of `partition`).
///
/// Whether there is a mailbox is for the caller to see (a `cyrus.header` and a `cyrus.index`).
#[must_use]
pub fn name_of_dir(conf: &ImapdConf, partition: &str, dir: &Path) -> Option<MailboxName> {
    conf.partition(partition)?;
    let mut parts = Vec::new();
    for component in dir.components() {
        let Component::Normal(part) = component else {
            return None;
        };
        parts.push(part.to_str()?);
    }
    let hashes = usize::from(conf.hashimapspool);
    let matches = |name: &MailboxName| conf.sub_path(name).is_ok_and(|sub| sub == dir);
    if conf.virtdomains != VirtDomains::Off && parts.first() == Some(&"domain") {
        let with_domain = parts.get(1 + hashes).zip(parts.get(2 + 2 * hashes..));
        if let Some((domain, rest)) = with_domain {
            let name = MailboxName::parse(&format!("{domain}!{}", rest.join("."))).ok();
            if let Some(name) = name.filter(matches) {
                return Some(name);
            }
        }
    }
    MailboxName::parse(&parts.get(hashes..)?.join("."))
        .ok()
        .filter(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_are_no_mailbox_have_no_name() {
        let conf = ImapdConf::parse("partition-default: /p\nhashimapspool: yes\nvirtdomains: on\n")
            .expect("sound");
        for dir in [
            "",
            "j",
            "j/user.x/joe",
            "k/user/joe",
            "domain/e",
            "domain/e/ex.com",
            "../user/joe",
            "/j/user/joe",
        ] {
            assert_eq!(name_of_dir(&conf, "default", Path::new(dir)), None, "{dir}");
        }
        let plain = name_of_dir(&conf, "default", Path::new("j/user/joe"));
        assert_eq!(plain.map(|n| n.to_string()).as_deref(), Some("user.joe"));
        assert_eq!(name_of_dir(&conf, "other", Path::new("j/user/joe")), None);
    }
}
