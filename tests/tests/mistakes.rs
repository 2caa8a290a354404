//! What a new user does wrong ends with one true sentence and the exit code that says whose turn it
//! is, and nothing is changed by it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use stores::judge::snapshot;
use tests::fleet::{Fleet, program};
use tests::process::{Ended, Guard, run};

/// The program and its arguments, the exit code, and words of the sentence. `{D}` is a directory.
type Mistake = (&'static [&'static str], i32, &'static str);

const NO_HOST: &str = "127.0.0.1:1";

/// Each on its own, in a directory with what [`files`] makes.
const MISTAKES: &[Mistake] = &[
    // The command line.
    (
        &["controller", "upgrde"],
        64,
        "unrecognized subcommand 'upgrde'",
    ),
    (&["controller", "upgrade"], 64, "--master <ADDR>"),
    (
        &["controller", "upgrade", "--master", "mail"],
        64,
        "expected unix:/path, tls://HOST:PORT or HOST:PORT",
    ),
    (
        &["controller", "upgrade", "--to", "11", "--master", NO_HOST],
        64,
        "the version is 10",
    ),
    (
        &["controller", "upgrade", "--to", "9", "--master", NO_HOST],
        64,
        "`controller downgrade`",
    ),
    (
        &["controller", "downgrade", "--to", "10", "--master", NO_HOST],
        64,
        "10 is not in 6..=9",
    ),
    (
        &[
            "controller",
            "upgrade",
            "--parallel",
            "many",
            "--master",
            NO_HOST,
        ],
        64,
        "from 1 to 1024",
    ),
    (
        &[
            "controller",
            "upgrade",
            "--window",
            "25:00-26:00",
            "--master",
            NO_HOST,
        ],
        64,
        "22:00-06:00",
    ),
    (
        &[
            "controller",
            "upgrade",
            "--on-alert",
            "/no/page-me",
            "--master",
            NO_HOST,
        ],
        64,
        "page-me",
    ),
    (
        &[
            "controller",
            "upgrade",
            "--wait-command",
            "/no/may-i",
            "--master",
            NO_HOST,
        ],
        78,
        "may-i",
    ),
    (
        &["controller", "upgrade", "--master", NO_HOST, ""],
        67,
        "name is empty",
    ),
    (
        &["controller", "verify", "--imap", NO_HOST],
        64,
        "--password-file <FILE>",
    ),
    // Hosts.
    (
        &["controller", "upgrade", "--master", NO_HOST],
        69,
        "no slotd at 127.0.0.1:1",
    ),
    (
        &["controller", "upgrade", "--master", "unix:{D}/none"],
        69,
        "no slotd at unix:",
    ),
    (&["controller", "pause"], 69, "no controller is running"),
    // Journals.
    (&["controller", "status"], 78, "no run was ever started"),
    (&["controller", "report"], 78, "no run was ever started"),
    (
        &["controller", "retry", "--master", NO_HOST],
        78,
        "no run was ever started",
    ),
    (
        &["controller", "rollback", "7", "--master", NO_HOST],
        78,
        "no run was ever started",
    ),
    (
        &["controller", "status", "--state", "{D}/words"],
        65,
        "words",
    ),
    (
        &[
            "controller",
            "upgrade",
            "--state",
            "{D}/no/x.db",
            "--master",
            NO_HOST,
        ],
        74,
        "x.db",
    ),
    (
        &[
            "controller",
            "upgrade",
            "--state",
            "postgres://r@127.0.0.1:1/r",
            "--master",
            NO_HOST,
        ],
        69,
        "postgres://127.0.0.1:1/r",
    ),
    // Files of options.
    (
        &["controller", "plan", "--fleet", "{D}/none.toml"],
        78,
        "none.toml",
    ),
    (
        &["controller", "plan", "--fleet", "{D}/fleet.toml"],
        78,
        "fleet.toml line 2: unknown field",
    ),
    (
        &["controller", "plan", "--fleet", "{D}/words"],
        78,
        "words line 1: ",
    ),
    (
        &["controller", "plan", "--config", "{D}/none.toml"],
        78,
        "none.toml",
    ),
    (
        &["controller", "plan", "--config", "{D}/slip.toml"],
        78,
        "slip.toml line 1: ",
    ),
    (
        &[
            "controller",
            "verify",
            "--imap",
            NO_HOST,
            "--user",
            "joe",
            "--password-file",
            "{D}/open",
        ],
        78,
        "chmod o= it",
    ),
    // slotd.
    (
        &[
            "slotd",
            "serve",
            "--imapd-conf",
            "{D}/c",
            "--listen",
            "unix:{D}/s",
        ],
        64,
        "--state <DIR>",
    ),
    (
        &[
            "slotd",
            "recover",
            "--imapd-conf",
            "{D}/none",
            "--state",
            "{D}/st",
        ],
        78,
        "none",
    ),
    (
        &[
            "slotd",
            "recover",
            "--imapd-conf",
            "{D}/nodir.conf",
            "--state",
            "{D}/st",
        ],
        78,
        "/nonexistent",
    ),
    (
        &[
            "slotd",
            "recover",
            "--imapd-conf",
            "{D}/words",
            "--state",
            "{D}/st",
        ],
        78,
        "words",
    ),
    (
        &[
            "slotd",
            "recover",
            "--imapd-conf",
            "{D}/nodir.conf",
            "--state",
            "{D}/words",
        ],
        78,
        "words is no directory",
    ),
    (
        &[
            "slotd",
            "mount",
            "--imapd-conf",
            "{D}/nodir.conf",
            "--state",
            "{D}/none",
            "list",
        ],
        78,
        "no slotd ever kept its state there",
    ),
    (
        &[
            "slotd",
            "mount",
            "--imapd-conf",
            "{D}/nodir.conf",
            "--state",
            "{D}/none",
            "state",
            "/mail",
            "failover",
        ],
        78,
        "no slotd ever kept its state there",
    ),
    // precompute.
    (&["precompute", "run"], 64, "--imapd-conf <FILE>"),
    (
        &["precompute", "run", "--imapd-conf", "{D}/none"],
        78,
        "none",
    ),
    (
        &["precompute", "show", "{D}/words"],
        65,
        "words is not a cyrus.sha1s file",
    ),
    // indexfile.
    (&["indexfile", "dump", "{D}/none"], 74, "none"),
    (
        &["indexfile", "dump", "{D}/words"],
        65,
        "words is not a Cyrus index or expunge file",
    ),
    (&["indexfile", "dump", "{D}"], 65, "it is a directory"),
    (
        &["indexfile", "check", "{D}/empty"],
        65,
        "no index or expunge file is there",
    ),
    (
        &["indexfile", "convert", "{D}/words", "{D}/new"],
        64,
        "--to <N>",
    ),
];

