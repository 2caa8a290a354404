//! What each `--help` ends with: examples, and what the exit codes of that command mean.

use std::fmt::Write as _;

use clap::Command;
use indexfile::exit::Exit;

/// Examples of each command, and the exit codes that it can end with besides 0 and 64.
const COMMANDS: &[(&str, &[&str], &[Exit])] = &[
    (
        "plan",
        &[
            "controller plan --master m:4321 --replica r:4321",
            "controller plan --master m:4321 --replica r:4321 --deep --partition default",
            "controller plan --master unix:/run/slotd.sock --deep --json user.joe",
        ],
        LOOKS,
    ),
    (
        "preflight",
        &[
            "controller preflight --master m:4321 --replica r:4321",
            "controller preflight --fleet fleet.toml --pairs be1,be2 --json",
        ],
        LOOKS,
    ),
    (
        "precompute",
        &[
            "controller precompute --master m:4321 --replica r:4321 --max-rate 50M",
            "controller precompute --fleet fleet.toml --jobs 8",
            "controller precompute --fleet fleet.toml --end",
        ],
        LOOKS,
    ),
    (
        "rehearse",
        &[
            "controller rehearse --master m:4321 --replica r:4321 --canary 100",
            "controller rehearse --fleet fleet.toml --tranche 10% --window 22:00-06:00",
        ],
        CHANGES,
    ),
    (
        "upgrade",
        &[
            "controller upgrade --master m:4321 --replica r:4321 user.joe",
            "controller upgrade --master m:4321 --replica r:4321 --window 22:00-06:00",
            "controller upgrade --fleet fleet.toml --pairs be1,be2 --tranche 10%",
        ],
        CHANGES,
    ),
    (
        "downgrade",
        &[
            "controller downgrade --to 9 --servers-stopped --master m:4321 --replica r:4321",
            "controller downgrade --to 9 --force-live --master m:4321 --replica r:4321 user.joe",
        ],
        CHANGES,
    ),
    (
        "rollback",
        &[
            "controller rollback last --master m:4321 --replica r:4321",
            "controller rollback 3 user.joe --master m:4321 --replica r:4321",
            "controller rollback --since '2026-11-26 22:00' --master m:4321 --replica r:4321",
        ],
        CHANGES,
    ),
    (
        "cutover",
        &[
            "controller cutover --to 16 --prepare --master m:4321 --replica r:4321",
            "controller cutover --to 16 --master m:4321 --replica r:4321",
            "controller cutover --to 16 --verify --master m:4321 --replica r:4321",
        ],
        CHANGES,
    ),
    (
        "retry",
        &[
            "controller retry --master m:4321 --replica r:4321",
            "controller retry --reason damaged,no_message --master m:4321 --replica r:4321",
        ],
        CHANGES,
    ),
    (
        "recover",
        &[
            "controller recover --master m:4321 --replica r:4321",
            "controller recover --json --state night.db --master m:4321 --replica r:4321",
        ],
        CHANGES,
    ),
    (
        "verify",
        &[
            "controller verify --full --master m:4321 --replica r:4321 user.joe",
            "controller verify --imap m:143 --user joe --password-file joe.pw --save joe.before",
            "controller verify --imap m:143 --user joe --password-file joe.pw --against joe.before",
        ],
        VERIFY,
    ),
    (
        "clean",
        &[
            "controller clean --dry-run --master m:4321 --replica r:4321",
            "controller clean --master m:4321 --replica r:4321 user.joe",
        ],
        LOOKS,
    ),
    (
        "status",
        &[
            "controller status --watch",
            "controller status --json --state night.db",
        ],
        READS,
    ),
    (
        "fleet",
        &[
            "controller fleet check --fleet fleet.toml",
            "controller fleet check --fleet fleet.toml --pairs be1,be2 --json",
            "controller fleet rehearse --fleet fleet.toml --canary 100",
        ],
        CHANGES,
    ),
    (
        "pause",
        &[
            "controller pause",
            "controller pause --state night.db --json",
        ],
        STEERS,
    ),
    (
        "resume",
        &[
            "controller resume",
            "controller resume --state night.db --json",
        ],
        STEERS,
    ),
    (
        "stop",
        &["controller stop", "controller stop --state night.db --json"],
        STEERS,
    ),
    (
        "panic",
        &["controller panic", "controller panic --state night.db"],
        STEERS,
    ),
    (
        "set",
        &[
            "controller set",
            "controller set window 22:00-06:00",
            "controller set max-load off --state night.db",
        ],
        STEERS,
    ),
    (
        "report",
        &[
            "controller report --failed",
            "controller report --run 3 --json",
            "controller report --html night.html --state night.db",
        ],
        READS,
    ),
    (
        "certs",
        &[
            "controller certs init /root/reguid-ca",
            "controller certs issue /root/reguid-ca --role host --name imap1.example.com",
            "controller certs show /root/reguid-ca",
        ],
        &[Exit::Data, Exit::Io, Exit::Denied, Exit::Config],
    ),
    (
        "config",
        &[
            "controller config show",
            "controller config show --json upgrade --parallel 8 user.joe",
        ],
        &[Exit::Config],
    ),
    (
        "drain",
        &[
            "controller drain be1 --side master --fleet fleet.toml --kick",
            "controller drain --side replica --master m:4321 --replica r:4321",
            "controller drain be1 --side master --only-announce --announce Soon --fleet f.toml",
        ],
        DRAINS,
    ),
    (
        "undrain",
        &[
            "controller undrain be1 --side master --fleet fleet.toml",
            "controller undrain --side replica --master m:4321 --replica r:4321 --no-compare",
        ],
        DRAINS,
    ),
    (
        "demo",
        &[
            "controller demo",
            "controller demo --keep /tmp/demo --mailboxes 50",
        ],
        MEASURES,
    ),
    (
        "bench",
        &[
            "controller bench --mailboxes 200 --runs 5 --json",
            "controller bench --only fleet --parallel 4,16,64",
            "controller bench compare before.json after.json",
            "controller bench --only whole_job --as-seed",
            "controller bench --messages lognormal --expunged 5 --done 20 --links 3",
            "controller bench --corpus /srv/copy-of-spool --quick",
            "controller bench --only change_over --mailboxes 20000",
            "controller bench live --messages 20000 --seconds 20",
        ],
        LIVE,
    ),
];

