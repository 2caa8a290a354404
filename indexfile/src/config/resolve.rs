//! Of several that give an option one counts, and options that do not go together are parted.

use std::ffi::OsString;

use clap::{Arg, Command};

use super::Program;
use super::error::ConfigError;
use super::options::Chain;
use super::setting::{Origin, Value};

/// What is given for an option.
#[derive(Debug)]
pub(super) struct Given<'a> {
    /// The depth of the command that has it.
    depth: usize,
    pub(super) arg: &'a Arg,
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// The arguments that say the same.
    arguments: Vec<OsString>,
}

impl<'a> Given<'a> {
    /// By something else than the command line.
    pub(super) fn new(
        depth: usize,
        arg: &'a Arg,
        value: Value,
        origin: Origin,
    ) -> Result<Self, ConfigError> {
        let arguments = value.arguments(arg).map_err(|text| ConfigError::Setting {
            origin: origin.clone(),
            text: format!("{}: {text}", arg.get_long().unwrap_or_default()),
        })?;
        Ok(Self {
            depth,
            arg,
            value,
            origin,
            arguments,
        })
    }

    /// By the command line.
    pub(super) fn typed(depth: usize, arg: &'a Arg, values: Vec<OsString>) -> Self {
        Self {
            depth,
            arg,
            value: Value::Texts(values),
            origin: Origin::CommandLine,
            arguments: Vec::new(),
        }
    }

    fn is(&self, option: &str) -> bool {
        self.arg.get_long() == Some(option) || self.arg.get_id() == option
    }

    /// Whether it says anything: a switch that is off does not.
    fn counts(&self) -> bool {
        self.origin == Origin::CommandLine || !self.arguments.is_empty()
    }

    /// How strong it is: two lines of one file are alike.
    fn rank(&self) -> u8 {
        match self.origin {
            Origin::Default => 0,
            Origin::File { .. } => 1,
            Origin::Environment { .. } => 2,
            Origin::CommandLine => 3,
        }
    }
}

/// What remains when those that exclude, or belong to, something stronger are left out.
pub(super) fn resolve<'a>(
    program: &Program,
    chain: &Chain<'_>,
    given: Vec<Given<'a>>,
) -> Result<Vec<Given<'a>>, ConfigError> {
    let mut weaker = vec![false; given.len()];
    for (at, one) in given.iter().enumerate().filter(|(_, one)| one.counts()) {
        for other in given.iter().filter(|other| other.counts()) {
            if !chain.exclude_each_other(one.arg, other.arg) || other.rank() < one.rank() {
                continue;
            }
            if other.rank() > one.rank() {
                weaker[at] = true;
            } else if one.rank() < 3 {
                let name = |given: &Given<'_>| given.arg.get_long().unwrap_or_default().to_owned();
                return Err(ConfigError::Setting {
                    origin: one.origin.clone(),
                    text: format!("{} does not go with {}", name(one), name(other)),
                });
            }
        }
    }
    let leaves = |one: &Given<'_>| {
        let of = program.belongs.iter().filter(|(option, _)| one.is(option));
        let mut others = of.flat_map(|(_, other)| {
            let others = given.iter().zip(&weaker);
            others.filter(move |(given, _)| given.is(other))
        });
        others.any(|(other, weaker)| *weaker || other.rank() > one.rank())
    };
    let stays: Vec<bool> = given
        .iter()
        .zip(&weaker)
        .map(|(one, weaker)| !weaker && (one.rank() == 3 || !leaves(one)))
        .collect();
    let kept = given.into_iter().zip(stays).filter(|(_, stays)| *stays);
    Ok(kept.map(|(given, _)| given).collect())
}

/// The command, and its words with what is not typed.
pub(super) fn apply(
    path: &[String],
    given: &[Given<'_>],
    mut command: Command,
    mut words: Vec<OsString>,
) -> (Command, Vec<OsString>) {
    let mut inserted: Vec<Vec<OsString>> = vec![Vec::new(); path.len() + 1];
    for one in given {
        let single = match (&one.value, &one.origin) {
            (Value::Texts(texts), Origin::File { .. }) if texts.len() == 1 => texts.first(),
            _ => None,
        };
        match single {
            Some(text) if !one.arg.get_default_values().is_empty() => {
                let id = one.arg.get_id().clone();
                command = with_default(command, &path[..one.depth], &id, text);
            }
            _ => inserted[one.depth].extend(one.arguments.iter().cloned()),
        }
    }
    // Behind the word of the command that has them, the last one first.
    let mut places = vec![1];
    for name in path {
        let from = places.last().copied().unwrap_or(1);
        let at = words.iter().skip(from).position(|word| *word == **name);
        places.push(from + at.map_or(0, |at| at + 1));
    }
    for (place, arguments) in places.into_iter().zip(inserted).rev() {
        words.splice(place..place, arguments);
    }
    (command, words)
}

fn with_default(command: Command, path: &[String], id: &clap::Id, text: &OsString) -> Command {
    match path {
        [] => command.mut_arg(id, |arg| arg.default_value(text.clone())),
        [name, rest @ ..] => {
            command.mut_subcommand(name, |below| with_default(below, rest, id, text))
        }
    }
}
