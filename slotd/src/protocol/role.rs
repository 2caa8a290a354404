//! Who may send which command: one table for everything that comes over the wire.
//!
//! A role comes from the certificate of a TLS connection, from the user behind a Unix socket, or
//! from `--insecure-tcp`. A command that is added says here who may send it: the match has no arm
//! for the rest.

use super::{Command, Precompute};

/// What the other end of a connection is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::Display,
    strum::EnumString,
    strum::EnumIter,
    strum::IntoStaticStr,
)]
#[strum(serialize_all = "lowercase")]
pub enum Role {
    /// A coordinator, which may send everything.
    Controller,
    /// Another host's slotd: it fetches what `cyrus.sha1s` says.
    Slotd,
    /// Somebody who looks, and changes nothing.
    Viewer,
}

/// What comes before the role in the URI of a certificate.
const SCHEME: &str = "reguid:";

impl Role {
    /// As it stands in a certificate: a URI among its alternative names.
    #[must_use]
    pub fn uri(self) -> String {
        format!("{SCHEME}{self}")
    }

    /// The role of such a URI; `None` if it is none of ours.
    #[must_use]
    pub fn of_uri(uri: &str) -> Option<Role> {
        uri.strip_prefix(SCHEME)?.parse().ok()
    }

    /// Whether it may send that command.
    #[must_use]
    pub fn may(self, command: &Command) -> bool {
        match command {
            Command::Hello | Command::Quit => true,
            Command::Sha1s(_) => matches!(self, Role::Controller | Role::Slotd),
            Command::Preflight
            | Command::List(_)
            | Command::Find(_)
            | Command::Status(_)
            | Command::HostStatus
            | Command::Precompute(Precompute::Ask)
            | Command::Host
            | Command::Verify(_) => matches!(self, Role::Controller | Role::Viewer),
            Command::Lock(_)
            | Command::Upgrade(_)
            | Command::Guids(_)
            | Command::Digests(_)
            | Command::Commit(_)
            | Command::Release { .. }
            | Command::Rollback
            | Command::Confirm
            | Command::Precompute(Precompute::Start(_) | Precompute::Stop)
            | Command::Prepare(_)
            | Command::Clean(_)
            | Command::Register { .. }
            | Command::Leave
            | Command::Complete(_)
            | Command::Revoke
            | Command::Drain(_)
            | Command::Kick
            | Command::Undrain => self == Role::Controller,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use strum::IntoEnumIterator as _;

    use super::*;
    use crate::protocol::CommandKind;

    fn may(role: Role, line: &str) -> bool {
        role.may(&Command::parse(line.as_bytes()).unwrap())
    }

    #[test]
    fn a_controller_may_send_all_a_viewer_looks_and_a_slotd_fetches_sha1s() {
        let mut seen = HashSet::new();
        for (line, slotd, viewer) in [
            ("HELLO", true, true),
            ("QUIT", true, true),
            ("SHA1S user.joe", true, false),
            ("PREFLIGHT", false, true),
            ("LIST", false, true),
            ("FIND uniqueid=x", false, true),
            ("STATUS user.joe", false, true),
            ("STATUS", false, true),
            ("VERIFY user.joe", false, true),
            ("HOST", false, true),
            ("DRAIN by=x", false, false),
            ("KICK", false, false),
            ("UNDRAIN", false, false),
            ("LOCK user.joe", false, false),
            ("UPGRADE", false, false),
            ("GUIDS", false, false),
            ("DIGESTS", false, false),
            ("COMMIT", false, false),
            ("RELEASE", false, false),
            ("ROLLBACK", false, false),
            ("CONFIRM", false, false),
            ("PREPARE user.joe", false, false),
            ("PRECOMPUTE", false, true),
            ("PRECOMPUTE start", false, false),
            ("PRECOMPUTE stop", false, false),
            ("CLEAN user.joe dry_run=1", false, false),
            ("REGISTER journal=x", false, false),
            ("LEAVE", false, false),
            ("COMPLETE 16 mailboxes=1 dry_run=1", false, false),
            ("REVOKE", false, false),
        ] {
            seen.insert(CommandKind::from(Command::parse(line.as_bytes()).unwrap()));
            assert!(may(Role::Controller, line), "{line}");
            assert_eq!(may(Role::Slotd, line), slotd, "{line}");
            assert_eq!(may(Role::Viewer, line), viewer, "{line}");
        }
        for kind in CommandKind::iter() {
            assert!(seen.contains(&kind), "{kind:?} is not in the table");
        }
    }

    #[test]
    fn a_viewer_sends_nothing_that_does_more_than_look() {
        for line in [
            "HELLO",
            "LIST",
            "STATUS user.joe",
            "LOCK user.joe",
            "CLEAN user.joe",
        ] {
            let command = Command::parse(line.as_bytes()).unwrap();
            assert!(
                !Role::Viewer.may(&command) || command.only_looks(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_role_is_read_from_its_uri_and_from_nothing_like_it() {
        for role in Role::iter() {
            assert_eq!(Role::of_uri(&role.uri()), Some(role));
        }
        for uri in [
            "",
            "reguid:",
            "reguid:root",
            "controller",
            "xreguid:viewer",
            "reguid: viewer",
        ] {
            assert_eq!(Role::of_uri(uri), None, "{uri}");
        }
    }
}
