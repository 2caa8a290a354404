//! Progress for people, on standard error: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Output;
use super::text;
use crate::journal::Ended;
use crate::run::{Finished, Observer};

/// How often a plain line is printed.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Watches a run for a person.
pub(super) struct Progress {
    verb: &'static str,
    output: Output,
    bar: Option<ProgressBar>,
    messages: AtomicU64,
    failed: AtomicU64,
    plain: Mutex<Plain>,
}

struct Plain {
    total: u64,
    done: u64,
    done_before: u64,
    begun: Instant,
    printed: Instant,
}

impl Progress {
    pub(super) fn new(verb: &'static str, output: Output) -> Self {
        let bar = (!output.quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(style());
            bar.set_prefix(verb);
            bar
        });
        let now = Instant::now();
        let plain = Plain {
            total: 0,
            done: 0,
            done_before: 0,
            begun: now,
            printed: now,
        };
        Self {
            verb,
            output,
            bar,
            messages: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            plain: plain.into(),
        }
    }

    /// Takes the bar off the screen.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| text::note(text)),
            None => text::note(text),
        }
    }

    fn plain(&self) -> std::sync::MutexGuard<'_, Plain> {
        self.plain
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn style() -> ProgressStyle {
    let template =
        "{prefix} [{bar:30}] {human_pos}/{human_len} mailboxes, {per_sec}, ETA {eta}{msg}";
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key(
            "per_sec",
            |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{:.0}/s", state.per_sec());
            },
        )
        .progress_chars("#>-")
}

impl Observer for Progress {
    fn begins(&self, mailboxes: u64, done: u64) {
        let now = Instant::now();
        *self.plain() = Plain {
            total: mailboxes,
            done,
            done_before: done,
            begun: now,
            printed: now,
        };
        if let Some(bar) = &self.bar {
            bar.set_length(mailboxes);
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    fn finished(&self, what: &Finished<'_>) {
        if self.output.verbose {
            let why = what.failure.map(|f| format!(": {f}")).unwrap_or_default();
            self.line(&format!("{}: {}{why}", what.name, what.ended.as_str()));
        }
        if what.ended == Ended::Again {
            return;
        }
        let messages = self
            .messages
            .fetch_add(what.figures.messages, Ordering::Relaxed)
            + what.figures.messages;
        let bad = u64::from(what.failure.is_some() && what.ended != Ended::Gone);
        let failed = self.failed.fetch_add(bad, Ordering::Relaxed) + bad;
        let notes = format!(
            ", {messages} messages{}",
            if failed > 0 {
                format!(", {failed} failed")
            } else {
                String::new()
            }
        );
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(notes);
            return;
        }
        let mut plain = self.plain();
        plain.done += 1;
        if self.output.quiet || plain.printed.elapsed() < PLAIN_EVERY {
            return;
        }
        plain.printed = Instant::now();
        let text = plain.line(self.verb, &notes);
        drop(plain);
        text::note(&text);
    }

    fn say(&self, text: &str) {
        if !self.output.quiet {
            self.line(text);
        }
    }

    fn alarm(&self, text: &str) {
        self.line(text);
    }
}

impl Plain {
    #[allow(clippy::cast_precision_loss)] // for a person to read
    fn line(&self, verb: &str, notes: &str) -> String {
        let fresh = self.done.saturating_sub(self.done_before);
        let rate = fresh as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let left = self.total.saturating_sub(self.done);
        let eta = text::duration(Duration::from_secs_f64(
            (left as f64 / rate.max(0.001)).min(1e9),
        ));
        format!(
            "{verb}: {} of {} mailboxes, {rate:.0}/s, ETA {eta}{notes}",
            self.done, self.total
        )
    }
}
