//! Where 2.3 keeps what a mailbox's owner has seen.
//!
//! `CONFIG/user/H/USER.seen`, with a domain `CONFIG/domain/D/DOMAIN/user/H/USER.seen`. H and D are
//! the one-letter directories, whether or not the spool has such. Makes paths only.

use super::imapd_conf::{ImapdConf, VirtDomains};
use super::name::MailboxName;
use std::path::PathBuf;

/// The user whose seen record counts for everybody in a mailbox with the option SHAREDSEEN.
const EVERYBODY: &str = "anyone";

impl ImapdConf {
    /// The seen database that has the record of this mailbox which its index of version 12 and
    /// later takes in: the owner's, or where all users share one (`shared`) that of `anyone`.
    /// `None` if nobody owns the mailbox, or there is no `configdirectory`.
    #[must_use]
    pub fn seen_path(&self, mailbox: &MailboxName, shared: bool) -> Option<PathBuf> {
        let mut path = self.config_directory()?.to_path_buf();
        let owner = if shared {
            EVERYBODY.to_owned()
        } else {
            self.owner(mailbox)?
        };
        // `anyone` is of no domain.
        let domain = mailbox.domain().filter(|_| !shared);
        if let Some(domain) = domain.filter(|_| self.virtdomains() != VirtDomains::Off) {
            path.push("domain");
            path.push(self.hash(domain).to_string());
            path.push(domain);
        }
        path.push("user");
        path.push(self.hash(&owner).to_string());
        path.push(format!("{owner}.seen"));
        Some(path)
    }

    /// The owner's name as users write it, without the domain. A deleted mailbox still has one.
    fn owner(&self, mailbox: &MailboxName) -> Option<String> {
        let deleted = self.setting("deletedprefix").unwrap_or("DELETED");
        let mut components = mailbox.components().peekable();
        components.next_if(|first| *first == deleted);
        let owner = components.next().filter(|first| *first == "user");
        let owner = owner.and_then(|_| components.next())?;
        Some(if self.unixhierarchysep() {
            owner.replace('^', ".")
        } else {
            owner.to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(more: &str, name: &str, shared: bool) -> Option<String> {
        let text = format!("configdirectory: /c\npartition-default: /s\n{more}");
        let conf = ImapdConf::parse(&text).unwrap();
        let name = MailboxName::parse(name).unwrap();
        let path = conf.seen_path(&name, shared)?;
        Some(path.to_str().unwrap().to_owned())
    }

    /// As `seen_getpath` of 2.3.16 has it.
    #[test]
    fn the_seen_database_is_the_owner_s_and_lies_where_2_3_looks_for_it() {
        let at = |path: &str| Some(path.to_owned());
        assert_eq!(path("", "user.bob.Sent", false), at("/c/user/b/bob.seen"));
        assert_eq!(
            path("", "DELETED.user.bob.4A", false),
            at("/c/user/b/bob.seen")
        );
        assert_eq!(path("", "shared.news", false), None);
        assert_eq!(path("", "shared.news", true), at("/c/user/a/anyone.seen"));
        assert_eq!(
            path("unixhierarchysep: yes\n", "user.first^last", false),
            at("/c/user/f/first.last.seen")
        );
        assert_eq!(
            path("virtdomains: yes\n", "example.com!user.bob", false),
            at("/c/domain/e/example.com/user/b/bob.seen")
        );
        assert_eq!(
            path("hashimapspool: no\n", "user.7up", false),
            at("/c/user/q/7up.seen"),
            "what is no letter"
        );
    }
}
