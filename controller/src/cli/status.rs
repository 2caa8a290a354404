//! `status`: how far a run is, from the journal and from the controller that works on it. It needs
//! no slotd, and changes nothing. Each host that it is given is asked, for a moment, whether it is
//! in service.

use std::time::Duration;

use clap::Args;
use indexfile::exit::Exit;

use super::args::UnusedHosts;
use super::live::describe;
use super::out_of_service::{self, out_of_service};
use super::state::{How, StateFile};
use super::watch::{self, Watch};
use super::{Fail, text};
use crate::clock::now_ms;
use crate::control::{Ask, ServeError, ask, of_pair};
use crate::drain::sentence;
use crate::journal::{JournalError, JournalStore, RunId, RunInfo, RunOfPairs, Totals, Verb};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    state: StateFile,
    #[command(flatten)]
    hosts: UnusedHosts,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// Go on while a controller is running: on a terminal drawn again in the same place each
    /// second, else a line when something changes.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// Of a run that is not finished.
const NOBODY: &str = "no controller is running: the same command goes on";

/// The state file, and its last run that is no rehearsal: a rehearsal changes nothing, and hides
/// neither what a run has left nor what failed in it. Only where there is no other it is the last
/// rehearsal.
pub(super) fn open(state: &StateFile) -> Result<(Box<dyn JournalStore>, RunOfPairs), Fail> {
    let store = state.open(How::Read)?;
    let last = match store.last_of(Verb::Upgrade)? {
        None => store.last_run()?,
        last => last,
    };
    let last = last.ok_or_else(|| {
        let text = format!("{}: no run was started yet", state.shown());
        Fail::new(Exit::Config, text)
    })?;
    Ok((store, last))
}

/// How a rehearsal that came after the run is seen.
pub(super) fn rehearsed_since(
    store: &dyn JournalStore,
    run: &RunOfPairs,
) -> Result<Option<String>, Fail> {
    let last = store.last_of(Verb::Rehearse)?;
    let since = last.filter(|last| last.id > run.id);
    Ok(since.map(|last| {
        let id = last.id.0;
        format!("run {id}, after it, is a rehearsal: `controller report --run {id}` shows it")
    }))
}

