//! Root that starts slotd or precompute does not work on a store as root: they go on as the user to
//! whom it belongs. Ignored in a plain run: needs root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use nix::unistd::Uid;
use stores::Host;
use stores::judge::snapshot;
use tests::fleet::{Fleet, program};
use tests::process::{Ended, Guard, Slotd};
use tests::wire::Wire;

/// Any user that is not root: Debian's `nobody`.
const OWNER: u32 = 65534;

fn give(root: &Path, uid: u32) {
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        chown(&path, Some(uid), Some(uid)).unwrap();
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
}

/// Two hosts that belong to somebody else.
fn fleet() -> Fleet {
    assert!(Uid::effective().is_root(), "this test needs root");
    let fleet = Fleet::of_239();
    fs::set_permissions(fleet.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for host in [&fleet.master, &fleet.replica] {
        let _ = host.state_dir().unwrap();
        give(&host.root, OWNER);
    }
    fleet
}

/// The users of a process: real, effective, saved, of the file system.
fn users(pid: u32) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap();
    line.split_whitespace()
        .map(|uid| uid.parse().unwrap())
        .collect()
}

/// slotd as root starts it, under `env` with what is given.
fn slotd(host: &Host, allow: &str) -> Slotd {
    let wrapper = ["env".to_owned(), format!("REGUID_SLOTD_ALLOW_ROOT={allow}")];
    Slotd::start_under(&wrapper, &program("slotd"), host, &[])
}

fn precompute(args: &[&str], host: &Host) -> Ended {
    let mut command = Command::new(program("precompute"));
    command.args(args).arg("--imapd-conf").arg(&host.conf);
    Guard::spawn(command.env("REGUID_PRECOMPUTE_ALLOW_ROOT", "no")).finish()
}

/// Everything that lies below a host's roots, and belongs to somebody else.
fn foreign(host: &Host) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![
        host.meta.clone(),
        host.data.clone(),
        host.state_dir().unwrap(),
    ];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.uid() != OWNER {
            found.push(path.display().to_string());
        }
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    found
}

#[test]
#[ignore = "needs root"]
fn what_root_starts_works_as_the_user_of_the_store_and_leaves_nothing_of_roots() {
    let mut fleet = fleet();
    let said = precompute(&["run"], &fleet.master).expect_code(0).stderr;
    assert!(said.contains("and not as root"), "{said}");
    for (which, host) in [fleet.master.clone(), fleet.replica.clone()]
        .iter()
        .enumerate()
    {
        let slotd = slotd(host, "no");
        assert_eq!(users(slotd.pid()), [OWNER; 4]);
        fleet.put_slotd(which, slotd);
    }
    let done = fleet.controller("upgrade", &["--json"]).expect_code(0);
    assert_eq!(done.json()["upgraded"], 18);
    for which in [0, 1] {
        let ended = fleet.take_slotd(which).unwrap().stop().expect_code(0);
        assert!(ended.stderr.contains("goes on as"), "{}", ended.stderr);
    }
    for host in [&fleet.master, &fleet.replica] {
        assert_eq!(foreign(host), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs root"]
fn root_that_is_asked_for_stays_root() {
    let fleet = fleet();
    let slotd = slotd(&fleet.master, "yes");
    assert_eq!(users(slotd.pid()), [0; 4]);
    let _ = slotd.stop().expect_code(0);
}

#[test]
#[ignore = "needs root"]
fn a_store_of_two_users_is_refused_and_not_touched() {
    let fleet = fleet();
    let conf = fs::read_to_string(&fleet.master.conf).unwrap();
    let other = fleet.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    chown(&other, Some(OWNER - 1), None).unwrap();
    let text = format!("{conf}\npartition-other: {}\n", other.display());
    fs::write(&fleet.master.conf, text).unwrap();
    let before = snapshot::take(&fleet.master.meta).unwrap();
    let refused = precompute(&["run"], &fleet.master).expect_code(78);
    refused.assert_one_sentence("give --allow-root");
    let wrapper = ["env".to_owned(), "REGUID_SLOTD_ALLOW_ROOT=no".to_owned()];
    let refused = Slotd::try_start(&wrapper, &program("slotd"), &fleet.master, &[]).unwrap_err();
    assert!(refused.contains("other to user 65533"), "{refused}");
    let after = snapshot::take(&fleet.master.meta).unwrap();
    assert_eq!(snapshot::differences(&before, &after), Vec::<String>::new());
}

#[test]
#[ignore = "needs root"]
fn files_that_may_not_be_read_are_named_and_the_other_mailboxes_are_done() {
    let mut fleet = fleet().unwatched();
    let unreadable = [
        (&fleet.master, "user.alice.expunged", "cyrus.index"),
        (&fleet.replica, "user.alice", "cyrus.expunge"),
        (&fleet.replica, "shared.news", "cyrus.header"),
    ];
    let mut named = Vec::new();
    for (host, mailbox, file) in unreadable {
        let path = host.dirs(mailbox).meta.join(file);
        if !path.exists() {
            fs::write(&path, b"").unwrap();
        }
        chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        named.push((mailbox, file));
    }
    for (which, host) in [fleet.master.clone(), fleet.replica.clone()]
        .iter()
        .enumerate()
    {
        fleet.put_slotd(which, slotd(host, "no"));
    }
    let ended = fleet.controller("upgrade", &["--json", "--attempts", "1"]);
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    assert_eq!(ended.json()["upgraded"], 18 - named.len(), "{ended:?}");
    for (mailbox, file) in named {
        let mut lines = ended.stderr.lines();
        let line = lines.find(|line| line.contains(mailbox) && line.contains(file));
        assert!(
            line.is_some(),
            "{mailbox}: {file} is not named: {}",
            ended.stderr
        );
    }
}

/// What a user has seen is not taken for nothing where slotd may not look.
#[test]
#[ignore = "needs root"]
fn a_seen_database_that_may_not_be_read_is_named_and_no_mailbox_is_changed_over_without_it() {
    const MAILBOX: &str = "user.alice.expunged";
    let fleet = fleet().unwatched();
    let host = &fleet.master;
    let config = host.root.join("conf");
    let user = config.join("user");
    for dir in [&user.join("a"), &config.join("msg")] {
        fs::create_dir_all(dir).unwrap();
    }
    fs::write(user.join("a/alice.seen"), "another\t1 1 1 1 1\n").unwrap();
    give(&host.root, OWNER);
    let slotd = slotd(host, "no");
    let over = |to: &str| {
        let mut wire = Wire::connect(&slotd.addr).unwrap();
        for command in [&format!("LOCK {MAILBOX}"), &format!("UPGRADE {to}")] {
            let reply = wire.ask(command);
            if !reply.starts_with("OK") {
                // Else the next connection may come before this one has been seen to end.
                let _ = wire.ask("ROLLBACK");
                return reply;
            }
        }
        wire.ask("COMMIT")
    };
    let done = over("10");
    assert!(done.starts_with("OK"), "{done}");
    fs::write(config.join("msg/shutdown"), "Back at 06:00\n").unwrap();
    for path in [user.join("a/alice.seen"), user.join("a"), user.clone()] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let reply = over("16");
        let named = reply.starts_with("NO [") && reply.contains(path.to_str().unwrap());
        assert!(named, "{}: {reply}", path.display());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(OWNER), Some(OWNER)).unwrap();
    }
    let done = over("16");
    assert!(done.starts_with("OK"), "{done}");
}
