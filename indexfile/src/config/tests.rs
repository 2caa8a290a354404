//! What a file, the environment and a command line come to, on a small program.

use super::*;
use clap::{ArgAction, ArgMatches, value_parser};

const PROGRAM: Program = Program {
    file: "/nonexistent/reguid/small.toml",
    prefix: "SMALL_",
    apart: &["demo"],
    typed: &["force", "over when"],
    belongs: &[("replica", "master"), ("list", "names")],
    shown: |value| value.replace("secret", "***"),
};

fn command() -> Command {
    let option = |name: &'static str| Arg::new(name).long(name);
    let flag = |name: &'static str| option(name).action(ArgAction::SetTrue);
    let run = Command::new("run")
        .arg(option("fleet").conflicts_with("master"))
        .arg(option("master").required_unless_present("fleet"))
        .arg(option("replica").requires("master"))
        .arg(
            option("parallel")
                .default_value("4")
                .value_parser(value_parser!(u8).range(1..)),
        )
        .arg(option("to").value_parser(value_parser!(u8).range(1..=10)))
        .args([option("hidden").hide(true), option("list")])
        .arg(
            option("when")
                .num_args(0..=1)
                .default_value("auto")
                .default_missing_value("always"),
        )
        .arg(
            option("pair")
                .action(ArgAction::Append)
                .value_delimiter(','),
        )
        .args([flag("json"), flag("force")])
        .arg(Arg::new("names").action(ArgAction::Append));
    let over = Command::new("over")
        .arg(flag("when"))
        .arg(option("to").value_parser(value_parser!(u8).range(16..)));
    let mount = Command::new("mount")
        .arg(option("state"))
        .subcommand(Command::new("list"));
    let demo = Command::new("demo").arg(option("parallel"));
    let quiet = option("verbose")
        .short('v')
        .action(ArgAction::Count)
        .global(true);
    let all = Command::new("small").arg(quiet).subcommand_required(true);
    PROGRAM.prepare(all.subcommands([run, over, mount, demo]))
}

fn words(words: &[&str]) -> Vec<OsString> {
    let words = ["small"].iter().chain(words);
    words.map(OsString::from).collect()
}

/// What the program is given, with a file of this text.
fn configured(
    text: &str,
    typed: &[&str],
    environment: &[(&str, &str)],
) -> Result<(Command, Vec<OsString>), ConfigError> {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    let variable = |name: &str| match name {
        "SMALL_CONFIG" => Some(path.clone().into_os_string()),
        name => {
            let found = environment.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        }
    };
    PROGRAM.configure(command(), words(typed), &variable)
}

