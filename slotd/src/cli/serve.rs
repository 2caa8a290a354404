//! `serve` and `recover`.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use indexfile::exit::Exit;
use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::args::{Recover, Serve};
use super::metrics::Metrics;
use super::open::{leave_root, open, state_is_there};
use super::reload::{Again, Reload};
use super::trust::{self, Trust};
use super::{Failure, arenas, options, service};
use crate::host::{Host, Options};
use crate::intent::recovery::{self, Attempt, Report, Settled};
use crate::protocol::Code;
use crate::server::{self, Access, ListenError, Listener};

/// How long to wait for a mailbox that has something to settle when the server starts.
const START_WAIT: Duration = Duration::from_secs(2);

/// How long messages of one mailbox are read then; what takes longer is done while it serves.
const START_READ: Duration = Duration::from_secs(15);

/// Pauses between attempts at what could not be settled then: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// Blocking threads beyond one for each connection.
const SPARE_THREADS: usize = 16;

/// Of more connections than this no SIGHUP can make more: there are too few threads then.
const CONNECTIONS_LATER: usize = 4096;

pub(super) fn serve(args: &Serve, again: Again) -> Result<Exit, Failure> {
    // Until it can be heeded it waits: by itself it would end what recovery is at. New threads keep
    // it so; this one takes it.
    hangups().thread_block().map_err(cannot_start)?;
    let mut options = options::of(args)?;
    let places = options::places(&options)?;
    arenas::few();
    leave_root(&args.at)?;
    // As the user that reads these files later, too.
    let Trust {
        access,
        credentials,
    } = trust::of(args)?;
    options.tls.clone_from(&access.tls);
    options.credentials = credentials;
    let host = Arc::new(open(&args.at, options)?);
    let never = AtomicBool::new(false);
    let attempt = Attempt {
        wait: START_WAIT,
        read: Some(START_READ),
        cancel: &never,
    };
    tell(&recovery::recover(&host, attempt));
    let most = places.max(CONNECTIONS_LATER);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // One for each connection at least: those who wait for a lock must not keep its holder from
        // letting go.
        .max_blocking_threads(most + SPARE_THREADS)
        .build()
        .map_err(cannot_start)?;
    runtime.spawn(settle_later(Arc::clone(&host)));
    let reload = Reload {
        again,
        most,
        users: access.users.clone(),
        tls: access.tls.clone(),
        host: Arc::clone(&host),
    };
    let exit = runtime.block_on(run(host, args, (places, &access), reload));
    // What waits for a lock in the background is bounded, and need not end before us.
    runtime.shutdown_background();
    exit
}

fn hangups() -> SigSet {
    SigSet::from(Signal::SIGHUP)
}

fn cannot_start(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Io, format!("cannot start: {error}"))
}

/// Comes back, again and again, to what could not be settled at the start, or by a `LOCK` because
/// there was too much to read.
async fn settle_later(host: Arc<Host>) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        if host.unsettled.is_empty() {
            pause = FIRST_PAUSE;
            continue;
        }
        let again = Arc::clone(&host);
        let settle = move || {
            let attempt = Attempt {
                wait: START_WAIT,
                read: None,
                cancel: &AtomicBool::new(false),
            };
            recovery::recover_again(&again, attempt)
        };
        let Ok(report) = tokio::task::spawn_blocking(settle).await else {
            return;
        };
        for (mailbox, how) in &report.settled {
            tracing::info!(%mailbox, ?how, "settled at last");
        }
        pause = if report.failed.is_empty() {
            FIRST_PAUSE
        } else {
            (pause * 2).min(LAST_PAUSE)
        };
    }
}

