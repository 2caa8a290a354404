//! From 2.3 to a real Cyrus 3.6.1: the genuine store of 2.3.9, upgraded to 10 and changed over to
//! 16 by slotd and controller, then served by 3.6.1, loses nothing: not a message, flag, expunged
//! message or seen state.
//!
//! Ignored in a plain run: they need the Debian packages cyrus-common, cyrus-imapd and
//! cyrus-replication, and root. `.ci/run` installs the packages and requires these tests:
//! `cargo test -p tests --test change_over -- --ignored`. The same of a later Cyrus, whose system
//! lies in a directory below /tmp: `REGUID_CYRUS_ROOT=DIR REGUID_CHANGE_OVER_TO=17`.

#[path = "change_over/imap.rs"]
mod imap;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use stores::genuine::{copy_host, list_239};
use stores::judge::image::word;
use stores::{Dirs, Host};
use tests::cyrus36::before::{self, Seen};
use tests::cyrus36::imap::Mailbox;
use tests::cyrus36::server::Server;
use tests::fleet::{Fleet, program};
use tests::process::{Ended, run};

const USERS: [&str; 2] = ["alice", "bob"];
/// Where 12 of its 43 messages are expunged, in three batches.
const EXPUNGED: &str = "user.alice.expunged";
/// In the configdirectory, once every mailbox is proven.
const COMPLETE: &str = "cutover-complete";
/// Kilobytes that alice may have: the fixture has no quota file.
const LIMIT_KB: u32 = 2_000;

/// The version that is written.
fn target() -> u32 {
    let target = std::env::var("REGUID_CHANGE_OVER_TO").ok();
    target.map_or(16, |n| n.parse().unwrap())
}

/// All that a user of the 2.3.9 store could see, and what was there to be restored.
struct Before {
    /// By mailbox and user.
    mailboxes: BTreeMap<(String, String), Mailbox>,
    /// SHA-1s of expunged messages, by mailbox and UID.
    expunged: BTreeMap<String, BTreeMap<u32, String>>,
    /// SHA-1s of all message files, by path.
    files: BTreeMap<String, String>,
    /// What alice has subscribed to.
    subscribed: Vec<String>,
}

impl Before {
    fn of(host: &Host) -> Self {
        let seen = USERS.map(|user| (user, before::seen_by(&seen_db(host, user))));
        let seen: BTreeMap<&str, Seen> = seen.into();
        let readers = before::readers(&list_239(host), &USERS);
        let subscribed = fs::read_to_string(host.root.join("conf/user/a/alice.sub")).unwrap();
        let subscribed = subscribed.lines().map(|l| l.trim_end().to_owned());
        let mut this = Self {
            mailboxes: BTreeMap::new(),
            expunged: BTreeMap::new(),
            files: before::message_files(host),
            subscribed: subscribed.collect(),
        };
        for (name, dirs) in host.mailboxes().unwrap() {
            for user in &readers[&name] {
                let mailbox = before::mailbox(&dirs, &seen[user.as_str()]);
                this.mailboxes.insert((name.clone(), user.clone()), mailbox);
            }
            this.expunged.insert(name, before::expunged(&dirs));
        }
        this
    }

    fn names(&self) -> Vec<String> {
        self.expunged.keys().cloned().collect()
    }

    /// Every user finds every mailbox as it was, over IMAP.
    fn assert_served_by(&self, server: &Server) {
        assert_eq!(server.login("cyrus").names("LIST"), self.names());
        let mut sessions = USERS.map(|user| (user, server.login(user)));
        for ((name, user), was) in &self.mailboxes {
            let session = sessions.iter_mut().find(|(who, _)| who == user);
            let is = session.unwrap().1.mailbox(name);
            assert_eq!(is.messages.len(), was.messages.len(), "{name} of {user}");
            for (is, was) in is.messages.iter().zip(&was.messages) {
                assert_eq!(is, was, "{name} of {user}");
            }
            assert_eq!(&is, was, "{name} of {user}");
        }
        let [(_, alice), _] = &mut sessions;
        let subscribed = alice.names("LSUB").into_iter();
        let subscribed = subscribed.map(|name| name.replacen("INBOX", "user.alice", 1));
        assert_eq!(subscribed.collect::<Vec<_>>(), self.subscribed);
    }

