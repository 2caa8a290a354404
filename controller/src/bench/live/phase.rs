//! Clients work for some seconds on mailboxes of one size, with or without a run.

use std::time::{Duration, Instant};

use slotd::protocol::Write;

use super::Options;
use super::child::{Child, GLANCE};
use super::client::{CLIENT, FEED, READY, Sampled};
use super::error::LiveError;
use super::logged::Before;
use super::pair::{Pair, Way, settings};
use crate::demo::signals::Signals;
use crate::run::Settings;

/// How long a client may take to open its mailboxes, and to end, beyond what is asked of it.
const PATIENCE: Duration = Duration::from_secs(120);
/// The pause of what replicates between two looks, in microseconds.
const FEED_PAUSE: &str = "1000";
/// Passes over what is to come back to version 9 once no client is in the way.
const PASSES: u32 = 5;

/// What one phase found.
pub(super) struct Phase {
    /// What the clients did.
    pub sampled: Sampled,
    /// What runs did meanwhile.
    pub ran: Ran,
}

/// What runs did while clients worked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ran {
    /// Mailboxes upgraded, each counted each time.
    pub upgraded: u64,
    /// Mailboxes brought back to version 9.
    pub downgraded: u64,
    /// Mailboxes rolled back.
    pub rolled_back: u64,
    /// Longest time for which locks were held on the way up, and back, milliseconds.
    pub lock_max: [f64; 2],
}

/// One phase: `number` is unique for this pair.
pub(super) fn phase(
    pair: &Pair,
    options: &Options,
    (number, with_run, lasts): (usize, bool, Duration),
    signals: &Signals,
) -> Result<Phase, LiveError> {
    rustix::fs::sync();
    signals.check()?;
    let dir = pair.dir.join(format!("phase-{number}"));
    let [master, replica] = &pair.hosts;
    let before = Before::remember([&master.store, &replica.store], &pair.names, &dir)?;
    let text = |path: std::path::PathBuf| path.display().to_string();
    let stop = dir.join("stop");
    let feed = [
        FEED.to_owned(),
        text(before.of_replication()?),
        "1".to_owned(),
        text(stop.clone()),
        "as-is".to_owned(),
        FEED_PAUSE.to_owned(),
    ];
    let replication = Child::start("the replication".to_owned(), &dir, &feed)?;
    let spec = text(before.of_clients()?);
    let start = |n: usize| {
        let seed = number * options.clients + n;
        let args = [
            CLIENT.to_owned(),
            spec.clone(),
            seed.to_string(),
            options.every().as_micros().to_string(),
            lasts.as_micros().to_string(),
        ];
        Child::start(format!("client {}", n + 1), &dir, &args)
    };
    let clients: Result<Vec<Child>, LiveError> = (0..options.clients).map(start).collect();
    let mut clients = clients?;
    for client in &clients {
        let said = client.line(signals, PATIENCE)?;
        debug_assert_eq!(said, READY);
    }
    let mut slotds = with_run.then(|| pair.serve()).transpose()?;
    let settings = settings(options.prepare, &options.limits);

    clients.iter_mut().try_for_each(Child::go)?;
    let mut ran = Ran::default();
    let end = Instant::now() + lasts;
    while Instant::now() < end {
        match &slotds {
            Some(slotds) => {
                let up = pair.run(slotds, Way::Up, &settings, signals)?;
                ran.upgraded += up.upgraded;
                let down = pair.run(slotds, Way::Down, &settings, signals)?;
                ran.downgraded += down.upgraded;
                ran.rolled_back += up.rolled_back + down.rolled_back;
                for (longest, of) in ran.lock_max.iter_mut().zip([&up, &down]) {
                    *longest = longest.max(of.lock_ms.max);
                }
            }
            None => std::thread::sleep(GLANCE),
        }
        signals.check()?;
    }
    let mut sampled = Sampled::new();
    for client in clients {
        let line = client.line(signals, lasts + PATIENCE)?;
        let of_one: Sampled = serde_json::from_str(&line)
            .map_err(|error| LiveError::io("read the answer of a client in", &dir, error.into()))?;
        sampled.merge(&of_one);
        client.finish(signals, PATIENCE)?;
    }
    std::fs::write(&stop, "").map_err(|error| LiveError::io("write", &stop, error))?;
    replication.finish(signals, lasts + PATIENCE)?;
    if let Some(slotds) = &slotds {
        let patient = Settings {
            passes: PASSES,
            prepare: Write::Never,
            ..settings
        };
        let last = pair.run(slotds, Way::Down, &patient, signals)?;
        match last.mailboxes - last.upgraded - last.unchanged {
            0 => {}
            left => return Err(LiveError::NotBack(left)),
        }
    }
    slotds
        .iter_mut()
        .flatten()
        .for_each(crate::demo::Slotd::stop);
    before.check()?;
    if with_run && ran.upgraded == 0 {
        return Err(LiveError::Nothing {
            messages: pair.messages,
            rolled_back: ran.rolled_back,
        });
    }
    Ok(Phase { sampled, ran })
}
