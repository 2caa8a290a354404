//! When a run has to wait: load, disk pressure, a file, a command, the time of day.
//!
//! Looked at once a second, never while a mailbox is locked for it. All of it is about the machine
//! that the controller runs on, which need not be one of the mail hosts; how busy those are a run
//! asks their slotds itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;

use super::Control;
use super::flag::Flag;
use super::limits::Limits;
use crate::executable::Executable;

/// How often the conditions are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long the command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// How many times in a row it may take longer before it is given up.
const HANGS: u32 = 3;
/// What a shell ends with if a command cannot be run, and if there is none of that name.
const CANNOT_RUN: [i32; 2] = [126, 127];

/// Where Linux says how busy this machine is.
const LOAD: &str = "/proc/loadavg";

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
            load: Path::new(LOAD),
            io: Path::new("/proc/pressure/io"),
        }
    }
}

impl Limits {
    /// Why to wait now; the first that applies. What cannot be looked at is a reason too.
    #[cfg(test)]
    pub(super) async fn reason(&self) -> Option<String> {
        self.reason_by(&Gauges::of_this_machine()).await
    }

    #[cfg(test)]
    pub(super) async fn reason_by(&self, gauges: &Gauges<'_>) -> Option<String> {
        let mut files = Files::default();
        self.look(gauges, &mut files).await.map(|why| why.text)
    }

    async fn look(&self, gauges: &Gauges<'_>, files: &mut Files) -> Option<Why> {
        let text = match files.why(self).await {
            None => self.busy(gauges),
            text => text,
        };
        if let Some(text) = text {
            return Some(Why {
                text,
                for_ever: false,
                hung: false,
            });
        }
        refuses(self.wait_command.as_deref()?).await
    }

