//! Which mailboxes of a source are meant: those of a user, of a pattern, of a share of all users, a
//! few of them first.
//!
//! Nothing is chosen by chance: the same words select the same mailboxes at every start and on
//! every host, so a run can be gone on with, and a larger share has the smaller one in it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use indexfile::mailbox::MailboxName;
use sha1::{Digest, Sha1};

use super::leave_out::LeaveOut;
use crate::journal::Candidate;

/// What of a source is worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The mailboxes of this user, deleted ones too.
    User(User),
    /// Mailboxes whose internal name fits.
    Match(Pattern),
    /// The mailboxes of this share of all users, in percent.
    Tranche(u8),
    /// What is on none of these partitions, as the list names them.
    NotOn(LeaveOut),
    /// This many mailboxes, spread over all.
    Canary(u32),
}

impl Keep {
    /// Whether it keeps a mailbox, as far as that one alone tells.
    pub(crate) fn keeps(&self, one: &Candidate) -> bool {
        match self {
            Self::User(user) => user.owns(&one.name),
            Self::Match(pattern) => pattern.fits(one.name.as_str()),
            Self::Tranche(percent) => place(root(&one.name)) % 100 < u64::from(*percent),
            Self::NotOn(partitions) => one
                .partition
                .as_ref()
                .is_none_or(|partition| !partitions.has(partition)),
            Self::Canary(_) => true,
        }
    }

    /// As it is given on the command line.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match self {
            Self::User(user) => Some(format!("--user {}", user.0)),
            Self::Match(pattern) => Some(format!("--match '{}'", pattern.0)),
            Self::Tranche(percent) => Some(format!("--tranche {percent}%")),
            Self::Canary(n) => Some(format!("--canary {n}")),
            // The fleet file says so.
            Self::NotOn(_) => None,
        }
    }
}

/// A user as a person writes it: `joe`, or `joe@example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(String);

