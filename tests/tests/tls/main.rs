//! Runs by TLS, with certificates that `controller certs` made: a whole run, who may order what,
//! and certificates that are replaced and revoked while a run works. What has openssl as the other
//! end is ignored in a plain run.

mod openssl;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::fleet::{Fleet, program};
use tests::mupdate::{Mupdate, Table};
use tests::process::{Ended, Guard, Slotd, run};

/// A fleet whose slotds listen by TLS, and its authority.
struct Secure {
    fleet: Fleet,
    ca: PathBuf,
}

impl Secure {
    fn new(mailboxes: usize) -> Secure {
        Secure::with(mailboxes, &[])
    }

    /// With further options of the slotds.
    fn with(mailboxes: usize, options: &[&str]) -> Secure {
        let fleet = Fleet::plain(mailboxes, 3).unwatched();
        let ca = fleet.dir.path().join("ca");
        let _ = run(&program("controller"), ["certs", "init", text(&ca)]).expect_code(0);
        let mut secure = Secure { fleet, ca };
        for (which, name) in ["master", "replica"].into_iter().enumerate() {
            let _ = secure.issue("host", "localhost", name);
            let host = [&secure.fleet.master, &secure.fleet.replica][which];
            let mut extra = secure.shown(name);
            let crl = secure.ca.join("crl.pem");
            extra.extend(["--tls-crl".to_owned(), text(&crl).to_owned()]);
            let extra = extra.iter().map(String::as_str);
            let extra: Vec<&str> = extra.chain(options.iter().copied()).collect();
            let slotd = Slotd::try_start_at("tls://localhost:0", &program("slotd"), host, &extra);
            let slotd = slotd.unwrap_or_else(|error| panic!("{error}"));
            secure.fleet.put_slotd(which, slotd);
        }
        secure
    }

    /// Issues a certificate, with files of that name.
    fn issue(&self, role: &str, name: &str, file: &str) -> Ended {
        let ca = text(&self.ca);
        let words = [
            "certs", "issue", ca, "--role", role, "--name", name, "--file", file,
        ];
        run(&program("controller"), words).expect_code(0)
    }

    fn revoke(&self, file: &str) {
        let path = self.ca.join(format!("{file}.pem"));
        let words = ["certs", "revoke", text(&self.ca), text(&path)];
        let _ = run(&program("controller"), words).expect_code(0);
    }

    /// The options that show a certificate.
    fn shown(&self, file: &str) -> Vec<String> {
        let path = |name: String| text(&self.ca.join(name)).to_owned();
        vec![
            "--tls-cert".to_owned(),
            path(format!("{file}.pem")),
            "--tls-key".to_owned(),
            path(format!("{file}.key")),
            "--tls-ca".to_owned(),
            path("ca.pem".to_owned()),
        ]
    }

