//! `precompute bench`.

use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::TypedValueParser as _;
use indexfile::exit::Exit;

use super::output::{complain, line, written};
use super::run::parse_bytes;
use crate::bench::scale::Size;
use crate::bench::store::Set;
use crate::bench::{self, Plan, scale, table};
use crate::worker_pool::default_jobs;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "bench --dir /var/tmp"
    "bench --sets mixed --cold 0"
    "bench --scale 1000000"
))]
pub struct Args {
    /// Directory for the stores, on the disk to be measured
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Kinds of mail
    #[arg(long, value_delimiter = ',', default_value = "small,mixed,large")]
    sets: Vec<SetName>,
    /// Bytes of mail per set, at most
    #[arg(long, value_name = "BYTES", default_value = "1100M", value_parser = parse_bytes)]
    bytes: u64,
    /// Messages per set, at most
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    files: usize,
    /// Rounds with a warm page cache
    #[arg(long, value_name = "N", default_value_t = 7)]
    warm: u32,
    /// Rounds with a cold page cache; needs root, to drop it
    #[arg(long, value_name = "N", default_value_t = 2)]
    cold: u32,
    /// Rounds of the slow contenders: sha1sum, openssl, a plain loop
    #[arg(long, value_name = "N", default_value_t = 2)]
    others: u32,
    /// Threads of the pass
    #[arg(long, value_name = "N", default_value_t = default_jobs(),
          value_parser = clap::value_parser!(u16).range(1..=1024).map(usize::from))]
    jobs: usize,
    /// Measure instead how time and memory grow, up to this number of messages
    #[arg(long, value_name = "MESSAGES")]
    scale: Option<u32>,
    /// Shapes of the stores of --scale
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "hundred,many,one",
        requires = "scale"
    )]
    shapes: Vec<Shape>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// A hundred mailboxes
    Hundred,
    /// Mailboxes of ten messages
    Many,
    /// A single mailbox
    One,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SetName {
    Small,
    Mixed,
    Large,
}

impl From<SetName> for Set {
    fn from(name: SetName) -> Self {
        match name {
            SetName::Small => Self::Small,
            SetName::Mixed => Self::Mixed,
            SetName::Large => Self::Large,
        }
    }
}

/// Runs it.
pub fn main(args: &Args) -> Exit {
    let say = |what: &str| complain(&what);
    let result = std::env::current_exe().and_then(|program| match args.scale {
        Some(most) => {
            let costs = scale::run(&program, &args.dir, &sizes(most, &args.shapes), 1024, &say)?;
            Ok(table::scale(&costs))
        }
        None => bench::run(&plan(args, program), &say).map(|report| table::markdown(&report)),
    });
    match result {
        Ok(text) => written(line(&text)),
        Err(error) => {
            complain(&error);
            Exit::of_io(&error)
        }
    }
}

fn plan(args: &Args, program: PathBuf) -> Plan {
    let root = rustix::process::geteuid().is_root();
    if args.cold > 0 && !root {
        complain(&"only root can drop the page cache: no cold figures");
    }
    Plan {
        dir: args.dir.clone(),
        sets: args.sets.iter().map(|set| Set::from(*set)).collect(),
        bytes: args.bytes,
        files: args.files,
        others: args.others,
        warm: args.warm,
        cold: if root { args.cold } else { 0 },
        jobs: args.jobs,
        program,
    }
}

/// Many messages in few mailboxes, and few in many.
fn sizes(most: u32, shapes: &[Shape]) -> Vec<Size> {
    let mut sizes = Vec::new();
    for shape in shapes {
        let mut all = most / 100;
        while all <= most && all > 0 {
            let (mailboxes, messages) = match shape {
                Shape::Hundred => (100, all / 100),
                Shape::Many => (all / 10, 10),
                Shape::One => (1, all),
            };
            sizes.push(Size {
                mailboxes,
                messages,
            });
            all = all.saturating_mul(10);
        }
    }
    sizes
}
