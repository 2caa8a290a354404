//! Options from files and from the environment reach every program, in rising order, and what they
//! cannot mean refuses the start with file and line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::fleet::{Fleet, program};
use tests::process::{Ended, Guard};

/// The programs, what their variables begin with, and a command of each that needs no host.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("controller", "REGUID_", "status"),
    ("slotd", "REGUID_SLOTD_", "recover"),
    ("precompute", "REGUID_PRECOMPUTE_", "clean"),
];

fn file(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("reguid.toml");
    fs::write(&path, text).unwrap();
    path
}

fn run(name: &str, args: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(program(name));
    // An empty variable is none: no option is to come from the harness.
    if args.starts_with(&["config"]) {
        for stay in ["REGUID_SLOTD_ALLOW_ROOT", "REGUID_PRECOMPUTE_ALLOW_ROOT"] {
            command.env(stay, "");
        }
    }
    Guard::spawn(command.args(args).envs(environment.iter().copied())).finish()
}

/// What `config show` says of an option: its value, and where that is from.
fn shown(rows: &Value, option: &str) -> (String, String) {
    let mut rows = rows.as_array().unwrap().iter();
    let row = rows.find(|row| row["option"] == option).unwrap();
    let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
    (text("value"), text("from"))
}

#[test]
fn a_pair_that_only_the_configuration_file_names_is_upgraded() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let state = fleet.dir.path().join("night.db");
    let slotds = [0, 1].map(|which| fleet.take_slotd(which).unwrap());
    let text = format!(
        "master = \"{}\"\nreplica = \"{}\"\nstate = \"{}\"\nparallel = 3\n[upgrade]\njson = true\n",
        slotds[0].addr,
        slotds[1].addr,
        state.display()
    );
    let path = file(fleet.dir.path(), &text);
    let path = path.to_str().unwrap();
    let done = run("controller", &["upgrade"], &[("REGUID_CONFIG", path)]).expect_code(0);
    assert_eq!(done.json()["upgraded"], 18);
    let again = run("controller", &["upgrade", "--config", path], &[]).expect_code(0);
    assert_eq!(again.json()["unchanged"], 18);
    // No run of another pair comes of a replica in the file.
    let own = slotds[1].addr.as_str();
    let rows = [
        "--config", path, "config", "show", "--json", "upgrade", "--master", own,
    ];
    let rows = run("controller", &rows, &[]).expect_code(0).json();
    assert_eq!(
        shown(&rows, "master"),
        (own.to_owned(), "command line".to_owned())
    );
    assert_eq!(
        shown(&rows, "replica"),
        ("-".to_owned(), "default".to_owned())
    );
    assert_eq!(
        shown(&rows, "parallel"),
        ("3".to_owned(), "file".to_owned())
    );
}

#[test]
fn slotd_and_precompute_take_the_store_from_file_and_environment() {
    let fleet = Fleet::of_239();
    let conf = fleet.master.conf.to_str().unwrap();
    let state = fleet.master.state_dir().unwrap();
    let path = file(
        fleet.dir.path(),
        &format!("imapd-conf = \"{conf}\"\nmax-lock = 7\n"),
    );
    let path = path.to_str().unwrap();
    let environment = [
        ("REGUID_SLOTD_CONFIG", path),
        ("REGUID_SLOTD_STATE", state.to_str().unwrap()),
        ("REGUID_SLOTD_MAX_LOCK", "8"),
    ];
    let _ = run("slotd", &["recover"], &environment[..1]).expect_code(64);
    let _ = run("slotd", &["mount", "list"], &environment).expect_code(0);
    let _ = run("slotd", &["recover"], &environment).expect_code(0);
    let rows = run(
        "slotd",
        &["config", "show", "--json", "serve"],
        &environment,
    );
    let rows = rows.expect_code(0).json();
    assert_eq!(
        shown(&rows, "max-lock"),
        ("8".to_owned(), "environment".to_owned())
    );
    assert_eq!(
        shown(&rows, "imapd-conf"),
        (conf.to_owned(), "file".to_owned())
    );
    let path = file(fleet.dir.path(), &format!("imapd-conf = \"{conf}\"\n"));
    let path = path.to_str().unwrap();
    let run = run("precompute", &["run", "--config", path, "--json"], &[]);
    assert_eq!(run.expect_code(0).json()["mailboxes"], 18);
}

