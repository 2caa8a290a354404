//! Mailbox names over the wire: the odd ones work, and none leads out of the partition.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use stores::genuine::unpack_239;
use stores::judge::image::Image;
use stores::judge::snapshot;
use stores::{Dirs, Host};
use tests::fleet::program;
use tests::process::Slotd;
use tests::wire::{Wire, escape, value};

/// Gives the mailbox in `from` a second life under another name.
fn copy_mailbox(host: &Host, from: &str, to: &str) {
    let source = host.dirs(from);
    let relative: std::path::PathBuf = to.split('.').collect();
    for (old, root) in [(source.data, &host.data), (source.meta, &host.meta)] {
        let target = root.join(&relative);
        fs::create_dir_all(&target).unwrap();
        for entry in fs::read_dir(old).unwrap().map(Result::unwrap) {
            if !entry.file_type().unwrap().is_dir() {
                fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
            }
        }
    }
}

fn minor(dirs: &Dirs) -> u32 {
    Image::parse(fs::read(dirs.meta.join("cyrus.index")).unwrap())
        .unwrap()
        .minor()
}

#[test]
fn spaces_utf7_carets_and_490_byte_names_are_upgraded_over_the_wire() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let long = format!("user.alice.{}.{}", "l".repeat(240), "o".repeat(238));
    assert_eq!(long.len(), 490);
    let odd = [
        "user.alice.With space &AOk-t&AOk- caf&AOk-",
        "user.alice.P&JjkmOSY5-&-more",
        "user.alice.Old^Stuff",
        "user.j^doe",
        "user.alice.100% sure = yes+no",
        "user.alice.\"quoted\" (and) \\ {more}",
        "user.alice.-- ~ #",
        &long,
    ];
    for name in &odd[2..] {
        copy_mailbox(&host, "user.alice.mixed", name);
    }
    let slotd = Slotd::start(&program("slotd"), &host, &[]);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    for name in odd {
        let locked = wire.must(&format!("LOCK {}", escape(name)));
        assert_eq!(value(&locked, "index"), Some("9"), "{name}: {locked}");
        wire.must("UPGRADE");
        wire.must("COMMIT");
        assert_eq!(minor(&host.dirs(name)), 10, "{name}");
    }
}

#[test]
fn names_that_lead_out_of_the_partition_or_are_no_names_are_refused_and_touch_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(&dir.path().join("host")).unwrap();
    // A whole mailbox outside the partition, for names to reach if they can.
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let source = host.dirs("user.bob");
    for root in [&source.meta, &source.data] {
        for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
            if !entry.file_type().unwrap().is_dir() {
                fs::copy(entry.path(), outside.join(entry.file_name())).unwrap();
            }
        }
    }
    symlink(&outside, host.meta.join("user/link")).unwrap();
    symlink(&outside, host.data.join("user/link")).unwrap();
    symlink(&host.meta, host.meta.join("user/alice/up")).unwrap();
    symlink(&host.data, host.data.join("user/alice/up")).unwrap();

    let before = (
        snapshot::take(&host.meta).unwrap(),
        snapshot::take(&host.data).unwrap(),
    );
    let out_before = snapshot::take(&outside).unwrap();
    let slotd = Slotd::start(&program("slotd"), &host, &[]);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    let deep = format!("user.{}", "x".repeat(300));
    let long = "a.".repeat(300) + "a";
    let absolute = escape(outside.to_str().unwrap());
    for name in [
        "%2e%2e%2foutside",
        "%2e%2e%2f%2e%2e%2foutside",
        "..%2Foutside",
        "user.%2e%2e.%2e%2e.outside",
        "user.%2E%2E",
        "..",
        "user..alice",
        ".user.alice",
        "user.alice.",
        "user.alice%00",
        "user.alice%00.big",
        "user.alice%0a",
        "user%2Falice",
        "%2Fetc",
        &absolute,
        "user.link",
        "user.alice.up",
        "user.alice.up.user.bob",
        "no.such.mailbox",
        "user.alice.gap",
        &deep,
        &long,
    ] {
        let reply = wire.ask(&format!("LOCK {name}"));
        // Something is there, and it is not followed: that is no proof that the mailbox is gone.
        let linked = ["user.link", "user.alice.up", "user.alice.up.user.bob"].contains(&name);
        let code = if linked { "DAMAGED" } else { "NOMAILBOX" };
        let refused = format!("NO [{code}] ");
        assert!(reply.starts_with(&refused), "LOCK {name}: {reply}");
        assert!(
            wire.ask("UPGRADE").starts_with("NO [STATE]"),
            "nothing is locked after {name}"
        );
    }
    // What does not parse at all is BAD or refused, and the connection lives on.
    for line in [
        &b"LOCK"[..],
        b"LOCK ",
        b"LOCK %",
        b"LOCK %zz",
        b"LOCK user.alice%",
        b"\xff\xfe",
        b"",
        b"FROB x",
    ] {
        let reply = wire.ask_bytes(line).unwrap();
        assert!(
            reply.starts_with("BAD") || reply.starts_with("NO [NOMAILBOX]"),
            "{}: {reply}",
            String::from_utf8_lossy(line)
        );
    }
    wire.must("LOCK user.alice");
    wire.must("ROLLBACK");
    let after = (
        snapshot::take(&host.meta).unwrap(),
        snapshot::take(&host.data).unwrap(),
    );
    assert_eq!(
        snapshot::differences(&before.0, &after.0),
        Vec::<String>::new()
    );
    assert_eq!(
        snapshot::differences(&before.1, &after.1),
        Vec::<String>::new()
    );
    assert_eq!(
        snapshot::differences(&out_before, &snapshot::take(&outside).unwrap()),
        Vec::<String>::new()
    );
}

#[test]
fn symlinked_message_files_are_not_followed_out_of_the_mailbox() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(&dir.path().join("host")).unwrap();
    let dirs = host.dirs("user.bob");
    let secret: &Path = &dir.path().join("secret");
    fs::rename(dirs.data.join("2."), secret).unwrap();
    symlink(secret, dirs.data.join("2.")).unwrap();
    let slotd = Slotd::start(&program("slotd"), &host, &[]);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    wire.must("LOCK user.bob");
    let reply = wire.ask("UPGRADE");
    assert!(
        reply.starts_with("NO [NOMESSAGE]") || reply.starts_with("NO [DAMAGED]"),
        "{reply}"
    );
    assert!(reply.contains("2."), "{reply}");
    drop(wire);
    assert_eq!(minor(&dirs), 9);
}
