//! Which mailbox is the i-th: its name, its owner, its access rights and its shape.
//!
//! Mailboxes come in groups of [`GROUP`]: one user's, or a handful of oddities. Message files are
//! shared only within a group, so that groups can be built at the same time.

use super::gallery;
use super::shape::{Entry, Ids, Shape, acl};
use super::{StoreSpec, Variety, mix};

/// Mailboxes that are built together.
pub(super) const GROUP: usize = 8;

/// Names of users; the first letters differ, for hashed spools.
const USERS: [&str; 24] = [
    "erin", "frank", "grace", "heidi", "ivan", "judy", "karl", "laura", "mallory", "nina",
    "olivia", "peggy", "quentin", "rupert", "sybil", "trent", "ursula", "victor", "walter",
    "xenia", "yves", "zoe", "anton", "berta",
];

/// A user's mailboxes; "Archive" and "Lists" are not mailboxes themselves.
const FOLDERS: [&str; GROUP] = [
    "",
    ".Drafts",
    ".Sent",
    ".Trash",
    ".Archive.2006",
    ".Archive.2007",
    ".Lists.info-cyrus",
    ".Work",
];

/// The i-th mailbox of a store.
pub(super) fn entry(spec: &StoreSpec, i: usize) -> Entry {
    let plain = spec.variety == Variety::Plain;
    if !plain && let Some(entry) = gallery::entry(i) {
        return entry;
    }
    let (user, folder) = (i / GROUP, i % GROUP);
    let owner = match (USERS[user % USERS.len()], user / USERS.len()) {
        (name, 0) => name.to_owned(),
        (name, round) => format!("{name}{round}"),
    };
    let shape = if plain {
        spec.order.shape(spec.seed, i, folder == 0)
    } else {
        ordinary(spec.seed, i, folder)
    };
    let count = plain.then(|| spec.order.count(spec.seed, i)).flatten();
    Entry {
        name: format!("user.{owner}{}", FOLDERS[folder]),
        acl: acl(&owner),
        owner,
        shape,
        count,
    }
}

/// Shapes as a server has them that was upgraded in place for years.
fn ordinary(seed: u64, i: usize, folder: usize) -> Shape {
    // A stream of its own, so that the shape does not depend on how content is drawn.
    let mut rng = fastrand::Rng::with_seed(mix(!seed, i as u64));
    let mut shape = Shape::PLAIN;
    shape.many = rng.u32(50..=150);
    shape.version = match rng.u32(0..100) {
        0..2 => 7,
        2..6 => 8,
        6..12 => 10,
        _ => 9,
    };
    shape.ids = match (shape.version, rng.u32(0..100)) {
        (10, 0..40) => Ids::Sha1,
        (10, 40..60) => Ids::HalfSha1,
        (_, 0..8) => Ids::Null,
        (_, 8..20) => Ids::Mixed,
        _ => Ids::Uuid,
    };
    shape.flags = [0, 0, 2, 5, 12][rng.usize(0..5)];
    shape.modseqs = rng.u32(0..10) == 0;
    shape.gone = match folder {
        1 => 50,
        3 => 80,
        _ if rng.u32(0..10) < 3 => rng.u32(0..30),
        _ => 0,
    };
    shape.expunge = (shape.gone > 0).then_some(shape.version);
    if folder == 1 && rng.u32(0..3) == 0 {
        shape.many = 0;
    }
    if folder == 2 || folder == 7 {
        shape.shared = 20;
    }
    shape.copies = rng.u32(0..8) == 0;
    shape
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_mailboxes_have_the_same_name() {
        for variety in [Variety::Everything, Variety::Plain] {
            let spec = StoreSpec::new(5000, 1).variety(variety);
            let names: HashSet<String> = (0..5000).map(|i| entry(&spec, i).name).collect();
            assert_eq!(names.len(), 5000);
        }
    }

    #[test]
    fn every_name_is_one_that_cyrus_allows() {
        let spec = StoreSpec::new(1000, 1);
        let bad = |name: &String| indexfile::mailbox::MailboxName::parse(name).is_err();
        assert_eq!(spec.names().filter(bad).count(), 0);
    }
}
