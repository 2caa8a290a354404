//! Options from a configuration file and from the environment, for every program of the workspace.
//!
//! In rising order: what the program says itself, the file, the environment, the command line. The
//! options of a program are asked which there are and what they take, so that nothing is said
//! twice: what a file or the environment gives is checked as if it were typed, and is handed to the
//! same parser. An option that has a default gets another one from the file; all others stand in
//! the command line as if they had been typed in front.
//!
//! Promises: a key that no command has, or a value that its option does not take, refuses the
//! start, with file and line. An option that excludes a stronger one is left out, and so is one
//! that belongs to an option that something stronger gives: a replica of the file never joins a
//! master of the command line. Nothing is written, printed or kept.

mod error;
mod file;
mod options;
mod resolve;
mod setting;
mod show;
mod start;
mod template;
mod typed;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Arg, Command};

pub use error::ConfigError;
pub use file::line_at;
pub use setting::Origin;
pub use show::{Row, ShowArgs, ShowVerb};
pub use start::{Start, StartError, variable};

use file::read;
use options::{Chain, FILE, is_apart, paths};
use resolve::{Given, apply, resolve};
use setting::{Setting, Value};
use typed::Typed;

/// A value of `--config` by which no file is read.
const NONE: &str = "none";

/// What a program says about its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The file that is read if no other is named; it may be absent.
    pub file: &'static str,
    /// What the names of its variables begin with: `REGUID_`. The rest is the option, in capitals,
    /// with `_` for `-`.
    pub prefix: &'static str,
    /// Commands that take nothing from elsewhere.
    pub apart: &'static [&'static str],
    /// Options that speak of one moment, or of one run, and stand on the command line only; with a
    /// command before them (`cutover prepare`), those of that command.
    pub typed: &'static [&'static str],
    /// Options that do not outlive another argument: `(option, other)`. They are left out if
    /// something stronger gives the other one, or leaves it out.
    pub belongs: &'static [(&'static str, &'static str)],
    /// A value as it may be shown: without a password.
    pub shown: fn(&str) -> String,
}

