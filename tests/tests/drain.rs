//! One host out of service and back: two pairs of stores of 2.3, whose slotds and controllers are
//! killed at each step; and, in `cyrus`, a real Cyrus 3.6.1 with live sessions.

#[path = "drain/cyrus.rs"]
mod cyrus;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stores::Host;
use tests::fleet::program;
use tests::pairs::Pairs;
use tests::process::{Guard, Slotd};

const MASTER: [&str; 3] = ["be1", "--side", "master"];

fn pairs() -> Pairs {
    Pairs::plain(&["be1", "be2"], 3, 2)
}

fn conf(host: &Host) -> PathBuf {
    host.root.join("conf")
}

fn shutdown(host: &Host) -> PathBuf {
    conf(host).join("msg/shutdown")
}

/// Whether a Cyrus would keep users out, and what slotd says, by `drain` without `--side`.
fn state(pairs: &Pairs, host: &str) -> String {
    let all = pairs.json("drain", &[], 0);
    let all = all.as_array().unwrap();
    let found = all.iter().find(|one| one["host"] == host).unwrap();
    found["state"].as_str().unwrap().to_owned()
}

/// A process that has a file of the store open, called like a service of Cyrus, and its proc file.
fn session(host: &Host, program: &str, user: &str) -> Guard {
    let bin = host.root.join(program);
    if !bin.exists() {
        fs::copy("/bin/sleep", &bin).unwrap();
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let open = conf(host).join("mailboxes.db");
    let open = fs::File::options()
        .create(true)
        .append(true)
        .open(open)
        .unwrap();
    let mut command = Command::new(&bin);
    command
        .arg("300")
        .stdin(Stdio::null())
        .stdout(open)
        .stderr(Stdio::null());
    let child = Guard(command.spawn().unwrap());
    let proc = conf(host).join("proc");
    fs::create_dir_all(&proc).unwrap();
    let text = format!("host [10.0.0.1]\t{user}\tuser.{user}\n");
    fs::write(proc.join(child.0.id().to_string()), text).unwrap();
    child
}

#[test]
fn a_host_is_drained_and_opened_and_a_second_one_is_refused_with_the_name_of_the_first() {
    let mut all = pairs();
    let master = all.pair("be1").master.clone();
    fs::write(
        &master.conf,
        fs::read_to_string(&master.conf).unwrap() + "admins: cyrus\n",
    )
    .unwrap();
    let pair = all.pair("be1");
    drop(pair.take_slotd(0));
    pair.start();
    let joe = session(&master, "imapd", "joe");
    let mut admin = session(&master, "imapd", "cyrus");

    let ended = all
        .controller("drain", &[&MASTER[..], &["--wait", "0"]].concat())
        .expect_code(75);
    assert!(
        ended
            .stderr
            .contains("1 session(s) are left: joe (imapd, process "),
        "{}",
        ended.stderr
    );
    assert!(shutdown(&master).exists());
    let text = fs::read_to_string(shutdown(&master)).unwrap();
    assert!(
        text.starts_with("The server is down for maintenance"),
        "{text}"
    );

    let ended = all.json(
        "drain",
        &[&MASTER[..], &["--wait", "1s", "--kick"]].concat(),
        0,
    );
    let steps: Vec<&str> = ended["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    let expected = [
        "look",
        "announce",
        "shut",
        "sessions",
        "kick",
        "sessions",
        "replication",
        "compare",
    ];
    assert_eq!(steps, expected);
    let undo = format!(
        "controller undrain be1 --side master --fleet {}",
        all.file().display()
    );
    assert_eq!(ended["steps"][2]["undo"], undo.as_str());
    assert!(joe.finish().code.is_none(), "joe's process ended by itself");
    assert!(
        admin.0.try_wait().unwrap().is_none(),
        "an administrator was ended"
    );

    for second in [["be2", "--side", "replica"], ["be1", "--side", "replica"]] {
        let ended = all.controller("drain", &second).expect_code(78);
        ended.assert_one_sentence("the master of be1 is drained, since ");
    }
    let status = all.pair("be2").replica.clone();
    assert!(!shutdown(&status).exists());

    let ended = all.controller("undrain", &MASTER).expect_code(0);
    assert!(
        ended.stderr.contains("alike on both hosts"),
        "{}",
        ended.stderr
    );
    assert!(!shutdown(&master).exists());
    assert_eq!(state(&all, "the master of be1"), "open");
    let _ = all.controller("undrain", &MASTER).expect_code(0);
    let _ = all
        .controller("drain", &["be2", "--side", "replica"])
        .expect_code(0);
}

#[test]
fn status_says_which_host_is_out_of_service_since_when_and_by_whom() {
    let mut all = pairs();
    let _ = all.controller("upgrade", &[]).expect_code(0);
    assert_eq!(
        all.json("status", &[], 0)["out_of_service"],
        serde_json::json!([])
    );
    let _ = all.controller("drain", &MASTER).expect_code(0);
    let out = all.json("status", &[], 0)["out_of_service"].clone();
    assert_eq!(out[0]["host"], "the master of be1");
    assert_eq!(out[0]["state"], "drained");
    assert!(out[0]["since_ms"].as_u64().unwrap() > 1_700_000_000_000);
    let text = all.controller("status", &[]).expect_code(0).stdout;
    assert!(
        text.contains("the master of be1 is drained, since "),
        "{text}"
    );
    // The slotd of a host that is worked on may be away.
    drop(all.pair("be1").take_slotd(0));
    let out = all.json("status", &[], 0)["out_of_service"].clone();
    assert_eq!(out[0]["state"], "away");
    let ended = all
        .controller("drain", &["be2", "--side", "master"])
        .expect_code(69);
    ended.assert_one_sentence("the master of be1 does not answer");
    let ended = all.controller("drain", &["be1", "--side", "replica", "--despite-away"]);
    ended
        .expect_code(69)
        .assert_one_sentence("the master of be1 does not answer");
}

#[test]
fn a_shutdown_file_of_somebody_else_stays_and_is_said_to_be_theirs() {
    let mut all = pairs();
    let master = all.pair("be1").master.clone();
    fs::create_dir_all(conf(&master).join("msg")).unwrap();
    fs::write(shutdown(&master), "we move house\n").unwrap();
    for verb in ["drain", "undrain"] {
        let ended = all.controller(verb, &MASTER).expect_code(78);
        assert!(
            ended.stderr.contains("says \"we move house\""),
            "{}",
            ended.stderr
        );
        assert_eq!(
            fs::read_to_string(shutdown(&master)).unwrap(),
            "we move house\n"
        );
    }
    assert_eq!(state(&all, "the master of be1"), "shut");
}

#[test]
fn hosts_that_differ_are_no_success_and_are_not_opened_unless_that_is_asked_for() {
    let mut all = pairs();
    let (master, replica) = (
        all.pair("be1").master.clone(),
        all.pair("be1").replica.clone(),
    );
    let name = replica.mailboxes().unwrap().keys().next().unwrap().clone();
    let gone = replica.dirs(&name);
    fs::rename(&gone.data, replica.root.join("away")).unwrap();
    let ended = all.controller("drain", &MASTER).expect_code(65);
    assert!(
        ended.stderr.contains("mailbox(es) are not on both hosts"),
        "{}",
        ended.stderr
    );
    let _ = all.controller("undrain", &MASTER).expect_code(65);
    assert!(shutdown(&master).exists());
    let _ = all
        .controller("undrain", &[&MASTER[..], &["--no-compare"]].concat())
        .expect_code(0);
    assert!(!shutdown(&master).exists());
}

#[test]
fn replication_is_waited_for() {
    let mut all = pairs();
    let master = all.pair("be1").master.clone();
    fs::write(
        &master.conf,
        fs::read_to_string(&master.conf).unwrap() + "sync_log: yes\n",
    )
    .unwrap();
    drop(all.pair("be1").take_slotd(0));
    all.pair("be1").start();
    let log = conf(&master).join("sync/log");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::write(&log, "MAILBOX user.joe\n").unwrap();
    let ended = all
        .controller("drain", &[&MASTER[..], &["--wait", "1s"]].concat())
        .expect_code(75);
    assert!(
        ended.stderr.contains(&log.display().to_string()),
        "{}",
        ended.stderr
    );
    fs::remove_file(&log).unwrap();
    let ended = all
        .controller("drain", &[&MASTER[..], &["--wait", "30s"]].concat())
        .expect_code(0);
    assert!(
        ended.stderr.contains("nothing left to send"),
        "{}",
        ended.stderr
    );
}

/// A slotd of the master of `be1` that dies at this failpoint.
fn mortal(all: &mut Pairs, rule: &str) {
    let pair = all.pair("be1");
    drop(pair.take_slotd(0));
    let wrapper = ["env".to_owned(), format!("REGUID_FAILPOINTS={rule}=1:kill")];
    let slotd = Slotd::start_under(&wrapper, &program("slotd"), &pair.master, &[]);
    pair.put_slotd(0, slotd);
}

fn revive(all: &mut Pairs) {
    let pair = all.pair("be1");
    drop(pair.take_slotd(0));
    pair.start();
}

#[test]
fn a_slotd_that_is_killed_at_any_step_leaves_a_host_that_both_commands_go_on_with() {
    let mut all = pairs();
    let master = all.pair("be1").master.clone();
    let name = "the master of be1";
    for point in [
        "drain.record",
        "drain.write",
        "drain.rename",
        "drain.sync_dir",
    ] {
        for undo in [true, false] {
            mortal(&mut all, point);
            let _ = all.controller("drain", &MASTER).expect_code(69);
            revive(&mut all);
            let shut = shutdown(&master).exists();
            assert_eq!(state(&all, name) == "drained", shut, "{point}");
            if !undo {
                let _ = all.controller("drain", &MASTER).expect_code(0);
                assert!(shutdown(&master).exists(), "{point}");
            }
            let _ = all.controller("undrain", &MASTER).expect_code(0);
            assert_eq!(
                (state(&all, name).as_str(), shutdown(&master).exists()),
                ("open", false)
            );
        }
    }
    for point in ["drain.remove", "drain.forget"] {
        let _ = all.controller("drain", &MASTER).expect_code(0);
        mortal(&mut all, point);
        let _ = all.controller("undrain", &MASTER).expect_code(69);
        revive(&mut all);
        assert_eq!(
            state(&all, name) == "drained",
            shutdown(&master).exists(),
            "{point}"
        );
        let _ = all.controller("undrain", &MASTER).expect_code(0);
        assert_eq!(
            (state(&all, name).as_str(), shutdown(&master).exists()),
            ("open", false)
        );
    }
    let left = fs::read_dir(conf(&master).join("msg")).unwrap().count();
    assert_eq!(left, 0);
}

/// Starts a controller and kills it once it has said a number of steps; whether it had by then.
fn killed_after(command: &mut Command, steps: usize) -> bool {
    let mut child = Guard::spawn(command);
    let lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let noted = lines.map_while(Result::ok).take(steps).count() == steps;
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    noted
}

#[test]
fn a_controller_that_is_killed_after_any_step_leaves_a_host_that_both_commands_go_on_with() {
    let mut all = pairs();
    let master = all.pair("be1").master.clone();
    for steps in 1..=5 {
        let noted = killed_after(&mut all.command(&["drain"], &MASTER), steps);
        assert!(noted, "{steps}");
        let shut = shutdown(&master).exists();
        assert_eq!(state(&all, "the master of be1") == "drained", shut);
        if steps % 2 == 0 {
            let _ = all.controller("drain", &MASTER).expect_code(0);
        }
        let _ = all.controller("undrain", &MASTER).expect_code(0);
        assert!(!shutdown(&master).exists());
    }
}

/// Waits for something.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !is() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn exists(path: &Path) -> bool {
    path.exists()
}
