//! The limits of a run, in one table: the command line, `set`, `status` and docs/controller.md have
//! their names, units, bounds, defaults and words from here.

use std::path::PathBuf;
use std::time::Duration;

use super::parallel::{AUTO, MOST, OFF, Parallel, Steering, TargetLock};
use super::window::Window;

/// How hard a run may work, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Mailboxes at once; each is on both hosts, so it is also the most at once on each of them.
    pub parallel: Parallel,
    /// Mailboxes at once on each partition.
    pub parallel_partition: Option<usize>,
    /// After a mailbox, its place rests for this many times as long as it took; 0 is not at all.
    pub nice_ratio: f64,
    /// How long `LOCK` may queue.
    pub lock_wait: Duration,
    /// How long a host that is away, or a partition that is not mounted, is waited for; zero is not
    /// at all.
    pub host_wait: Duration,
    /// How long locks may be held; where they are longer, fewer are worked on at once.
    pub target_lock: TargetLock,
    /// Wait while the load average of one minute is above this, on this machine or a host.
    pub max_load: Option<f64>,
    /// Wait while more than this percentage of time is lost waiting for a disk
    /// (`/proc/pressure/io`, 10 s), on this machine or a host.
    pub max_io: Option<f64>,
    /// Wait while a sync log of a host has not been worked off for more seconds than this.
    pub max_lag: Option<f64>,
    /// Wait while this file exists.
    pub flag_file: Option<PathBuf>,
    /// Begin no mailbox while this file exists: it is looked for before each.
    pub hold_commit_file: Option<PathBuf>,
    /// Wait while this shell command does not end with 0.
    pub wait_command: Option<String>,
    /// Wait outside of this time of day, local time.
    pub window: Option<Window>,
}

/// One of them.
pub struct Limit {
    /// Its name: `--NAME`, `set NAME`.
    pub name: &'static str,
    /// The unit of its value, as help shows it.
    pub unit: &'static str,
    /// The least and the most, if it is a number.
    pub bounds: Option<(f64, f64)>,
    /// What it is without being given.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
    field: Field,
}

/// Where its value is. What is optional can be off.
enum Field {
    Parallel(fn(&mut Limits) -> &mut Parallel),
    MaybeCount(fn(&mut Limits) -> &mut Option<usize>),
    Ratio(fn(&mut Limits) -> &mut f64),
    Seconds(fn(&mut Limits) -> &mut Duration),
    TargetLock(fn(&mut Limits) -> &mut TargetLock),
    MaybeNumber(fn(&mut Limits) -> &mut Option<f64>),
    MaybeFile(fn(&mut Limits) -> &mut Option<PathBuf>),
    MaybeText(fn(&mut Limits) -> &mut Option<String>),
    MaybeWindow(fn(&mut Limits) -> &mut Option<Window>),
}

/// Most at once, in the table.
#[allow(clippy::cast_precision_loss)] // 1024
const MOST_AT_ONCE: f64 = MOST as f64;
/// A day, in seconds.
const DAY: f64 = 86_400.0;