impl std::str::FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let user = Self(text.to_owned());
        match MailboxName::parse(&user.inbox()) {
            Ok(_) => Ok(user),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl User {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The internal name of the inbox. A dot in a user's name is `^` in there, whatever the
    /// separator of hierarchies is: without `unixhierarchysep` no user has one.
    fn inbox(&self) -> String {
        let (user, domain) = match self.0.rsplit_once('@') {
            Some((user, domain)) => (user, format!("{domain}!")),
            None => (self.0.as_str(), String::new()),
        };
        format!("{domain}user.{}", user.replace('.', "^"))
    }

    fn owns(&self, name: &MailboxName) -> bool {
        let inbox = self.inbox();
        let (domain, user) = inbox
            .split_once('!')
            .map_or((None, inbox.as_str()), |(d, u)| (Some(d), u));
        let of_user = |rest: &str| {
            let below = rest.strip_prefix(user);
            below.is_some_and(|below| below.is_empty() || below.starts_with('.'))
        };
        let local = name.local();
        let deleted = local.strip_prefix(DELETED);
        name.domain() == domain && (of_user(local) || deleted.is_some_and(of_user))
    }
}

/// Where delayed delete puts mailboxes, with the separator behind it.
const DELETED: &str = "DELETED.";

/// A pattern as IMAP's LIST has it: `*` is any text, `%` any text without a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("an empty pattern fits no mailbox".to_owned()),
            _ if text.contains('\'') => Err("no mailbox name has a quote in it".to_owned()),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl Pattern {
    /// Whether the whole name fits. Takes time in proportion to pattern and name.
    fn fits(&self, name: &str) -> bool {
        // All places of the pattern at which the name so far can stand.
        let pattern = self.0.as_bytes();
        let mut at = vec![false; pattern.len() + 1];
        at[0] = true;
        pass_wildcards(pattern, &mut at);
        for byte in name.bytes() {
            let mut next = vec![false; pattern.len() + 1];
            for (place, reached) in pattern.iter().zip(&at).enumerate() {
                let (wanted, reached) = reached;
                if !reached {
                    continue;
                }
                match wanted {
                    b'*' => next[place] = true,
                    b'%' => next[place] |= byte != b'.',
                    wanted => next[place + 1] |= *wanted == byte,
                }
            }
            pass_wildcards(pattern, &mut next);
            at = next;
        }
        at.last().copied().unwrap_or(false)
    }
}

/// A wildcard also stands for nothing.
fn pass_wildcards(pattern: &[u8], at: &mut [bool]) {
    for (place, wanted) in pattern.iter().enumerate() {
        if at[place] && matches!(wanted, b'*' | b'%') {
            at[place + 1] = true;
        }
    }
}

/// The part of a name that all mailboxes of a user have in common, deleted ones too; of others the
/// whole. Users of the same name in two domains count as one.
fn root(name: &MailboxName) -> &str {
    let local = name.local();
    let live = local.strip_prefix(DELETED).unwrap_or(local);
    match live.strip_prefix("user.") {
        Some(user) => user.split('.').next().unwrap_or(user),
        None => name.as_str(),
    }
}

/// A number that a text always has, evenly spread.
fn place(text: &str) -> u64 {
    let digest = Sha1::digest(text.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(bytes)
}

/// The first few of a list by a fixed order that has nothing to do with their names.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    most: usize,
    /// The one that goes first if another comes is the greatest.
    kept: BinaryHeap<Canary>,
}

#[derive(Debug)]
struct Canary(u64, Candidate);

impl PartialEq for Canary {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Canary {}

impl PartialOrd for Canary {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Canary {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |c: &Self| (c.0, c.1.name.clone(), c.1.partition.clone());
        key(self).cmp(&key(other))
    }
}

impl Canaries {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            kept: BinaryHeap::new(),
        }
    }

    pub(crate) fn add(&mut self, listed: Candidate) {
        self.kept.push(Canary(place(listed.name.as_str()), listed));
        if self.kept.len() > self.most {
            self.kept.pop();
        }
    }

    pub(crate) fn into_list(self) -> Vec<Candidate> {
        let sorted = self.kept.into_sorted_vec();
        sorted.into_iter().map(|canary| canary.1).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn listed(name: &str) -> Candidate {
        Candidate::new(MailboxName::parse(name).unwrap(), false)
    }

    #[test]
    fn a_users_mailboxes_are_those_under_the_inbox_deleted_ones_too_and_no_others() {
        for (user, name, wanted) in [
            ("joe", "user.joe", true),
            ("joe", "user.joe.Sent Items", true),
            ("joe", "DELETED.user.joe.Old.4A2B", true),
            ("joe", "user.joey", false),
            ("joe", "shared.user.joe", false),
            ("joe", "ex.com!user.joe", false),
            ("joe@ex.com", "ex.com!user.joe.a", true),
            ("joe@ex.com", "ex.com!DELETED.user.joe.a", true),
            ("joe@ex.com", "user.joe", false),
            ("joe.doe", "user.joe^doe.x", true),
            ("joe.doe", "user.joe.doe", false),
        ] {
            let keep = Keep::User(user.parse().unwrap());
            assert_eq!(keep.keeps(&listed(name)), wanted, "{user} {name}");
        }
        assert!("".parse::<User>().is_err());
        assert!("a/b".parse::<User>().is_err());
        assert!("joe@".parse::<User>().is_err());
    }

    #[test]
    fn a_pattern_fits_as_in_imap() {
        for (pattern, name, wanted) in [
            ("user.j*", "user.joe.Sent", true),
            ("user.j*", "user.bob", false),
            ("user.%", "user.joe", true),
            ("user.%", "user.joe.a", false),
            ("user.%.Trash", "user.joe.Trash", true),
            ("*", "anything.at all", true),
            ("*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
            ("user.joe", "user.joe", true),
            ("user.joe", "user.joe.a", false),
            ("us%r.**e", "user.joe", true),
        ] {
            let keep = Keep::Match(pattern.parse().unwrap());
            assert_eq!(keep.keeps(&listed(name)), wanted, "{pattern} {name}");
        }
        assert!("".parse::<Pattern>().is_err());
    }

    #[test]
    fn a_tranche_has_all_of_a_user_and_the_smaller_tranche_and_about_its_share() {
        let inboxes: Vec<Candidate> = (0..2000).map(|n| listed(&format!("user.u{n}"))).collect();
        let kept = |percent: u8| {
            let keep = Keep::Tranche(percent);
            let names = inboxes.iter().filter(|one| keep.keeps(one));
            names
                .map(|one| one.name.to_string())
                .collect::<BTreeSet<_>>()
        };
        let (ten, twenty, all) = (kept(10), kept(20), kept(100));
        assert!((140..260).contains(&ten.len()), "{}", ten.len());
        assert!(ten.is_subset(&twenty) && ten.len() < twenty.len());
        assert_eq!(all.len(), 2000);
        for inbox in &inboxes {
            let below = listed(&format!("{}.Sent.2007", inbox.name));
            let deleted = listed(&format!("DELETED.{}.x.4A", inbox.name));
            let keep = Keep::Tranche(10);
            assert_eq!(keep.keeps(inbox), keep.keeps(&below));
            assert_eq!(keep.keeps(inbox), keep.keeps(&deleted));
        }
    }

    #[test]
    fn the_canaries_are_the_same_ones_in_whatever_order_the_list_comes() {
        let names: Vec<Candidate> = (0..500).map(|n| listed(&format!("user.u{n}"))).collect();
        let of = |names: &mut dyn Iterator<Item = &Candidate>| {
            let mut canaries = Canaries::new(7);
            names.for_each(|one| canaries.add(one.clone()));
            canaries.into_list()
        };
        let forward = of(&mut names.iter());
        assert_eq!(forward.len(), 7);
        assert_eq!(forward, of(&mut names.iter().rev()));
        assert_eq!(of(&mut names.iter().take(3)).len(), 3);
    }

    #[test]
    fn a_partition_that_is_left_out_is_left_out() {
        let keep = Keep::NotOn(LeaveOut::new(&["Archive".to_owned()]));
        let on = |partition: Option<&str>| Candidate {
            partition: partition.map(str::to_owned),
            ..listed("user.joe")
        };
        assert!(keep.keeps(&on(Some("default"))) && keep.keeps(&on(None)));
        assert!(!keep.keeps(&on(Some("archive"))));
    }
}
