//! `indexfile check`: findings as text or JSON, and the one repair that can be proved.

use super::fail::Fail;
use super::new_file::NewFile;
use crate::check::{
    Findings, Options, RepairError, Severity, check_path, check_store, repair_expunge,
};
use crate::dir::open_in_store;
use crate::error::IoError;
use crate::exit::Exit;
use crate::kind::FileKind;
use crate::mailbox::{ImapdConf, MailboxDirs, MailboxName, MetaFile};
use crate::reader::IndexFile;
use crate::walk::{has_mailbox, is_of_another, partitions_once};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "check /var/spool/imap/user/joe"
    "check --imapd-conf /etc/imapd.conf user.joe"
    "check /var/spool/imap/user/joe --repair-to cyrus.expunge.new"
    "check --before-reconstruct --imapd-conf /etc/imapd.conf user.joe"
    ; "there is a warning or an error (docs/findings.md); notes alone are fine"
))]
pub(super) struct Args {
    /// A cyrus.index or cyrus.expunge, a mailbox's meta directory, or a tree of them; with
    /// --imapd-conf names of mailboxes.
    #[arg(required_unless_present = "imapd_conf", value_name = "PATH|NAME")]
    paths: Vec<PathBuf>,
    /// Cyrus's configuration: each file of a mailbox is looked for where it puts it; without names
    /// all mailboxes are checked.
    #[arg(long, value_name = "FILE", conflicts_with = "messages")]
    imapd_conf: Option<PathBuf>,
    /// Compare sizes and GUIDs with the message files in this directory (one mailbox only).
    #[arg(long, value_name = "DIR")]
    messages: Option<PathBuf>,
    /// Look before any `reconstruct` of Cyrus 2.5 or later, with -V or without: all message files
    /// there and what their GUIDs say, no cyrus.expunge left, every record sound. Reads all
    /// messages. Not 0: do not run it.
    #[arg(long, conflicts_with = "repair_to")]
    before_reconstruct: bool,
    /// For a mailbox whose expunge file was left at an older version than its index: write the
    /// right expunge file here. Nothing in the mailbox is touched.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["messages", "json"])]
    repair_to: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Leave out notes.
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, Fail> {
    let conf = args
        .imapd_conf
        .as_deref()
        .map(ImapdConf::load)
        .transpose()?;
    if let Some(target) = &args.repair_to {
        let [one] = args.paths.as_slice() else {
            return Err(Fail::new(
                Exit::Usage,
                "--repair-to repairs exactly one mailbox",
            ));
        };
        let files = match &conf {
            None => MailboxDirs::plain(one, None, None, Path::new("")),
            Some(conf) => files_of(conf, &name(one)?)?,
        };
        return repair(&files, target, err);
    }
    if args.messages.is_some() && args.paths.len() > 1 {
        return Err(Fail::new(
            Exit::Usage,
            "--messages goes with exactly one mailbox",
        ));
    }
    let options = Options {
        messages: args.messages.clone(),
        before_reconstruct: args.before_reconstruct,
    };
    let mut findings = Findings::new();
    let mut unknown = Vec::new();
    if let Some(conf) = &conf {
        let names: Vec<MailboxName> = args
            .paths
            .iter()
            .map(|path| name(path))
            .collect::<Result<_, _>>()?;
        let none = check_store(conf, &names, &options, &mut findings);
        unknown = none.iter().map(ToString::to_string).collect();
    } else {
        for path in &args.paths {
            if args.before_reconstruct && path.is_file() {
                let text = "--before-reconstruct looks at a mailbox's directory, not at one file";
                return Err(Fail::new(Exit::Usage, text));
            }
            check_path(path, &options, &mut findings)?;
        }
    }
    let nothing_wrong = findings.worst() <= Some(Severity::Note);
    if findings.files() == 0 && nothing_wrong && unknown.is_empty() {
        let text = if args.before_reconstruct {
            "there is no mailbox to look at, so nothing is known to be safe"
        } else {
            "no index or expunge file is there to look at, so nothing is known"
        };
        return Err(Fail::new(Exit::Data, text));
    }
    if args.json {
        json(&findings, out)?;
    } else {
        text(&findings, args.quiet, out)?;
    }
    for name in &unknown {
        let _ = writeln!(err, "indexfile: there is no mailbox {name}");
    }
    Ok(if !nothing_wrong {
        Exit::Data
    } else if unknown.is_empty() {
        Exit::Ok
    } else {
        Exit::NoMailbox
    })
}

fn name(path: &Path) -> Result<MailboxName, Fail> {
    let bytes = path.as_os_str().as_encoded_bytes();
    MailboxName::from_bytes(bytes).map_err(|e| Fail::new(Exit::NoMailbox, e))
}

/// Where the files of the one mailbox of this name lie.
fn files_of(conf: &ImapdConf, name: &MailboxName) -> Result<MailboxDirs, Fail> {
    let mut there: Vec<(String, MailboxDirs)> = Vec::new();
    for partition in partitions_once(conf) {
        for dirs in conf.dirs_of_any_release(name, &partition.name)? {
            let sub = &dirs.data().sub;
            if has_mailbox(&dirs).map_err(IoError::from)? && !is_of_another(conf, partition, sub) {
                there.push((
                    dirs.file_dir(MetaFile::Index).path().display().to_string(),
                    dirs,
                ));
            }
        }
    }
    if there.len() > 1 {
        let places: Vec<String> = there.into_iter().map(|(place, _)| place).collect();
        let text = format!("{name} is at {}", places.join(" and at "));
        return Err(Fail::new(Exit::Data, text));
    }
    let none = || Fail::new(Exit::NoMailbox, format!("there is no mailbox {name}"));
    there.pop().map(|(_, dirs)| dirs).ok_or_else(none)
}

fn json(findings: &Findings, out: &mut dyn Write) -> std::io::Result<()> {
    let list: Vec<_> = findings
        .list()
        .iter()
        .map(|f| {
            json!({
                "code": f.code.name(),
                "severity": f.code.severity().name(),
                "path": f.path.to_string_lossy(),
                "uid": f.compared.uid,
                "detail": f.text,
                "remedy": f.code.remedy(),
            })
        })
        .collect();
    let counts: Vec<_> = findings
        .counts()
        .map(|(code, path, count)| {
            json!({"code": code, "path": path.to_string_lossy(), "count": count})
        })
        .collect();
    writeln!(
        out,
        "{}",
        json!({"files": findings.files(), "findings": list, "counts": counts})
    )
}

fn text(findings: &Findings, quiet: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let least = if quiet {
        Severity::Warning
    } else {
        Severity::Note
    };
    let shown = |severity: Severity| severity >= least;
    let mut explained = Vec::new();
    for finding in findings.list().iter().filter(|f| shown(f.code.severity())) {
        let (code, severity) = (finding.code, finding.code.severity());
        writeln!(
            out,
            "{severity:<7} [{}] {}: {}",
            code.name(),
            finding.path.display(),
            finding.text
        )?;
        if !explained.contains(&code) {
            writeln!(out, "        {}", code.remedy())?;
            explained.push(code);
        }
    }
    let listed = |code, path: &Path| {
        findings
            .list()
            .iter()
            .filter(|f| f.code == code && f.path == path)
            .count() as u64
    };
    for (code, path, count) in findings
        .counts()
        .filter(|(code, ..)| shown(code.severity()))
    {
        let more = count - listed(code, path);
        if more > 0 {
            writeln!(
                out,
                "{:<7} [{}] {}: and {more} more",
                code.severity(),
                code.name(),
                path.display()
            )?;
        }
    }
    let total = |severity| {
        findings
            .counts()
            .filter(|(c, ..)| c.severity() == severity)
            .map(|(.., n)| n)
            .sum::<u64>()
    };
    let (errors, warnings) = (total(Severity::Error), total(Severity::Warning));
    writeln!(
        out,
        "{} files checked, {errors} errors, {warnings} warnings",
        findings.files()
    )
}

fn repair(dirs: &MailboxDirs, target: &Path, err: &mut dyn Write) -> Result<Exit, Fail> {
    let path = dirs.file(MetaFile::Expunge);
    let index = IndexFile::open(&dirs.file(MetaFile::Index), FileKind::Index)?;
    let old = open_in_store(&path).map_err(IoError::from)?;
    let expunge = IndexFile::from_file(&old, &path, FileKind::Expunge)?;
    // Whether it can be done at all shows before a file is begun.
    let mut new = NewFile::create(target, &old, &path)?;
    let report = repair_expunge(&index, &expunge, &mut new.file).map_err(|e| match e {
        RepairError::Write(e) => IoError::new("write", target, e).into(),
        RepairError::Read(e) => e.into(),
        e => Fail::new(Exit::Data, e),
    })?;
    new.publish(|| Ok::<_, Fail>(()))?;
    let _ = writeln!(
        err,
        "{}: version {} to {}, {} records; put it in the place of {} while the mailbox is locked",
        target.display(),
        report.from,
        report.to,
        report.records,
        path.display()
    );
    Ok(Exit::Ok)
}
