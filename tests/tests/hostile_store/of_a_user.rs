//! In the place of what a user has beside the mailboxes, beneath the configdirectory: the seen
//! database, which a change-over takes in, and the subscriptions, which no program reads; in the
//! place of the directories above them; and of what `DRAIN` writes into `msg`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use stores::judge::snapshot;
use tests::fleet::program;
use tests::process::Slotd;
use tests::wire::Wire;

use crate::attacked::{Attacked, MAILBOX, assert_memory, copy};
use crate::odd::{ALL, Odd};

/// Its way over and back, and what looks at the host.
const OVER: &[&str] = &[
    "HELLO",
    "PREFLIGHT",
    "STATUS {}",
    "PREPARE {} 16 write=always",
    "LOCK {} wait_ms=100",
    "UPGRADE 16",
    "COMMIT",
    "ROLLBACK",
    "LOCK {} wait_ms=100",
    "UPGRADE 10",
    "COMMIT",
    "ROLLBACK",
];

/// A seen database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flat,
    /// With no record of the mailbox.
    FlatOfOthers,
    Skiplist,
    Twoskip,
}

/// A store at version 10 whose server is stopped and fenced.
struct Fenced {
    it: Attacked,
    slotd: Slotd,
    config: PathBuf,
    /// The mailbox's own.
    uniqueid: String,
}

impl Fenced {
    fn new() -> Self {
        let it = Attacked::new();
        let slotd = Slotd::start(&program("slotd"), &it.host, &[]);
        let mut wire = Wire::connect(&slotd.addr).unwrap();
        for command in [&format!("LOCK {MAILBOX}"), "UPGRADE 10", "COMMIT"] {
            let _ = wire.must(command);
        }
        let config = it.host.root.join("conf");
        fs::create_dir_all(config.join("msg")).unwrap();
        fs::write(config.join("msg/shutdown"), "Back at 06:00\n").unwrap();
        copy(&it.meta, &it.dir.path().join("meta"));
        let header = it.meta.join("cyrus.header");
        let header = indexfile::mailbox::HeaderFile::open(&header).unwrap();
        Self {
            it,
            slotd,
            config,
            uniqueid: header.uniqueid,
        }
    }

    fn user(&self, file: &str) -> PathBuf {
        self.config.join("user/a").join(file)
    }

    /// A user's files as they should be.
    fn settle(&self, kind: Kind) {
        let user = self.config.join("user");
        let _ = fs::set_permissions(&user, fs::Permissions::from_mode(0o755));
        let _ = fs::remove_file(&user);
        let _ = fs::remove_dir_all(&user);
        fs::create_dir_all(user.join("a")).unwrap();
        fs::write(self.user("alice.sub"), "user.bob\t\n").unwrap();
        fs::write(self.user("alice.seen"), self.sound(kind)).unwrap();
    }

    fn sound(&self, kind: Kind) -> Vec<u8> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR"));
        let fixture = |name: &str| {
            let path = fixtures.join("../fixtures/cyrus-3.6.1-cutover").join(name);
            fs::read(path).unwrap()
        };
        match kind {
            Kind::Flat => format!("{}\t1 1200000000 9 1200000001 1:9\n", self.uniqueid).into(),
            Kind::FlatOfOthers => b"another\t1 1200000000 9 1200000001 1:9\n".to_vec(),
            Kind::Skiplist => fixture("joe.seen"),
            Kind::Twoskip => fixture("ann-twoskip.seen"),
        }
    }

    /// Everything that comes to the seen database, with what was put at `at`.
    fn judge(&self, what: &str, at: &Path) {
        let named = at.to_str().unwrap();
        let seen = self.user("alice.seen");
        let new = self.it.dir.path().join("new.index");
        let _ = fs::remove_file(&new);
        let meta = |name: &str| self.it.meta.join(name).to_str().unwrap().to_owned();
        let args = [
            "convert".to_owned(),
            "--to".to_owned(),
            "16".to_owned(),
            "--header".to_owned(),
            meta("cyrus.header"),
            "--cache".to_owned(),
            meta("cyrus.cache"),
            "--expunge".to_owned(),
            meta("cyrus.expunge"),
            "--seen".to_owned(),
            seen.to_str().unwrap().to_owned(),
            meta("cyrus.index"),
            new.to_str().unwrap().to_owned(),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = self.it.run("indexfile", &args, false);
        Attacked::judge(what, &ended, named);
        assert_eq!(ended.code == Some(0), new.exists(), "{what}: {ended:?}");
        let mut wire = Wire::connect(&self.slotd.addr).unwrap();
        for command in OVER {
            let reply = wire.ask(&command.replace("{}", MAILBOX));
            let fits = reply.starts_with("OK") || reply.starts_with("NO [STATE]");
            let fits = fits || reply.starts_with("NO [TOOLATE]");
            assert!(fits || reply.contains(named), "{what}: {command}: {reply}");
        }
    }

    fn end(self) {
        assert_eq!(self.slotd.stop().code, Some(0));
        assert_memory();
    }
}

