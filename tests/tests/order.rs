//! The order of locks, syncs and renames that docs/recovery.md promises, seen by strace.
//!
//! Ignored in a plain run: needs strace and the right to trace.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use stores::genuine::unpack_239;
use tests::fleet::program;
use tests::process::Slotd;
use tests::strace::{operations, wrapper};
use tests::wire::Wire;

const MAILBOX: &str = "user.alice.expunged";

/// What slotd did for these commands, one after the other.
fn trace(commands: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(&dir.path().join("host")).unwrap();
    let log = dir.path().join("strace");
    let slotd = Slotd::start_under(&wrapper(&log), &program("slotd"), &host, &[]);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    for command in commands {
        wire.must(command);
    }
    wire.must("QUIT");
    let _ = slotd.stop();
    settled(&log)
}

/// The log once strace, which ends a moment after what it traced, has written all of it.
fn settled(log: &Path) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut before = 0;
    while Instant::now() < deadline {
        let now = fs::metadata(log).map_or(0, |m| m.len());
        if now > 0 && now == before {
            break;
        }
        before = now;
        thread::sleep(Duration::from_millis(300));
    }
    operations(&fs::read_to_string(log).unwrap())
}

/// Demands that the operations occur in this order, others in between allowed. A name ends in `*`
/// where any path will do.
fn assert_order(seen: &[String], wanted: &[&str]) {
    let mut from = 0;
    for want in wanted {
        let fits = |op: &String| match want.strip_suffix('*') {
            Some(start) => op.starts_with(start),
            None => op == want,
        };
        match seen[from..].iter().position(fits) {
            Some(at) => from += at + 1,
            None => panic!(
                "{want:?} does not come after {:?} in\n{}",
                &seen[..from].last(),
                seen.join("\n")
            ),
        }
    }
}

fn place(seen: &[String], what: &str) -> usize {
    seen.iter()
        .position(|op| op == what)
        .unwrap_or_else(|| panic!("no {what:?} in\n{}", seen.join("\n")))
}

#[test]
#[ignore = "needs strace"]
fn locks_then_syncs_and_intent_then_links_and_renames_then_the_directory_then_unlock() {
    let lock = format!("LOCK {MAILBOX}");
    let seen = trace(&[&lock, "UPGRADE", "COMMIT"]);
    assert_order(
        &seen,
        &[
            "lock cyrus.header",
            "lock cyrus.index",
            "lock cyrus.expunge",
        ],
    );
    assert_order(
        &seen,
        &[
            "lock cyrus.expunge",
            "lock nameless",
            "lock nameless",
            "sync nameless",
            "sync nameless",
            "link nameless cyrus.index.NEW",
            "link nameless cyrus.expunge.NEW",
            "link cyrus.expunge cyrus.expunge.OLD",
            "link cyrus.index cyrus.index.OLD",
            "rename cyrus.expunge.NEW cyrus.expunge",
            "sync expunged", // the directory
            "rename cyrus.index.NEW cyrus.index",
            "sync expunged",
            "unlock cyrus.expunge",
            "unlock cyrus.index",
            "unlock cyrus.header",
        ],
    );
    // It is synced beside the files, and may end before them or after; and no file has a name
    // before it.
    let locked = place(&seen, "lock cyrus.expunge");
    let intent = place(&seen[locked..], "sync intents.log") + locked;
    assert!(
        intent < place(&seen, "link nameless cyrus.index.NEW"),
        "{seen:#?}"
    );
    let renamed = place(&seen, "rename cyrus.index.NEW cyrus.index");
    assert!(
        !seen[..renamed]
            .iter()
            .any(|op| op.starts_with("unlock cyrus.")),
        "{seen:#?}"
    );
}

#[test]
#[ignore = "needs strace"]
fn what_was_prepared_has_its_intent_under_the_locks_and_its_name_after_it() {
    let [prepare, lock] = ["PREPARE", "LOCK"].map(|verb| format!("{verb} {MAILBOX}"));
    let seen = trace(&[&prepare, &lock, "UPGRADE", "COMMIT"]);
    assert_order(
        &seen,
        &[
            "sync nameless",
            "sync nameless",
            "lock cyrus.header",
            "lock cyrus.index",
            "lock cyrus.expunge",
            "sync intents.log",
            "link nameless cyrus.index.NEW",
            "link nameless cyrus.expunge.NEW",
            "rename cyrus.expunge.NEW cyrus.expunge",
            "sync expunged",
            "rename cyrus.index.NEW cyrus.index",
            "sync expunged",
            "unlock cyrus.expunge",
        ],
    );
}

#[test]
#[ignore = "needs strace"]
fn a_downgrade_renames_the_index_first() {
    let lock = format!("LOCK {MAILBOX}");
    let seen = trace(&[&lock, "UPGRADE", "COMMIT", &lock, "UPGRADE 9", "COMMIT"]);
    assert_order(
        &seen,
        &[
            "rename cyrus.expunge.NEW cyrus.expunge",
            "rename cyrus.index.NEW cyrus.index",
            "rename cyrus.index.NEW cyrus.index",
            "rename cyrus.expunge.NEW cyrus.expunge",
        ],
    );
}

