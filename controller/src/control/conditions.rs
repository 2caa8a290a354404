//! When a run has to wait: load, disk pressure, a file, a command, the time of day.
//!
//! Looked at once a second, never while a mailbox is locked for it. All of it is about the machine
//! that the controller runs on, which need not be one of the mail hosts; for those, use the command.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::Control;

/// How often the conditions are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long the command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// When to wait. Nothing is set by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// While the load average of one minute is above this.
    pub max_load: Option<f64>,
    /// While more than this percentage of time somebody waits for a disk (`/proc/pressure/io`, 10 s).
    pub max_io: Option<f64>,
    /// While this file exists.
    pub flag_file: Option<PathBuf>,
    /// While this shell command does not end with 0.
    pub command: Option<String>,
    /// Outside of this time of day, local time.
    pub window: Option<Window>,
}

/// A span of the day, such as 22:00-06:00; the end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: u16,
    to: u16,
}

/// Why a text is no span of the day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no span of the day such as 22:00-06:00")]
pub struct WindowError {
    text: String,
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let minute = |clock: &str| {
            let (hour, minute) = clock.split_once(':')?;
            let digits = |s: &str| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit());
            let (h, m): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (digits(hour) && digits(minute) && h < 24 && m < 60).then_some(h * 60 + m)
        };
        let parsed = text
            .split_once('-')
            .and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        match parsed {
            Some((from, to)) if from != to => Ok(Self { from, to }),
            _ => Err(WindowError {
                text: text.to_owned(),
            }),
        }
    }
}

impl Window {
    /// Whether a minute of the day (0 to 1439) lies within.
    #[must_use]
    pub fn contains(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to } = self;
        write!(
            f,
            "{:02}:{:02}-{:02}:{:02}",
            from / 60,
            from % 60,
            to / 60,
            to % 60
        )
    }
}

/// Where a machine tells how busy it is.
pub(super) struct Gauges<'a> {
    /// As `/proc/loadavg`.
    pub(super) load: &'a Path,
    /// As `/proc/pressure/io`.
    pub(super) io: &'a Path,
}

impl Gauges<'static> {
    fn of_this_machine() -> Self {
        Self {
            load: Path::new("/proc/loadavg"),
            io: Path::new("/proc/pressure/io"),
        }
    }
}

impl Conditions {
    /// Why to wait now; the first that applies. What cannot be looked at is a reason too.
    pub async fn reason(&self) -> Option<String> {
        self.reason_by(&Gauges::of_this_machine()).await
    }

    pub(super) async fn reason_by(&self, gauges: &Gauges<'_>) -> Option<String> {
        if let Some(window) = self.window {
            match local_minute() {
                Some(minute) if window.contains(minute) => {}
                Some(_) => return Some(format!("outside of the time window {window}")),
                None => return Some("the local time is not known".to_owned()),
            }
        }
        if let Some(path) = self.flag_file.as_ref().filter(|path| path.exists()) {
            return Some(format!("{} exists", path.display()));
        }
        if let Some(limit) = self.max_load {
            match first_number(gauges.load, "") {
                Some(load) if load <= limit => {}
                Some(load) => return Some(format!("load average {load:.2} above {limit}")),
                None => return Some(format!("{} cannot be read", gauges.load.display())),
            }
        }
        if let Some(limit) = self.max_io {
            match first_number(gauges.io, "some avg10=") {
                Some(io) if io <= limit => {}
                Some(io) => return Some(format!("disk pressure {io:.1} % above {limit} %")),
                None => return Some(format!("{} cannot be read", gauges.io.display())),
            }
        }
        match &self.command {
            Some(command) => refuses(command).await,
            None => None,
        }
    }
}

/// The first number of a file, after a prefix.
fn first_number(path: &Path, prefix: &str) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.strip_prefix(prefix)?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The time of day, local time. `SQLite` knows the time zone, and is here already.
fn local_time(format: &str) -> Option<String> {
    let query = "SELECT strftime(?, 'now', 'localtime')";
    rusqlite::Connection::open_in_memory()
        .and_then(|db| db.query_row(query, [format], |row| row.get(0)))
        .ok()
}

/// The time of day for a person, local time.
pub(crate) fn local_clock() -> String {
    local_time("%H:%M:%S").unwrap_or_else(|| "some time".to_owned())
}

/// The minute of the day, local time.
fn local_minute() -> Option<u16> {
    let clock = local_time("%H:%M")?;
    let (hour, minute) = clock.split_once(':')?;
    Some(hour.parse::<u16>().ok()? * 60 + minute.parse::<u16>().ok()?)
}

async fn refuses(command: &str) -> Option<String> {
    let child = tokio::process::Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status();
    match tokio::time::timeout(COMMAND_LIMIT, child).await {
        Ok(Ok(status)) if status.success() => None,
        Ok(Ok(status)) => Some(format!("the command {command:?} ended with {status}")),
        Ok(Err(error)) => Some(format!("the command {command:?} does not run: {error}")),
        Err(_) => Some(format!(
            "the command {command:?} did not end within {COMMAND_LIMIT:?}"
        )),
    }
}

/// Looks at the conditions once a second until the task is dropped.
pub async fn watch_conditions(control: Arc<Control>) {
    watch_by(control, &Gauges::of_this_machine()).await;
}

pub(super) async fn watch_by(control: Arc<Control>, gauges: &Gauges<'_>) {
    let mut changed = control.subscribe();
    loop {
        let conditions = changed.borrow_and_update().conditions.clone();
        let reason = conditions.reason_by(gauges).await;
        control.turn(|knobs| knobs.waiting = reason);
        // Our own change wakes us too; it changes nothing the second time.
        tokio::time::sleep(EVERY).await;
    }
}
