//! `precompute`: the messages of all hosts hashed ahead of a run, by their slotds.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::TypedValueParser as _;
use indexfile::exit::Exit;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slotd::protocol::PassLimits;

use super::args::{Output, UnusedState};
use super::each::Each;
use super::pairs::{Hosts, Pair};
use super::screen::{Screen, columns, cut};
use super::session::with_runtime;
use super::{Fail, events, signals, text};
use crate::fleet::side_by_side;
use crate::hashing::{Hashing, PairPass, Watched};

/// How often it is shown how far all are, on a terminal and elsewhere.
const EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

#[derive(Debug, clap::Args)]
pub(super) struct PrecomputeArgs {
    #[command(flatten)]
    pub(super) hosts: Hosts,
    #[command(flatten)]
    _state: UnusedState,
    /// Threads on each host, at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Bytes that each host reads a second, at most; K, M and G are powers of 1024.
    #[arg(long, value_name = "BYTES",
          value_parser = clap::builder::StringValueParser::new().try_map(|t| bytes(&t)))]
    max_rate: Option<u64>,
    /// Hash all messages, not only those without a SHA-1 in the index.
    #[arg(long)]
    all_messages: bool,
    /// End what is at work on the hosts; what is hashed is kept.
    #[arg(long, conflicts_with_all = ["jobs", "max_rate", "all_messages"])]
    end: bool,
    /// Seconds to wait for a host that does not answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    host_wait: u64,
    #[command(flatten)]
    output: Output,
}

/// `64`, `64K`, `64M`, `64G`.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number = digits.parse::<u64>().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    let bytes = bytes.filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| format!("{text:?} is no number of bytes"))
}

pub(super) fn precompute(args: &PrecomputeArgs) -> Result<Exit, Fail> {
    let limits = PassLimits {
        jobs: args.jobs,
        max_rate: args.max_rate,
        all_messages: args.all_messages,
    };
    let hashing = Hashing {
        start: (!args.end).then_some(limits),
        host_wait: Duration::from_secs(args.host_wait),
    };
    let pairs = args.hosts.pairs()?;
    with_runtime(async move {
        let stop = signals::stop();
        let watched: Vec<Watched> = pairs.iter().map(|_| Watched::default()).collect();
        let shown = Shown::new(args.output.quiet, &pairs, &watched);
        let show = tokio::spawn(shown.clone().tick());
        let work = pairs.iter().zip(&watched).map(|(pair, watched)| {
            let (connect, watched, stop) = (pair.connect(), watched.clone(), stop.clone());
            async move { hashing.run(&connect, &watched, &stop).await }
        });
        let done = side_by_side(work).await;
        show.abort();
        shown.end();
        let mut each = Each::new(args.output.json);
        for (pair, found) in pairs.iter().zip(done) {
            if let Some(found) = each.take(pair, found)? {
                let exit = if args.end {
                    found.exit_of_stop()
                } else {
                    found.exit()
                };
                each.say(pair, &found, exit)?;
            }
        }
        each.end()
    })
}

/// How far all hosts are, on standard error.
#[derive(Clone)]
struct Shown {
    pairs: Arc<Vec<(Pair, Watched)>>,
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Shown {
    fn new(quiet: bool, pairs: &[Pair], watched: &[Watched]) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet && !events::are_json();
        let bar = terminal.then(|| {
            let target = ProgressDrawTarget::term_like(Box::new(Screen::default()));
            let bar = ProgressBar::with_draw_target(None, target);
            bar.with_style(
                ProgressStyle::with_template("{msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        let pairs = pairs.iter().cloned().zip(watched.iter().cloned());
        Self {
            pairs: Arc::new(pairs.collect()),
            bar,
            quiet,
        }
    }

    async fn tick(self) {
        if self.quiet && !events::are_json() {
            return;
        }
        let often = self.bar.is_some() || events::are_json();
        let every = if often { EVERY[0] } else { EVERY[1] };
        loop {
            tokio::time::sleep(every).await;
            self.show();
        }
    }

    fn show(&self) {
        if events::are_json() {
            for (pair, watched) in self.pairs.iter() {
                let mut keys = serde_json::to_value(watched.now()).unwrap_or_default();
                if pair.is_named() {
                    keys["pair"] = pair.name.as_str().into();
                }
                events::write("progress", keys);
            }
            return;
        }
        let lines: Vec<String> = self
            .pairs
            .iter()
            .flat_map(|(p, w)| lines(p, &w.now()))
            .collect();
        match &self.bar {
            Some(bar) => {
                let wide = usize::from(columns()) - 1;
                let cut = lines.iter().map(|line| cut(line, wide));
                bar.set_message(cut.collect::<Vec<_>>().join("\n"));
            }
            None => lines.iter().for_each(|line| text::note(line)),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line for each host of a pair.
fn lines(pair: &Pair, pass: &PairPass) -> Vec<String> {
    let hosts = pass.hosts.iter();
    let line = |(side, host): (&&str, &crate::hashing::HostPass)| {
        pair.line(&format!("{side} {}", host.words()))
    };
    hosts.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_with_its_unit() {
        assert_eq!(bytes("64"), Ok(64));
        assert_eq!(bytes("3m"), Ok(3 << 20));
        for bad in ["", "K", "0", "-1", "1T", "99999999999G"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
