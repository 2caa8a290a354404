//! A store with nothing but a configdirectory.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::failpoint;

struct Store {
    tmp: tempfile::TempDir,
    drain: Drain,
}

impl Store {
    fn new() -> Store {
        let tmp = tempfile::tempdir().unwrap();
        for dir in ["conf/proc", "state", "system"] {
            std::fs::create_dir_all(tmp.path().join(dir)).unwrap();
        }
        let drain = Store::drain(tmp.path());
        Store { tmp, drain }
    }

    fn drain(root: &Path) -> Drain {
        let dir = root.display();
        let text = format!(
            "configdirectory: {dir}/conf\npartition-default: {dir}/spool\nadmins: cyrus root\n"
        );
        let conf = ImapdConf::parse(&text).unwrap();
        let mut drain = Drain::of(&conf, &root.join("state"), &[]);
        drain.sessions.system = root.join("system");
        drain
    }

    /// As after a restart.
    fn again(&mut self) {
        self.drain = Store::drain(self.tmp.path());
    }

    fn msg(&self, name: &str) -> PathBuf {
        self.tmp.path().join("conf/msg").join(name)
    }

    fn state(&self) -> HostState {
        self.drain.look().unwrap().state
    }

    /// A process with that name and proc file.
    fn process(&self, pid: u32, name: &str, text: &str) {
        let dir = self.tmp.path().join("system").join(pid.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("comm"), format!("{name}\n")).unwrap();
        std::fs::write(dir.join("cmdline"), format!("{name}\0")).unwrap();
        let file = self.tmp.path().join("conf/proc").join(pid.to_string());
        std::fs::write(file, text).unwrap();
    }
}

fn ask(announce: Option<&str>, shutdown: Option<&str>) -> DrainRequest {
    DrainRequest {
        by: "ann@admin".to_owned(),
        announce: announce.map(str::to_owned),
        shutdown: shutdown.map(str::to_owned),
    }
}

#[test]
fn a_host_is_announced_drained_and_open_again_and_users_hear_the_texts() {
    let store = Store::new();
    assert_eq!(store.state(), HostState::Open);
    let said = store
        .drain
        .begin(&ask(Some("Maintenance at 22:00"), None))
        .unwrap();
    assert_eq!(said.state, HostState::Announced);
    assert_eq!(said.by.as_deref(), Some("ann@admin"));
    let since = said.since.unwrap();
    let said = store
        .drain
        .begin(&ask(None, Some("Back at 23:00")))
        .unwrap();
    assert_eq!((said.state, said.since), (HostState::Drained, Some(since)));
    for (file, line) in [
        ("motd", "Maintenance at 22:00"),
        ("shutdown", "Back at 23:00"),
    ] {
        let path = store.msg(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some(line));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    }
    // Again, also with another text: nothing is written twice.
    let before = std::fs::read(store.msg("shutdown")).unwrap();
    store
        .drain
        .begin(&ask(None, Some("Back at 24:00")))
        .unwrap();
    assert_eq!(std::fs::read(store.msg("shutdown")).unwrap(), before);
    let done = store.drain.end().unwrap();
    assert!(done.shutdown && done.motd);
    assert_eq!(store.state(), HostState::Open);
    assert_eq!(std::fs::read_dir(store.msg("")).unwrap().count(), 0);
    assert_eq!(store.drain.end().unwrap(), Undrained::default());
}