    /// `unexpunge -l` lists each expunged message, and no other.
    fn assert_expunged_listed_by(&self, server: &Server) {
        for (name, was) in &self.expunged {
            assert_eq!(&uids_expunged(server, name), &uids(was), "{name}");
        }
    }
}

fn uids(messages: &BTreeMap<u32, String>) -> BTreeSet<u32> {
    messages.keys().copied().collect()
}

fn uids_expunged(server: &Server, mailbox: &str) -> BTreeSet<u32> {
    let said = server.run("unexpunge", &["-l", mailbox]).expect_code(0);
    let lines = said.stdout.lines().filter_map(|l| l.strip_prefix("UID: "));
    lines.map(|uid| uid.parse().unwrap()).collect()
}

fn seen_db(host: &Host, user: &str) -> PathBuf {
    let below = format!("conf/user/{}/{user}.seen", &user[..1]);
    host.root.join(below)
}

/// The store of 2.3.9 on two hosts, upgraded to 10 through slotd and controller, which still serve.
fn upgraded() -> (Fleet, Before) {
    let fleet = Fleet::of(|master| {
        let bytes = bytes_below(master, "user.alice");
        let quota = master.root.join("conf/quota/a");
        fs::create_dir_all(&quota).unwrap();
        fs::write(quota.join("user.alice"), format!("{bytes}\n{LIMIT_KB}\n")).unwrap();
    });
    let before = Before::of(&fleet.master);
    // The watch holds for an upgrade to 10. In a change-over the index is newer for a moment.
    let mut fleet = fleet.unwatched();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    (fleet, before)
}

fn in_conf(host: &Host, name: &str) -> PathBuf {
    host.root.join("conf").join(name)
}

/// The same, changed over by slotd and controller, and proven.
fn changed_over() -> (Fleet, Before) {
    let (mut fleet, before) = upgraded();
    let to = target().to_string();
    let cutover = |more: &[&str]| fleet.controller("cutover", &[&["--to", &to], more].concat());
    let _ = cutover(&["--prepare"]).expect_code(0);
    let hosts = [&fleet.master, &fleet.replica];
    for host in hosts {
        fs::create_dir_all(in_conf(host, "msg")).unwrap();
        fs::write(in_conf(host, "msg/shutdown"), "we go over\n").unwrap();
    }
    let _ = cutover(&[]).expect_code(0);
    for host in hosts {
        assert!(!in_conf(host, COMPLETE).exists());
    }
    let _ = cutover(&["--verify"]).expect_code(0);
    for host in hosts {
        assert!(in_conf(host, COMPLETE).exists());
        assert_eq!(minors(host), BTreeSet::from([target()]));
    }
    stop_slotds(&mut fleet);
    (fleet, before)
}

fn stop_slotds(fleet: &mut Fleet) {
    for which in [0, 1] {
        let slotd = fleet.take_slotd(which).unwrap();
        let _ = slotd.stop().expect_code(0);
    }
}

/// A server for a copy of `store`. It starts only if the change-over is complete there, and users
/// come in.
fn server_for(store: &Host) -> Server {
    let mut server = Server::with_copy_of(store);
    server.start_only_after(&test_complete(&server.host));
    server.start();
    fs::remove_file(in_conf(&server.host, "msg/shutdown")).unwrap();
    server
}

fn test_complete(host: &Host) -> String {
    format!("/usr/bin/test -f {}", in_conf(host, COMPLETE).display())
}

