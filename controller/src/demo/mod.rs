//! A whole migration on stores that the demo makes itself, for people who meet reguid for the first
//! time.
//!
//! Two hosts are laid out in one directory: [`stores::spec`] builds mail stores as a Cyrus 2.3.9
//! leaves them, the messages of the replica are hashed ahead of time, a slotd is started for each
//! host as a child process, and the very code of `controller upgrade` migrates them.
//! [`stores::judge`] then checks what was done: it shares no code with what did it.
//!
//! Promises: nothing outside of its directory is touched. Children and, unless it is to be kept,
//! the directory are gone when it ends, on every path and after SIGINT, SIGTERM and SIGHUP; after
//! SIGKILL the children end by themselves and the directory stays.

mod child;
mod error;
mod hosts;
pub(crate) mod migrate;
pub(crate) mod signals;
pub(crate) mod story;
pub(crate) mod workdir;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexfile::exit::Exit;
use indexfile::program::spelled;
use indexfile::{IoContext, IoError};
use indicatif::{BinaryBytes, HumanCount};
use stores::Layout;

pub(crate) use child::ends_with;
pub use child::{SUBCOMMAND, Slotd, be_slotd};
pub use error::DemoError;
pub use hosts::Host;
pub use story::{PrecomputeReport, Report, StoreReport, VerifyReport};

use crate::run::{Observer, Settings, Silent};
use signals::Signals;
use stores::judge::{Before, Report as Judged, When, differing};
use stores::{Built, StoreSpec};
use story::step;
use workdir::Workdir;

/// The only partition of the demo's hosts.
pub(crate) const PARTITION: &str = "default";
/// Findings of the check that are reported word for word; more are only counted.
const FINDINGS: usize = 50;

/// What the demo is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Leave the stores here.
    pub keep: Option<PathBuf>,
    /// How many mailboxes.
    pub mailboxes: usize,
    /// How many messages each, on average.
    pub messages: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep: None,
            mailboxes: 300,
            messages: 20,
        }
    }
}

/// What watches the migration while it runs.
pub struct Display {
    /// Gets the run's progress, as with every run.
    pub observer: Arc<dyn Observer>,
    /// Is called when the migration is over, so that a bar leaves the screen.
    pub end: Box<dyn Fn()>,
}

impl Default for Display {
    fn default() -> Self {
        Self {
            observer: Arc::new(Silent),
            end: Box::new(|| ()),
        }
    }
}

/// Runs the demo from start to end. `say` gets the story, piece by piece as it happens.
///
/// Must be called from the main thread (the children end with the thread that made them).
///
/// # Errors
/// Whatever keeps it from its end; mailboxes that fail are in the report instead.
pub fn run(
    options: &Options,
    display: &Display,
    say: &mut dyn Write,
) -> Result<(Report, Exit), DemoError> {
    let begun = Instant::now();
    let signals = Signals::listen()?;
    let work = Workdir::new(options.keep.as_deref())?;
    tell(say, story::OPENING)?;
    tell(say, "\n")?;

    let master = Host::lay_out(work.path(), "master", Layout::HASHED)?;
    let replica = Host::lay_out(work.path(), "replica", Layout::METAPARTITION)?;
    let spec = StoreSpec::new(options.mailboxes, options.messages);
    let (store, names) = build(&spec, &work, [&master, &replica], &signals, say)?;
    let originals = [master.remember()?, replica.remember()?];
    signals.check()?;

    let precompute = migrate::precompute(&replica, &signals)?;
    let lines = [format!(
        "{} messages of the replica, {}, without a lock (precompute run)",
        HumanCount(precompute.messages),
        BinaryBytes(precompute.bytes)
    )];
    tell(say, &step(2, "hashed", &lines, seconds(precompute.seconds)))?;

    let start = Instant::now();
    // The replica's first: the master's asks it for the hashes made there.
    let on_replica = Slotd::start(&replica, &work.socket("replica"), None)?;
    let on_master = Slotd::start(&master, &work.socket("master"), Some(&on_replica))?;
    let mut slotds = [on_master, on_replica];
    let lines =
        ["a slotd for each host: only it locks, renames or removes anything there".to_owned()];
    tell(say, &step(3, "started", &lines, start.elapsed()))?;
    signals.check()?;

    let state = work.path().join("journal.sqlite");
    let run = migrate::run(
        &slotds,
        &names,
        &state,
        Settings::upgrade(),
        Arc::clone(&display.observer),
        &signals,
    );
    (display.end)();
    let run = run?;
    tell(say, &run.story())?;
    for slotd in &mut slotds {
        slotd.stop();
    }
    signals.check()?;

    let start = Instant::now();
    let verify = check(&originals);
    let verify = VerifyReport {
        seconds: start.elapsed().as_secs_f64(),
        ..verify
    };
    tell(say, &checked(&verify))?;
    tell(say, "\n")?;
    let exit = match (run.exit, verify.wrong) {
        (Exit::Ok, 0) => Exit::Ok,
        (Exit::Ok, _) => Exit::Data,
        (exit, _) => exit,
    };
    if exit == Exit::Ok {
        tell(
            say,
            &spelled(&story::closing(options.keep.as_ref().map(|_| work.path()))),
        )?;
    }
    let report = Report {
        store,
        precompute,
        run: serde_json::to_value(&run.summary).unwrap_or_default(),
        verify,
        kept: options
            .keep
            .as_ref()
            .map(|_| work.path().display().to_string()),
        seconds: begun.elapsed().as_secs_f64(),
    };
    Ok((report, exit))
}

