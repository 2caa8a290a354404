//! Progress for people, on standard error: a bar on a terminal, plain lines elsewhere. Both always
//! name the reason when the run waits.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use super::args::Output;
use super::screen::{Screen, columns, cut};
use super::{events, text};
use crate::control::{Controls, Live, of_pair};
use crate::journal::Verb;
use crate::observer::{Finished, Observer};

/// How often a plain line is printed.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// How often an event says how far it is, for a program.
const EVENT_EVERY: Duration = Duration::from_secs(1);
/// How often the bar is drawn.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// Watches a run for a person.
pub(super) struct Progress {
    verb: Verb,
    output: Output,
    bar: Option<ProgressBar>,
    /// Whether the bar has its wide form now.
    wide: AtomicBool,
    controls: Controls,
    shown: Mutex<Instant>,
}

impl Progress {
    pub(super) fn new(verb: Verb, output: Output, controls: Controls) -> Self {
        let drawn = !output.quiet && !events::are_json() && std::io::stderr().is_terminal();
        let bar = drawn.then(|| {
            let bar = ProgressBar::with_draw_target(
                None,
                ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), 10),
            );
            bar.set_style(style(is_wide()));
            bar.set_prefix(verb.as_str());
            bar.set_message("looking at what is to be done");
            bar
        });
        Self {
            verb,
            output,
            bar,
            wide: AtomicBool::new(is_wide()),
            controls,
            shown: Mutex::new(Instant::now()),
        }
    }

    /// Shows that time passes while nothing ends: once a second, until the task is dropped.
    pub(super) async fn tick(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.show();
        }
    }

    /// Takes the bar off the screen, or tells a program how far the run came.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if events::are_json() && !self.output.quiet {
            events::write("progress", self.controls.json());
        }
    }

    /// Prints something while the bar is off the screen.
    fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// A line above the bar.
    pub(super) fn line(&self, text: &str) {
        self.suspend(|| text::note(text));
    }

    /// Shows where the run is, unless that was done a moment ago.
    fn show(&self) {
        if self.output.quiet {
            return;
        }
        let every = match &self.bar {
            Some(_) => BAR_EVERY,
            None if events::are_json() => EVENT_EVERY,
            None => PLAIN_EVERY,
        };
        {
            let mut shown = self.shown.lock();
            if shown.elapsed() < every {
                return;
            }
            *shown = Instant::now();
        }
        let live = self.controls.live();
        if live.mailboxes == 0 {
            return;
        }
        match &self.bar {
            Some(bar) => {
                // The window may have been made wider or narrower.
                let wide = is_wide();
                if self.wide.swap(wide, Ordering::Relaxed) != wide {
                    bar.set_style(style(wide));
                }
                bar.set_length(live.mailboxes);
                bar.set_position(live.done);
                let mailboxes = if wide { " mailboxes" } else { "" };
                let (done, all) = (HumanCount(live.done), HumanCount(live.mailboxes));
                let text = format!("{done}/{all}{mailboxes}, {}", notes(&live));
                bar.set_message(fitting(&text, self.verb.as_str()));
            }
            None if events::are_json() => events::write("progress", self.controls.json()),
            None => text::note(&format!(
                "{}: {} of {} mailboxes, {}",
                self.verb.as_str(),
                live.done,
                live.mailboxes,
                notes(&live)
            )),
        }
    }
}

/// The least columns for a bar and the text.
const WIDE: u16 = 100;
/// Columns that stay free at the end: a line that fills the terminal begins another one on some,
/// and so would the `^C` that it shows.
const FREE: usize = 4;

fn is_wide() -> bool {
    columns() >= WIDE
}

/// As much of the text as fits behind what [`style`] puts before it.
fn fitting(text: &str, verb: &str) -> String {
    let columns = columns();
    let before = if columns >= WIDE {
        verb.len() + " [] ".len() + BAR
    } else {
        0
    };
    cut(text, usize::from(columns).saturating_sub(before + FREE))
}

