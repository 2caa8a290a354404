//! The programs by name: cargo's names, and those that they have in the packages, where
//! `controller` would say too little.
//!
//! Texts of the workspace speak of cargo's names. What a person is to type is spelled with the
//! names of the packages where the program runs under one of these.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;

use clap::{Arg, Command};

/// A program.
#[derive(Debug)]
pub struct Name {
    /// Its name in the workspace.
    pub cargo: &'static str,
    /// Its name in the packages.
    pub packaged: &'static str,
    /// Its commands, by which a command line is known from a word of the language.
    pub verbs: &'static [&'static str],
}

/// All programs.
pub const NAMES: [Name; 4] = [
    Name {
        cargo: "controller",
        packaged: "reguid",
        verbs: &[
            "plan",
            "preflight",
            "precompute",
            "rehearse",
            "upgrade",
            "downgrade",
            "rollback",
            "cutover",
            "retry",
            "recover",
            "verify",
            "clean",
            "status",
            "pause",
            "resume",
            "stop",
            "panic",
            "set",
            "report",
            "drain",
            "undrain",
            "fleet",
            "certs",
            "config",
            "demo",
            "bench",
        ],
    },
    Name {
        cargo: "slotd",
        packaged: "reguid-slotd",
        verbs: &["serve", "recover", "mount", "config"],
    },
    Name {
        cargo: "precompute",
        packaged: "reguid-precompute",
        verbs: &[
            "run", "verify", "scrub", "clean", "bench", "import", "show", "config",
        ],
    },
    Name {
        cargo: "indexfile",
        packaged: "reguid-indexfile",
        verbs: &["dump", "convert", "check", "diff"],
    },
];

/// Whether this process runs under a name of the packages.
#[must_use]
pub fn is_packaged() -> bool {
    static PACKAGED: OnceLock<bool> = OnceLock::new();
    *PACKAGED.get_or_init(|| std::env::args_os().next().is_some_and(|word| is_one(&word)))
}

fn is_one(word: &OsString) -> bool {
    let name = Path::new(word).file_name();
    NAMES.iter().any(|one| name == Some(one.packaged.as_ref()))
}

/// A text in which command lines have the names under which they can be typed here.
#[must_use]
pub fn spelled(text: &str) -> Cow<'_, str> {
    if is_packaged() {
        packaged(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// The same with the names of the packages.
#[must_use]
pub fn packaged(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((at, name)) = next(rest) {
        out.push_str(&rest[..at]);
        out.push_str(name.packaged);
        rest = &rest[at + name.cargo.len()..];
    }
    if out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The first command line in a text.
fn next(text: &str) -> Option<(usize, &'static Name)> {
    let found = NAMES.iter().filter_map(|name| {
        let mut all = text.match_indices(name.cargo);
        let (at, _) = all.find(|(at, _)| is_command_line(text, *at, name))?;
        Some((at, name))
    });
    found.min_by_key(|(at, _)| *at)
}

fn is_command_line(text: &str, at: usize, name: &Name) -> bool {
    let part = |c: char| c.is_alphanumeric() || "-_/.".contains(c);
    let begins = text[..at].chars().next_back().is_none_or(|c| !part(c));
    let behind = &text[at + name.cargo.len()..];
    let word = behind.trim_start().split(|c| !part(c)).next();
    begins && behind.starts_with([' ', '\n']) && word.is_some_and(|w| name.verbs.contains(&w))
}

/// A command under its name in the packages, with everything that it says about itself.
#[must_use]
pub fn under_packaged_name(command: Command) -> Command {
    let one = NAMES.iter().find(|name| name.cargo == command.get_name());
    let command = texts(command);
    match one {
        Some(name) => command.name(name.packaged),
        None => command,
    }
}

/// The same, if this process runs under a name of the packages.
#[must_use]
pub fn under_own_name(command: Command) -> Command {
    if is_packaged() {
        under_packaged_name(command)
    } else {
        command
    }
}

fn texts(mut command: Command) -> Command {
    let changed = |text: Option<&clap::builder::StyledStr>| {
        text.map(|text| packaged(&text.to_string()).into_owned())
    };
    if let Some(text) = changed(command.get_after_help()) {
        command = command.after_help(text);
    }
    if let Some(text) = changed(command.get_about()) {
        command = command.about(text);
    }
    if let Some(text) = changed(command.get_long_about()) {
        command = command.long_about(text);
    }
    let help = |mut arg: Arg| {
        if let Some(text) = changed(arg.get_help()) {
            arg = arg.help(text);
        }
        match changed(arg.get_long_help()) {
            Some(text) => arg.long_help(text),
            None => arg,
        }
    };
    command.mut_args(help).mut_subcommands(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_spelled_as_it_can_be_typed_and_the_language_stays() {
        for (text, spelled) in [
            ("controller retry --state x", "reguid retry --state x"),
            (
                "`controller clean` removes them",
                "`reguid clean` removes them",
            ),
            ("run controller\n  upgrade it", "run reguid\n  upgrade it"),
            ("see `slotd mount list`", "see `reguid-slotd mount list`"),
            ("another controller stops", "another controller stops"),
            ("the controller, status", "the controller, status"),
            (
                "controller::run, /x/controller run",
                "controller::run, /x/controller run",
            ),
            (
                "precompute run; indexfile check",
                "reguid-precompute run; reguid-indexfile check",
            ),
            ("reguid-slotd serve", "reguid-slotd serve"),
        ] {
            assert_eq!(packaged(text), spelled);
        }
        for (word, is) in [
            ("/usr/bin/reguid", true),
            ("reguid-slotd", true),
            ("slotd", false),
        ] {
            assert_eq!(is_one(&word.into()), is, "{word}");
        }
    }
}