/// Builds both stores and writes the mailbox list.
fn build(
    spec: &StoreSpec,
    work: &Workdir,
    hosts: [&Host; 2],
    signals: &Signals,
    say: &mut dyn Write,
) -> Result<(StoreReport, PathBuf), DemoError> {
    let start = Instant::now();
    let stores = hosts.map(|host| &host.store);
    let built: Built = spec.build_until(&stores, signals.flag())?;
    let list = work.path().join("mailboxes.txt");
    let mut text = Vec::new();
    spec.write_list(PARTITION, &mut text)
        .io_context("write", &list)?;
    std::fs::write(&list, text).io_context("write", &list)?;
    let lines = [
        format!(
            "{} mailboxes with {} messages ({}) on each of two hosts, in {}:",
            HumanCount(built.mailboxes),
            HumanCount(built.live + built.expunged),
            BinaryBytes(built.bytes),
            work.path().display()
        ),
        "as a Cyrus 2.3.9 leaves them, most at index version 9, with every oddity we know"
            .to_owned(),
    ];
    tell(say, &step(1, "made", &lines, start.elapsed()))?;
    let report = StoreReport {
        mailboxes: built.mailboxes,
        messages: built.live,
        expunged: built.expunged,
        bytes: built.bytes,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((report, list))
}

/// Checks both hosts, each against what it was and both against each other.
fn check(originals: &[Before; 2]) -> VerifyReport {
    let [master, replica] = originals.each_ref().map(|host| host.check(When::Upgraded));
    let both = |of: fn(&Judged) -> u64| of(&master) + of(&replica);
    let sides = [("master", &master), ("replica", &replica)];
    let mut findings = differing(&master, &replica);
    findings.extend(sides.into_iter().flat_map(|(side, judged)| {
        let violations = judged.violations.iter();
        violations.map(move |line| format!("{side}: {line}"))
    }));
    let wrong = findings.len() as u64;
    findings.truncate(FINDINGS);
    VerifyReport {
        guids: both(|judged| judged.proven),
        untouched: both(|judged| judged.untouched),
        wrong,
        findings,
        seconds: 0.0,
    }
}

fn checked(verify: &VerifyReport) -> String {
    let took = seconds(verify.seconds);
    if verify.wrong == 0 {
        let lines = [
            format!(
                "all {} GUIDs equal the SHA-1 of their message file; everything else is as it was:",
                HumanCount(verify.guids)
            ),
            format!(
                "UIDs, flags, dates, order; {} other files untouched; none left behind; both hosts \
                 alike",
                HumanCount(verify.untouched)
            ),
        ];
        return step(5, "checked", &lines, took);
    }
    let mut lines = vec![format!("{} THINGS ARE WRONG:", HumanCount(verify.wrong))];
    lines.extend(verify.findings.iter().cloned());
    step(5, "checked", &lines, took)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Says a piece of the story. A reader that went away is no reason to stop.
fn tell(say: &mut dyn Write, text: &str) -> Result<(), IoError> {
    match say.write_all(text.as_bytes()).and_then(|()| say.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(IoError::new(
            "write to",
            std::path::Path::new("standard output"),
            e,
        )),
        _ => Ok(()),
    }
}
