//! What stands on the command line, as far as it can be understood.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};

use super::options::FILE;

/// What stands on the command line.
pub(super) struct Typed<'a> {
    /// The commands below the program.
    pub(super) path: Vec<String>,
    /// The program's, and those of each command of the path.
    matches: Vec<&'a ArgMatches>,
}

impl<'a> Typed<'a> {
    pub(super) fn of(matches: &'a ArgMatches) -> Self {
        let mut typed = Self {
            path: Vec::new(),
            matches: vec![matches],
        };
        let mut at = matches;
        while let Some((name, below)) = at.subcommand() {
            typed.path.push(name.to_owned());
            typed.matches.push(below);
            at = below;
        }
        typed
    }

    pub(super) fn file(&self) -> Option<&'a OsStr> {
        let mut values = self.matches.first()?.get_raw(FILE)?;
        values.next_back()
    }

    /// The values of an argument, if it is there.
    pub(super) fn values(&self, depth: usize, arg: &Arg) -> Option<Vec<OsString>> {
        let (id, matches) = (arg.get_id().as_str(), self.matches.get(depth)?);
        let source = matches.value_source(id)?;
        (source == ValueSource::CommandLine).then(|| {
            let raw = matches.get_raw(id).into_iter().flatten();
            raw.map(OsStr::to_owned).collect()
        })
    }
}