/// Each of these in the place of each of these, below the directory of users.
fn in_the_place_of(odds: &[Odd], names: &[&str], kind: Kind) {
    let it = Fenced::new();
    let elsewhere = it.it.elsewhere();
    for name in names {
        let at = it.config.join(name);
        for &odd in odds {
            let what = format!("{name} is {odd:?}, of {kind:?}");
            it.it.restore();
            it.settle(kind);
            fs::write(elsewhere.join("sound"), it.sound(kind)).unwrap();
            if at.is_dir() {
                fs::remove_dir_all(&at).unwrap();
            }
            let before = snapshot::take(&elsewhere).unwrap();
            let placed = odd.put(&at, &elsewhere);
            it.judge(&what, &at);
            drop(placed);
            let after = snapshot::take(&elsewhere).unwrap();
            let differences = snapshot::differences(&before, &after);
            assert!(differences.is_empty(), "{what}: {differences:?}");
        }
    }
    it.end();
}

const NAMES: [&str; 4] = ["user/a/alice.seen", "user/a/alice.sub", "user/a", "user"];

#[test]
fn in_the_place_of_a_users_files() {
    in_the_place_of(&ALL, &NAMES[..2], Kind::Flat);
}

#[test]
fn in_the_place_of_the_directories_above_a_users_files() {
    in_the_place_of(&ALL, &NAMES[2..], Kind::Flat);
}

#[test]
fn in_the_place_of_seen_databases_of_other_kinds() {
    let odds = [Odd::Empty, Odd::Truncated, Odd::Sparse, Odd::Growing];
    for kind in [Kind::FlatOfOthers, Kind::Skiplist, Kind::Twoskip] {
        in_the_place_of(&odds, &NAMES[..1], kind);
    }
}

#[test]
#[ignore = "needs root, to make a device"]
fn a_device_in_the_place_of_a_users_files() {
    in_the_place_of(&[Odd::Device], &NAMES, Kind::Flat);
}

/// A seen database that is elsewhere, or whose directory is, is read there, as Cyrus does it; one
/// that should be there and is not, such as on a disk that is not mounted, is no user who never
/// looked.
#[test]
fn a_link_to_a_seen_database_is_followed_and_one_to_nothing_is_no_empty_database() {
    let it = Fenced::new();
    for name in ["user/a/alice.seen", "user/a", "user"] {
        let at = it.config.join(name);
        let far = it.it.elsewhere().join("far");
        let over = |there: bool| {
            it.it.restore();
            let _ = fs::remove_file(&at);
            let _ = fs::remove_dir_all(&far);
            it.settle(Kind::Flat);
            fs::rename(&at, &far).unwrap();
            symlink(&far, &at).unwrap();
            if !there {
                fs::rename(&far, far.with_extension("away")).unwrap();
            }
            let mut wire = Wire::connect(&it.slotd.addr).unwrap();
            let _ = wire.must(&format!("LOCK {MAILBOX}"));
            let reply = wire.ask("UPGRADE 16");
            // Else the next connection may come before this one has been seen to end.
            let _ = wire.ask("ROLLBACK");
            let _ = fs::remove_dir_all(far.with_extension("away"));
            let _ = fs::remove_file(far.with_extension("away"));
            reply
        };
        let there = over(true);
        assert!(there.starts_with("OK"), "{name}: {there}");
        let away = over(false);
        assert!(away.starts_with("NO ["), "{name}: {away}");
        assert!(away.contains(at.to_str().unwrap()), "{name}: {away}");
        let _ = fs::remove_file(&at);
    }
    it.end();
}

/// What `DRAIN` makes is made in `msg` beneath the configdirectory, or not at all.
#[test]
fn in_the_place_of_what_a_drain_makes() {
    let it = Attacked::new();
    let config = it.host.root.join("conf");
    let elsewhere = it.elsewhere();
    fs::write(elsewhere.join("sound"), "down for good\n").unwrap();
    let slotd = Slotd::start(&program("slotd"), &it.host, &[]);
    let msg = config.join("msg");
    let mut drained = 0;
    for name in [
        "msg",
        "msg/shutdown",
        "msg/motd",
        "msg/reguid.shutdown",
        "msg/reguid.motd",
    ] {
        let at = config.join(name);
        // A directory elsewhere, too.
        for odd in ALL.map(Some).into_iter().chain([None]) {
            let what = format!("{name} is {odd:?}");
            let _ = fs::remove_file(&msg);
            let _ = fs::remove_dir_all(&msg);
            if at != msg {
                fs::create_dir(&msg).unwrap();
            }
            let far = elsewhere.join("far");
            fs::create_dir_all(&far).unwrap();
            fs::write(far.join("reguid.shutdown"), "not slotd's").unwrap();
            let before = snapshot::take(&elsewhere).unwrap();
            let placed = odd.map(|odd| odd.put(&at, &elsewhere));
            if odd.is_none() {
                symlink(&far, &at).unwrap();
            }
            let mut wire = Wire::connect(&slotd.addr).unwrap();
            for command in [
                "HOST",
                "DRAIN by=me announce=soon shutdown=now",
                "HOST",
                "UNDRAIN",
                "HOST",
            ] {
                let reply = wire.ask(command);
                let fits = reply.starts_with("OK") || reply.starts_with("NO [STATE]");
                let named = reply.contains(at.to_str().unwrap());
                assert!(fits || named, "{what}: {command}: {reply}");
                drained += usize::from(reply.starts_with("OK") && command.starts_with("DRAIN"));
            }
            drop(placed);
            let after = snapshot::take(&elsewhere).unwrap();
            let differences = snapshot::differences(&before, &after);
            assert!(differences.is_empty(), "{what}: {differences:?}");
        }
    }
    assert!(drained > 0, "no host was drained");
    assert_eq!(slotd.stop().code, Some(0));
    assert_memory();
}