    fn command(&self, verb: &str, file: &str, extra: &[&str]) -> Command {
        let mut words = self.shown(file);
        words.extend(extra.iter().map(|word| (*word).to_owned()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.fleet.command(verb, &words)
    }

    fn controller(&self, verb: &str, file: &str, extra: &[&str]) -> Ended {
        Guard::spawn(&mut self.command(verb, file, extra)).finish()
    }

    /// Stops a slotd, and gives all that it logged.
    fn log(&mut self, which: usize) -> String {
        self.fleet.take_slotd(which).unwrap().stop().stderr
    }

    /// SIGHUP to both slotds.
    fn reload(&mut self) {
        for which in 0..2 {
            let slotd = self.fleet.take_slotd(which).unwrap();
            slotd.signal(Signal::SIGHUP);
            self.fleet.put_slotd(which, slotd);
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_run_by_tls_is_a_run_and_who_may_not_order_it_gets_one_sentence() {
    let mut secure = Secure::new(12);
    let _ = secure.issue("controller", "night-run", "night");
    let _ = secure.issue("viewer", "watch", "watch");
    let _ = secure.issue("controller", "lost-laptop", "lost");
    secure.revoke("lost");
    secure.reload();
    // A viewer looks, and changes nothing.
    let plan = secure
        .controller("plan", "watch", &["--json"])
        .expect_code(0);
    assert_eq!(plan.json()["mailboxes"], 12, "{}", plan.stdout);
    let refused = secure.controller("upgrade", "watch", &[]).expect_code(77);
    assert!(
        refused.stderr.contains("is not for a viewer"),
        "{}",
        refused.stderr
    );
    // SIGHUP is looked at when it comes: until then it was let in.
    let until = Instant::now() + Duration::from_secs(60);
    let refused = loop {
        let refused = secure.controller("plan", "lost", &[]);
        if refused.code != Some(0) || Instant::now() > until {
            break refused.expect_code(77);
        }
    };
    refused.assert_one_sentence("the other side refuses our certificate: revoked (serial ");
    let bare = secure.fleet.controller("plan", &[]).expect_code(77);
    bare.assert_one_sentence("needs --tls-cert, --tls-key and --tls-ca");
    let done = secure
        .controller("upgrade", "night", &["--json"])
        .expect_code(0);
    assert_eq!(done.json()["upgraded"], 12, "{}", done.stdout);
    let _ = secure.fleet.assert_settled();
    // Each of them is in the audit, by name.
    let log = secure.log(0);
    for words in [
        "audit who=cert:watch role=viewer serial=",
        " what=REGISTER args=journal%3D",
        "audit who=cert:night-run role=controller serial=",
        " what=CONNECT result=NO:DENIED why=its%20certificate%20is%20not%20accepted%3A%20it%20is",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    let of = |who: &str| {
        let all = log
            .lines()
            .filter(|line| line.contains(&format!("audit who={who}")));
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = of("cert:watch");
    assert!(
        refused.iter().all(|line| line.contains("result=NO:DENIED")),
        "{log}"
    );
    let commits = of("cert:night-run");
    let commits = commits
        .iter()
        .filter(|line| line.contains(" what=COMMIT mailbox="));
    assert_eq!(commits.count(), 12, "{log}");
}

/// The lines of a key file that say something about the key.
fn lines_of_key(path: &Path) -> Vec<String> {
    let pem = fs::read_to_string(path).unwrap();
    let lines = pem
        .lines()
        .filter(|line| !line.starts_with("-----") && line.len() > 20);
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{}", path.display());
    lines
}

#[test]
fn no_log_has_a_key_or_a_password_however_much_is_logged() {
    let mut secure = Secure::with(6, &["-vv"]);
    let _ = secure.issue("controller", "night-run", "night");
    let names = (0..6).map(|n| (format!("user.u{n:04}"), ("be!default".to_owned(), false)));
    let master = Mupdate::start(Table::new(names.collect()));
    let file = secure.fleet.dir.path().join("fleet.toml");
    let pair = format!(
        "[pairs.be]\nmaster = \"{}\"\nreplica = \"{}\"\n",
        secure.fleet.addr(0),
        secure.fleet.addr(1)
    );
    fs::write(&file, pair).unwrap();
    let mut said = String::new();
    for verb in ["plan", "upgrade"] {
        let mut command = Command::new(program("controller"));
        command
            .args([verb, "--fleet", text(&file)])
            .args(master.options());
        if verb == "upgrade" {
            command
                .arg("--state")
                .arg(secure.fleet.dir.path().join("state"));
        }
        command
            .args(secure.shown("night"))
            .env("REGUID_LOG", "trace");
        let ended = Guard::spawn(&mut command).finish().expect_code(0);
        said.extend([ended.stdout, ended.stderr]);
    }
    for which in 0..2 {
        said.push_str(&secure.log(which));
    }
    assert!(said.contains(" what=COMMIT mailbox=user."), "{said}");
    let mut secrets = vec![
        "secret".to_owned(),
        "AG11cGRhdGVhZG1pbgBzZWNyZXQ".to_owned(),
    ];
    for name in ["ca.key", "master.key", "replica.key", "night.key"] {
        secrets.extend(lines_of_key(&secure.ca.join(name)));
    }
    for secret in secrets {
        assert!(!said.contains(&secret), "{secret} is in a log");
    }
}

#[test]
fn a_slotd_that_cannot_be_trusted_does_not_start() {
    let secure = Secure::new(2);
    let _ = secure.issue("controller", "night-run", "night");
    let start = |listen: &str, extra: &[String]| {
        let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
        let host = &secure.fleet.master;
        Slotd::try_start_at(listen, &program("slotd"), host, &extra).unwrap_err()
    };
    let none = start("tls://localhost:0", &[]);
    assert!(none.contains("--listen tls:// needs --tls-cert"), "{none}");
    let wrong = start("tls://localhost:0", &secure.shown("night"));
    assert!(wrong.contains("it is no certificate of a host"), "{wrong}");
    let user = start(
        "unix:/nonexistent/s",
        &["--allow-user".into(), "no-such-user".into()],
    );
    assert!(
        user.contains("--allow-user: no user no-such-user"),
        "{user}"
    );
}

#[test]
fn certificates_are_replaced_and_revoked_while_a_run_works_and_nothing_of_it_is_dropped() {
    let mut secure = Secure::new(300);
    let _ = secure.issue("controller", "night-run", "night");
    let _ = secure.issue("controller", "other", "other");
    for which in ["master", "replica"] {
        let _ = secure.issue("host", "localhost", &format!("{which}-2"));
    }
    let work = secure.command("upgrade", "night", &["--json", "--parallel", "4"]);
    let mut work = Guard::spawn(&mut { work });
    let mut times = 0;
    while work.0.try_wait().unwrap().is_none() {
        if times == 1 {
            secure.revoke("other");
        }
        // The new certificates in the place of those that slotd reads.
        for which in ["master", "replica"] {
            for extension in ["key", "pem"] {
                let path = |name: &str| secure.ca.join(format!("{name}.{extension}"));
                let (now, next) = (path(which), path(&format!("{which}-2")));
                let spare = path("spare");
                fs::rename(&now, &spare).unwrap();
                fs::rename(&next, &now).unwrap();
                fs::rename(&spare, &next).unwrap();
            }
        }
        secure.reload();
        times += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    let done = work.finish().expect_code(0);
    assert!(times >= 2, "the run was over before anything was replaced");
    let summary = done.json();
    assert_eq!(summary["upgraded"], 300, "{}", done.stderr);
    assert_eq!(summary["rolled_back"], 0, "{}", done.stderr);
    let _ = secure.fleet.assert_settled();
    let refused = secure.controller("plan", "other", &[]).expect_code(77);
    refused.assert_one_sentence("revoked (serial ");
}

#[test]
fn a_run_whose_certificate_is_revoked_ends_with_that_sentence_and_a_new_one_goes_on() {
    is_revoked_in_the_middle_of_a_run("900");
}

#[test]
fn a_run_that_waits_for_no_host_ends_with_that_sentence_too() {
    is_revoked_in_the_middle_of_a_run("0");
}

fn is_revoked_in_the_middle_of_a_run(host_wait: &str) {
    let mut secure = Secure::new(300);
    let _ = secure.issue("controller", "night-run", "night");
    let _ = secure.issue("controller", "next-night", "next");
    let extra = ["--parallel", "1", "--host-wait", host_wait];
    let work = Guard::spawn(&mut secure.command("upgrade", "night", &extra));
    let state = secure.fleet.journal();
    let turn = |verb: &str| run(&program("controller"), [verb, "--state", text(&state)]);
    // In its middle; then nothing is under way.
    let until = Instant::now() + Duration::from_secs(60);
    let has_begun = || {
        let status = run(
            &program("controller"),
            ["status", "--json", "--state", text(&state)],
        );
        let all = status.stdout.replace(' ', "");
        all.contains("\"upgraded\":") && !all.contains("\"upgraded\":0")
    };
    while !has_begun() {
        assert!(Instant::now() < until, "it does not begin");
    }
    let _ = turn("pause").expect_code(0);
    let rests = || {
        let mut status = secure.fleet.command("status", &[]);
        status.args(secure.shown("night"));
        let _ = Guard::spawn(&mut status).finish();
        secure.fleet.open_transactions().is_empty()
    };
    while !rests() {
        assert!(Instant::now() < until, "something stays under way");
    }
    secure.revoke("night");
    secure.reload();
    // Once SIGHUP was looked at.
    let until = Instant::now() + Duration::from_secs(60);
    while secure.controller("plan", "night", &[]).code != Some(77) {
        assert!(Instant::now() < until, "it stays let in");
    }
    let _ = turn("resume").expect_code(0);
    let ended = work.finish().expect_code(77);
    let said = &ended.stderr;
    assert!(
        said.contains("the other side refuses our certificate: revoked (serial "),
        "{said}"
    );
    assert!(
        said.contains("the run ended because there is no trust between the "),
        "{said}"
    );
    let done = secure
        .controller("upgrade", "next", &["--json"])
        .expect_code(0);
    assert_eq!(done.json()["mailboxes"], 300, "{}", done.stdout);
    assert_eq!(done.json()["in_doubt"], 0, "{}", done.stdout);
    let _ = secure.fleet.assert_settled();
}

/// The replica's slotd fetches what is precomputed at the master, and shows this certificate there;
/// a message of the replica's is not that of the master. The run, with what both slotds logged.
fn fetches_sha1s_as(file: &str, listen: &str) -> (Ended, [String; 2]) {
    let mut secure = Secure::new(4);
    let _ = secure.issue("controller", "night-run", "night");
    let _ = secure.issue("viewer", "watch", "watch");
    let conf = text(&secure.fleet.master.conf).to_owned();
    let _ = run(&program("precompute"), ["run", "--imapd-conf", &conf]).expect_code(0);
    // Of the same size; neither index says which of the two is damaged.
    let mailboxes = secure.fleet.replica.mailboxes().unwrap();
    let spool = fs::read_dir(&mailboxes.values().next().unwrap().data).unwrap();
    let mut files = spool.map(|entry| entry.unwrap().path());
    let is_message = |path: &PathBuf| text(path).ends_with('.');
    let message = files.find(is_message).expect("a message");
    let mut bytes = fs::read(&message).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&message, bytes).unwrap();
    let _ = secure.log(1);
    let mut extra = secure.shown(file);
    extra.extend([
        "--sha1s-from".to_owned(),
        secure.fleet.addr(0),
        "-v".to_owned(),
    ]);
    let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
    let replica = &secure.fleet.replica;
    let listen = match listen {
        "unix" => format!("unix:{}", tests::process::socket_path(replica).display()),
        other => other.to_owned(),
    };
    let slotd = Slotd::try_start_at(&listen, &program("slotd"), replica, &extra);
    let slotd = slotd.unwrap_or_else(|error| panic!("{error}"));
    secure.fleet.put_slotd(1, slotd);
    let done = secure.controller("upgrade", "night", &["--json"]);
    let logs = [0, 1].map(|which| secure.log(which));
    (done, logs)
}

/// What SHA1S says is compared, and is the GUID of no message of this host: each host reads its
/// own. So what came shows in the one message that differs, which is found before any lock, and by
/// the peer's cache.
#[test]
fn a_slotd_gets_sha1s_of_another_by_its_own_certificate_and_by_a_viewers_it_does_not() {
    let compared = "by the peer's cyrus.sha1s";
    let none_came = "no cyrus.sha1s from the peer: ";
    let (done, [master, replica]) = fetches_sha1s_as("replica", "tls://localhost:0");
    let all = format!("{}{}\n{master}\n{replica}", done.stdout, done.stderr);
    assert_eq!(done.json()["upgraded"], 3, "{all}");
    assert!(done.stderr.contains(compared), "{all}");
    assert!(!replica.contains(none_came), "{all}");
    assert!(!master.contains("NO:DENIED"), "{all}");
    // A viewer may not; then the two hosts' digests are what shows the difference.
    let (done, [master, replica]) = fetches_sha1s_as("watch", "unix");
    let all = format!("{}{}\n{master}\n{replica}", done.stdout, done.stderr);
    assert_eq!(done.json()["upgraded"], 3, "{all}");
    assert!(!done.stderr.contains(compared), "{all}");
    let refused = master.lines().filter(|line| {
        let words = ["role=viewer", "what=SHA1S", "result=NO:DENIED"];
        line.contains("audit who=cert:watch") && words.iter().all(|word| line.contains(word))
    });
    assert!(refused.count() >= 4, "{all}");
    let line = replica.lines().find(|line| line.contains(none_came));
    let why = "SHA1S is not for a viewer";
    assert!(line.is_some_and(|line| line.contains(why)), "{all}");
}

#[test]
fn a_certificate_that_ends_in_ten_days_is_told_by_plan_status_and_metrics() {
    let mut secure = Secure::new(2);
    for (role, name, file) in [
        ("controller", "night-run", "night"),
        ("host", "localhost", "short"),
    ] {
        let ca = text(&secure.ca);
        let words = [
            "certs", "issue", ca, "--role", role, "--name", name, "--file", file, "--days", "10",
        ];
        let _ = run(&program("controller"), words).expect_code(0);
    }
    let _ = secure.log(0);
    let metrics = secure.fleet.dir.path().join("slotd.prom");
    let mut extra = secure.shown("short");
    extra.extend(["--metrics-file".to_owned(), text(&metrics).to_owned()]);
    let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
    let host = &secure.fleet.master;
    let slotd = Slotd::try_start_at("tls://localhost:0", &program("slotd"), host, &extra).unwrap();
    secure.fleet.put_slotd(0, slotd);
    let days_of = |path: &Path, metric: &str| {
        let page = fs::read_to_string(path).unwrap();
        let line = page
            .lines()
            .find(|line| line.starts_with(metric))
            .unwrap_or_default();
        let days = line.rsplit(' ').next().unwrap().parse::<f64>();
        days.unwrap_or_else(|_| panic!("{metric}: {page}"))
    };
    let days = days_of(&metrics, "reguid_slotd_certificate_days");
    assert!((9.0..=10.0).contains(&days), "{days}");
    let ends = |whose: &str| format!("the certificate of {whose} ends in ");
    let plan = secure.controller("plan", "night", &[]).expect_code(0);
    let all = plan.stdout + &plan.stderr;
    for whose in ["the master's slotd", "this controller"] {
        assert!(all.contains(&ends(whose)), "{whose}: {all}");
    }
    assert!(!all.contains(&ends("the replica's slotd")), "{all}");
    let of_run = secure.fleet.dir.path().join("run.prom");
    let extra = ["--metrics-file", text(&of_run)];
    let _ = secure.controller("upgrade", "night", &extra).expect_code(0);
    let days = days_of(&of_run, "reguid_certificate_days");
    assert!((9.0..=10.0).contains(&days), "{days}");
    let status = secure.controller("status", "night", &[]);
    let all = status.stdout + &status.stderr;
    assert!(all.contains(&ends("this controller")), "{all}");
}
