//! Progress of a run: bars on a terminal, one line a minute elsewhere, nothing when quiet.
//!
//! What there is to do is found by a survey during the run, of the indexes only; it starts after a
//! few seconds, so that short runs do not pay for it.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant, SystemTime};

use indexfile::walk::Leaves;
use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressStyle};
use parking_lot::{Mutex, MutexGuard};

use super::output::{Findings, complain};
use super::selection::Selected;
use crate::cache;
use crate::governor::Governor;
use crate::mailbox::{Mailbox, Opened};
use crate::pass::{Observer, Wanted};
use indexfile::finding::Finding;

/// Shows how far a run is, and collects its findings.
pub struct Progress<'a> {
    findings: &'a Findings,
    kind: Kind,
    state: Mutex<State>,
    started: Instant,
    /// The same by the clock on the wall.
    began: SystemTime,
    line_every: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Quiet,
    Lines,
    Bars,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<String, Partition>,
    bars: MultiProgress,
    surveyed: bool,
}

#[derive(Default)]
struct Partition {
    messages: u64,
    bytes: u64,
    /// What the survey found to do so far.
    all_bytes: u64,
    bar: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    /// Chooses the form by where standard error goes.
    pub fn new(findings: &'a Findings, quiet: bool, line_every: Duration) -> Self {
        let kind = match (quiet, stderr().is_terminal()) {
            (true, _) => Kind::Quiet,
            (false, true) => Kind::Bars,
            (false, false) => Kind::Lines,
        };
        Self {
            findings,
            kind,
            state: Mutex::default(),
            started: Instant::now(),
            began: SystemTime::now(),
            line_every,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Finds out what there is to do, and prints the lines; returns when `over` says so.
    pub fn watch(
        &self,
        selected: &Selected,
        all: bool,
        governor: &Governor,
        over: &dyn Fn() -> bool,
    ) {
        if self.kind == Kind::Quiet {
            return;
        }
        let survey_after = Duration::from_secs(3);
        let nap = || std::thread::park_timeout(Duration::from_millis(200));
        let mut next_line = self.line_every;
        let mut tick = || {
            if self.kind == Kind::Lines && self.started.elapsed() >= next_line {
                next_line = self.started.elapsed().saturating_add(self.line_every);
                complain(&self.line());
            }
        };
        while !over() && self.started.elapsed() < survey_after {
            nap();
            tick();
        }
        for step in selected.steps(Leaves::Skip) {
            if over() || governor.stopped() {
                break;
            }
            if let Ok(target) = step
                && let Ok(Opened::Mailbox(mailbox, _)) = Mailbox::open(target)
            {
                self.add_work(&mailbox, all);
            }
            tick();
        }
        self.state().surveyed = true;
        while !over() {
            nap();
            tick();
        }
    }

    fn add_work(&self, mailbox: &Mailbox, all: bool) {
        let found = mailbox.cache();
        // What this run did already is part of what there is to do.
        let of_this_run = std::fs::metadata(mailbox.index_dir().path_of(cache::FILE_NAME))
            .and_then(|meta| meta.modified())
            .is_ok_and(|modified| modified >= self.began);
        let known = found.ok().and_then(cache::Found::good);
        let known = known.filter(|_| !of_this_run);
        // What cannot be read is reported by the pass.
        let Ok(mut wanted) = Wanted::new(mailbox.expunge.as_ref(), all) else {
            return;
        };
        let mut bytes = 0;
        while let Ok(Some(want)) = wanted.next(&mailbox.index) {
            if known
                .as_ref()
                .is_none_or(|cache| cache.get(want.uid).is_none())
            {
                bytes += want.size;
            }
        }
        let mut state = self.state();
        let name = mailbox.target.partition.to_string();
        let partition = state.partitions.entry(name).or_default();
        partition.all_bytes = partition.all_bytes.saturating_add(bytes);
        if let Some(bar) = &partition.bar {
            bar.set_length(partition.all_bytes.max(partition.bytes));
        }
    }

    fn line(&self) -> String {
        let state = self.state();
        let sum = |of: fn(&Partition) -> u64| state.partitions.values().map(of).sum::<u64>();
        let (messages, bytes, all) = (sum(|p| p.messages), sum(|p| p.bytes), sum(|p| p.all_bytes));
        let seconds = self.started.elapsed().as_secs().max(1);
        let rate = bytes / seconds;
        let eta = match (state.surveyed, rate) {
            (true, 1..) => format!(", about {} s left", all.saturating_sub(bytes) / rate),
            _ => String::new(),
        };
        format!(
            "{messages} messages, {} of {} read, {}/s{eta}, {} findings",
            BinaryBytes(bytes),
            BinaryBytes(all.max(bytes)),
            BinaryBytes(rate),
            self.findings.count()
        )
    }

    /// Clears the bars.
    pub fn finish(&self) {
        let state = self.state();
        for bar in state.partitions.values().filter_map(|p| p.bar.as_ref()) {
            bar.finish_and_clear();
        }
    }
}

fn bar(bars: &MultiProgress, partition: &str) -> ProgressBar {
    let columns = rustix::termios::tcgetwinsize(stderr()).map_or(80, |size| size.ws_col);
    let style = ProgressStyle::with_template(template(columns));
    let bar = bars.add(ProgressBar::new(0));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(partition.to_owned());
    bar
}

/// What fits a line of `columns`; a bar that wraps would leave its remains behind.
fn template(columns: u16) -> &'static str {
    match columns {
        110.. => {
            "{prefix:20!} {wide_bar} {bytes:>10}/{total_bytes} {bytes_per_sec:>12} {msg} \
             ETA {eta:>4}"
        }
        70.. => "{prefix:12!} {wide_bar} {bytes:>10}/{total_bytes} {bytes_per_sec} ETA {eta:>4}",
        40.. => "{prefix:8!} {wide_bar} {bytes_per_sec} ETA {eta:>4}",
        _ => "{prefix:6!} {percent:>3} % ETA {eta}",
    }
}

impl Observer for Progress<'_> {
    fn finding(&self, finding: Finding) {
        let line = self.findings.add(finding);
        if self.kind == Kind::Bars {
            self.state().bars.suspend(|| complain(&line));
        } else {
            complain(&line);
        }
    }

    fn progress(&self, partition: &str, messages: u64, bytes: u64) {
        if self.kind == Kind::Quiet {
            return;
        }
        let mut state = self.state();
        let State {
            partitions, bars, ..
        } = &mut *state;
        if !partitions.contains_key(partition) {
            partitions.insert(partition.to_owned(), Partition::default());
        }
        let Some(entry) = partitions.get_mut(partition) else {
            return;
        };
        entry.messages += messages;
        entry.bytes += bytes;
        if self.kind == Kind::Bars {
            let bar = entry.bar.get_or_insert_with(|| bar(bars, partition));
            bar.set_length(entry.all_bytes.max(entry.bytes));
            bar.set_position(entry.bytes);
            bar.set_message(format!("{} messages", entry.messages));
        }
    }
}
