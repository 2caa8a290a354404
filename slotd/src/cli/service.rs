//! What systemd learns of a slotd that is its service: ready, stopping, alive, and a line for
//! `systemctl status`. Without systemd nothing is said to anybody.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::{NotifyState, watchdog_enabled};

use crate::host::Host;

/// Between two looks at what `systemctl status` should say, without a watchdog.
const PERIOD: Duration = Duration::from_secs(10);
/// What is left, beyond `max_lock`, for the end of a transaction: the server's own grace and some.
const GRACE: Duration = Duration::from_secs(5);

/// It serves from now on.
pub(super) fn ready(addr: &str, host: &Host) {
    say(&[NotifyState::Ready, NotifyState::Status(&status(addr, host))]);
}

/// It takes no new mailbox, and ends when what is open has come to its end.
pub(super) fn stopping(host: &Host) {
    let limit = host.options.max_lock.saturating_add(GRACE);
    let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    say(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(limit),
        NotifyState::Status("stopping: open transactions come to their end"),
    ]);
}

/// Says again and again that the reactor turns, twice in the time that systemd waits for it. A
/// slotd whose reactor stands still can end no transaction that its controller has left: it is
/// better killed, which loses nothing.
pub(super) async fn keep_alive(addr: String, host: Arc<Host>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let period = watchdog_enabled().map_or(PERIOD, |limit| limit / 2);
    let mut said = status(&addr, &host);
    loop {
        tokio::time::sleep(period).await;
        if host.is_draining() {
            say(&[NotifyState::Watchdog]);
            continue;
        }
        let now = status(&addr, &host);
        if now == said {
            say(&[NotifyState::Watchdog]);
        } else {
            say(&[NotifyState::Watchdog, NotifyState::Status(&now)]);
            said = now;
        }
    }
}

fn status(addr: &str, host: &Host) -> String {
    let serves = format!("serves {} mail roots on {addr}", host.store.roots().len());
    match host.unsettled.len() {
        0 => serves,
        n => format!("{serves}; {n} mailboxes to be settled after a crash"),
    }
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd cannot be notified: {error}");
    }
}