pub(super) fn status(args: &StatusArgs) -> Result<Exit, Fail> {
    if args.watch {
        watch(&args.state)?;
    }
    if let Some(warning) = args.hosts.certificate() {
        text::note(&warning);
    }
    let (store, mut run) = open(&args.state)?;
    // That no controller is running is the usual case, and no error here.
    let live = match ask(&args.state.socket_path(), &Ask::Status) {
        Ok(live) => Ok(Some(live)),
        Err(ServeError::Nobody { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    if let Ok(Some(live)) = &live
        && let Some(number) = live["run"].as_i64()
        && let Some(under_way) = store.run(RunId(number))?
    {
        run = under_way;
    }
    if let Some(line) = rehearsed_since(store.as_ref(), &run)? {
        text::note(&line);
    }
    let out = out_of_service(&args.hosts)?;
    if args.json {
        let mut value = status_json(store.as_ref(), &run)?;
        match live {
            Ok(live) => value["running"] = live.unwrap_or_default(),
            Err(error) => {
                value["running"] = serde_json::Value::Null;
                value["running_unknown"] = error.to_string().into();
            }
        }
        let out = out
            .iter()
            .map(|(name, seen)| out_of_service::json(name, seen));
        value["out_of_service"] = out.collect();
        text::json(&value)?;
        return Ok(Exit::Ok);
    }
    text::say(&status_text(store.as_ref(), &run)?)?;
    match &live {
        Ok(Some(live)) => text::say(&describe(live))?,
        // A journal on a server has controllers on other hosts, too.
        Ok(None) if run.finished_ms.is_none() && args.state.is_file() => text::say(NOBODY)?,
        Ok(None) => {}
        Err(error) => text::say(&format!(
            "whether a controller is running is not known: {error}"
        ))?,
    }
    for line in out.iter().filter_map(|(name, seen)| sentence(name, seen)) {
        text::say(&line)?;
    }
    Ok(Exit::Ok)
}

/// Shows what the running controller does until there is none. The journal is read once a run: it
/// may be large.
fn watch(state: &StateFile) -> Result<(), Fail> {
    let mut watch = Watch::new();
    let mut known = (0, String::new());
    loop {
        let live = match ask(&state.socket_path(), &Ask::Status) {
            Err(ServeError::Nobody { .. }) => return watch.end(),
            live => live?,
        };
        let number = live["run"].as_i64().unwrap_or(0);
        if number == 0 {
            known = (0, "the run is about to begin".to_owned());
        } else if known.0 != number {
            let (store, last) = open(state)?;
            let run = store.run(RunId(number))?.unwrap_or(last);
            let begun = text::local_time(run.started_ms);
            known = (
                number,
                format!("run {number}: {}, begun {begun}", run.task()),
            );
        }
        watch.show(&known.1, &live)?;
        std::thread::sleep(watch::EVERY);
    }
}

/// What a run amounts to on each pair where it has begun.
fn totals(
    store: &dyn JournalStore,
    run: &RunOfPairs,
) -> Result<Vec<(String, RunInfo, Totals)>, Fail> {
    let mut each = Vec::new();
    for pair in run.pairs.iter().filter(|pair| pair.is_started()) {
        let journal = store.pair(&pair.name)?;
        if let Some(info) = journal.run(run.id)? {
            each.push((pair.name.clone(), info, journal.totals(run.id)?));
        }
    }
    Ok(each)
}

/// The pairs that are paused, and since when.
fn paused(store: &dyn JournalStore) -> Result<Vec<(String, i64)>, Fail> {
    let mut paused = Vec::new();
    for name in store.pairs()? {
        let journal = match store.pair(&name) {
            Err(JournalError::Claimed { .. }) => continue,
            journal => journal?,
        };
        paused.extend(journal.paused()?.map(|since| (name, since)));
    }
    Ok(paused)
}

fn sum(each: &[(String, RunInfo, Totals)]) -> Totals {
    let mut all = Totals::default();
    for (_, _, totals) in each {
        all += *totals;
    }
    all
}

fn status_json(store: &dyn JournalStore, run: &RunOfPairs) -> Result<serde_json::Value, Fail> {
    let each = totals(store, run)?;
    let to_json = |totals: &Totals| -> Result<serde_json::Value, Fail> {
        let mut value = serde_json::to_value(totals).map_err(std::io::Error::from)?;
        value["open"] = totals.open.into();
        Ok(value)
    };
    let mut value = to_json(&sum(&each))?;
    for (key, of_run) in [
        ("run", run.id.0.into()),
        ("command", run.verb.as_str().into()),
        ("to", run.to.into()),
        ("undoes", run.undoes.map(|run| run.0).into()),
        ("started_at", run.started_ms.into()),
        ("finished_at", run.finished_ms.into()),
    ] {
        value[key] = of_run;
    }
    for (name, info, totals) in &each {
        let hosts = [
            ("master", info.spec.master.as_str().into()),
            ("replica", info.spec.replica.as_deref().into()),
        ];
        if name.is_empty() {
            for (key, host) in hosts {
                value[key] = host;
            }
            continue;
        }
        let mut pair = to_json(totals)?;
        pair["finished_at"] = info.finished_ms.into();
        for (key, host) in hosts {
            pair[key] = host;
        }
        value["pairs"][name] = pair;
    }
    for pair in run.pairs.iter().filter(|pair| !pair.is_started()) {
        value["pairs"][&pair.name] = serde_json::Value::Null;
    }
    for (name, since) in paused(store)? {
        value["paused"][name] = since.into();
    }
    for claim in store.claims()? {
        let (host, pid) = claim.by.unzip();
        value["claims"][&claim.pair] = serde_json::json!({
            "epoch": claim.epoch,
            "host": host,
            "pid": pid,
            "left_ms": claim.left_ms,
        });
    }
    Ok(value)
}

fn status_text(store: &dyn JournalStore, run: &RunOfPairs) -> Result<String, Fail> {
    let end = run.finished_ms.unwrap_or_else(now_ms);
    let took = Duration::from_millis(u64::try_from(end - run.started_ms).unwrap_or(0));
    let state = if run.finished_ms.is_some() {
        "finished"
    } else {
        "not finished"
    };
    let each = totals(store, run)?;
    let t = sum(&each);
    let mut text = format!(
        "run {}: {}, {state}, begun {} ago\n{}, {} open",
        run.id.0,
        run.task(),
        text::duration(took),
        t.sentence(run.verb),
        t.open
    );
    for pair in run.pairs.iter().filter(|pair| !pair.name.is_empty()) {
        let found = each.iter().find(|(name, ..)| *name == pair.name);
        let line = match found {
            None => "not begun".to_owned(),
            Some((_, info, totals)) => {
                let end = match info.finished_ms {
                    Some(_) => "finished",
                    None => "not finished",
                };
                format!("{end}: {}, {} open", totals.sentence(run.verb), totals.open)
            }
        };
        text.push('\n');
        text.push_str(&of_pair(&pair.name, &line));
    }
    for (name, since) in paused(store)? {
        let line = format!(
            "paused since {}: controller resume lets it go on",
            text::local_time(since)
        );
        text.push('\n');
        text.push_str(&of_pair(&name, &line));
    }
    for claim in store.claims()? {
        let line = match (claim.by, claim.left_ms) {
            (Some((host, pid)), Some(left)) if left > 0 => {
                format!("claimed by process {pid} on {host}, epoch {}", claim.epoch)
            }
            _ => format!("claimed by no controller, epoch {}", claim.epoch),
        };
        text.push('\n');
        text.push_str(&of_pair(&claim.pair, &line));
    }
    Ok(text)
}
