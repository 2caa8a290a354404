//! `precompute import`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::Guid;
use indexfile::exit::Exit;
use indexfile::mailbox::{ImapdConf, name_of_dir};
use serde_json::json;

use super::output::{Findings, complain, line, print_json, written};
use crate::finding::{Code, Finding};
use crate::import::{self, Counts, Options, message_of, parse_line, parse_time};
use crate::targets::{Roots, Target};

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
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
    /// Where the cyrus.* files lie, if not beside the messages
    #[arg(long, value_name = "DIR", requires = "spool")]
    meta: Option<PathBuf>,
    /// How many lines in a hundred are checked against the file
    #[arg(long, value_name = "PERCENT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(0..=100))]
    check: u32,
    /// Take all messages, not only those without a real GUID
    #[arg(long)]
    all_messages: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

struct Import<'a> {
    conf: Option<&'a ImapdConf>,
    roots: Vec<Arc<Roots>>,
    options: Options,
    findings: Findings,
    counts: Counts,
    mailboxes: u64,
    /// Lines that name no message of any mailbox.
    ignored: u64,
}

/// Runs it.
pub fn main(args: &Args) -> Exit {
    let conf = match args.imapd_conf.as_deref().map(ImapdConf::load).transpose() {
        Ok(conf) => conf,
        Err(error) => {
            complain(&error);
            return Exit::Config;
        }
    };
    let roots = match (&conf, &args.spool) {
        (_, Some(spool)) => vec![Roots::plain(spool, args.meta.as_deref())],
        (Some(conf), None) => {
            let names = conf.partitions().map(|p| p.name.as_str());
            names
                .filter_map(|name| Roots::of_partition(conf, name).ok())
                .collect()
        }
        (None, None) => return Exit::Usage, // clap does not let this happen
    };
    let mut import = Import {
        conf: conf.as_ref(),
        roots: roots.into_iter().map(Arc::new).collect(),
        options: Options {
            as_of_ns: args.as_of,
            check_percent: args.check,
            all_messages: args.all_messages,
        },
        findings: Findings::default(),
        counts: Counts::default(),
        mailboxes: 0,
        ignored: 0,
    };
    let result = if args.list == Path::new("-") {
        import.read(&mut io::stdin().lock())
    } else {
        std::fs::File::open(&args.list).and_then(|file| import.read(&mut BufReader::new(file)))
    };
    if let Err(error) = result {
        complain(&format!("cannot read {}: {error}", args.list.display()));
        return Exit::of_io(&error);
    }
    import.report(args)
}

impl Import<'_> {
    /// Reads the list; lines of one directory that follow each other are imported together.
    fn read(&mut self, source: &mut dyn BufRead) -> io::Result<()> {
        let mut lines: BTreeMap<u32, Guid> = BTreeMap::new();
        let mut dir = PathBuf::new();
        for line in source.split(b'\n') {
            let line = line?;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            let parsed =
                parse_line(line).and_then(|line| Some((message_of(&line.path)?, line.guid)));
            let Some(((at, uid), guid)) = parsed else {
                self.ignored += u64::from(!line.is_empty());
                continue;
            };
            if at != dir {
                self.mailbox(&dir, &std::mem::take(&mut lines));
                dir = at;
            }
            lines.insert(uid, guid);
        }
        self.mailbox(&dir, &lines);
        Ok(())
    }

    fn mailbox(&mut self, dir: &Path, lines: &BTreeMap<u32, Guid>) {
        if lines.is_empty() {
            return;
        }
        let Some(target) = self.target(dir) else {
            self.ignored += lines.len() as u64;
            let why = format!("{}: no mailbox of this configuration", dir.display());
            let name = dir.display().to_string();
            let finding = Finding::new(&name, Code::NoMailbox, dir.to_owned(), &why);
            return complain(&self.findings.add(finding));
        };
        self.mailboxes += 1;
        match import::import(target, lines, &self.options) {
            Ok(counts) => self.counts.add(counts),
            Err(finding) => {
                self.counts.lines += lines.len() as u64;
                complain(&self.findings.add(finding));
            }
        }
    }

    fn target(&self, dir: &Path) -> Option<Target> {
        let roots = self
            .roots
            .iter()
            .filter(|roots| dir.starts_with(&roots.data));
        let roots = roots.max_by_key(|roots| roots.data.components().count())?;
        let sub = dir.strip_prefix(&roots.data).ok()?.to_owned();
        let there = |root: &Path, name| root.join(&sub).join(name).symlink_metadata().is_ok();
        if !there(&roots.index, "cyrus.index") && !there(&roots.header, "cyrus.header") {
            return None;
        }
        let name = self
            .conf
            .and_then(|conf| name_of_dir(conf, &roots.partition, &sub));
        Some(Target {
            mailbox: name.map_or_else(|| dir.display().to_string(), |name| name.to_string()),
            roots: Arc::clone(roots),
            sub,
        })
    }

    fn report(&self, args: &Args) -> Exit {
        let counts = &self.counts;
        let output = if args.json {
            print_json(&json!({
                "mailboxes": self.mailboxes,
                "lines": counts.lines,
                "imported": counts.imported,
                "cached": counts.cached,
                "changed": counts.changed,
                "unwanted": counts.unwanted,
                "checked": counts.checked,
                "ignored": self.ignored,
                "errors": self.findings.count(),
                "findings": self.findings.json(),
            }))
        } else {
            written(line(&format!(
                "{} mailboxes, {} lines: {} imported, {} cached already, {} changed since, {} not wanted, {} ignored; {} checked, {} errors",
                self.mailboxes,
                counts.lines,
                counts.imported,
                counts.cached,
                counts.changed,
                counts.unwanted,
                self.ignored,
                counts.checked,
                self.findings.count(),
            )))
        };
        match self.findings.exit() {
            Exit::Ok => output,
            exit => exit,
        }
    }
}