/// Bytes of all messages below a user that are not expunged.
fn bytes_below(host: &Host, user: &str) -> usize {
    let below = host.mailboxes().unwrap().into_iter();
    let below = below.filter(|(name, _)| name.starts_with(user));
    let bytes = below.map(|(_, dirs)| before::mailbox(&dirs, &Seen::new()));
    bytes
        .flat_map(|mailbox| mailbox.messages)
        .map(|m| m.size)
        .sum()
}

/// Changes a host over by hand, in the order that no crash can turn into a loss: the index first,
/// then cyrus.expunge out of its name.
fn change_over_by_hand(host: &Host) {
    for (name, dirs) in host.mailboxes().unwrap() {
        let [index, new, old] = ["cyrus.index", "new", "cyrus.index.OLD"].map(|f| dirs.file(f));
        let [header, cache] = ["cyrus.header", "cyrus.cache"].map(|f| dirs.file(f));
        let expunge = dirs.file("cyrus.expunge");
        let owner = name.split('.').nth(1).filter(|_| name.starts_with("user."));
        let seen = owner.map_or_else(|| "--".into(), |user| seen_db(host, user));
        let mut args = vec!["convert".into(), index.clone(), new.clone()];
        let to = target().to_string();
        args.extend(["--to", &to, "--quiet", "--header"].map(PathBuf::from));
        args.extend([header, "--cache".into(), cache, "--seen".into(), seen]);
        if expunge.exists() {
            args.extend(["--expunge".into(), expunge.clone()]);
        }
        let _ = run(&program("indexfile"), args).expect_code(0);
        let _ = fs::remove_file(&old);
        fs::hard_link(&index, old).unwrap();
        fs::rename(new, index).unwrap();
        if expunge.exists() {
            fs::rename(expunge, dirs.file("cyrus.expunge.OLD")).unwrap();
        }
    }
}

fn minors(host: &Host) -> BTreeSet<u32> {
    let minor = |dirs: &Dirs| word(&fs::read(dirs.file("cyrus.index")).unwrap(), 8);
    host.mailboxes().unwrap().values().map(minor).collect()
}

/// Faults in the log but those of every first start of 3.6.1 on a store of 2.3: each entry of a
/// list without unique ids, and each seen database in the old format. The password check speaks
/// of each login.
fn unusual(server: &mut Server) -> Vec<String> {
    let usual = [
        "mbentry has no uniqueid, needs reconstruct",
        "twoskip: invalid magic header",
        "SASL AlwaysTrue Password Verifier Verified",
        // 3.10, whose master expects to start as root
        "cannot set caps",
    ];
    let faults = server.faults();
    let usual = |line: &String| usual.iter().any(|text| line.contains(text));
    faults.into_iter().filter(|line| !usual(line)).collect()
}

fn check_before_reconstruct(host: &Host) -> Ended {
    let conf = host.conf.to_str().unwrap();
    run(
        &program("indexfile"),
        ["check", "--before-reconstruct", "--imapd-conf", conf],
    )
}

/// Lines of what `sync_client` sent that change anything.
fn changes_sent(ended: &Ended) -> Vec<&str> {
    let lines = ended.stdout.lines().chain(ended.stderr.lines());
    let changes = ["APPLY ", "UPLOAD "];
    lines
        .filter(|line| changes.iter().any(|change| line.contains(change)))
        .collect()
}

