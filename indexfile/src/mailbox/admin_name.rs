//! Names of mailboxes as an administrator writes them: `user/joe/Drafts@example.com`.
//!
//! What they are internally depends on the server's `imapd.conf`: with `unixhierarchysep` a slash
//! parts the components and a dot is an ordinary character, and with `virtdomains` the domain
//! stands at the end.

use super::imapd_conf::{ImapdConf, VirtDomains};
use super::name::{MailboxName, NameError};

/// How a server's administrators write names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// `unixhierarchysep`: components are parted by slashes.
    pub slashes: bool,
    /// `virtdomains`: a domain may stand at the end.
    pub domains: bool,
    /// `defaultdomain`, whose mailboxes have none.
    pub default_domain: Option<String>,
}

impl ImapdConf {
    /// How administrators of this server write names.
    #[must_use]
    pub fn naming(&self) -> Naming {
        Naming {
            slashes: self.unixhierarchysep(),
            domains: self.virtdomains() != VirtDomains::Off,
            default_domain: self.setting("defaultdomain").map(str::to_ascii_lowercase),
        }
    }
}

impl MailboxName {
    /// Checks a name as it is written on a server with that naming. One that has neither a slash
    /// nor a domain at its end is an internal name: so both spellings can be given, and nothing
    /// that an administrator writes for a mailbox of users is taken for another one.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn from_admin(text: &str, naming: &Naming) -> Result<Self, NameError> {
        let (local, domain) = match text.rsplit_once('@') {
            Some((local, domain)) if naming.domains && !domain.contains(['/', '!']) => {
                (local, Some(domain.to_ascii_lowercase()))
            }
            _ => (text, None),
        };
        let domain = domain.filter(|domain| Some(domain) != naming.default_domain.as_ref());
        let local = if naming.slashes && local.contains('/') {
            let internal = |c: char| match c {
                '/' => '.',
                '.' => '^',
                c => c,
            };
            local.chars().map(internal).collect()
        } else {
            local.to_owned()
        };
        match domain {
            Some(domain) => Self::parse(&format!("{domain}!{local}")),
            None => Self::parse(&local),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_writes_is_the_mailbox_that_cyrus_means() {
        let plain = Naming::default();
        let unix = Naming {
            slashes: true,
            ..Naming::default()
        };
        let domains = Naming {
            slashes: true,
            domains: true,
            default_domain: Some("home.org".to_owned()),
        };
        for (text, naming, wanted) in [
            ("user.joe.Drafts", &plain, Some("user.joe.Drafts")),
            ("user/joe", &plain, None),
            ("user.joe@ex.com", &plain, Some("user.joe@ex.com")),
            ("user/joe/Sent Items", &unix, Some("user.joe.Sent Items")),
            ("user/joe.doe/a.b", &unix, Some("user.joe^doe.a^b")),
            ("user.joe", &unix, Some("user.joe")),
            ("user/joe@Ex.COM", &domains, Some("ex.com!user.joe")),
            ("user.joe@ex.com", &domains, Some("ex.com!user.joe")),
            ("user/joe@home.org", &domains, Some("user.joe")),
            ("ex.com!user.joe", &domains, Some("ex.com!user.joe")),
            ("user//joe", &unix, None),
            ("user/joe@", &domains, None),
            ("", &unix, None),
        ] {
            let name = MailboxName::from_admin(text, naming).ok();
            assert_eq!(name.as_ref().map(MailboxName::as_str), wanted, "{text}");
        }
    }

    #[test]
    fn the_naming_is_that_of_the_configuration() {
        let conf = "partition-default: /spool\nunixhierarchysep: yes\nvirtdomains: userid\n\
                    defaultdomain: Home.org\n";
        let naming = ImapdConf::parse(conf).unwrap().naming();
        assert!(naming.slashes && naming.domains);
        assert_eq!(naming.default_domain.as_deref(), Some("home.org"));
        let plain = ImapdConf::parse("partition-default: /spool\n").unwrap();
        assert_eq!(plain.naming(), Naming::default());
    }
}
