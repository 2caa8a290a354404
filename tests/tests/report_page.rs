//! The page that explains a run: a file that appears whole or not at all, whose numbers are those
//! of the run, and which a browser shows without loading or running anything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use controller::journal::{
    Attempt, Candidate, Change, Durability, Ended, Figures, JournalStore, RunSpec, SqliteStore,
    Verb, pair_names,
};
use controller::two_phase::{Reason, Side};
use indexfile::mailbox::MailboxName;
use tests::browser;
use tests::fleet::{Fleet, program};
use tests::process::Guard;

/// 2026-11-22 22:00:00 UTC.
const BEGUN: i64 = 1_795_384_800_000;

#[test]
fn the_page_about_a_run_is_a_new_file_with_its_numbers_and_replaces_none_unasked() {
    let mut fleet = Fleet::of_239();
    let dirs = fleet.master.dirs("user.alice.mixed");
    fs::remove_file(dirs.data.join("3.")).unwrap();
    fleet.start();
    let html = fleet.dir.path().join("run.html");
    let html = html.to_str().unwrap();
    let none = fleet.controller("report", &["--html", html]);
    assert!(!Path::new(html).exists(), "{none:?}");
    let _ = fleet.controller("upgrade", &[]).expect_code(75);
    let before = fs::read(fleet.journal()).unwrap();
    let done = fleet.controller("report", &["--html", html]).expect_code(0);
    assert!(done.stdout.contains("the page about run 1"), "{done:?}");
    assert_eq!(fs::read(fleet.journal()).unwrap(), before, "it only reads");
    let page = fs::read_to_string(html).unwrap();
    let retry = format!(
        "<pre>controller retry --master {} --replica {} --state {} --reason no_message</pre>",
        fleet.addr(0),
        fleet.addr(1),
        fleet.journal().display()
    );
    for part in [
        "18 mailboxes: 17 upgraded, 0 unchanged, 1 rolled back",
        "<code>user.alice.mixed</code>: master: ",
        &retry,
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // Names of mailboxes are nobody else's business.
    let mode = fs::metadata(html).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = fleet.controller("report", &["--html", html]);
    again
        .expect_code(74)
        .assert_one_sentence("is there already");
    assert_eq!(fs::read_to_string(html).unwrap(), page);
    let _ = fleet
        .controller("report", &["--html", html, "--replace"])
        .expect_code(0);
    let nowhere = fleet.controller("report", &["--html", "/nowhere/run.html"]);
    nowhere
        .expect_code(74)
        .assert_one_sentence("/nowhere/run.html");
    let both = fleet.controller("report", &["--html", html, "--json"]);
    let _ = both.expect_code(64);
    let new = fs::read_dir(fleet.dir.path()).unwrap();
    let new = new.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = new.filter(|name| name.starts_with(".reguid-")).collect();
    assert_eq!(left, Vec::<String>::new());
}

/// A journal of a run over these pairs, without hosts: of what it says everything is known.
fn journal(path: &Path, pairs: &str, each: u32) {
    let store = SqliteStore::open(path).unwrap();
    for (nth, name) in pair_names(pairs).enumerate() {
        let journal = store.pair(name).unwrap();
        let spec = RunSpec {
            verb: Verb::Upgrade,
            to: 10,
            undoes: None,
            master: format!("imap{nth}a:4711"),
            replica: Some(format!("imap{nth}b:4711")),
            master_id: String::new(),
            replica_id: String::new(),
            selection: "all".to_owned(),
            words: String::new(),
            pairs: pairs.to_owned(),
        };
        let run = journal.begin_run(&spec, BEGUN).unwrap();
        let names = (0..each).map(|n| match n {
            0 => "user.<script>alert(1)".to_owned(),
            1 => "user.\"><img src=x onerror=alert(1)>".to_owned(),
            2 => format!("user.{}", "long&AOQ-name.".repeat(30) + "end"),
            n => format!("user.u{:04}.Folder {n}", n % 97),
        });
        let names: Vec<MailboxName> = names.map(|n| MailboxName::parse(&n).unwrap()).collect();
        let listed: Vec<Candidate> = names.iter().zip(0_u32..).map(listed).collect();
        journal.add(run, &listed).unwrap();
        journal.list_complete(run).unwrap();
        for (name, n) in names.iter().zip(0_u32..) {
            // What is left when somebody looks while the last pair works.
            if nth == 5 && n > each / 2 {
                break;
            }
            let mailbox = journal.find(run, name).unwrap().unwrap().id;
            let attempt = attempt(n);
            let _ = journal.submit(Change::Finish { mailbox, attempt }, Durability::Lazy);
        }
        if nth != 5 {
            journal
                .finish_run(run, BEGUN + i64::from(each) * 97)
                .unwrap();
        }
        journal.flush().unwrap();
    }
}

fn listed((name, n): (&MailboxName, u32)) -> Candidate {
    let mut candidate = Candidate::new(name.clone(), false);
    let partition = ["default", "archive", "<b>p3</b>"][n as usize % 3];
    candidate.partition = Some(partition.to_owned());
    candidate
}

fn attempt(n: u32) -> Attempt {
    let wave = u64::from(n * 7919 % 1000);
    let us = 800 + wave * wave / 40 + if n.is_multiple_of(211) { 90_000 } else { 0 };
    let failure = match n {
        0 => Some((
            Reason::Damaged,
            "cyrus.index: <script>alert(2)</script>\u{202e}\u{7}",
        )),
        n if n % 53 == 7 => Some((Reason::Locked, "cyrus.header is locked by process 4711")),
        n if n % 97 == 11 => Some((
            Reason::NoMessage,
            "/var/spool/imap/user/u0011/17.: No such file or directory",
        )),
        _ => None,
    };
    let ended = match failure {
        Some(_) => Ended::RolledBack,
        None if n.is_multiple_of(10) => Ended::Unchanged,
        None => Ended::Upgraded,
    };
    Attempt {
        started_ms: BEGUN,
        finished_ms: BEGUN + i64::from(n) * 97 + i64::from(n % 300) * 40,
        ended,
        reason: failure.map(|(reason, _)| reason),
        side: failure.map(|_| Side::Replica),
        detail: failure.map(|(_, text)| text.to_owned()).unwrap_or_default(),
        figures: Figures {
            messages: 10 + wave,
            altered: 20 + 2 * wave,
            cached: 2 * wave,
            hashed: 20,
            lag: u64::from(n % 100 == 1),
            lock_us: [Some(us), Some(us + us / 3)],
        },
    }
}

/// The page about the last run of a journal.
fn page_of(dir: &Path, state: &Path) -> PathBuf {
    let html = dir.join("page.html");
    let mut command = Command::new(program("controller"));
    command.args(["report", "--replace", "--html"]).arg(&html);
    command.arg("--fleet").arg("/etc/reguid/fleet.toml");
    command.arg("--state").arg(state);
    let _ = Guard::spawn(&mut command).finish().expect_code(0);
    html
}

#[test]
#[ignore = "needs a Chromium"]
fn a_browser_shows_the_page_and_has_nothing_to_complain_of() {
    let dir = tempfile::tempdir().unwrap();
    browser::assert_it_complains(dir.path());
    for (pairs, each) in [
        ("", 0),
        ("", 1),
        ("", 3000),
        ("be1,be2,be3,be4,be5,be6,be7,be8", 400),
    ] {
        let state = dir.path().join(format!("journal-{}-{each}", pairs.len()));
        journal(&state, pairs, each);
        let page = page_of(dir.path(), &state);
        let shown = browser::shown(dir.path(), &page, &["--dump-dom"]);
        assert_eq!(browser::console(&shown), Vec::<&str>::new());
        let dom = &shown.stdout;
        assert_eq!(dom.matches("<script").count(), 0, "{dom}");
        assert_eq!(dom.matches("<img").count(), 0, "{dom}");
        // Each in two widths: rate, locks and slowest, failures, and of a fleet its pairs.
        let charts = match (pairs, each) {
            (_, 0) => 0,
            ("", _) => 4,
            _ => 5,
        };
        assert_eq!(dom.matches("<svg").count(), 2 * charts, "{pairs} {each}");
        let tables = dom.matches("<table").count();
        assert!(tables >= charts + 2, "{tables} tables");
        if charts > 0 {
            assert!(dom.contains("user.&lt;script&gt;alert(1)"), "{dom}");
            assert!(
                dom.contains("alert(2)&lt;/script&gt;\\u{202e}\\u{7}"),
                "{dom}"
            );
        }
        let name = format!("{}-{each}", pairs.len());
        browser::pictures(dir.path(), &page, &name, [5200, 4000]);
    }
}