async fn run(
    host: Arc<Host>,
    args: &Serve,
    (places, access): (usize, &Access),
    reload: Reload,
) -> Result<Exit, Failure> {
    let listener = Listener::bind_for(&args.listen, access)
        .await
        .map_err(|error| {
            let exit = match &error {
                ListenError::Io { source, .. } => Exit::of_io(source),
                ListenError::Busy { .. } => Exit::Unavailable,
                ListenError::Insecure { .. } | ListenError::NoCertificate { .. } => Exit::Config,
            };
            Failure::new(exit, error.to_string())
        })?;
    let io = |e: std::io::Error| Failure::new(Exit::Io, format!("cannot serve: {e}"));
    let addr = listener.addr().map_err(io)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io)?;
    // Before it says that it serves: a place that cannot be had refuses the start.
    let metrics = Metrics::begin(&host, args)?;
    let hangup = signal(SignalKind::hangup()).map_err(io)?;
    tokio::spawn(Arc::new(reload).at_each(hangup));
    hangups().thread_unblock().map_err(cannot_start)?;
    let (stop, stopped) = watch::channel(false);
    let server = server::serve_at_most(places, Arc::clone(&host), listener, stopped);
    let server = tokio::spawn(server);
    {
        let mut out = std::io::stdout().lock();
        // Whoever started us may have stopped listening; the server serves all the same.
        let _ = writeln!(out, "slotd: listening on {addr}").and_then(|()| out.flush());
    }
    let addr = addr.to_string();
    service::ready(&addr, &host);
    tokio::spawn(service::keep_alive(addr, Arc::clone(&host)));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: no new mailbox, open transactions come to their end");
    service::stopping(&host);
    let _ = stop.send(true);
    server
        .await
        .map_err(|e| Failure::new(Exit::Io, format!("the server ended badly: {e}")))?;
    drop(metrics);
    Ok(Exit::Ok)
}

pub(super) fn recover(args: &Recover) -> Result<Exit, Failure> {
    leave_root(&args.at)?;
    state_is_there(&args.at.state)?;
    let options = Options {
        server_stopped: args.server_stopped,
        cyrus_conf: args.cyrus_conf.clone(),
        ..Options::default()
    };
    let host = open(&args.at, options)?;
    let attempt = Attempt {
        wait: options::seconds("--wait", args.wait)?,
        read: None,
        cancel: &AtomicBool::new(false),
    };
    let report = recovery::recover(&host, attempt);
    tell(&report);
    Ok(exit_of(&report))
}

fn exit_of(report: &Report) -> Exit {
    let transient = |code: Code| matches!(code, Code::Locked | Code::Unmounted | Code::NoSpace);
    let left = report.settled.iter().any(|(_, how)| *how == Settled::Left);
    let mut codes = report.failed.iter().map(|(_, refusal)| refusal.code);
    match codes.find(|code| !transient(*code)) {
        Some(Code::Io) => Exit::Io,
        Some(Code::Denied) => Exit::Denied,
        Some(Code::Served) => Exit::Config,
        Some(_) => Exit::Data,
        None if report.failed.is_empty() && !left => Exit::Ok,
        None => Exit::RolledBack,
    }
}

fn tell(report: &Report) {
    for (mailbox, settled) in &report.settled {
        if *settled == Settled::Left {
            eprintln!(
                "slotd: {mailbox}: what a crash left could neither be finished nor undone (why is \
                 in the log); it stays half done, which Cyrus 2.3 reads rightly, until the \
                 controller comes back to it"
            );
            continue;
        }
        eprintln!("slotd: {mailbox}: settled what a crash left: {settled:?}");
        if *settled == Settled::Closed {
            eprintln!(
                "slotd: {mailbox}: a server has replaced its files since, so it is not known \
                 whether the change was done before; they and their .OLD stay as they are"
            );
        }
    }
    for (mailbox, refusal) in &report.failed {
        eprintln!(
            "slotd: {mailbox}: NOT settled yet: [{}] {refusal}",
            refusal.code
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Refusal;

    #[test]
    fn recover_ends_with_0_only_where_all_is_finished_or_undone() {
        let report = |settled: &[Settled], failed: &[Code]| Report {
            settled: settled.iter().map(|how| (String::new(), *how)).collect(),
            failed: failed
                .iter()
                .map(|code| (String::new(), Refusal::new(*code, "")))
                .collect(),
        };
        assert_eq!(exit_of(&report(&[Settled::Finished], &[])), Exit::Ok);
        assert_eq!(
            exit_of(&report(&[Settled::Aborted, Settled::Left], &[])),
            Exit::RolledBack
        );
        assert_eq!(exit_of(&report(&[], &[Code::NoSpace])), Exit::RolledBack);
        assert_eq!(
            exit_of(&report(&[Settled::Left], &[Code::Locked, Code::Io])),
            Exit::Io
        );
    }
}