const LOOKS: &[Exit] = &[
    Exit::Data,
    Exit::NoMailbox,
    Exit::Unavailable,
    Exit::Io,
    Exit::RolledBack,
    Exit::Denied,
    Exit::Config,
];
const VERIFY: &[Exit] = &[
    Exit::Data,
    Exit::NoMailbox,
    Exit::Unavailable,
    Exit::RolledBack,
    Exit::Denied,
    Exit::Config,
];
const CHANGES: &[Exit] = &[
    Exit::Data,
    Exit::NoMailbox,
    Exit::Unavailable,
    Exit::InDoubt,
    Exit::Io,
    Exit::RolledBack,
    Exit::Denied,
    Exit::Config,
];
const DRAINS: &[Exit] = &[
    Exit::Data,
    Exit::Unavailable,
    Exit::Io,
    Exit::RolledBack,
    Exit::Denied,
    Exit::Config,
];
const READS: &[Exit] = &[Exit::Data, Exit::Io, Exit::Denied, Exit::Config];
const STEERS: &[Exit] = &[Exit::Unavailable, Exit::Io, Exit::Denied];
const LIVE: &[Exit] = &[
    Exit::Data,
    Exit::Unavailable,
    Exit::InDoubt,
    Exit::Io,
    Exit::RolledBack,
    Exit::Denied,
];
const MEASURES: &[Exit] = &[Exit::Data, Exit::Io, Exit::RolledBack, Exit::Denied];

/// What an exit code says.
fn meaning(exit: Exit) -> &'static str {
    match exit {
        Exit::Ok => "all done",
        Exit::Usage => "the command line is not understood",
        Exit::Data => "a file, a list or a GUID is not what it should be",
        Exit::NoMailbox => "a name is unknown",
        Exit::Unavailable => "a slotd, a controller or a partition cannot be reached",
        Exit::InDoubt => "a mailbox is in doubt: run controller recover",
        Exit::Io => "an input or output error",
        Exit::RolledBack => "some mailboxes are as before, or are not done",
        Exit::Denied => "not permitted",
        Exit::Config => "refused: the configuration, the hosts or the state file do not fit",
    }
}

/// Adds to each command what its help ends with.
pub(super) fn add(mut cli: Command) -> Command {
    for (name, examples, exits) in COMMANDS {
        cli = cli.mut_subcommand(name, |command| {
            let mut out = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            // Writing to a String cannot fail.
            let gap = if out.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}Examples:");
            for example in *examples {
                let _ = writeln!(out, "  {example}");
            }
            let _ = writeln!(out, "\nExit codes:");
            for exit in [Exit::Ok, Exit::Usage].iter().chain(*exits) {
                let _ = writeln!(out, "  {:<3} {}", exit.code(), meaning(*exit));
            }
            command.after_help(out)
        });
    }
    cli
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_examples_that_it_understands_and_its_exit_codes() {
        let cli = crate::cli::command();
        for command in cli
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let name = command.get_name();
            let Some((_, examples, _)) = COMMANDS.iter().find(|(of, ..)| *of == name) else {
                panic!("{name} has no examples");
            };
            assert!((2..=8).contains(&examples.len()), "{name}");
            for example in *examples {
                let words = example.rsplit("| ").next().unwrap();
                // One value is quoted, and has a blank.
                let words = words.replace("'2026-11-26 22:00'", "2026-11-26");
                let parsed = cli.clone().try_get_matches_from(words.split(' '));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
                assert!(
                    words.starts_with(&format!("controller {name}")),
                    "{example}"
                );
            }
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Exit codes:\n  0   all done"), "{help}");
            let long = help.lines().find(|line| line.chars().count() > 100);
            assert_eq!(long, None, "{name}");
        }
    }

    /// The command lines in the documents for operators: an option that was renamed is found here.
    #[test]
    fn every_command_of_the_runbook_and_of_the_readme_is_understood() {
        let cli = crate::cli::command();
        let runbook = include_str!("../../../docs/runbook.md");
        let readme = include_str!("../../../README.md");
        let mut seen = 0;
        for line in runbook.lines().chain(readme.lines()) {
            // In blocks alone, with other commands before it, and a comment behind it.
            let Some(line) = line.strip_prefix("    ") else {
                continue;
            };
            let line = line.split("  #").next().unwrap_or(line);
            for part in line.split("&& ") {
                let Some(words) = part
                    .trim()
                    .trim_start_matches("sudo -u cyrus ")
                    .strip_prefix("reguid ")
                else {
                    continue;
                };
                seen += 1;
                let words = shlex::split(words).expect(line).into_iter();
                let words = ["controller".to_owned()].into_iter().chain(words);
                if let Err(error) = cli.clone().try_get_matches_from(words) {
                    // What the configuration file says in the text before is not there.
                    let missing = clap::error::ErrorKind::MissingRequiredArgument;
                    assert_eq!(error.kind(), missing, "{line}: {error}");
                }
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