/// All limits, in the order in which they are shown.
pub static LIMITS: [Limit; 13] = [
    Limit {
        name: "parallel",
        unit: "N|auto",
        bounds: Some((1.0, MOST_AT_ONCE)),
        default: AUTO,
        help: "Mailboxes at once; each is on both hosts. auto: as many, up to 64, as make it \
               faster and hold locks no longer than target-lock",
        field: Field::Parallel(|l| &mut l.parallel),
    },
    Limit {
        name: "parallel-partition",
        unit: "N",
        bounds: Some((1.0, MOST_AT_ONCE)),
        default: OFF,
        help: "Mailboxes at once on each partition",
        field: Field::MaybeCount(|l| &mut l.parallel_partition),
    },
    Limit {
        name: "nice-ratio",
        unit: "RATIO",
        bounds: Some((0.0, 1000.0)),
        default: "0",
        help: "Rest after each mailbox, as a multiple of the time that it took",
        field: Field::Ratio(|l| &mut l.nice_ratio),
    },
    Limit {
        name: "lock-wait",
        unit: "SECONDS",
        bounds: Some((0.0, DAY)),
        default: "5",
        help: "Seconds that LOCK may queue",
        field: Field::Seconds(|l| &mut l.lock_wait),
    },
    Limit {
        name: "host-wait",
        unit: "SECONDS",
        bounds: Some((0.0, DAY)),
        default: "900",
        help: "Seconds to wait for a host that does not answer or a partition that is not mounted; \
               0 fails its mailboxes instead",
        field: Field::Seconds(|l| &mut l.host_wait),
    },
    Limit {
        name: "target-lock",
        unit: "TIME",
        bounds: None,
        default: AUTO,
        help: "How long locks may be held at the 99th percentile (10ms, 0.5s; a number is ms): \
               fewer are worked on at once where they are longer. With a number in parallel that \
               is the most then; auto: 10ms with parallel auto, else off",
        field: Field::TargetLock(|l| &mut l.target_lock),
    },
    Limit {
        name: "max-load",
        unit: "LOAD",
        bounds: Some((0.0, 1e6)),
        default: OFF,
        help: "Wait while the load average of this machine or of a host is above LOAD",
        field: Field::MaybeNumber(|l| &mut l.max_load),
    },
    Limit {
        name: "max-io",
        unit: "PERCENT",
        bounds: Some((0.0, 100.0)),
        default: OFF,
        help: "Wait while more than PERCENT of time is lost waiting for the disks of this machine \
               or of a host (/proc/pressure/io)",
        field: Field::MaybeNumber(|l| &mut l.max_io),
    },
    Limit {
        name: "max-lag",
        unit: "SECONDS",
        bounds: Some((0.0, 366.0 * DAY)),
        default: OFF,
        help: "Wait while a sync log of a host has not been worked off for more than SECONDS",
        field: Field::MaybeNumber(|l| &mut l.max_lag),
    },
    Limit {
        name: "flag-file",
        unit: "FILE",
        bounds: None,
        default: OFF,
        help: "Wait while FILE exists",
        field: Field::MaybeFile(|l| &mut l.flag_file),
    },
    Limit {
        name: "hold-commit-file",
        unit: "FILE",
        bounds: None,
        default: OFF,
        help: "Begin no mailbox, and so commit none, while FILE exists; looked for before each",
        field: Field::MaybeFile(|l| &mut l.hold_commit_file),
    },
    Limit {
        name: "wait-command",
        unit: "COMMAND",
        bounds: None,
        default: OFF,
        help: "Wait while COMMAND, a program and its arguments, does not end with 0",
        field: Field::MaybeText(|l| &mut l.wait_command),
    },
    Limit {
        name: "window",
        unit: "HH:MM-HH:MM",
        bounds: None,
        default: OFF,
        help: "Work only at this time of day, local time",
        field: Field::MaybeWindow(|l| &mut l.window),
    },
];

impl Default for Limits {
    fn default() -> Self {
        let mut limits = Self {
            parallel: Parallel::Auto,
            parallel_partition: None,
            nice_ratio: 0.0,
            lock_wait: Duration::ZERO,
            host_wait: Duration::ZERO,
            target_lock: TargetLock::Auto,
            max_load: None,
            max_io: None,
            max_lag: None,
            flag_file: None,
            hold_commit_file: None,
            wait_command: None,
            window: None,
        };
        for limit in &LIMITS {
            let set = limit.set(&mut limits, limit.default);
            debug_assert_eq!(set, Ok(()), "{}", limit.name);
        }
        limits
    }
}

impl Limits {
    /// Changes one, by its name.
    ///
    /// # Errors
    /// There is no such limit, or the value is none of its values: a sentence that says so.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match LIMITS.iter().find(|limit| limit.name == name) {
            Some(limit) => limit.set(self, value).map_err(|e| format!("{name}: {e}")),
            None => Err(format!("there is no limit called {name:?}")),
        }
    }

    /// By what the number of mailboxes at once is found, where `most` can be served; `None`: it is
    /// the number that was given.
    pub(super) fn steering(&self, most: usize) -> Option<Steering> {
        self.parallel.steering(self.target_lock, most)
    }

    /// Whether there is something outside of the run that it may have to wait for.
    #[must_use]
    pub fn has_conditions(&self) -> bool {
        self.max_load.is_some()
            || self.max_io.is_some()
            || self.flag_file.is_some()
            || self.hold_commit_file.is_some()
            || self.wait_command.is_some()
            || self.window.is_some()
    }

    /// Whether it may have to wait for one of its hosts.
    #[must_use]
    pub fn concern_hosts(&self) -> bool {
        !self.first_for_hosts().is_empty()
    }

    /// The first limit that is about the hosts; empty if none is set.
    #[must_use]
    pub fn first_for_hosts(&self) -> &'static str {
        let set = [
            ("max-load", self.max_load),
            ("max-io", self.max_io),
            ("max-lag", self.max_lag),
        ];
        let first = set.into_iter().find(|(_, most)| most.is_some());
        first.map_or("", |(name, _)| name)
    }
}

