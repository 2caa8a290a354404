//! A configuration file in which every option stands as a comment, with what it does and its
//! default: what the packages put into /etc.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::builder::Str;
use clap::{Arg, Command};

use super::Program;
use super::options::{Chain, paths};
use super::setting::default_of;
use crate::program::under_packaged_name;

/// Longest line, in characters.
const WIDTH: usize = 98;

impl Program {
    /// The file, without any option that counts. What it spells has the names of the packages.
    #[must_use]
    pub fn template(&self, command: Command) -> String {
        let command = &under_packaged_name(command);
        let mut options: BTreeMap<&str, (Vec<&Arg>, Vec<String>)> = BTreeMap::new();
        for path in paths(self, command) {
            let Some(chain) = Chain::of(command, &path) else {
                continue;
            };
            for (_, arg) in chain.options() {
                if let Some(option) = arg.get_long().filter(|o| !self.is_typed(&path, o)) {
                    let (args, commands) = options.entry(option).or_default();
                    args.push(arg);
                    commands.push(path.join(" "));
                }
            }
        }
        let mut out = head(self, command.get_name());
        for (option, (args, commands)) in options {
            out.push('\n');
            let help = args[0]
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let help = help.trim_end_matches('.');
            wrap(&format!("{help}. For: {}.", commands.join(", ")), &mut out);
            let _ = writeln!(out, "#{option} = {}", value(&args));
        }
        out
    }
}

fn head(program: &Program, name: &str) -> String {
    let mut out = String::new();
    let prefix = program.prefix;
    wrap(
        &format!(
            "{}: options of {name}, in TOML. A line without # counts for every command that has \
             the option; one in a table of a command's name, at the end of this file, for that \
             one. The environment ({prefix}...) and the command line go before it. \
             `{name} config show` says what counts.",
            program.file
        ),
        &mut out,
    );
    out
}

/// The default, as it may stand there. Of an option that has none, or not the same one in every
/// command, what kind of value is wanted, without the quotes by which it would pass for one.
fn value(args: &[&Arg]) -> String {
    let arg = args[0];
    if !arg.get_action().takes_values() {
        return "false".to_owned();
    }
    let default = default_of(arg);
    let same = args.iter().all(|arg| default_of(arg) == default);
    match default.parse::<f64>() {
        Ok(number) if number.is_finite() && same => default,
        _ if default.is_empty() || !same => {
            let names = arg.get_value_names().unwrap_or_default();
            let names: Vec<&str> = names.iter().map(Str::as_str).collect();
            names.join(" ")
        }
        _ => format!("{default:?}"),
    }
}

/// Adds a comment, in lines of at most `WIDTH`.
fn wrap(text: &str, out: &mut String) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push_str("\n#");
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