#[test]
fn every_program_refuses_what_it_does_not_know_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    for (name, prefix, verb) in PROGRAMS {
        for (text, about) in [
            (
                "\nparalel-jobs = 4\n",
                "line 2: there is no option called \"paralel-jobs\"",
            ),
            (
                "[nothing]\njson = true\n",
                "line 2: there is no command \"nothing\"",
            ),
            ("state: /var/lib/reguid\n", "line 1: "),
        ] {
            let path = file(dir.path(), text);
            let path = path.to_str().unwrap();
            for ended in [
                run(name, &[verb, "--config", path], &[]),
                run(name, &["config", "show", "--config", path], &[]),
                run(name, &[verb], &[(&format!("{prefix}CONFIG"), path)]),
            ] {
                let ended = ended.expect_code(78);
                ended.assert_one_sentence(&format!("{path} {about}"));
            }
        }
        let none = dir.path().join("none.toml");
        let missing = run(name, &[verb, "--config", none.to_str().unwrap()], &[]).expect_code(78);
        missing.assert_one_sentence("none.toml does not exist");
    }
}

#[test]
fn every_program_shows_where_each_of_its_options_is_from() {
    for (name, prefix, _) in PROGRAMS {
        let json = ["config", "show", "--json", "--config", "none"];
        let rows = run(name, &json, &[]).expect_code(0).json();
        let rows = rows.as_array().unwrap();
        assert!(rows.len() > 10, "{name}: {rows:?}");
        assert!(
            rows.iter().all(|row| row["from"] == "default"),
            "{name}: {rows:?}"
        );
        // Each option can be given by the environment, and is then shown so.
        let option = if name == "slotd" { "state" } else { "max-rate" };
        let option = if name == "controller" {
            "state"
        } else {
            option
        };
        let variable = format!("{prefix}{}", option.to_uppercase().replace('-', "_"));
        let text = run(
            name,
            &["config", "show", "--config", "none"],
            &[(&variable, "42")],
        );
        let text = text.expect_code(0).stdout;
        let line = text.lines().find(|line| line.starts_with(option)).unwrap();
        assert!(line.contains("42") && line.contains(&variable), "{line}");
    }
}

#[test]
fn a_password_in_the_address_of_a_journal_is_not_shown() {
    let state = [("REGUID_STATE", "postgres://u:secret@h/db")];
    let shown = run(
        "controller",
        &["config", "show", "--config", "none"],
        &state,
    );
    let shown = shown.expect_code(0).stdout;
    assert!(
        shown.contains("postgres://u@h/db") && !shown.contains("secret"),
        "{shown}"
    );
}

/// The lines of a template that name a default, as an operator would take their comment away.
fn defaults(template: &str) -> String {
    let line = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
    let lines = template.lines().filter(line).map(|line| &line[1..]);
    // What has no default has a kind of value, which is none.
    let is_value = |text: &str| text.starts_with(|c: char| c == '"' || c.is_ascii_digit());
    let given = lines.filter(|line| {
        let value = line.split_once(" = ").map(|(_, value)| value);
        value.is_some_and(|value| value == "false" || is_value(value))
    });
    given.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_files_of_the_packages_name_every_option_and_change_nothing_but_what_is_written_into_them() {
    let dir = tempfile::tempdir().unwrap();
    for (name, template) in [
        ("controller", controller::cli::configuration()),
        ("slotd", slotd::cli::configuration()),
        ("precompute", precompute::cli::configuration()),
    ] {
        let shown = |text: &str| {
            let path = file(dir.path(), text);
            let args = [
                "config",
                "show",
                "--json",
                "--config",
                path.to_str().unwrap(),
            ];
            run(name, &args, &[])
                .expect_code(0)
                .json()
                .as_array()
                .unwrap()
                .clone()
        };
        let (untouched, given) = (shown(&template), shown(&defaults(&template)));
        assert!(
            untouched.iter().all(|row| row["from"] == "default"),
            "{name}"
        );
        for row in &untouched {
            let option = row["option"].as_str().unwrap();
            if !template.contains(&format!("\n#{option} = ")) {
                let path = file(dir.path(), &format!("{option} = true\n"));
                let args = ["config", "show", "--config", path.to_str().unwrap()];
                let refused = run(name, &args, &[]).expect_code(78);
                refused.assert_one_sentence("can only stand on the command line");
            }
        }
        assert!(
            given.iter().filter(|row| row["from"] == "file").count() > 5,
            "{name}"
        );
        assert!(
            template.lines().all(|line| line.chars().count() <= 100),
            "{name}"
        );
    }
}
