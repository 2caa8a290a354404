//! SIGINT and SIGTERM stop a run at the next message, SIGUSR1 pauses and continues it.
//!
//! The signals are blocked in all threads and waited for in one, so no handler ever runs.

use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};

use super::output::complain;
use crate::governor::Governor;
use indexfile::exit::Exit;

/// Starts to listen. To be called before any other thread is started.
pub fn listen(governor: &Arc<Governor>) {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1] {
        signals.add(signal);
    }
    if signals.thread_block().is_err() {
        return; // the signals then do what they do by default
    }
    let governor = Arc::clone(governor);
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            if signal == Signal::SIGUSR1 {
                let now = if governor.toggle_pause() {
                    "paused; SIGUSR1 again to go on"
                } else {
                    "going on"
                };
                complain(&now);
            } else if governor.stopped() {
                // The second time: at once. Whatever is half written has a temporary name.
                std::process::exit(i32::from(Exit::RolledBack.code()));
            } else {
                complain(&"stopping; what is done so far is kept");
                governor.stop();
            }
        }
    });
}