impl Limit {
    /// Sets it to what a text says.
    ///
    /// # Errors
    /// The text is none of its values.
    pub fn set(&self, limits: &mut Limits, text: &str) -> Result<(), String> {
        let on = (text != OFF).then_some(text);
        match self.field {
            Field::Parallel(of) => *of(limits) = text.parse()?,
            Field::MaybeCount(of) => *of(limits) = on.map(|t| self.count(t)).transpose()?,
            Field::Ratio(of) => *of(limits) = self.number(on.unwrap_or(self.default))?,
            Field::Seconds(of) => *of(limits) = Duration::from_secs_f64(self.number(text)?),
            Field::TargetLock(of) => *of(limits) = text.parse()?,
            Field::MaybeNumber(of) => *of(limits) = on.map(|t| self.number(t)).transpose()?,
            Field::MaybeFile(of) => *of(limits) = on.map(PathBuf::from),
            Field::MaybeText(of) => *of(limits) = on.map(str::to_owned),
            Field::MaybeWindow(of) => {
                let window = on.map(str::parse::<Window>).transpose();
                *of(limits) = window.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Its value, as [`Limit::set`] takes it.
    #[must_use]
    pub fn get(&self, limits: &Limits) -> String {
        let mut limits = limits.clone();
        let limits = &mut limits;
        let shown = |value: Option<String>| value.unwrap_or_else(|| OFF.to_owned());
        match self.field {
            Field::Parallel(of) => of(limits).to_string(),
            Field::MaybeCount(of) => shown(of(limits).map(|n| n.to_string())),
            Field::Ratio(of) => of(limits).to_string(),
            Field::Seconds(of) => of(limits).as_secs_f64().to_string(),
            Field::TargetLock(of) => of(limits).to_string(),
            Field::MaybeNumber(of) => shown(of(limits).map(|n| n.to_string())),
            Field::MaybeFile(of) => shown(of(limits).take().map(|f| f.display().to_string())),
            Field::MaybeText(of) => shown(of(limits).take()),
            Field::MaybeWindow(of) => shown(of(limits).map(|w| w.to_string())),
        }
    }

    /// Its bounds in words; empty if it is no number.
    #[must_use]
    pub fn range(&self) -> String {
        self.bounds
            .map_or_else(String::new, |(least, most)| format!("{least} to {most}"))
    }

    fn count(&self, text: &str) -> Result<usize, String> {
        self.number(text)?;
        text.parse().map_err(|_| self.expected())
    }

    fn number(&self, text: &str) -> Result<f64, String> {
        let (least, most) = self.bounds.unwrap_or((0.0, f64::MAX));
        match text.parse::<f64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(self.expected()),
        }
    }

    fn expected(&self) -> String {
        let range = self.range();
        match self.field {
            Field::Seconds(_) => format!("a number from {range} is expected"),
            _ => format!("a number from {range}, or {OFF}, is expected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_takes_the_values_that_it_shows_and_no_others() {
        for limit in &LIMITS {
            let name = limit.name;
            let mut limits = Limits::default();
            assert_eq!(limit.get(&limits), limit.default, "{name}");
            let value = match limit.bounds {
                Some((_, most)) => most.to_string(),
                None if name == "window" => "22:00-06:00".to_owned(),
                None if name == "target-lock" => "20ms".to_owned(),
                None => "/run/slow".to_owned(),
            };
            limits.set(name, &value).unwrap();
            assert_ne!(limits, Limits::default(), "{name}");
            assert_eq!(limit.get(&limits), value, "{name}");
            if let Some((least, most)) = limit.bounds {
                for wrong in ["", "x", "nan", "-1", &(most + 1.0).to_string()] {
                    let error = limits.set(name, wrong).unwrap_err();
                    assert!(error.starts_with(&format!("{name}: a number")), "{error}");
                }
                limits.set(name, &least.to_string()).unwrap();
            }
            match limits.set(name, OFF) {
                Ok(()) => assert!(
                    [OFF, limit.default].contains(&&*limit.get(&limits)),
                    "{name}"
                ),
                Err(_) => assert_ne!(limit.default, OFF, "{name}"),
            }
        }
        assert!(Limits::default().set("nonsense", "1").is_err());
        assert!(Limits::default().set("parallel", "1.5").is_err());
    }

    #[test]
    fn the_documentation_has_each_limit_as_the_table_has_it() {
        let docs = include_str!("../../../docs/controller.md");
        let row = |limit: &Limit| {
            let range = limit.range();
            let Limit {
                name,
                unit,
                default,
                help,
                ..
            } = limit;
            let unit = unit.replace('|', " or ");
            format!("| `{name}` | {unit} | {range} | {default} | {help} |\n")
        };
        let head = "| limit | unit | bounds | default | meaning |\n|---|---|---|---|---|\n";
        let rows: String = LIMITS.iter().map(row).collect();
        let table = format!("{head}{rows}");
        assert!(docs.contains(&table), "docs/controller.md needs:\n{table}");
    }
}
