//! The limits of a run as arguments: a configuration file yields to the file of a fleet, and that
//! to the environment and the command line.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches};
use indexfile::exit::Exit;

use super::Fail;
use crate::control::{LIMITS, Limits, unusable};

/// The limits, as their table has them. Each can be changed while the run works: `controller set`.
#[derive(Clone, Debug, Default)]
pub(super) struct LimitArgs {
    limits: Limits,
    /// Those of the configuration file and the defaults, by name and value.
    below: Vec<(&'static str, String)>,
    /// Those on the command line or in the environment, by name and value.
    given: Vec<(&'static str, String)>,
}

impl LimitArgs {
    /// Those of a pair whose own limits are these: the configuration file yields to them, and they
    /// to the environment and the command line.
    pub(super) fn of_pair(&self, own: &[(String, String)]) -> Result<Limits, Fail> {
        let mut limits = Limits::default();
        let own = own.iter().map(|(name, value)| (name.as_str(), value));
        let [below, given] =
            [&self.below, &self.given].map(|of| of.iter().map(|(name, value)| (*name, value)));
        for (name, value) in below.chain(own).chain(given) {
            let set = limits.set(name, value);
            set.map_err(|text| Fail::new(Exit::Config, text))?;
        }
        Ok(limits)
    }

    /// Whether the run could ever begin.
    pub(super) async fn check(&self) -> Result<(), Fail> {
        let Some(command) = &self.limits.wait_command else {
            return Ok(());
        };
        match unusable(command).await {
            None => Ok(()),
            Some(text) => Err(Fail::new(Exit::Config, format!("--wait-command: {text}"))),
        }
    }
}

impl Args for LimitArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        LIMITS.iter().fold(command, |command, limit| {
            let parse = |text: &str| {
                let mut limits = Limits::default();
                limit.set(&mut limits, text).map(|()| text.to_owned())
            };
            let arg = clap::Arg::new(limit.name).long(limit.name);
            let arg = arg.value_name(limit.unit).help(limit.help);
            command.arg(arg.default_value(limit.default).value_parser(parse))
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LimitArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut limits = Self::default();
        limits.update_from_arg_matches(matches).map(|()| limits)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for limit in &LIMITS {
            if let Some(text) = matches.get_one::<String>(limit.name) {
                let set = limit.set(&mut self.limits, text);
                set.map_err(|text| clap::Error::raw(ErrorKind::ValueValidation, text))?;
                let place = match matches.value_source(limit.name) {
                    Some(ValueSource::CommandLine) => &mut self.given,
                    _ => &mut self.below,
                };
                place.push((limit.name, text.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_file_yields_to_the_fleet_file_and_that_to_the_command_line() {
        // The configuration file gives other defaults.
        let command = LimitArgs::augment_args(clap::Command::new("run"));
        let command = command
            .mut_arg("parallel", |arg| arg.default_value("11"))
            .mut_arg("nice-ratio", |arg| arg.default_value("2"))
            .mut_arg("lock-wait", |arg| arg.default_value("7"));
        let matches = command.get_matches_from(["run", "--parallel=13"]);
        let limits = LimitArgs::from_arg_matches(&matches).unwrap();
        let own = [("parallel", "12"), ("nice-ratio", "3")].map(|(n, v)| (n.into(), v.into()));
        let limits = limits.of_pair(&own).unwrap();
        let shown = |name: &str| {
            let limit = LIMITS.iter().find(|limit| limit.name == name).unwrap();
            limit.get(&limits)
        };
        let names = ["parallel", "nice-ratio", "lock-wait", "host-wait"];
        assert_eq!(names.map(shown), ["13", "3", "7", "900"]);
    }
}