/// Columns of the bar.
const BAR: usize = 24;

fn style(wide: bool) -> ProgressStyle {
    let template = if wide {
        "{prefix} [{bar:24}] {msg}"
    } else {
        "{msg}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("#>-")
}

/// What stands behind the count.
fn notes(live: &Live) -> String {
    if let Some(why) = &live.waiting {
        return format!("waiting: {why}");
    }
    // Where mailboxes differ in size, messages tell the time better.
    let eta = live.eta_messages_seconds.or(live.eta_seconds);
    let eta = eta.map_or_else(
        || "unknown".to_owned(),
        |s| text::duration(Duration::from_secs(s)),
    );
    let failed = if live.failed > 0 {
        format!(", {} failed", live.failed)
    } else {
        String::new()
    };
    let parked = match live.parked.as_slice() {
        [] => String::new(),
        [one] => format!(", parked: {one}"),
        several => format!(", parked: {} partitions not mounted", several.len()),
    };
    format!(
        "{:.0}/s, ETA {eta}, {} messages{failed}{parked}",
        live.rate, live.messages
    )
}

/// What happens on one pair.
pub(super) struct OfPair {
    /// Its name; empty without a fleet file.
    pub(super) name: String,
    pub(super) progress: Arc<Progress>,
}

impl OfPair {
    fn say_as(&self, event: &str, text: &str) {
        if events::are_json() {
            events::say(event, &self.name, text);
        } else {
            self.progress.line(&of_pair(&self.name, text));
        }
    }

    /// An attempt that is over.
    fn attempt(&self, what: &Finished<'_>) {
        let why = what.failure.map(ToString::to_string);
        if events::are_json() {
            let mut keys = serde_json::json!({
                "mailbox": what.name,
                "ended": what.ended.as_str(),
                "failure": why,
                "messages": what.figures.messages,
                "lock_us": what.figures.lock_us,
            });
            if !self.name.is_empty() {
                keys["pair"] = self.name.as_str().into();
            }
            events::write("mailbox", keys);
            return;
        }
        let ended = what.ended.said(self.progress.verb);
        let why = why.map(|text| format!(": {text}")).unwrap_or_default();
        let line = of_pair(&self.name, &format!("{}: {ended}{why}", what.name));
        self.progress.line(&line);
    }
}

impl Observer for OfPair {
    fn begins(&self, _mailboxes: u64, _done: u64) {
        self.progress.show();
    }

    fn finished(&self, what: &Finished<'_>) {
        if self.progress.output.verbose {
            self.attempt(what);
        }
        self.progress.show();
    }

    fn say(&self, text: &str) {
        if !self.progress.output.quiet {
            self.say_as("note", text);
        }
    }

    fn warn(&self, text: &str) {
        self.say_as("warning", text);
    }

    fn alarm(&self, text: &str) {
        self.say_as("alarm", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Control, Limits};
    use crate::journal::Totals;

    #[test]
    fn a_run_that_waits_says_why_and_one_that_works_says_how_fast() {
        let control = Control::new(Limits::default());
        let totals = Totals {
            mailboxes: 100,
            pending: 50,
            ..Totals::default()
        };
        control.begins(1, &totals);
        assert!(
            notes(&control.live()).starts_with("0/s, ETA unknown"),
            "{}",
            notes(&control.live())
        );
        control.update(|state| state.paused = true);
        assert_eq!(notes(&control.live()), "waiting: paused");
        control.update(|state| state.paused = false);
        control.holds(Some("replica away since 03:00:00".to_owned()));
        assert_eq!(
            notes(&control.live()),
            "waiting: replica away since 03:00:00"
        );
        control.holds(None);
        control.parks(vec!["partition p1 of the master not mounted".to_owned()]);
        assert!(notes(&control.live()).ends_with("parked: partition p1 of the master not mounted"));
    }
}