/// The same, parsed.
fn parsed(text: &str, typed: &[&str], environment: &[(&str, &str)]) -> ArgMatches {
    let (command, words) = configured(text, typed, environment).unwrap();
    let matches = command.try_get_matches_from(words);
    matches.unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// An option of the command `run`.
fn of_run(matches: &ArgMatches, option: &str) -> Option<String> {
    let run = matches.subcommand_matches("run").unwrap();
    Some(joined_raw(run.get_raw(option)?))
}

fn joined_raw(values: clap::parser::RawValues<'_>) -> String {
    setting::joined(values)
}

fn refused(text: &str, typed: &[&str], environment: &[(&str, &str)]) -> String {
    let error = configured(text, typed, environment).unwrap_err();
    assert_eq!(error.exit(), crate::exit::Exit::Config);
    error.to_string()
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_the_file() {
    let text = "master = \"f\"\nparallel = 8\n[run]\nto = 9\nwhen = true\njson = true\n";
    let file = parsed(text, &["run"], &[]);
    let get = |option| of_run(&file, option);
    assert_eq!(get("master").unwrap(), "f");
    assert_eq!(get("parallel").unwrap(), "8");
    assert_eq!(get("to").unwrap(), "9");
    assert_eq!(get("when").unwrap(), "always");
    assert!(file.subcommand_matches("run").unwrap().get_flag("json"));
    let environment = [
        ("SMALL_MASTER", "e"),
        ("SMALL_PARALLEL", "16"),
        ("SMALL_JSON", "no"),
    ];
    let env = parsed(text, &["run"], &environment);
    assert_eq!(of_run(&env, "master").unwrap(), "e");
    assert_eq!(of_run(&env, "parallel").unwrap(), "16");
    assert!(!env.subcommand_matches("run").unwrap().get_flag("json"));
    let typed = parsed(
        text,
        &["run", "--master", "t", "--parallel=32", "--", "--to"],
        &environment,
    );
    assert_eq!(of_run(&typed, "master").unwrap(), "t");
    assert_eq!(of_run(&typed, "parallel").unwrap(), "32");
    assert_eq!(of_run(&typed, "names").unwrap(), "--to");
}

#[test]
fn what_a_file_gives_an_option_with_a_default_is_another_default() {
    use clap::parser::ValueSource;
    let matches = parsed("parallel = 8\nmaster = \"m\"", &["run"], &[]);
    let run = matches.subcommand_matches("run").unwrap();
    assert_eq!(
        run.value_source("parallel"),
        Some(ValueSource::DefaultValue)
    );
    let matches = parsed("master = \"m\"", &["run"], &[("SMALL_PARALLEL", "8")]);
    let run = matches.subcommand_matches("run").unwrap();
    assert_eq!(run.value_source("parallel"), Some(ValueSource::CommandLine));
}

#[test]
fn a_replica_of_the_file_never_joins_another_master_and_a_fleet_of_it_gives_way() {
    let pair = "master = \"f\"\nreplica = \"r\"\n";
    let typed = parsed(pair, &["run", "--master", "t"], &[]);
    assert_eq!(
        (of_run(&typed, "master").unwrap(), of_run(&typed, "replica")),
        ("t".into(), None)
    );
    let fleet = parsed(pair, &["run", "--fleet", "t"], &[]);
    assert_eq!(
        (of_run(&fleet, "master"), of_run(&fleet, "replica")),
        (None, None)
    );
    let fleet = parsed("fleet = \"f\"", &["run"], &[("SMALL_MASTER", "e")]);
    assert_eq!(
        (of_run(&fleet, "fleet"), of_run(&fleet, "master").unwrap()),
        (None, "e".into())
    );
    let own = parsed(pair, &["run", "--replica", "t"], &[]);
    assert_eq!(of_run(&own, "replica").unwrap(), "t");
    let named = parsed("list = \"l\"\nmaster = \"m\"", &["run", "user.joe"], &[]);
    assert_eq!(of_run(&named, "list"), None);
    let both = refused("master = \"m\"\nfleet = \"f\"", &["run"], &[]);
    assert!(both.contains("does not go with"), "{both}");
}

#[test]
fn an_option_reaches_the_command_that_has_it_at_any_depth() {
    let text = "verbose = 2\n[mount]\nstate = \"/s\"\n";
    let matches = parsed(text, &["mount", "list"], &[]);
    assert_eq!(matches.get_count("verbose"), 2);
    let mount = matches.subcommand_matches("mount").unwrap();
    assert_eq!(joined_raw(mount.get_raw("state").unwrap()), "/s");
    let several = parsed("master = \"m\"\npair = [\"a\", \"b,c\"]", &["run"], &[]);
    assert_eq!(of_run(&several, "pair").unwrap(), "a,b,c");
}

#[test]
fn what_makes_no_sense_is_refused_with_file_and_line_whatever_command_is_asked_for() {
    for (text, line, why) in [
        ("\nnonsense = 1", 2, "no option called \"nonsense\""),
        (
            "to = 9\n[over]\nparallel = 4",
            3,
            "no option of `over` called \"parallel\"",
        ),
        ("[nothing]\nto = 4", 2, "no command \"nothing\""),
        ("[demo]\nparallel = 4", 2, "no command \"demo\""),
        ("parallel = 0", 1, "parallel: invalid value '0'"),
        ("parallel = true", 1, "parallel: a value is expected"),
        (
            "[run]\njson = \"yes\"",
            2,
            "json: true or false is expected",
        ),
        ("hidden = 1", 1, "no option called \"hidden\""),
        (
            "force = true",
            1,
            "force can only stand on the command line",
        ),
        ("help = true", 1, "no option called \"help\""),
        ("config = \"x\"", 1, "no option called \"config\""),
        ("state: /var/lib/x", 1, "expected"),
        ("parallel = 1\nparallel = 2", 2, "duplicate key"),
        ("parallel = 1979-05-27", 1, "a string, a number"),
    ] {
        for verb in ["run", "over"] {
            let error = refused(text, &[verb], &[]);
            assert!(
                error.contains(&format!("c.toml line {line}: ")),
                "{text}: {error}"
            );
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
    // What is said on the command line for one command is no business of the file there.
    let matches = parsed("when = true\nto = 16", &["over"], &[("SMALL_WHEN", "true")]);
    assert!(!matches.subcommand_matches("over").unwrap().get_flag("when"));
    assert!(refused("[over]\nwhen = true", &["over"], &[]).contains("only stand on"));
    // Right for one command, and not for the one that is asked for.
    assert!(refused("to = 16", &["run"], &[]).contains("c.toml line 1: to: "));
    configured("to = 16", &["over"], &[]).unwrap();
    let error = refused("", &["run"], &[("SMALL_PARALLEL", "many")]);
    assert!(
        error.starts_with("environment SMALL_PARALLEL: parallel: invalid value"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_named_must_be_readable_and_the_usual_one_may_be_absent() {
    let nothing = |_: &str| None;
    let run = words(&["run", "--master", "m"]);
    let (_, same) = PROGRAM.configure(command(), run.clone(), &nothing).unwrap();
    assert_eq!(same, run);
    let tmp = tempfile::tempdir().unwrap();
    let fifo = tmp.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let huge = tmp.path().join("huge");
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(3 << 30)
        .unwrap();
    let directory = tmp.path().to_path_buf();
    for (path, why) in [
        (fifo, "is a fifo, not a regular file"),
        (directory, "is a directory, not a regular file"),
        ("/dev/zero".into(), "is a device, not a regular file"),
        (huge, "has 3221225472 bytes or more"),
        (tmp.path().join("none"), "does not exist"),
    ] {
        let named = words(&["run", "--config", path.to_str().unwrap()]);
        let error = PROGRAM.configure(command(), named, &nothing).unwrap_err();
        assert_eq!(error.exit(), crate::exit::Exit::Config);
        let error = error.to_string();
        assert!(
            error.contains(why) && error.contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn a_demo_and_a_call_for_help_take_nothing_and_none_is_no_file() {
    for typed in [
        &["demo"][..],
        &["run", "--help"],
        &["--help"],
        &["--version"],
        &[],
        &["run", "--master=m", "--config", "none"],
    ] {
        let environment = match typed {
            ["run", "--master=m", ..] => [].as_slice(),
            _ => &[("SMALL_PARALLEL", "9")],
        };
        let text = if typed.contains(&"none") {
            "nonsense"
        } else {
            "parallel = 8"
        };
        let (_, same) = configured(text, typed, environment).unwrap();
        assert_eq!(same, words(typed));
    }
}

#[test]
fn each_option_is_shown_with_its_value_and_where_that_is_from() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("c.toml");
    std::fs::write(&path, "master = \"u:secret@h\"\n[over]\nto = 16\n").unwrap();
    let variable = |name: &str| (name == "SMALL_PARALLEL").then(|| OsString::from("9"));
    let rows = PROGRAM
        .rows(&command(), Some(&path), &[], &variable)
        .unwrap();
    let row = |option: &str, command: &str| {
        let mut rows = rows.iter();
        let is = |row: &&Row| row.option == option && row.commands.contains(&command.to_owned());
        let row = rows.find(is).unwrap();
        format!("{} {}", row.value.as_deref().unwrap_or("-"), row.origin)
    };
    let file = path.display();
    assert_eq!(row("master", "run"), format!("u:***@h {file} line 1"));
    assert_eq!(row("parallel", "run"), "9 environment SMALL_PARALLEL");
    assert_eq!(row("to", "run"), "- default");
    assert_eq!(row("to", "over"), format!("16 {file} line 3"));
    assert_eq!(row("when", "run"), "auto default");
    assert_eq!(row("json", "run"), "false default");
    assert!(
        rows.iter()
            .all(|row| row.option != "hidden" && row.option != "config")
    );
    assert!(
        rows.iter()
            .all(|row| !row.commands.contains(&"demo".to_owned()))
    );
    let shown = show::text(&rows, false);
    let line = format!("16       {file} line 3  over");
    assert!(shown.lines().any(|l| l.ends_with(&line)), "{shown}");
    let typed = ["run", "--parallel", "3", "--json"].map(OsString::from);
    let rows = PROGRAM
        .rows(&command(), Some(&path), &typed, &variable)
        .unwrap();
    let json: serde_json::Value = serde_json::from_str(&show::text(&rows, true)).unwrap();
    let row = |option: &str| {
        let mut rows = json.as_array().unwrap().iter();
        rows.find(|row| row["option"] == option).unwrap().clone()
    };
    assert_eq!(row("parallel")["value"], "3");
    assert_eq!(row("parallel")["from"], "command line");
    assert_eq!(row("json")["value"], "true");
    assert_eq!(
        (row("master")["from"].clone(), row("master")["line"].clone()),
        ("file".into(), 1.into())
    );
    for wrong in ["demo", "nothing"] {
        let error = PROGRAM.rows(&command(), Some(&path), &[wrong.into()], &variable);
        assert_eq!(error.unwrap_err().exit(), crate::exit::Exit::Usage);
    }
}
