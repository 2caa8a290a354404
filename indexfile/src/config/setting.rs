//! One option as a file or the environment gives it, and the arguments that say the same.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

/// Where the value of an option is from, in rising order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The command line.
    CommandLine,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// What is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A value, or several.
    Texts(Vec<OsString>),
}

/// An option that is given.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The commands that it is for: those below this path; empty for all.
    pub(super) scope: Vec<String>,
    /// The long name of the option.
    pub(super) option: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Value {
    /// What a variable of the environment says for this option.
    pub(super) fn of_variable(arg: &Arg, text: OsString) -> Self {
        let switch = match text.to_str() {
            Some("yes" | "on" | "true" | "1") => Some(true),
            Some("no" | "off" | "false" | "0") => Some(false),
            _ => None,
        };
        match switch {
            Some(switch) if matches!(arg.get_action(), ArgAction::SetTrue) => Self::Switch(switch),
            _ => Self::Texts(vec![text]),
        }
    }

    /// The arguments that say the same: none for a switch that is off.
    pub(super) fn arguments(&self, arg: &Arg) -> Result<Vec<OsString>, String> {
        let long = format!("--{}", arg.get_long().unwrap_or_default());
        let optional = arg.get_num_args().is_some_and(|n| n.min_values() == 0);
        let arguments = match (arg.get_action(), self) {
            (ArgAction::SetTrue | ArgAction::Count, Self::Switch(true)) => vec![long.into()],
            (ArgAction::SetTrue | ArgAction::Count, Self::Switch(false)) => Vec::new(),
            (ArgAction::SetTrue, Self::Texts(_)) => {
                return Err("true or false is expected".to_owned());
            }
            (ArgAction::Count, Self::Texts(texts)) => {
                let times = match texts.as_slice() {
                    [text] => text.to_str().and_then(|text| text.parse::<u8>().ok()),
                    _ => None,
                };
                let times = times.ok_or("a number from 0 to 255 is expected")?;
                vec![long.into(); times.into()]
            }
            (_, Self::Switch(on)) if optional => {
                let given = on.then(|| long.into());
                given.into_iter().collect()
            }
            (_, Self::Switch(_)) => return Err("a value is expected".to_owned()),
            (action, Self::Texts(texts)) => {
                if !matches!(action, ArgAction::Append) && texts.len() != 1 {
                    return Err("one value is expected".to_owned());
                }
                let with = |text: &OsString| {
                    let mut argument = OsString::from(&long);
                    argument.push("=");
                    argument.push(text);
                    argument
                };
                texts.iter().map(with).collect()
            }
        };
        alone(arg, &arguments).map(|()| arguments)
    }

    /// For a person.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Switch(on) => on.to_string(),
            Self::Texts(texts) => joined(texts.iter().map(OsString::as_os_str)),
        }
    }
}

/// Several values as one text.
pub(super) fn joined<'a>(values: impl Iterator<Item = &'a OsStr>) -> String {
    let texts: Vec<_> = values.map(OsStr::to_string_lossy).collect();
    texts.join(",")
}

/// The default of an option; empty if it has none.
pub(super) fn default_of(arg: &Arg) -> String {
    let defaults = arg.get_default_values().iter();
    joined(defaults.map(AsRef::as_ref))
}

/// Whether the option takes these arguments, as far as it can say without the others.
fn alone(arg: &Arg, arguments: &[OsString]) -> Result<(), String> {
    let mut same = Arg::new(arg.get_id().clone())
        .long(arg.get_long().unwrap_or_default().to_owned())
        .action(arg.get_action().clone())
        .require_equals(arg.is_require_equals_set());
    if arg.get_action().takes_values() {
        same = same.value_parser(arg.get_value_parser().clone());
    }
    if let Some(number) = arg.get_num_args() {
        same = same.num_args(number);
    }
    if let Some(delimiter) = arg.get_value_delimiter() {
        same = same.value_delimiter(delimiter);
    }
    if let Some(names) = arg.get_value_names() {
        same = same.value_names(names.to_vec());
    }
    let command = Command::new("").no_binary_name(true).arg(same);
    let Err(error) = command.try_get_matches_from(arguments) else {
        return Ok(());
    };
    let text = error.to_string();
    let sentence = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let sentence = words.join(" ");
    Err(sentence
        .strip_prefix("error: ")
        .unwrap_or(&sentence)
        .to_owned())
}
