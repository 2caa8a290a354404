//! The options of a command line that a configuration can give.

use clap::{Arg, Command};

use super::Program;

/// The verb of every program that shows its configuration.
pub(super) const SHOW: &str = "config";
/// The option that names the file.
pub(super) const FILE: &str = "config";

/// A command below the program, and those on the way to it, the program first.
pub(super) struct Chain<'a>(pub(super) Vec<&'a Command>);

impl<'a> Chain<'a> {
    /// The commands of this path; `None` if there is none of that name.
    pub(super) fn of(program: &'a Command, path: &[String]) -> Option<Self> {
        let mut chain = vec![program];
        for name in path {
            chain.push(chain.last()?.find_subcommand(name)?);
        }
        Some(Self(chain))
    }

    /// Its options, each with the depth of the command that has it: 0 is the program itself.
    pub(super) fn options(&self) -> impl Iterator<Item = (usize, &'a Arg)> {
        let of = |(depth, command): (usize, &&'a Command)| {
            let options = command.get_arguments().filter(|arg| is_option(arg));
            options.map(move |arg| (depth, arg)).collect::<Vec<_>>()
        };
        self.0
            .iter()
            .enumerate()
            .flat_map(of)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The option of that name.
    pub(super) fn option(&self, name: &str) -> Option<&'a Arg> {
        let mut options = self.options().map(|(_, arg)| arg);
        options.find(|arg| arg.get_long() == Some(name))
    }

    /// Whether one of two arguments excludes the other.
    pub(super) fn exclude_each_other(&self, a: &Arg, b: &Arg) -> bool {
        let excludes = |a: &Arg, b: &Arg| {
            let has = |command: &&&Command| command.get_arguments().any(|arg| arg == a);
            let command = self.0.iter().find(has).filter(|_| !a.is_global_set());
            command.is_some_and(|command| command.get_arg_conflicts_with(a).contains(&b))
        };
        excludes(a, b) || excludes(b, a)
    }
}

fn is_option(arg: &Arg) -> bool {
    !arg.is_hide_set()
        && arg
            .get_long()
            .is_some_and(|long| !["help", "version", FILE].contains(&long))
}

/// The paths of all commands that take options from elsewhere and have none below them.
pub(super) fn paths(program: &Program, command: &Command) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let names = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    for sub in names.filter(|sub| !is_apart(program, sub.get_name())) {
        below(sub, &[], &mut paths);
    }
    paths
}

/// Whether a command takes nothing from elsewhere.
pub(super) fn is_apart(program: &Program, verb: &str) -> bool {
    [SHOW, "help"].contains(&verb) || program.apart.contains(&verb)
}

fn below(command: &Command, above: &[String], paths: &mut Vec<Vec<String>>) {
    let path = [above, &[command.get_name().to_owned()]].concat();
    let mut subcommands = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .peekable();
    if subcommands.peek().is_none() {
        paths.push(path);
        return;
    }
    for sub in subcommands {
        below(sub, &path, paths);
    }
}
