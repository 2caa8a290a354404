//! A real Cyrus 3.6.1 and its replica, of the same release, with live sessions: one in IDLE, one at
//! work, an administrator's. slotd cannot list such a store; who is there it can.
//!
//! Ignored in a plain run: needs the Debian packages cyrus-common, cyrus-imapd and
//! cyrus-replication, and root: `cargo test -p tests --test drain -- --ignored`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use nix::sys::signal::Signal;
use stores::{Host, Layout};
use tests::cyrus36::server::Server;
use tests::fleet::program;
use tests::process::{Ended, Guard, Slotd, socket_path};

use super::{exists, until};

const JOE: &str = "user.joe";
/// `--no-compare`: slotd lists no mailboxes of such a store.
const DRAIN: [&str; 4] = ["--side", "master", "--no-compare", "--wait"];

/// A store of a 3.6.1 that serves, and its slotd.
struct Served {
    server: Server,
    host: Host,
    slotd: Option<Slotd>,
}

impl Served {
    fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let empty = Host::lay_out(&tmp.path().join("empty"), Layout::HASHED).unwrap();
        let mut server = Server::with_copy_of(&empty);
        server.configure("sync_log: yes\n");
        server.start();
        let host = Host {
            conf: server.conf(),
            ..server.host.clone()
        };
        let mut served = Self {
            server,
            host,
            slotd: None,
        };
        served.start("");
        served
    }

    /// Starts slotd, as user cyrus, to whom the store belongs.
    fn start(&mut self, failpoints: &str) {
        drop(self.slotd.take());
        let state = self.host.state_dir().unwrap();
        let _ = Guard::spawn(Command::new("chown").args(["-R", "cyrus:mail"]).arg(&state))
            .finish()
            .expect_code(0);
        let wrapper = [
            "env".to_owned(),
            "REGUID_SLOTD_ALLOW_ROOT=no".to_owned(),
            format!("REGUID_FAILPOINTS={failpoints}"),
        ];
        // In the configdirectory's place cyrus may make a socket.
        self.slotd = Some(Slotd::start_under(
            &wrapper,
            &program("slotd"),
            &self.host,
            &[],
        ));
    }

    fn in_conf(&self, path: &str) -> PathBuf {
        self.host.root.join("conf").join(path)
    }

    fn shutdown(&self) -> PathBuf {
        self.in_conf("msg/shutdown")
    }

    /// Whether a user gets in: the login is answered OK, and the next command is not answered BYE.
    fn lets_in(&self, user: &str) -> bool {
        let mut session = self.server.login(user);
        session
            .try_ask("NOOP")
            .is_some_and(|lines| !lines.iter().any(|l| l.starts_with("* BYE")))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.slotd.take());
        let _ = fs::remove_file(socket_path(&self.host));
    }
}

struct Pair([Served; 2]);

impl Pair {
    fn start() -> Self {
        let pair = Self([Served::new(), Served::new()]);
        let mut admin = pair.0[0].server.login("cyrus");
        let _ = admin.ask(&format!("CREATE {JOE}"));
        let mut joe = pair.0[0].server.login("joe");
        joe.append("INBOX", "Subject: one\r\n\r\none\r\n");
        pair.replicate();
        pair
    }

    /// What a rolling `sync_client` does.
    fn replicate(&self) {
        let [master, replica] = &self.0;
        let _ = master
            .server
            .sync_to(&replica.server, &["-u", "joe"])
            .expect_code(0);
        let _ = fs::remove_file(master.in_conf("sync/log"));
    }

    fn command(&self, verb: &str, args: &[&str]) -> Command {
        let [master, replica] = &self.0;
        let mut command = Command::new(program("controller"));
        command.arg(verb).args(args);
        let address = |host: &Host| format!("unix:{}", socket_path(host).display());
        command.args(["--master", &address(&master.host)]);
        command.args(["--replica", &address(&replica.host)]);
        command
    }

