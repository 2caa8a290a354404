//! SIGINT and SIGTERM: the first lets the transactions under way end, the second rolls back those
//! that are not decided. SIGHUP does what the first of them does, however often it comes: a
//! terminal that is closed may send several. Where it is ignored, as `nohup` has it, it stays so.

use indexfile::exit::Exit;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::text;
use crate::stop::{Stop, StopHandle, StopSignal, stop_pair};

/// The stop of a command that only asks: from now on signals ask for it. Must be called on the
/// runtime.
pub(super) fn stop() -> StopSignal {
    let (handle, stop) = stop_pair();
    watch(handle, text::note);
    stop
}

/// The exit code of a command that only asks: what was not asked about is not known to be good.
pub(super) fn exit(stop: &StopSignal, exit: Exit) -> Exit {
    if exit == Exit::Ok && stop.level() != Stop::No {
        text::note("stopped: not every mailbox was asked about");
        return Exit::RolledBack;
    }
    exit
}

/// Watches for signals while there is something to stop, and tells a person what each one does.
/// Must be called on the runtime.
pub(super) fn watch(handle: StopHandle, tell: impl Fn(&str) + Send + 'static) {
    let streams = || {
        let hangup = (!ignores_hangup()).then(|| signal(SignalKind::hangup()));
        let [interrupt, terminate] = [SignalKind::interrupt(), SignalKind::terminate()];
        Ok::<_, std::io::Error>((signal(interrupt)?, signal(terminate)?, hangup.transpose()?))
    };
    let (mut interrupt, mut terminate, mut hangup) = match streams() {
        Ok(streams) => streams,
        Err(error) => {
            text::complain(&format!(
                "signals cannot be watched ({error}): a signal ends the run at once"
            ));
            return;
        }
    };
    tokio::spawn(async move {
        loop {
            let stop = tokio::select! {
                got = interrupt.recv() => if got.is_none() { return } else { handle.escalate() },
                got = terminate.recv() => if got.is_none() { return } else { handle.escalate() },
                () = received(hangup.as_mut()) => {
                    handle.stop(Stop::Finish);
                    Stop::Finish
                }
                () = handle.is_done() => return,
            };
            match stop {
                Stop::Finish => tell(
                    "stopping: the mailboxes under way are finished; SIGINT or SIGTERM now leaves \
                     them as they were",
                ),
                _ => tell("stopping now: what is not decided stays as it was"),
            }
        }
    });
}

/// Returns when it comes; never, if it is not watched.
async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process was started with SIGHUP ignored.
fn ignores_hangup() -> bool {
    // What cannot be read is as usual.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_ignored(&status, rustix::process::Signal::HUP.as_raw())
}

/// Whether `/proc/PID/status` has that signal among those ignored.
fn is_ignored(status: &str, signal: i32) -> bool {
    let masks = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigIgn:"));
    let mut masks = masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    masks.any(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_is_ignored_is_known() {
        let status = "SigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t2\n";
        for (signal, ignored) in [(1, true), (2, false), (13, true), (15, false)] {
            assert_eq!(is_ignored(status, signal), ignored, "{signal}");
        }
        assert!(!is_ignored("", 1));
    }

    #[test]
    fn what_was_stopped_is_not_known_to_be_good() {
        let (handle, stop) = stop_pair();
        assert_eq!(exit(&stop, Exit::Ok), Exit::Ok);
        handle.stop(Stop::Finish);
        assert_eq!(exit(&stop, Exit::Ok), Exit::RolledBack);
        assert_eq!(exit(&stop, Exit::Data), Exit::Data);
    }
}
