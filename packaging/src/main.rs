//! Writes the manual pages and completions of the programs, under the names that they have in the
//! packages: `packaging DIR` fills `DIR/NAME/man1` and `DIR/NAME/{bash,zsh,fish}` for each program,
//! and `DIR/etc/reguid` with the configuration files.
//!
//! It is no part of a build: the packages are made with it, and nothing else. A crash leaves some
//! of these files, all of which the next run writes again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use clap_complete::{Shell, generate_to};
use indexfile::exit::Exit;
use indexfile::program::under_packaged_name;

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: packaging DIR");
        return Exit::Usage.into();
    };
    let done = commands()
        .try_for_each(|command| write(&dir, command))
        .and_then(|()| configurations(&dir));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("packaging: {}: {error}", dir.display());
            Exit::of_io(&error).into()
        }
    }
}

fn commands() -> impl Iterator<Item = Command> {
    let all = [
        controller::cli::command(),
        slotd::cli::command(),
        precompute::cli::command(),
        indexfile::cli::command(),
    ];
    all.into_iter()
}

/// The configuration files: `DIR/etc/reguid/NAME.toml`.
fn configurations(dir: &Path) -> io::Result<()> {
    let etc = dir.join("etc/reguid");
    fs::create_dir_all(&etc)?;
    for (name, text) in templates() {
        fs::write(etc.join(name), text)?;
    }
    Ok(())
}

fn templates() -> [(&'static str, String); 3] {
    [
        ("reguid.toml", controller::cli::configuration()),
        ("slotd.toml", slotd::cli::configuration()),
        ("precompute.toml", precompute::cli::configuration()),
    ]
}

fn write(dir: &Path, command: Command) -> io::Result<()> {
    let command = under_packaged_name(command);
    let name = command.get_name().to_owned();
    let dir = dir.join(&name);
    let man = dir.join("man1");
    fs::create_dir_all(&man)?;
    manual(&command, &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let to = dir.join(shell.to_string());
        fs::create_dir_all(&to)?;
        generate_to(shell, &mut command.clone(), &name, &to)?;
    }
    Ok(())
}

/// Writes the manual pages. One of a command that would have the name of another program's gets
/// one of its own, as both may be installed: `reguid precompute` and `reguid-precompute`.
fn manual(command: &Command, man: &Path) -> io::Result<()> {
    let name = command.get_name();
    let programs = commands().map(|command| under_packaged_name(command).get_name().to_owned());
    let taken = programs.filter_map(|program| {
        let verb = program.strip_prefix(name)?.strip_prefix('-')?.to_owned();
        command.find_subcommand(&verb).is_some().then_some(verb)
    });
    let taken: Vec<String> = taken.collect();
    let mut named = command.clone();
    for verb in &taken {
        let page = format!("{name}-{verb}-command");
        named = named.mut_subcommand(verb, |command| command.display_name(page));
    }
    clap_mangen::generate_to(named, man)?;
    let own = man.join(format!("{name}.1"));
    let mut text = fs::read_to_string(&own)?;
    for verb in &taken {
        let (from, to) = (
            format!("{name}\\-{verb}(1)"),
            format!("{name}\\-{verb}\\-command(1)"),
        );
        text = text.replace(&from, &to);
    }
    fs::write(own, text)
}

#[cfg(test)]
mod tests {
    use indexfile::program::NAMES;

    use super::*;

    #[test]
    fn the_commands_by_which_texts_are_spelled_are_those_of_the_programs() {
        for command in commands() {
            let name = command.get_name();
            let one = NAMES.iter().find(|one| one.cargo == name).unwrap();
            let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
            let mut verbs: Vec<&str> = shown.map(Command::get_name).collect();
            let mut known = one.verbs.to_vec();
            verbs.sort_unstable();
            known.sort_unstable();
            assert_eq!(verbs, known, "{name}");
        }
    }

    #[test]
    fn no_manual_page_has_the_name_of_another_programs() {
        let dir = std::env::temp_dir().join(format!("reguid-pages-{}", std::process::id()));
        let mut pages = std::collections::BTreeSet::new();
        for command in commands() {
            write(&dir, command).unwrap();
        }
        for program in fs::read_dir(&dir).unwrap() {
            for page in fs::read_dir(program.unwrap().path().join("man1")).unwrap() {
                let page = page.unwrap().file_name();
                assert!(pages.insert(page.clone()), "{}: twice", page.display());
            }
        }
        let own = fs::read_to_string(dir.join("reguid/man1/reguid.1")).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert!(own.contains("reguid\\-precompute\\-command(1)"), "{own}");
        assert!(pages.contains(std::ffi::OsStr::new("reguid-precompute-command.1")));
    }

    /// What a command line says every user of the host can read.
    #[test]
    fn no_option_of_any_program_takes_a_secret() {
        fn look(command: &Command, path: &str, seen: &mut usize) {
            let path = format!("{path} {}", command.get_name());
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                *seen += 1;
                let words: Vec<&str> = option.split('-').collect();
                let secret = ["password", "passphrase", "secret", "token", "pin"];
                let names_one = words.iter().any(|word| secret.contains(word));
                let is_file = words.last() == Some(&"file");
                assert!(!names_one || is_file, "{path}: --{option}");
            }
            for sub in command.get_subcommands() {
                look(sub, &path, seen);
            }
        }
        let mut seen = 0;
        for command in commands() {
            look(&command, "", &mut seen);
        }
        assert!(seen > 100, "{seen} options");
    }
}
