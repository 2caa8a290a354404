//! `precompute import`.

use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::exit::Exit;
use jiff::Timestamp;

use super::output::{Findings, complain};
use super::root::Root;
use super::selection::{load_conf, open_dated_list};
use crate::import::{Counts, Import, Options, check_time, message_of, parse_line, parse_time};
use crate::mailbox::directory_finding;
use crate::store::{Store, Target};
use indexfile::finding::{Code, Finding};

/// A longer line is two, neither of which names a file: bytes.
const MAX_LINE: u64 = 64 << 10;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "import sums --as-of 2026-11-22T01:02:03Z --imapd-conf /etc/imapd.conf"
    "import - --as-of 1795309323 --spool /var/spool/imap < sums"
))]
pub struct Args {
    /// Output of sha1sum over message files; - is standard input
    list: PathBuf,
    /// When that sha1sum was started: seconds since 1970, or 2026-11-22T01:02:03Z. Files that
    /// changed since are not imported
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    as_of: i64,
    /// Cyrus's configuration; says where mailboxes lie
    #[arg(long, value_name = "FILE", required_unless_present = "spool")]
    imapd_conf: Option<PathBuf>,
    /// The tree that the messages are in, without any configuration
    #[arg(long, value_name = "DIR", conflicts_with = "imapd_conf")]
    spool: Option<PathBuf>,
    /// Where the cyrus.* files lie, if not with the messages
    #[arg(long, value_name = "DIR", requires = "spool")]
    meta: Option<PathBuf>,
    /// Percentage of lines that are checked against the file
    #[arg(long, value_name = "PERCENT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(0..=100))]
    check: u32,
    /// Import all messages, not only those without a SHA-1 in the index
    #[arg(long)]
    all_messages: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: Root,
}

struct Run {
    store: Store,
    /// The partitions and their roots of messages, the longest first.
    roots: Vec<(Arc<str>, PathBuf)>,
    options: Options,
    findings: Findings,
    counts: Counts,
}

/// What becomes of the lines of one directory.
enum Lines {
    /// They go into the cache of their mailbox.
    Import(Box<Import>),
    /// They are counted only: that mailbox is gone, or wrong, which was reported.
    Count(fn(&mut Run)),
}

/// Runs it.
pub fn main(args: &Args) -> Exit {
    let store = match (&args.imapd_conf, &args.spool) {
        (_, Some(spool)) => Store::plain(spool, args.meta.as_deref(), None),
        (Some(conf), None) => match load_conf(conf) {
            Ok(conf) => Store::Conf(Arc::new(conf)),
            Err(exit) => return exit,
        },
        (None, None) => return Exit::Usage, // clap does not let this happen
    };
    if let Err(exit) = args.root.leave(&store.directories()) {
        return exit;
    }
    let mut run = Run {
        roots: store.roots(),
        store,
        options: Options {
            as_of_ns: args.as_of,
            check_percent: args.check,
            all_messages: args.all_messages,
        },
        findings: Findings::default(),
        counts: Counts::default(),
    };
    let (list, written_ns) = match open_dated_list(&args.list) {
        Ok(list) => list,
        Err(exit) => return exit,
    };
    if let Err(why) = check_time(args.as_of, Timestamp::now(), written_ns) {
        complain(&format!("--as-of: {why}"));
        return Exit::Usage;
    }
    if let Err(error) = run.read(BufReader::new(list)) {
        complain(&format!("cannot read {}: {error}", args.list.display()));
        return Exit::of_io(&error);
    }
    run.report(args)
}

impl Run {
    /// Reads the list; lines of one directory that follow each other are imported together.
    fn read(&mut self, mut source: impl BufRead) -> io::Result<()> {
        let mut current: Option<(PathBuf, Lines)> = None;
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut source).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let parsed =
                parse_line(text).and_then(|line| Some((message_of(&line.path)?, line.guid)));
            let Some(((dir, uid), guid)) = parsed else {
                self.counts.ignored += u64::from(!text.is_empty());
                continue;
            };
            if current.as_ref().is_none_or(|(at, _)| *at != dir) {
                self.finish(current.take());
                let lines = self.begin(&dir);
                current = Some((dir, lines));
            }
            let Some((_, lines)) = &mut current else {
                continue;
            };
            match lines {
                Lines::Count(count) => count(self),
                Lines::Import(import) => {
                    if let Err(finding) = import.line(uid, guid) {
                        self.counts.lines += import.lines();
                        self.found(finding);
                        *lines = Lines::Count(|run| run.counts.lines += 1);
                    }
                }
            }
        }
        self.finish(current);
        Ok(())
    }

    fn found(&self, finding: Finding) {
        complain(&self.findings.add(finding));
    }

    fn begin(&mut self, dir: &Path) -> Lines {
        let target = match self.target(dir) {
            Ok(target) => target,
            Err(finding) => {
                self.found(finding);
                return Lines::Count(|run| run.counts.ignored += 1);
            }
        };
        self.counts.mailboxes += 1;
        match Import::begin(target, self.options, &|finding| self.found(finding)) {
            Ok(Some(import)) => Lines::Import(Box::new(import)),
            Ok(None) => Lines::Count(|run| {
                run.counts.lines += 1;
                run.counts.unwanted += 1;
            }),
            Err(finding) => {
                self.found(finding);
                Lines::Count(|run| run.counts.lines += 1)
            }
        }
    }

    fn finish(&mut self, current: Option<(PathBuf, Lines)>) {
        let Some((_, Lines::Import(import))) = current else {
            return;
        };
        let lines = import.lines();
        match import.finish() {
            Ok(counts) => self.counts.add(counts),
            Err(finding) => {
                self.counts.lines += lines;
                self.found(finding);
            }
        }
    }

    fn target(&self, dir: &Path) -> Result<Target, Finding> {
        let below = |(partition, root): &(Arc<str>, PathBuf)| {
            let sub = dir.strip_prefix(root).ok()?;
            self.store.target(partition, sub)
        };
        if let Some(target) = self.roots.iter().find_map(below) {
            match target.exists() {
                Ok(true) => return Ok(target),
                Ok(false) => {}
                Err(error) => return Err(directory_finding(&target, &error)),
            }
        }
        let (name, why) = (
            dir.display().to_string(),
            "no mailbox of this configuration",
        );
        Err(Finding::new(&name, Code::NoMailbox, dir.to_owned(), &why))
    }

    fn report(&self, args: &Args) -> Exit {
        let counts = &self.counts;
        let text = || {
            Some(format!(
                "{} mailboxes, {} lines: {} imported, {} cached already, {} changed since, \
                 {} not wanted, {} ignored; {} checked, {} errors",
                counts.mailboxes,
                counts.lines,
                counts.imported,
                counts.cached,
                counts.changed,
                counts.unwanted,
                counts.ignored,
                counts.checked,
                self.findings.count(),
            ))
        };
        let printed = self.findings.print(args.json, counts, text);
        // A list may well name no mailbox.
        self.findings.exit(printed, counts.mailboxes.max(1), false)
    }
}
