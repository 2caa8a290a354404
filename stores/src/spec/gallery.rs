//! The oddities: one mailbox for each thing that a long-lived server has and that a tool trips
//! over.

use super::shape::{Entry, Ids, Shape, acl};

const P: Shape = Shape::PLAIN;

/// Name, owner and shape of the oddities; the first of each group of eight lends its messages to
/// those that share some. `LONG` stands for a name of 490 bytes.
const GALLERY: [(&str, &str, Shape); 32] = [
    ("user.alice", "alice", P.flags(3)),
    ("user.alice.empty", "alice", P.many(0)),
    ("user.alice.expunged", "alice", P.expunged(30).flags(3)),
    ("user.alice.allgone", "alice", P.expunged(100)),
    ("user.alice.mixed", "alice", P.ids(Ids::Mixed)),
    ("user.alice.flags128", "alice", P.flags(128)),
    ("user.alice.With space &AOk-t&AOk- caf&AOk-", "alice", P),
    (
        "user.alice.onecopy",
        "alice",
        Shape {
            shared: 60,
            copies: true,
            ..P
        },
    ),
    ("user.bob", "bob", P),
    ("user.bob.P&JjkmOSY5-&-more", "bob", P),
    ("user.bob.Old^Stuff 2.3", "bob", P),
    ("user.bob.gap.deep.er", "bob", P),
    (
        "user.bob.condstore",
        "bob",
        Shape {
            modseqs: true,
            ..P.expunged(10)
        },
    ),
    ("LONG", "bob", P.expunged(10)),
    (
        "user.bob.padded",
        "bob",
        P.version(10).ids(Ids::Uuid).expunged(20),
    ),
    (
        "user.bob.done",
        "bob",
        P.version(10).ids(Ids::Sha1).expunged(20),
    ),
    ("shared", "", P),
    ("shared.news", "", Shape { shared: 50, ..P }),
    ("user.9lives", "9lives", P),
    ("user.j^doe", "j.doe", P),
    ("user.carol", "carol", P.ids(Ids::Null)),
    (
        "user.carol.Archive.since the 2^3^6",
        "carol",
        P.version(8).expunged(20),
    ),
    (
        "user.carol.Archive.since the 2^3^3",
        "carol",
        P.version(7).expunged(20),
    ),
    (
        "user.carol.Archive.since the 2^2",
        "carol",
        P.version(6).ids(Ids::Null),
    ),
    ("user.dave", "dave", P.ids(Ids::Patched)),
    (
        "user.dave.guid_mode-off",
        "dave",
        P.version(10).ids(Ids::Null).expunged(10),
    ),
    ("user.dave.half", "dave", P.version(10).ids(Ids::HalfSha1)),
    (
        "user.dave.torn append",
        "dave",
        Shape {
            trailing: 37,
            ..P.expunged(10)
        },
    ),
    // Between its two renames, in the right order, an upgrade was interrupted.
    (
        "user.dave.in step",
        "dave",
        Shape {
            expunge: Some(10),
            ..P.expunged(20)
        },
    ),
    ("user.dave.big", "dave", P.many(1000).flags(40).expunged(5)),
    ("user.dave.expunge emptied", "dave", P.expunged(0)),
    ("DELETED.user.dave.old.4756A1B2", "dave", P),
];

/// The oddity number `i`, if there is one.
pub(super) fn entry(i: usize) -> Option<Entry> {
    let &(name, owner, shape) = GALLERY.get(i)?;
    let name = if name == "LONG" {
        long_name()
    } else {
        name.to_owned()
    };
    Some(Entry {
        name,
        owner: owner.to_owned(),
        acl: acl(owner),
        shape,
        count: None,
    })
}

/// A name of 490 bytes, the most that Cyrus allows, in components that a file system takes.
fn long_name() -> String {
    let mut name = String::from("user.bob.A name as long as Cyrus allows");
    while name.len() < 250 {
        name.push_str(" and longer");
    }
    name.push('.');
    while name.len() < 490 {
        name.push_str("to the last byte ");
    }
    name.truncate(490);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_has_490_bytes_and_components_a_file_system_takes() {
        let name = long_name();
        assert_eq!(name.len(), 490);
        assert!(name.split('.').all(|c| c.len() <= 255), "{name}");
        assert!(!name.ends_with(' '));
    }
}