    fn controller(&self, verb: &str, args: &[&str]) -> Ended {
        Guard::spawn(&mut self.command(verb, args)).finish()
    }
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user and root"]
fn users_in_idle_and_at_work_are_sent_away_the_administrator_stays_and_all_comes_back() {
    let pair = Pair::start();
    let master = &pair.0[0];
    let mut idle = master.server.login("joe");
    let _ = idle.ask("SELECT INBOX");
    idle.idle();
    let mut admin = master.server.login("cyrus");
    let busy = {
        let mut session = master.server.login("joe");
        // Asks until it is sent away; each command that it began is done.
        thread::spawn(move || {
            let mut asked = 0_u32;
            loop {
                let Some(lines) = session.try_ask("STATUS INBOX (MESSAGES)") else {
                    return (asked, String::new());
                };
                asked += 1;
                if let Some(bye) = lines.into_iter().find(|line| line.starts_with("* BYE")) {
                    return (asked, bye);
                }
            }
        })
    };
    let who = pair
        .controller("drain", &[&DRAIN[..], &["0"]].concat())
        .expect_code(75);
    assert!(
        who.stderr.contains("joe (imapd, process "),
        "{}",
        who.stderr
    );
    assert!(!who.stderr.contains("cyrus (imapd"), "{}", who.stderr);

    // Within a minute all users are away: nobody is ended by force.
    let words = ["95s", "--announce", "Back soon", "--json"];
    let drained = Guard::spawn(&mut pair.command("drain", &[&DRAIN[..], &words].concat()));
    let bye = idle.hear().expect("an IDLE session is told");
    assert!(bye.starts_with("* BYE [ALERT] The server is down"), "{bye}");
    let (asked, bye) = busy.join().unwrap();
    assert!(
        asked > 0 && bye.contains("The server is down"),
        "{asked} {bye}"
    );
    // What was logged before is sent.
    if exists(&master.in_conf("sync/log")) {
        pair.replicate();
    }
    let drained = drained.finish().expect_code(0);
    assert!(
        drained.json()["steps"].as_array().unwrap().len() >= 5,
        "{}",
        drained.stdout
    );
    let _ = admin.ask("NOOP");
    assert!(master.lets_in("cyrus") && !master.lets_in("joe"));
    let shown = fs::metadata(master.shutdown()).unwrap();
    let owner = fs::metadata(master.in_conf("")).unwrap();
    assert_eq!((shown.uid(), shown.mode() & 0o777), (owner.uid(), 0o644));

    let _ = pair.controller("undrain", &DRAIN[..3]).expect_code(0);
    assert!(master.lets_in("joe"));
    assert!(!master.shutdown().exists() && !master.in_conf("msg/motd").exists());
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user and root"]
fn sessions_that_are_left_are_ended_only_with_kick_and_only_those_of_users() {
    let pair = Pair::start();
    let master = &pair.0[0];
    let mut joe = master.server.login("joe");
    let mut admin = master.server.login("cyrus");
    let kick = pair.controller("drain", &[&DRAIN[..], &["2s", "--kick"]].concat());
    let kick = kick.expect_code(0);
    assert!(
        kick.stderr.contains("1 session(s) were sent SIGTERM"),
        "{}",
        kick.stderr
    );
    while joe.hear().is_some() {}
    let _ = admin.ask("NOOP");
    let _ = pair.controller("undrain", &DRAIN[..3]).expect_code(0);
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user and root"]
fn slotd_or_controller_killed_at_any_step_leave_what_status_says_and_what_cyrus_does() {
    let mut pair = Pair::start();
    let state = |pair: &Pair| {
        let all = pair.controller("drain", &["--json"]).expect_code(0).json();
        all[0]["state"].as_str().unwrap().to_owned()
    };
    let drain = [&DRAIN[..], &["30s", "--announce", "Soon"]].concat();
    let undrain = &DRAIN[..3];
    for point in [
        "record=1",
        "record=2",
        "write=2",
        "rename=2",
        "sync_dir=2",
        "remove=1",
        "forget=1",
    ] {
        let removes = point.starts_with("remove") || point.starts_with("forget");
        if removes {
            let _ = pair.controller("drain", &drain).expect_code(0);
        }
        pair.0[0].start(&format!("drain.{point}:kill"));
        let (verb, words) = if removes {
            ("undrain", undrain)
        } else {
            ("drain", &drain[..])
        };
        let _ = pair.controller(verb, words).expect_code(69);
        pair.0[0].start("");
        let (said, open) = (state(&pair), pair.0[0].lets_in("joe"));
        assert_eq!(said != "drained", open, "{point}: {said}");
        if !removes {
            let _ = pair.controller("drain", &drain).expect_code(0);
            assert!(!pair.0[0].lets_in("joe"), "{point}");
        }
        let _ = pair.controller("undrain", undrain).expect_code(0);
        assert!(pair.0[0].lets_in("joe"), "{point}");
    }
    for steps in 1..=4 {
        let mut command = pair.command("drain", &drain);
        assert!(super::killed_after(&mut command, steps), "{steps}");
        let (said, open) = (state(&pair), pair.0[0].lets_in("joe"));
        assert_eq!(said != "drained", open, "{steps}: {said}");
        let _ = pair.controller("undrain", undrain).expect_code(0);
        assert!(pair.0[0].lets_in("joe"), "{steps}");
    }
    pair.0[0].slotd.as_ref().unwrap().signal(Signal::SIGTERM);
    until("it ends", || !pair.0[0].slotd.as_mut().unwrap().alive());
}
