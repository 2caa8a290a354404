//! SIGINT and SIGTERM: the first lets the transactions under way end, the second rolls back those
//! that are not decided.

use indexfile::exit::Exit;
use tokio::signal::unix::{SignalKind, signal};

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
    let streams =
        signal(SignalKind::interrupt()).and_then(|i| Ok((i, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = match streams {
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
            tokio::select! {
                got = interrupt.recv() => if got.is_none() { return },
                got = terminate.recv() => if got.is_none() { return },
                () = handle.is_done() => return,
            }
            match handle.escalate() {
                Stop::Finish => tell(
                    "stopping: the mailboxes under way are finished; a second signal leaves them \
                     as they were",
                ),
                _ => tell("stopping now: what is not decided stays as it was"),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stopped_is_not_known_to_be_good() {
        let (handle, stop) = stop_pair();
        assert_eq!(exit(&stop, Exit::Ok), Exit::Ok);
        handle.stop(Stop::Finish);
        assert_eq!(exit(&stop, Exit::Ok), Exit::RolledBack);
        assert_eq!(exit(&stop, Exit::Data), Exit::Data);
    }
}
