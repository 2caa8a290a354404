//! A partition is unmounted in the middle of a run, for real: its mailboxes wait, the others go on,
//! and all are done once it is back. And what an operator says of mounts: failover, wildcards.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use stores::Host;
use stores::genuine::multiply;
use stores::judge::{Before, State, When, alike};
use tests::fleet::{Fleet, program};
use tests::process::{Ended, Guard, Slotd, run};

/// Users like alice: the first of them on the partition that goes away.
const USERS: usize = 4;
const AWAY: usize = 2;
/// Mailboxes of one such user.
const EACH: usize = 14;

/// A mount that goes with the test, also where it fails.
struct Mount {
    from: PathBuf,
    at: PathBuf,
}

impl Mount {
    fn mount(&self) {
        let _ = run("mount", [Path::new("--bind"), &self.from, &self.at]).expect_code(0);
    }

    /// Unmounts as an operator would: if files are open in it, again, and in the end lazily.
    fn unmount(&self) {
        for _ in 0..50 {
            if run("umount", [&self.at]).code == Some(0) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let _ = run("umount", [Path::new("-l"), &self.at]).expect_code(0);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run("umount", [Path::new("-l"), &self.at]);
    }
}

/// Moves some users to a partition `alpha`, whose files lie in `alpha-store`.
fn split(host: &Host) {
    multiply(host, "alice", USERS).unwrap();
    let root = host.root.display();
    for (name, from) in [("data", &host.data), ("meta", &host.meta)] {
        let to = host.root.join("alpha-store").join(name).join("user");
        fs::create_dir_all(&to).unwrap();
        for n in 0..AWAY {
            let user = format!("alice{n:03}");
            fs::rename(from.join("user").join(&user), to.join(&user)).unwrap();
        }
    }
    fs::create_dir(host.root.join("alpha")).unwrap();
    let conf = fs::read_to_string(&host.conf).unwrap();
    let alpha =
        format!("\npartition-alpha: {root}/alpha/data\nmetapartition-alpha: {root}/alpha/meta\n");
    fs::write(&host.conf, conf + &alpha).unwrap();
}

fn alpha(host: &Host) -> Host {
    Host {
        data: host.root.join("alpha/data"),
        meta: host.root.join("alpha/meta"),
        ..host.clone()
    }
}

fn done(host: &Host) -> usize {
    let boxes = host.mailboxes().unwrap();
    let has_old = |dirs: &&stores::Dirs| dirs.meta.join("cyrus.index.OLD").exists();
    boxes.values().filter(has_old).count()
}

fn wait_until(what: &str, run: &mut Guard, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        let ended = run.0.try_wait().unwrap();
        assert!(ended.is_none(), "{what}: the run ended: {ended:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Both hosts, the mounts of partition alpha, that partition of both, and what lies on it.
fn on_two_partitions() -> (Fleet, [Host; 2], [Mount; 2], [Host; 2], [Before; 2]) {
    let fleet = Fleet::of(split);
    let hosts = [fleet.master.clone(), fleet.replica.clone()];
    let mounts = hosts.each_ref().map(|host| Mount {
        from: host.root.join("alpha-store"),
        at: host.root.join("alpha"),
    });
    mounts.iter().for_each(Mount::mount);
    let parts = hosts.each_ref().map(alpha);
    let before = parts.each_ref().map(|host| Before::remember(host).unwrap());
    (fleet, hosts, mounts, parts, before)
}

/// Every mailbox of the partition is new, on both hosts alike, and lost nothing.
fn assert_all_new(before: &[Before; 2]) {
    let reports = before.each_ref().map(|b| b.check(When::Settled));
    for report in &reports {
        report.assert_clean();
        assert_eq!(report.count(State::New), AWAY * EACH);
    }
    assert!(alike(&reports[0], &reports[1]).is_empty());
}

fn unmounted_in_the_middle(which: usize) {
    let (mut fleet, hosts, mounts, parts, before) = on_two_partitions();
    fleet.start();
    // One at once, and not in a hurry, so that the middle is not missed.
    let args = [
        "--parallel",
        "1",
        "--nice-ratio",
        "0.5",
        "--host-wait",
        "60",
    ];
    let mut run = Guard::spawn(&mut fleet.command("upgrade", &args));
    wait_until("the partition's first", &mut run, || {
        done(&parts[which]) >= 2
    });
    mounts[which].unmount();

    let others = 18 + (USERS - AWAY) * EACH;
    wait_until("the others go on", &mut run, || {
        hosts.iter().all(|host| done(host) == others)
    });
    let away = fs::read_dir(&mounts[which].at).unwrap().count();
    assert_eq!(away, 0, "something was written below the mount point");
    let mut status = serde_json::Value::Null;
    wait_until("the reason is named", &mut run, || {
        status = fleet.controller("status", &["--json"]).json();
        let why = status["running"]["waiting"].as_str();
        why.is_some_and(|why| why.contains("not mounted"))
    });
    let side = ["master", "replica"][which];
    let why = status["running"]["waiting"].as_str().unwrap();
    let whose = format!("partition alpha of the {side} not mounted since ");
    assert!(why.starts_with(&whose), "{why}");
    let left = parts[1 - which].mailboxes().unwrap().len() - done(&parts[1 - which]);
    assert!(left > 0, "it was unmounted too late to park anything");

    mounts[which].mount();
    let ended = run.finish().expect_code(0);
    for text in ["its mailboxes wait, the others go on", "is back"] {
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    }
    let _ = fleet.assert_settled();
    assert_all_new(&before);
    drop(fleet);
    drop(mounts);
}

/// A slotd of the replica, with this in its environment.
fn replica_with(fleet: &Fleet, env: &str) -> Slotd {
    let wrapper = ["env".to_owned(), env.to_owned()];
    Slotd::start_under(&wrapper, &program("slotd"), &fleet.replica, &[])
}

#[test]
#[ignore = "needs root: unmounts a partition"]
fn a_mailbox_decided_when_its_host_dies_waits_for_a_partition_that_is_not_mounted_afterwards() {
    let (mut fleet, hosts, mounts, _, before) = on_two_partitions();
    // Partition alpha is listed first: one of its mailboxes is decided when the replica's slotd
    // dies over it.
    let dies = replica_with(&fleet, "REGUID_FAILPOINTS=commit.link=2:kill");
    fleet.put_slotd(1, dies);
    fleet.start();
    let args = ["--parallel", "1", "--host-wait", "60"];
    let mut run = Guard::spawn(&mut fleet.command("upgrade", &args));
    let mut status = serde_json::Value::Null;
    wait_until("its host dies", &mut run, || {
        let asked = fleet.controller("status", &["--json"]);
        let status = asked
            .code
            .and_then(|_| serde_json::from_str::<serde_json::Value>(&asked.stdout).ok());
        let why = status.map(|s| s["running"]["waiting"].to_string());
        why.is_some_and(|why| why.contains("replica away"))
    });
    let decided = fleet.open_transactions();
    assert_eq!(decided.len(), 1);
    fleet.take_slotd(1).unwrap().kill();
    mounts[1].unmount();
    fleet.start();

    let others = 18 + (USERS - AWAY) * EACH;
    wait_until("the others go on", &mut run, || {
        hosts.iter().all(|host| done(host) == others)
    });
    wait_until("it waits", &mut run, || {
        status = fleet.controller("status", &["--json"]).json();
        // The last of the others may have its files and not yet its end in the journal.
        let parked = status["waiting"] == 1 && !status["running"]["waiting"].is_null();
        parked && status["open"] == 1
    });
    assert_eq!(status["in_doubt"], 0);
    assert_eq!(fleet.open_transactions(), decided);

    mounts[1].mount();
    let ended = run.finish().expect_code(0);
    assert!(!ended.stderr.contains("IN DOUBT"), "{}", ended.stderr);
    assert!(fleet.open_transactions().is_empty());
    let _ = fleet.assert_settled();
    assert_all_new(&before);
    drop(fleet);
    drop(mounts);
}

#[test]
#[ignore = "needs root: unmounts a partition"]
fn a_partition_of_the_replica_unmounted_in_the_middle_parks_its_mailboxes_only() {
    unmounted_in_the_middle(1);
}

#[test]
#[ignore = "needs root: unmounts a partition"]
fn a_partition_of_the_master_unmounted_in_the_middle_parks_its_mailboxes_only() {
    unmounted_in_the_middle(0);
}

/// `slotd mount` on a host's state.
fn mount_command(host: &Host, words: &[&str]) -> Ended {
    let state = host.state_dir().unwrap();
    let at = [
        "mount".to_owned(),
        "--imapd-conf".to_owned(),
        host.conf.display().to_string(),
        "--state".to_owned(),
        state.display().to_string(),
    ];
    run(
        &program("slotd"),
        at.into_iter().chain(words.iter().map(|w| (*w).to_owned())),
    )
}

#[test]
fn a_mount_in_failover_refuses_every_run_on_its_pair_until_it_is_cleared() {
    let mut fleet = Fleet::plain(20, 2);
    fleet.start();
    let root = fleet.replica.data.display().to_string();
    let _ = mount_command(&fleet.replica, &["state", &root, "failover"]).expect_code(0);
    let said = mount_command(&fleet.replica, &["state", &root]).expect_code(0);
    assert_eq!(said.stdout, "failover\n");
    let why =
        format!("{root} on the replica is in failover, so that the master's mail is believed");
    let plan = fleet.controller("plan", &[]).expect_code(78);
    assert!(plan.stdout.contains(&why), "{}", plan.stdout);
    for verb in ["upgrade", "recover"] {
        let ended = fleet.controller(verb, &[]).expect_code(78);
        assert!(ended.stderr.contains(&why), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("nothing was begun"),
            "{}",
            ended.stderr
        );
    }
    let ended = fleet
        .controller("drain", &["--side", "master"])
        .expect_code(78);
    assert!(
        ended.stderr.contains("the replica is in failover"),
        "{}",
        ended.stderr
    );
    for host in [&fleet.master, &fleet.replica] {
        assert_eq!(done(host), 0);
    }
    let _ = mount_command(&fleet.replica, &["state", &root, "online"]).expect_code(0);
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let status = || fleet.controller("status", &["--json"]).json()["out_of_service"].clone();
    assert_eq!(status(), serde_json::json!([]));
    let _ = mount_command(
        &fleet.master,
        &[
            "state",
            &fleet.master.data.display().to_string(),
            "failover",
        ],
    )
    .expect_code(0);
    assert_eq!(status()[0]["host"], "the master");
    assert_eq!(
        status()[0]["failover"][0],
        fleet.master.data.display().to_string()
    );
    let _ = fleet.assert_settled();
}

#[test]
fn a_run_stops_when_a_mount_goes_into_failover_and_the_same_command_goes_on_afterwards() {
    let mut fleet = Fleet::plain(60, 2);
    fleet.start();
    let root = fleet.master.data.display().to_string();
    let slow = ["--parallel", "1", "--nice-ratio", "2", "--host-wait", "600"];
    let mut run = Guard::spawn(&mut fleet.command("upgrade", &slow));
    wait_until("it works", &mut run, || done(&fleet.replica) >= 3);
    let _ = mount_command(&fleet.master, &["state", &root, "failover"]).expect_code(0);
    let ended = run.finish().expect_code(78);
    assert!(
        ended.stderr.contains("the run stopped because "),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("is in failover"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("IN DOUBT"), "{}", ended.stderr);
    assert!(
        done(&fleet.replica) < 60,
        "it was set too late to stop anything"
    );
    let _ = mount_command(&fleet.master, &["state", &root, "online"]).expect_code(0);
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    for host in [&fleet.master, &fleet.replica] {
        assert_eq!(done(host), 60);
    }
    let _ = fleet.assert_settled();
}

#[test]
fn states_are_listed_and_set_and_a_wildcard_goes_with_ignore_alone() {
    let mut fleet = Fleet::plain(1, 1);
    fleet.start();
    let host = &fleet.master;
    let root = host.data.display().to_string();
    let _ = mount_command(host, &["state", "/snap/*", "ignore"]).expect_code(0);
    let refused = mount_command(host, &["state", "/snap/*", "offline"]).expect_code(64);
    refused.assert_one_sentence("wildcard");
    let list = mount_command(host, &["list"]).expect_code(0).stdout;
    assert!(list.contains("/snap/*\tignore\twildcard\n"), "{list}");
    assert!(list.contains(&format!("{root}\ton /")), "{list}");
    let _ = mount_command(host, &["state", &root, "offline"]).expect_code(0);
    let states = mount_command(host, &["state"]).expect_code(0).stdout;
    assert!(states.contains(&format!("{root}\toffline\t")), "{states}");
    assert!(!states.contains("/snap"), "{states}");
    let _ = mount_command(host, &["state", &root, "ignore"]).expect_code(0);
    let states = mount_command(host, &["state"]).expect_code(0).stdout;
    assert!(!states.contains(&root), "{states}");
    let _ = mount_command(host, &["state", "/nowhere"]).expect_code(64);
    let _ = mount_command(host, &["remove", "/snap/*"]).expect_code(0);
    let _ = mount_command(host, &["remove", "/snap/*"]).expect_code(64);
}

#[test]
#[ignore = "needs root: mounts file systems in memory"]
fn a_file_system_in_memory_is_known_if_it_holds_a_partition_and_else_is_not() {
    let fleet = Fleet::plain(1, 1);
    let host = &fleet.master;
    let [mail, other] = ["in-memory", "scratch"].map(|name| host.root.join(name));
    for at in [&mail, &other] {
        fs::create_dir(at).unwrap();
        let words = ["-t", "tmpfs", "none", at.to_str().unwrap()];
        let _ = run("mount", words).expect_code(0);
    }
    let mounted = [&mail, &other].map(|at| Mount {
        from: at.clone(),
        at: at.clone(),
    });
    fs::create_dir(mail.join("spool")).unwrap();
    let conf = fs::read_to_string(&host.conf).unwrap();
    let more = format!("\npartition-memory: {}/spool\n", mail.display());
    fs::write(&host.conf, conf + &more).unwrap();
    let _ = Slotd::start(&program("slotd"), host, &[]).stop();
    let list = mount_command(host, &["list"]).expect_code(0).stdout;
    assert!(
        list.contains(&format!("{}\tonline\tmounted", mail.display())),
        "{list}"
    );
    assert!(!list.contains("scratch"), "{list}");
    mounted[0].unmount();
    let noted = Slotd::start(&program("slotd"), host, &[]).stop().stderr;
    assert!(
        noted.contains(&format!("{} is not mounted", mail.display())),
        "{noted}"
    );
}
