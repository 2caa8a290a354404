//! `controller bench`.

use std::path::PathBuf;

use clap::Args;
use indexfile::exit::Exit;
use strum::IntoEnumIterator;

use super::benches::{Benches, benches};
use super::new_page::NewPageArgs;
use super::{Fail, text};
use crate::bench::corpus::{Corpus, Messages, Order, Sizes};
use crate::bench::listing::Listing;
use crate::bench::{self, Options, Part};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    benches: Option<Benches>,
    #[command(flatten)]
    measure: MeasureArgs,
}

/// What is measured, and on what.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // each is a switch of its own on the command line
struct MeasureArgs {
    /// Work in this directory, new or empty, and leave everything there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Mailboxes.
    #[arg(long, value_name = "N", default_value_t = 1000, default_value_if("quick", "true", "200"),
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    mailboxes: u32,
    /// Messages in each: N, from A to B, or log-normal around a median.
    #[arg(long, value_name = "N|A-B|lognormal[:N]", default_value = "25")]
    messages: Messages,
    /// Sizes of messages: small, mixed, large, or that many bytes each.
    #[arg(long, value_name = "SIZES", default_value = "small")]
    sizes: Sizes,
    /// Percentage of messages that are expunged and still there.
    #[arg(long, value_name = "PERCENT", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=90))]
    expunged: u32,
    /// Percentage of mailboxes that are done already.
    #[arg(long, value_name = "PERCENT", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=90))]
    done: u32,
    /// Percentage of messages that are hard links to one of another mailbox.
    #[arg(long, value_name = "PERCENT", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=100))]
    links: u32,
    /// Another number makes another store.
    #[arg(long, value_name = "N", default_value_t = 2007)]
    seed: u64,
    /// Measure on a copy of this store: a partition's directory, or one with an imapd.conf. Nothing
    /// in it is changed.
    #[arg(long, value_name = "DIR",
          conflicts_with_all = ["mailboxes", "messages", "sizes", "expunged", "done", "links",
                                "seed"])]
    corpus: Option<PathBuf>,
    /// Measure on a store made like another one, of which this is what `bench listing --json`
    /// printed: messages of mailboxes, their size on average, shares of expunged and done.
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["messages", "sizes", "expunged", "done", "corpus"])]
    listing: Option<PathBuf>,
    /// Measured runs of each way, after one to warm up.
    #[arg(long, value_name = "N", default_value_t = 5, default_value_if("quick", "true", "3"),
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Mailboxes at once: each of these numbers is measured.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4,16,64,256",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: Vec<u16>,
    /// Only these parts; all of them without it, but for the change-over.
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    only: Vec<Part>,
    /// Measure a change-over to this version as well, 12 to 19: prepared, done, verified; once.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(12..=19))]
    change_over: Option<u8>,
    /// Do the whole job also as the seed of this program did: one mailbox at a time, nothing ahead
    /// but the hashes of the replica.
    #[arg(long)]
    as_seed: bool,
    /// Mailboxes of 500 messages, 5.5 MB each, that the whole job is done on.
    #[arg(long, value_name = "N", default_value_t = bench::WHOLE.0,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    whole: u32,
    /// Measure less: smaller stores, fewer runs.
    #[arg(long)]
    quick: bool,
    /// Print the figures as JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the figures as tables for docs/benchmarks.md.
    #[arg(long)]
    markdown: bool,
    #[command(flatten)]
    html: NewPageArgs,
    /// Say nothing while it works.
    #[arg(long, short)]
    quiet: bool,
}

impl MeasureArgs {
    fn corpus(&self) -> Result<Corpus, Fail> {
        if let Some(dir) = &self.corpus {
            return Ok(Corpus::Copy(dir.clone()));
        }
        let order = Order {
            mailboxes: self.mailboxes as usize,
            messages: self.messages,
            sizes: self.sizes.clone(),
            expunged: self.expunged,
            done: self.done,
            linked: self.links,
            seed: self.seed,
        };
        Ok(Corpus::Made(match &self.listing {
            Some(listing) => Listing::read(listing)?.like(&order),
            None => order,
        }))
    }
}

/// Measures and prints. This is the main thread, as the slotds need.
pub(super) fn bench(args: BenchArgs) -> Result<Exit, Fail> {
    if let Some(command) = &args.benches {
        return benches(command);
    }
    measure(args.measure)
}

fn measure(args: MeasureArgs) -> Result<Exit, Fail> {
    args.html.refuse_what_is_there()?;
    let mut parallel: Vec<usize> = args.parallel.iter().map(|n| usize::from(*n)).collect();
    parallel.sort_unstable();
    parallel.dedup();
    let over = |part: &Part| *part == Part::ChangeOver;
    let corpus = args.corpus()?;
    let mut parts: Vec<Part> = args.only;
    if parts.is_empty() {
        parts = Part::iter().filter(|part| !over(part)).collect();
    }
    if args.change_over.is_some() && !parts.iter().any(over) {
        parts.push(Part::ChangeOver);
    }
    let options = Options {
        dir: args.dir,
        corpus,
        runs: args.runs.into(),
        parallel,
        parts,
        to: args.change_over.unwrap_or(16),
        whole: (args.whole as usize, bench::WHOLE.1),
        as_seed: args.as_seed,
        quick: args.quick,
    };
    let note = |line: &str| {
        if !args.quiet {
            text::note(line);
        }
    };
    let document = bench::run(&options, &note).map_err(|e| Fail::new(e.exit(), e.to_string()))?;
    args.html.write(|| Ok(document.page()))?;
    if args.json {
        let value = serde_json::to_value(&document).map_err(std::io::Error::from)?;
        text::json(&value)?;
    } else if args.markdown {
        text::say(document.markdown().trim_end())?;
    } else {
        text::say(document.text().trim_end())?;
    }
    Ok(Exit::Ok)
}