fn files(dir: &Path) {
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    write("words", "these are words\n");
    write("fleet.toml", "[pairs.be1]\nmastre = \"unix:/m\"\n");
    write("slip.toml", "paralel = 3\n");
    write("open", "secret\n");
    fs::set_permissions(dir.join("open"), PermissionsExt::from_mode(0o644)).unwrap();
    let conf = "configdirectory: /nonexistent/conf\npartition-default: /nonexistent/mail\n";
    write("nodir.conf", conf);
    for name in ["empty", "st"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
}

/// One sentence; the command line's own words go on with how it is used.
fn assert_one_sentence(ended: &Ended, words: &str) {
    if ended.code == Some(64) {
        let (sentence, usage) = ended
            .stderr
            .split_once("\n\n")
            .unwrap_or((&ended.stderr, ""));
        assert!(sentence.contains(words), "{words}: {ended:?}");
        assert!(usage.is_empty() || usage.contains("--help"), "{ended:?}");
    } else {
        ended.assert_one_sentence(words);
    }
}

#[test]
fn each_mistake_of_a_new_user_has_its_exit_code_and_one_sentence() {
    assert!(MISTAKES.len() >= 30);
    for (words, code, about) in MISTAKES {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path());
        let here = dir.path().to_str().unwrap();
        let words: Vec<String> = words.iter().map(|word| word.replace("{D}", here)).collect();
        let before = snapshot::take(dir.path()).unwrap();
        let mut command = std::process::Command::new(program(&words[0]));
        command.args(&words[1..]).current_dir(dir.path());
        let ended = Guard::spawn(&mut command).finish();
        assert_eq!(ended.code, Some(*code), "{words:?}: {ended:?}");
        assert_one_sentence(&ended, about);
        assert_eq!(ended.stdout, "", "{words:?}");
        // A journal that is looked for may be made, and its lock; nothing else.
        let after = snapshot::take(dir.path()).unwrap();
        for line in snapshot::differences(&before, &after) {
            assert!(
                line.contains("reguid.db") || line.contains("st"),
                "{words:?}: {line}"
            );
        }
    }
}

#[test]
fn mistakes_in_what_a_working_fleet_is_asked_for_have_theirs_too() {
    let mut fleet = Fleet::plain(3, 2);
    fleet.start();
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    let (master, replica) = (fleet.addr(0), fleet.addr(1));
    let same = ["plan", "--master", &master, "--replica", &master];
    let ended = run(&program("controller"), same).expect_code(78);
    ended.assert_one_sentence("the same");
    for (verb, extra, code, words) in [
        ("upgrade", &["user.nobody"][..], 67, "user.nobody"),
        (
            "upgrade",
            &["--mailboxes", "/nonexistent/list"],
            74,
            "/nonexistent/list",
        ),
        ("upgrade", &["--mailboxes", empty], 65, "no mailbox"),
        ("upgrade", &["--match", "user.z*"], 65, "no mailbox"),
        ("upgrade", &["--partition", "nowhere"], 65, "nowhere"),
    ] {
        let ended = fleet.controller(verb, extra).expect_code(code);
        assert!(ended.stderr.contains(words), "{extra:?}: {ended:?}");
    }
    // The other way round, which would make the old one the master.
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let state = fleet.journal();
    let swapped = [
        "upgrade",
        "--master",
        &replica,
        "--replica",
        &master,
        "--state",
    ];
    let swapped = swapped.iter().copied().chain([state.to_str().unwrap()]);
    let ended = run(&program("controller"), swapped).expect_code(78);
    assert!(
        ended.stderr.contains("swapped") || ended.stderr.contains("other way round"),
        "{ended:?}"
    );
}
