//! The benches that have a word of their own. `compare` and `page` are about benches that are over:
//! they measure nothing.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use indexfile::exit::Exit;

use super::bench_listing::{self, ListingArgs};
use super::bench_live::{self, LiveArgs};
use super::new_page::NewPageArgs;
use super::{Fail, text};
use crate::bench::compare::Comparison;
use crate::bench::document::Document;
use crate::bench::{Part, ReadError};

#[derive(Debug, Subcommand)]
pub(super) enum Benches {
    /// Tell what got slower or faster from one bench to another, beyond the noise. Ends with 65 if
    /// something got worse.
    Compare(CompareArgs),
    /// Show what a bench found that is over: as text, as Markdown or as a page for a browser.
    Page(PageArgs),
    /// Tell what a live store is like, for a bench on one that is made like it (`bench --listing`):
    /// numbers alone, no names. Looks, and changes nothing.
    Listing(Box<ListingArgs>),
    /// Measure what users feel: how long a STORE takes while a run goes on, and without one.
    Live(LiveArgs),
}

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// What `bench --json` printed, the earlier one.
    #[arg(value_name = "EARLIER")]
    earlier: PathBuf,
    /// The later one.
    #[arg(value_name = "LATER")]
    later: PathBuf,
    /// Name also the measures that are alike, or of which it cannot be said.
    #[arg(long)]
    every: bool,
    /// Print it as JSON.
    #[arg(long, conflicts_with = "every")]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PageArgs {
    /// What `bench --json` printed.
    #[arg(value_name = "FILE")]
    document: PathBuf,
    /// Only these parts of it.
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    only: Vec<Part>,
    #[command(flatten)]
    html: NewPageArgs,
    /// Print it as Markdown.
    #[arg(long, conflicts_with = "html")]
    markdown: bool,
}

impl From<ReadError> for Fail {
    fn from(error: ReadError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

pub(super) fn benches(command: &Benches) -> Result<Exit, Fail> {
    match command {
        Benches::Compare(args) => compare(args),
        Benches::Page(args) => page(args),
        Benches::Listing(args) => bench_listing::listing(args),
        Benches::Live(args) => bench_live::live(args),
    }
}

fn compare(args: &CompareArgs) -> Result<Exit, Fail> {
    let [earlier, later] = [&args.earlier, &args.later].map(|path| Document::read(path));
    let found = Comparison::of(&earlier?, &later?);
    if args.json {
        let value = serde_json::to_value(&found).map_err(std::io::Error::from)?;
        text::json(&value)?;
    } else {
        text::say(found.text(args.every).trim_end())?;
    }
    Ok(if found.is_worse() {
        Exit::Data
    } else {
        Exit::Ok
    })
}

fn page(args: &PageArgs) -> Result<Exit, Fail> {
    let mut document = Document::read(&args.document)?;
    if !args.only.is_empty() {
        document = document.only(&args.only);
    }
    if args.markdown {
        text::say(document.markdown().trim_end())?;
    } else if let Some(path) = args.html.write(|| Ok(document.page()))? {
        text::say(&format!("{}: the page about the bench", path.display()))?;
    } else {
        text::say(document.text().trim_end())?;
    }
    Ok(Exit::Ok)
}
