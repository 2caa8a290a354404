//! SIGINT and SIGTERM: the first lets the transactions under way end, the second rolls back those
//! that are not decided.

use tokio::signal::unix::{SignalKind, signal};

use super::text;
use crate::run::{Stop, StopHandle};

/// Watches for signals until the process ends, and tells a person what each one does. Must be
/// called on the runtime.
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
            }
            match handle.escalate() {
                Stop::Finish => tell(
                    "stopping: the mailboxes under way are finished; a second signal rolls them back",
                ),
                _ => tell("stopping now: what is not decided is rolled back"),
            }
        }
    });
}