#[test]
#[ignore = "needs strace"]
fn a_rollback_unlinks_before_it_unlocks_and_renames_nothing() {
    let seen = trace(&[&format!("LOCK {MAILBOX}"), "UPGRADE", "ROLLBACK"]);
    assert!(
        !seen.iter().any(|op| op.starts_with("rename cyrus.")),
        "{seen:#?}"
    );
    let last = |what: &str| seen.iter().rposition(|op| op == what).unwrap();
    for new in ["unlink cyrus.index.NEW", "unlink cyrus.expunge.NEW"] {
        assert!(
            last(new)
                < seen
                    .iter()
                    .rposition(|op| op.ends_with(" cyrus.header"))
                    .unwrap()
        );
    }
}

/// What a call says of modes: `create MODE` of a file that is made, `chmod MODE`. Octal.
fn modes(log: &str) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for line in log.lines() {
        let call = line
            .split_once(' ')
            .map_or(line, |(_, call)| call.trim_start());
        let Some((name, rest)) = call.split_once('(') else {
            continue;
        };
        let octal = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            u32::from_str_radix(&digits, 8).unwrap()
        };
        let args = rest.rsplit_once(") = ").map_or(rest, |(args, _)| args);
        let args = args.trim_end_matches(" <unfinished ...>");
        match name {
            "openat" | "open" if args.contains("O_CREAT") || args.contains("O_TMPFILE") => {
                let (_, mode) = args.rsplit_once(", ").unwrap();
                found.push((format!("create {args}"), octal(mode)));
            }
            "openat2" if args.contains("O_CREAT") || args.contains("O_TMPFILE") => {
                let (_, mode) = args.split_once("mode=").unwrap();
                found.push((format!("create {args}"), octal(mode)));
            }
            "fchmod" | "fchmodat" | "chmod" => {
                let (_, mode) = args.rsplit_once(", ").unwrap();
                let mode = if mode.starts_with('0') {
                    mode
                } else {
                    args.rsplit(", ").nth(1).unwrap()
                };
                found.push((format!("chmod {args}"), octal(mode)));
            }
            _ => {}
        }
    }
    found
}

/// Whatever the umask is, what is made is its owner's alone until it gets its final mode, which is
/// that of the file in whose place it comes.
#[test]
#[ignore = "needs strace"]
fn no_file_is_wider_for_an_instant_than_it_is_in_the_end() {
    use std::os::unix::fs::PermissionsExt as _;
    for umask in ["0", "077"] {
        let dir = tempfile::tempdir().unwrap();
        let host = unpack_239(&dir.path().join("host")).unwrap();
        let meta = host.dirs(MAILBOX).meta;
        for (name, mode) in [("cyrus.index", 0o640), ("cyrus.expunge", 0o604)] {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(meta.join(name), mode).unwrap();
        }
        host.state_dir().unwrap();
        let log = dir.path().join("strace");
        let under = format!("umask {umask}; exec \"$@\"");
        let mut words = ["sh", "-c", &under, "sh"].map(ToOwned::to_owned).to_vec();
        words.extend(wrapper(&log));
        let calls = words.iter_mut().find(|word| word.starts_with("trace="));
        "trace=open,openat,openat2,chmod,fchmod,fchmodat".clone_into(calls.unwrap());
        let slotd = Slotd::start_under(&words, &program("slotd"), &host, &[]);
        let mut wire = Wire::connect(&slotd.addr).unwrap();
        let lock = format!("LOCK {MAILBOX}");
        for command in [
            &*format!("PREPARE {MAILBOX}"),
            &lock,
            "UPGRADE",
            "COMMIT",
            "QUIT",
        ] {
            wire.must(command);
        }
        let _ = slotd.stop();
        let _ = settled(&log);
        let log = fs::read_to_string(&log).unwrap();
        let all = modes(&log);
        let made: Vec<_> = all
            .iter()
            .filter(|(what, _)| what.starts_with("create"))
            .collect();
        // Two staged files, and slotd's own.
        assert!(made.len() >= 4, "{log}");
        for (what, mode) in made {
            assert_eq!(mode & 0o077, 0, "umask {umask}: {what}");
        }
        let changed: Vec<u32> = all
            .iter()
            .filter(|(what, _)| what.starts_with("chmod"))
            .map(|(_, mode)| *mode)
            .collect();
        for mode in [0o640, 0o604] {
            assert!(
                changed.contains(&mode),
                "umask {umask}: {changed:?} in {log}"
            );
        }
        let fits = |mode: &u32| [0o640, 0o604].contains(mode) || mode & 0o700 == *mode;
        // The socket has its own mode by what it is bound with.
        assert!(
            changed.iter().all(fits),
            "umask {umask}: {changed:?} in {log}"
        );
    }
}