    /// All but the files and the command.
    fn busy(&self, gauges: &Gauges<'_>) -> Option<String> {
        if let Some(window) = self.window
            && !window.contains(local_minute())
        {
            return Some(format!("outside of the time window {window}"));
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
        None
    }
}

/// The files that are looked for again and again.
#[derive(Default)]
struct Files {
    hold: Watched,
    flag: Watched,
}

impl Files {
    /// Why to wait for one of them.
    async fn why(&mut self, limits: &Limits) -> Option<String> {
        if let Some((why, since)) = self.hold.why(limits.hold_commit_file.as_ref()).await {
            return Some(postponed(&why, &since));
        }
        let (why, _) = self.flag.why(limits.flag_file.as_ref()).await?;
        Some(why)
    }
}

/// What `--hold-commit-file` makes a run say.
fn postponed(why: &str, since: &str) -> String {
    format!("postponed since {since}: {why} (hold-commit-file)")
}

/// One of them, and since when it is there.
#[derive(Default)]
struct Watched {
    flag: Option<Flag>,
    since: Option<String>,
}

impl Watched {
    /// Why the file at that path counts as there, and since what time of day.
    async fn why(&mut self, path: Option<&PathBuf>) -> Option<(String, String)> {
        let known = self.flag.as_ref().map(Flag::path);
        if known != path.map(PathBuf::as_path) {
            // Another file, by `set`.
            *self = Self {
                flag: path.map(PathBuf::as_path).map(Flag::new),
                since: None,
            };
        }
        let why = self.flag.as_mut()?.why().await;
        let Some(why) = why else {
            self.since = None;
            return None;
        };
        let since = self.since.get_or_insert_with(local_clock).clone();
        Some((why, since))
    }
}

impl Control {
    /// Whether a mailbox may begin now: `--hold-commit-file` is looked for, so that no mailbox
    /// begins after it was made, however short before. If not, nothing more begins until
    /// [`watch_conditions`] finds it gone.
    pub(crate) async fn may_begin(&self) -> bool {
        let Some(path) = self.limits().hold_commit_file else {
            return true;
        };
        let Some(why) = Flag::new(&path).why().await else {
            return true;
        };
        let text = postponed(&why, &local_clock());
        self.update(|state| _ = state.waiting.get_or_insert(text));
        false
    }
}

/// The load average of one minute of this machine; `None` if the system does not say.
pub(crate) fn load_average() -> Option<f64> {
    first_number(Path::new(LOAD), "")
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

/// The time of day for a person, local time.
pub(crate) fn local_clock() -> String {
    Zoned::now().strftime("%H:%M:%S").to_string()
}

/// The minute of the day, local time.
fn local_minute() -> u16 {
    let now = Zoned::now();
    u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs())
}

/// Why to wait.
struct Why {
    text: String,
    /// Nothing but an operator changes it.
    for_ever: bool,
    /// The command took too long.
    hung: bool,
}

/// Why a command can never say that it is time to work: it cannot be run. It is run once for this.
pub async fn unusable(command: &str) -> Option<String> {
    let why = refuses(command).await?;
    why.for_ever.then_some(why.text)
}

async fn refuses(command: &str) -> Option<Why> {
    let why = |text: String, for_ever, hung| {
        Some(Why {
            text: format!("the command {command:?} {text}"),
            for_ever,
            hung,
        })
    };
    let program: Executable = match command.parse() {
        Ok(program) => program,
        Err(text) => return why(format!("cannot be run: it {text}"), true, false),
    };
    match program.run(&[], COMMAND_LIMIT).await {
        Ok(Some(status)) if status.success() => None,
        Ok(Some(status)) if status.code().is_some_and(|c| CANNOT_RUN.contains(&c)) => {
            let text = format!("cannot be run: it ended with {status}");
            why(text, true, false)
        }
        Ok(Some(status)) => why(format!("ended with {status}"), false, false),
        Ok(None) => {
            let text = format!("did not end within {COMMAND_LIMIT:?} and was killed");
            why(text, false, true)
        }
        Err(error) => why(format!("cannot be run: {error}"), true, false),
    }
}

/// How often in a row the same command took too long.
#[derive(Default)]
struct Hung {
    command: Option<String>,
    times: u32,
}

impl Hung {
    /// A command that hangs again and again never will say that it is time to work.
    fn note(&mut self, command: Option<&str>, why: Option<&mut Why>) {
        if self.command.as_deref() != command {
            self.command = command.map(str::to_owned);
            self.times = 0;
        }
        match why {
            Some(why) if why.hung => {
                self.times += 1;
                if self.times >= HANGS {
                    why.for_ever = true;
                    why.text = format!("{}, {HANGS} times in a row", why.text);
                }
            }
            _ => self.times = 0,
        }
    }
}

/// Looks at the conditions once a second until the task is dropped.
pub async fn watch_conditions(control: Arc<Control>) {
    watch_by(control, &Gauges::of_this_machine()).await;
}

pub(super) async fn watch_by(control: Arc<Control>, gauges: &Gauges<'_>) {
    let mut changed = control.subscribe();
    let (mut hung, mut files) = (Hung::default(), Files::default());
    loop {
        let limits = changed.borrow_and_update().limits.clone();
        let mut why = limits.look(gauges, &mut files).await;
        hung.note(limits.wait_command.as_deref(), why.as_mut());
        control.update(|state| {
            let for_ever = why.as_ref().filter(|why| why.for_ever);
            // It may have been replaced meanwhile.
            let unusable = for_ever.filter(|_| state.limits.wait_command == limits.wait_command);
            state.unusable = unusable.map(|why| why.text.clone());
            state.waiting = why.map(|why| why.text);
        });
        // Our own change wakes us too; it changes nothing the second time.
        tokio::time::sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_three_times_in_a_row_is_not_waited_for_any_longer() {
        let mut hung = Hung::default();
        let mut looked = |command: &str, hangs: bool| {
            let mut why = Why {
                text: "it did not end".to_owned(),
                for_ever: false,
                hung: hangs,
            };
            hung.note(Some(command), Some(&mut why));
            why.for_ever
        };
        assert!(!looked("a", true) && !looked("a", true));
        assert!(!looked("b", true), "another command");
        assert!(!looked("b", true) && !looked("b", false), "it ended");
        assert!(!looked("b", true) && !looked("b", true) && looked("b", true));
    }
}