fn sync_all(from: &Server, to: &Server) -> Vec<String> {
    let mut sent = Vec::new();
    for args in [["-A"].as_slice(), &["-m", "shared", "shared.news"]] {
        let ended = from.sync_to(to, args).expect_code(0);
        let text = format!("{}{}", ended.stdout, ended.stderr);
        assert!(text.contains("GET "), "it asked nothing:\n{text}");
        sent.extend(changes_sent(&ended).into_iter().map(str::to_owned));
    }
    sent
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user, and root"]
fn a_real_3_6_1_finds_everything_on_both_hosts_and_its_own_tools_lose_nothing() {
    let (fleet, before) = changed_over();
    assert_eq!((before.expunged.len(), before.files.len()), (18, 395));
    for host in [&fleet.master, &fleet.replica] {
        let _ = check_before_reconstruct(host).expect_code(0);
    }
    let [mut master, mut replica] = [&fleet.master, &fleet.replica].map(server_for);
    for server in [&master, &replica] {
        before.assert_served_by(server);
        before.assert_expunged_listed_by(server);
        assert_eq!(before::message_files(&server.host), before.files);
        assert_eq!(minors(&server.host), BTreeSet::from([target()]));
    }

    // Nothing to upload, and not the second time either.
    for _ in 0..2 {
        assert_eq!(sync_all(&master, &replica), Vec::<String>::new());
    }

    // What was used is what the messages take.
    let said = master.run("quota", &["-f", "user.alice"]).expect_code(0);
    assert!(!said.stdout.contains("STORAGE usage was"), "{said:?}");

    // An expunged message comes back, and goes to the replica.
    let (&uid, sha1) = before.expunged[EXPUNGED].iter().next_back().unwrap();
    let said = master.run("unexpunge", &["-u", EXPUNGED, &uid.to_string()]);
    let _ = said.expect_code(0);
    let sent = sync_all(&master, &replica);
    assert!(
        sent.iter().any(|line| line.contains("APPLY MAILBOX")),
        "{sent:?}"
    );
    for server in [&master, &replica] {
        let was = &before.mailboxes[&(EXPUNGED.to_owned(), "alice".to_owned())];
        let is = server.login("alice").mailbox(EXPUNGED);
        let restored = is.messages.last().unwrap();
        assert_eq!(is.messages.len(), was.messages.len() + 1);
        assert_eq!((restored.uid, &restored.sha1), (was.uidnext, sha1));
    }

    // The two hosts need not have the same version.
    let _ = master.run("reconstruct", &["-V", "max"]).expect_code(0);
    assert!(minors(&master.host).is_disjoint(&minors(&replica.host)));
    assert_eq!(sync_all(&master, &replica), Vec::<String>::new());

    assert_eq!(unusual(&mut master), Vec::<String>::new());
    assert_eq!(unusual(&mut replica), Vec::<String>::new());
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user, and root"]
fn its_own_reconstruct_converts_all_18_mailboxes_and_keeps_every_record_file_and_flag() {
    let (fleet, before) = changed_over();
    let _ = check_before_reconstruct(&fleet.master).expect_code(0);
    let mut server = server_for(&fleet.master);
    let mut alice = server.login("alice");
    let search = |alice: &mut tests::cyrus36::imap::Imap| {
        let _ = alice.mailbox(EXPUNGED);
        alice.search("FROM \"Sender 505\"")
    };
    // The cache of 2.3 has `sender505`: known, and healed by the reconstruct.
    assert_eq!(search(&mut alice), Vec::<u32>::new());
    drop(alice);

    let said = server.run("reconstruct", &["-V", "max"]).expect_code(0);
    let max = minors(&server.host);
    let [newest] = Vec::from_iter(max.clone())[..] else {
        panic!("not one version: {max:?} after {said:?}");
    };
    for name in before.names() {
        let line = format!("Converted {name} version {} to {newest}", target());
        assert!(said.stdout.contains(&line), "no {line:?} in {said:?}");
    }
    before.assert_served_by(&server);
    before.assert_expunged_listed_by(&server);
    assert_eq!(before::message_files(&server.host), before.files);
    assert_eq!(search(&mut server.login("alice")), [6]);

    for (days, left) in [("3650", 395), ("0", 376)] {
        let said = server.run("cyr_expire", &["-X", days]);
        let _ = said.expect_code(0);
        assert_eq!(before::message_files(&server.host).len(), left);
    }
    before.assert_served_by(&server);
    assert_eq!(unusual(&mut server), Vec::<String>::new());
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user, and root"]
fn the_vendors_way_unlinks_every_expunged_message_and_this_test_would_notice() {
    let (mut fleet, before) = upgraded();
    stop_slotds(&mut fleet);
    let mut server = Server::with_copy_of(&fleet.master);
    assert_eq!(before::message_files(&server.host), before.files);
    server.start();
    let left = before::message_files(&server.host);
    assert_eq!((before.files.len(), left.len()), (395, 376));
    for name in before.names() {
        assert_eq!(uids_expunged(&server, &name), BTreeSet::new(), "{name}");
    }
    let said = server.run("reconstruct", &["-V", "max"]).expect_code(0);
    assert!(said.stdout.contains("FAILED TO REPACK"), "{said:?}");
    assert!(minors(&server.host).contains(&10));
    assert!(
        unusual(&mut server)
            .iter()
            .any(|line| line.contains("CRC mismatch"))
    );
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user, and root"]
fn a_store_with_a_message_away_is_not_let_through_to_a_reconstruct() {
    let (fleet, _) = changed_over();
    let copy = copy_host(&fleet.master, &fleet.dir.path().join("copy")).unwrap();
    let _ = check_before_reconstruct(&copy).expect_code(0);
    let message = copy.dirs("user.alice.big").data.join("7.");
    fs::rename(&message, copy.root.join("away")).unwrap();
    let said = check_before_reconstruct(&copy).expect_code(65);
    assert!(said.stdout.contains("UID 7"), "{said:?}");
    fs::rename(copy.root.join("away"), message).unwrap();
    let _ = check_before_reconstruct(&copy).expect_code(0);
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user, and root"]
fn a_test_for_cutover_complete_in_start_keeps_the_server_away_from_a_store_that_is_not() {
    let (mut fleet, before) = upgraded();
    stop_slotds(&mut fleet);
    let mut server = Server::with_copy_of(&fleet.master);
    server.start_only_after(&test_complete(&server.host));
    let ended = server.start_in_vain();
    assert_ne!(ended.code, Some(0), "{ended:?}");
    assert!(server.log().iter().any(|l| l.contains("can't run startup")));
    assert_eq!(before::message_files(&server.host), before.files);

    // And only that kept it away.
    fs::write(in_conf(&server.host, COMPLETE), "").unwrap();
    server.start();
    assert_eq!(before::message_files(&server.host).len(), 376);
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user, and root"]
fn what_indexfile_alone_makes_in_the_documented_order_is_served_the_same() {
    let (mut fleet, before) = upgraded();
    stop_slotds(&mut fleet);
    change_over_by_hand(&fleet.master);
    let mut server = Server::with_copy_of(&fleet.master);
    server.start();
    before.assert_served_by(&server);
    before.assert_expunged_listed_by(&server);
    assert_eq!(before::message_files(&server.host), before.files);
    assert_eq!(unusual(&mut server), Vec::<String>::new());
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user, and root"]
fn once_it_has_served_the_way_back_is_refused_and_nothing_is_touched() {
    let (fleet, before) = changed_over();
    let [master, replica] = [&fleet.master, &fleet.replica].map(|store| {
        let server = server_for(store);
        before.assert_served_by(&server);
        server.stop()
    });
    let dir = tempfile::tempdir().unwrap();
    let mut served = Fleet::between(dir, master.host.clone(), replica.host.clone()).unwatched();
    for host in [&served.master, &served.replica] {
        fs::write(in_conf(host, "msg/shutdown"), "").unwrap();
    }
    let index = |host: &Host| fs::read(host.dirs(EXPUNGED).file("cyrus.index")).unwrap();
    let was = index(&served.master);
    served.start();
    let ended = served.controller("cutover", &["--undo"]).expect_code(78);
    ended.assert_one_sentence("a Cyrus of 2.4 or later has opened the store");
    assert_eq!(index(&served.master), was);
    assert_eq!(minors(&served.master), BTreeSet::from([target()]));
    assert_eq!(before::message_files(&served.master), before.files);
}