#[test]
fn a_file_that_slotd_did_not_write_is_never_replaced_nor_removed_and_its_writer_is_named() {
    let store = Store::new();
    std::fs::create_dir(store.msg("")).unwrap();
    std::fs::write(store.msg("shutdown"), "down for good\n").unwrap();
    assert_eq!(store.state(), HostState::Shut);
    for refused in [
        store.drain.begin(&ask(None, None)).unwrap_err(),
        store.drain.begin(&ask(Some("x"), Some("y"))).unwrap_err(),
        store.drain.end().unwrap_err(),
    ] {
        assert_eq!(refused.code, Code::State);
        assert!(refused.text.contains("says \"down for good\""), "{refused}");
        assert!(refused.text.contains("is of user "), "{refused}");
    }
    assert_eq!(
        std::fs::read_to_string(store.msg("shutdown")).unwrap(),
        "down for good\n"
    );
    assert!(!store.msg("motd").exists());
    assert!(!store.tmp.path().join("state/drain.json").exists());

    // One that takes the place of ours while the host is drained.
    std::fs::remove_file(store.msg("shutdown")).unwrap();
    store.drain.begin(&ask(None, Some("ours"))).unwrap();
    std::fs::write(store.msg("shutdown"), "ours\n").unwrap();
    assert_eq!(store.state(), HostState::Shut);
    assert_eq!(store.drain.end().unwrap_err().code, Code::State);
    assert_eq!(
        std::fs::read_to_string(store.msg("shutdown")).unwrap(),
        "ours\n"
    );
    assert_eq!(store.drain.brief().unwrap().by, None);
    std::fs::remove_file(store.msg("shutdown")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", store.msg("shutdown")).unwrap();
    assert_eq!(store.state(), HostState::Shut);
    // A message of the day that is not ours hinders only an announcement.
    std::fs::remove_file(store.msg("shutdown")).unwrap();
    std::fs::write(store.msg("motd"), "Welcome\n").unwrap();
    assert_eq!(
        store.drain.begin(&ask(Some("x"), None)).unwrap_err().code,
        Code::State
    );
    store.drain.begin(&ask(None, Some("ours"))).unwrap();
    let done = store.drain.end().unwrap();
    assert!(done.shutdown && !done.motd);
    assert_eq!(
        std::fs::read_to_string(store.msg("motd")).unwrap(),
        "Welcome\n"
    );
}

#[test]
fn after_any_failure_the_host_is_open_or_drained_and_both_ways_go_on() {
    let points = [
        "drain.record",
        "drain.write",
        "drain.rename",
        "drain.sync_dir",
        "drain.remove",
        "drain.forget",
    ];
    let mut failures = 0;
    for point in points {
        for hit in 1..=3 {
            for undo in [false, true] {
                let mut store = Store::new();
                let rule = format!("{point}={hit}:eio");
                let failed = failpoint::with(&rule, || {
                    let both = ask(Some("soon"), Some("now"));
                    let drained = store.drain.begin(&both).is_err();
                    drained || store.drain.end().is_err()
                });
                failures += u32::from(failed);
                store.again();
                let shut = store.msg("shutdown").exists();
                assert_eq!(store.state() == HostState::Drained, shut, "{rule}");
                if !undo {
                    let said = store.drain.begin(&ask(Some("soon"), Some("now"))).unwrap();
                    assert_eq!(said.state, HostState::Drained, "{rule}");
                    assert!(store.msg("motd").exists(), "{rule}");
                }
                store.drain.end().unwrap();
                assert_eq!(store.state(), HostState::Open, "{rule}");
                assert_eq!(store.drain.brief().unwrap().by, None, "{rule}");
                let left = std::fs::read_dir(store.msg("")).map_or(0, Iterator::count);
                assert_eq!(left, 0, "{rule}");
            }
        }
    }
    assert_eq!(failures, 2 * (1 + 2 + 2 + 2 + 2 + 1));
}

#[test]
fn a_damaged_record_refuses_all_as_nobody_knows_whose_the_file_is() {
    let store = Store::new();
    store.drain.begin(&ask(None, Some("ours"))).unwrap();
    std::fs::write(store.tmp.path().join("state/drain.json"), "{").unwrap();
    for refused in [
        store.drain.look().unwrap_err(),
        store.drain.begin(&ask(None, Some("x"))).unwrap_err(),
        store.drain.end().unwrap_err(),
    ] {
        assert_eq!(refused.code, Code::Damaged);
        assert!(refused.text.contains("drain.json"), "{refused}");
    }
    assert!(store.msg("shutdown").exists());
}

#[test]
fn users_and_deliveries_count_administrators_and_what_processes_left_do_not() {
    let store = Store::new();
    let imap = |user: &str| format!("imap\thost [10.0.0.1]\t{user}\tuser.joe\tIdle\n");
    store.process(101, "imapd", &imap("joe"));
    store.process(102, "imapd", &imap("cyrus"));
    store.process(103, "imapd", &imap(""));
    store.process(104, "lmtpd", "mx [10.0.0.2]\n");
    store.process(105, "bash", &imap("left"));
    store.process(106, "pop3d", "host [10.0.0.1]\tann\n");
    store.process(107, "sync_server", "host [10.0.0.3]\tcyrus\n");
    std::fs::write(store.tmp.path().join("conf/proc/108"), imap("gone")).unwrap();
    store.process(109, "imapd", &imap("ended"));
    std::fs::write(store.tmp.path().join("system/109/cmdline"), "").unwrap();
    let found = store.drain.look().unwrap();
    let users: Vec<&str> = found.sessions.iter().map(|s| s.user.as_str()).collect();
    assert_eq!(users, ["joe", "", "ann"]);
    assert_eq!((found.users, found.admins, found.nobodies), (3, 1, 1));
    let words = "joe (imapd, process 101, host [10.0.0.1], user.joe Idle)";
    assert_eq!(found.sessions[0].words(), words);
}

#[test]
fn nobody_is_kicked_from_a_host_that_is_not_drained_and_no_other_process_ever() {
    let store = Store::new();
    // This very process, called imapd by a proc directory that lies: it has no file of the store
    // open.
    let me = std::process::id();
    store.process(me, "imapd", "imap\thost [10.0.0.1]\tjoe\t\t\n");
    assert_eq!(store.drain.kick().unwrap_err().code, Code::State);
    store.drain.begin(&ask(None, Some("now"))).unwrap();
    std::fs::create_dir(store.tmp.path().join(format!("system/{me}/fd"))).unwrap();
    let kicked = store.drain.kick().unwrap();
    assert_eq!(kicked.kicked.len(), 0);
    assert_eq!(kicked.left.len(), 1);
    assert!(
        kicked.left[0].contains("no file of this store"),
        "{:?}",
        kicked.left
    );
}