/// Reads a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Program {
    /// The command with `--config`, and with what it says about the environment.
    #[must_use]
    pub fn prepare(&self, command: Command) -> Command {
        let help = format!(
            "Take options from this TOML file instead of {}; {NONE}: from no file. `config show` \
             says where each value is from",
            self.file
        );
        let file = Arg::new(FILE).long(FILE).value_name("FILE").global(true);
        command.arg(file.value_parser(clap::value_parser!(PathBuf)).help(help))
    }

    /// Puts what file and environment give into a command line, the program's name first. The
    /// command is one that [`Program::prepare`] gave. What asks for help, or cannot be understood,
    /// comes back as it was.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn configure(
        &self,
        command: Command,
        words: Vec<OsString>,
        environment: Environment<'_>,
    ) -> Result<(Command, Vec<OsString>), ConfigError> {
        let lenient = command.clone().ignore_errors(true);
        let Ok(matches) = lenient.try_get_matches_from(&words) else {
            return Ok((command, words));
        };
        let typed = Typed::of(&matches);
        match typed.path.first() {
            Some(verb) if !is_apart(self, verb) => {}
            _ => return Ok((command, words)),
        }
        let settings = self.settings(&command, typed.file(), environment)?;
        let Some(chain) = Chain::of(&command, &typed.path) else {
            return Ok((command, words));
        };
        let given = self.given(&chain, &typed, &settings, environment)?;
        let resolved = resolve(self, &chain, given)?;
        Ok(apply(&typed.path, &resolved, command.clone(), words))
    }

    /// Every option with its value and where that is from: of one command line, without the
    /// program's name, or of all commands if it is empty.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn rows(
        &self,
        command: &Command,
        file: Option<&Path>,
        words: &[OsString],
        environment: Environment<'_>,
    ) -> Result<Vec<Row>, ConfigError> {
        let file = file.map(Path::as_os_str);
        let lines = if words.is_empty() {
            let typed = |path: Vec<String>| path.into_iter().map(OsString::from).collect();
            paths(self, command).into_iter().map(typed).collect()
        } else {
            vec![words.to_vec()]
        };
        let mut rows = Vec::new();
        for line in lines {
            let lenient = command.clone().ignore_errors(true).no_binary_name(true);
            let unknown = || {
                let words: Vec<_> = line.iter().map(|word| word.to_string_lossy()).collect();
                ConfigError::NoCommand(words.join(" "))
            };
            let matches = lenient.try_get_matches_from(&line).map_err(|_| unknown())?;
            let typed = Typed::of(&matches);
            let chain = match typed.path.first() {
                Some(verb) if !is_apart(self, verb) => Chain::of(command, &typed.path),
                _ => None,
            };
            let chain = chain.ok_or_else(unknown)?;
            let settings = self.settings(command, typed.file().or(file), environment)?;
            let given = self.given(&chain, &typed, &settings, environment)?;
            let resolved = resolve(self, &chain, given)?;
            show::add(self, &typed.path.join(" "), &chain, &resolved, &mut rows);
        }
        Ok(rows)
    }

    /// What `config show` prints. `file` is the value of its `--config`.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn show(
        &self,
        command: &Command,
        file: Option<&Path>,
        args: &ShowArgs,
        environment: Environment<'_>,
    ) -> Result<String, ConfigError> {
        let ShowVerb::Show {
            json,
            command: words,
        } = &args.verb;
        let rows = self.rows(command, file, words, environment)?;
        Ok(show::text(&rows, *json))
    }

    /// What the file says, each key and value looked at.
    fn settings(
        &self,
        command: &Command,
        named: Option<&OsStr>,
        environment: Environment<'_>,
    ) -> Result<Vec<Setting>, ConfigError> {
        let variable = environment(&self.variable(FILE)).filter(|name| !name.is_empty());
        let settings = match named.map(OsStr::to_owned).or(variable) {
            Some(name) if name == NONE => Vec::new(),
            Some(name) => read(Path::new(&name), true)?,
            None => read(Path::new(self.file), false)?,
        };
        let paths = paths(self, command);
        for setting in &settings {
            self.check(command, &paths, setting)?;
        }
        Ok(settings)
    }

    /// Whether a command has that option, and takes that value for it.
    fn check(
        &self,
        command: &Command,
        paths: &[Vec<String>],
        setting: &Setting,
    ) -> Result<(), ConfigError> {
        let Setting { scope, option, .. } = setting;
        let refuse = |text: String| ConfigError::Setting {
            origin: setting.origin.clone(),
            text,
        };
        let mut below = paths
            .iter()
            .filter(|path| path.starts_with(scope))
            .peekable();
        if below.peek().is_none() {
            let text = format!(
                "there is no command {:?} that takes options",
                scope.join(" ")
            );
            return Err(refuse(text));
        }
        let mut refused = None;
        for path in below {
            let Some(arg) = Chain::of(command, path).and_then(|chain| chain.option(option)) else {
                continue;
            };
            let text = if self.is_typed(path, option) {
                format!("{option} can only stand on the command line")
            } else if let Err(text) = setting.value.arguments(arg) {
                format!("{option}: {text}")
            } else {
                return Ok(());
            };
            refused = Some(text);
        }
        let of = match scope.as_slice() {
            [] => String::new(),
            scope => format!(" of `{}`", scope.join(" ")),
        };
        Err(refuse(refused.unwrap_or_else(|| {
            format!("there is no option{of} called {option:?}")
        })))
    }

    /// What is given for the options of a command, by the command line, the environment and the
    /// file.
    fn given<'a>(
        &self,
        chain: &Chain<'a>,
        typed: &Typed<'_>,
        settings: &[Setting],
        environment: Environment<'_>,
    ) -> Result<Vec<Given<'a>>, ConfigError> {
        let mut given = Vec::new();
        for (depth, arg) in chain.options() {
            let option = arg.get_long().unwrap_or_default();
            let variable = self.variable(option);
            if let Some(values) = typed.values(depth, arg) {
                given.push(Given::typed(depth, arg, values));
            } else if let Some(text) = environment(&variable).filter(|text| !text.is_empty())
                && !self.is_typed(&typed.path, option)
            {
                let value = Value::of_variable(arg, text);
                given.push(Given::new(
                    depth,
                    arg,
                    value,
                    Origin::Environment { variable },
                )?);
            } else {
                let meant = |setting: &&Setting| {
                    setting.option == option
                        && typed.path.starts_with(&setting.scope)
                        && !self.is_typed(&typed.path, option)
                };
                let closest = settings.iter().filter(meant).max_by_key(|s| s.scope.len());
                if let Some(Setting { value, origin, .. }) = closest {
                    given.push(Given::new(depth, arg, value.clone(), origin.clone())?);
                }
            }
        }
        // What is no option can exclude one all the same.
        for (depth, command) in chain.0.iter().enumerate() {
            for arg in command.get_arguments().filter(|arg| arg.is_positional()) {
                if let Some(values) = typed.values(depth, arg) {
                    given.push(Given::typed(depth, arg, values));
                }
            }
        }
        Ok(given)
    }

    /// Whether the option of that command stands on the command line only.
    fn is_typed(&self, path: &[String], option: &str) -> bool {
        let of_command = format!("{} {option}", path.join(" "));
        self.typed
            .iter()
            .any(|typed| *typed == option || *typed == of_command)
    }

    fn variable(&self, option: &str) -> String {
        let option = option.to_ascii_uppercase().replace('-', "_");
        format!("{}{option}", self.prefix)
    }
}

#[cfg(test)]
mod tests;
