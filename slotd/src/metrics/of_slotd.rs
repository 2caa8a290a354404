//! The numbers of a slotd.

use std::time::SystemTime;

use super::{Kind, Metric, Page};
use crate::host::Host;
use crate::protocol::SyncLogAge;
use crate::queries;

/// All of them; docs/monitoring.md is compared with it by a test.
pub static METRICS: [Metric; 15] = [
    Metric {
        name: "reguid_slotd_info",
        kind: Kind::Gauge,
        labels: &["version", "servername"],
        help: "1, for the release of slotd and what its store's server is called",
    },
    Metric {
        name: "reguid_slotd_draining",
        kind: Kind::Gauge,
        labels: &[],
        help: "Whether slotd is stopping and takes no new mailbox",
    },
    Metric {
        name: "reguid_slotd_log_failed",
        kind: Kind::Gauge,
        labels: &[],
        help: "Whether the intent log cannot be written, so that nothing can be committed",
    },
    Metric {
        name: "reguid_slotd_connections",
        kind: Kind::Gauge,
        labels: &[],
        help: "Connections that are served",
    },
    Metric {
        name: "reguid_slotd_connections_max",
        kind: Kind::Gauge,
        labels: &[],
        help: "Connections that can be served at once",
    },
    Metric {
        name: "reguid_slotd_connections_refused_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Connections refused because all places were taken",
    },
    Metric {
        name: "reguid_slotd_locks_held",
        kind: Kind::Gauge,
        labels: &[],
        help: "Mailboxes that are locked",
    },
    Metric {
        name: "reguid_slotd_lock_hold_longest_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "For how long the mailbox that was locked first has been; 0 if none is",
    },
    Metric {
        name: "reguid_slotd_lock_wait_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "Waits for the locks of a mailbox, in vain too",
    },
    Metric {
        name: "reguid_slotd_transactions_total",
        kind: Kind::Counter,
        labels: &["outcome"],
        help: "Transactions that ended: committed, rolled_back, or unsettled and left to recovery",
    },
    Metric {
        name: "reguid_slotd_unsettled_mailboxes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Mailboxes that recovery is to come back to",
    },
    Metric {
        name: "reguid_slotd_mount_away",
        kind: Kind::Gauge,
        labels: &["root"],
        help: "Whether mailboxes on a root of a partition are refused because it is not mounted",
    },
    Metric {
        name: "reguid_slotd_sync_log_age_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "For how long the oldest sync log has not been worked off; 0 if there is none",
    },
    Metric {
        name: "reguid_slotd_sync_log_unknown",
        kind: Kind::Gauge,
        labels: &[],
        help: "Whether sync logs cannot be looked for",
    },
    Metric {
        name: "reguid_slotd_certificate_days",
        kind: Kind::Gauge,
        labels: &[],
        help: "Whole days until the certificate that clients are shown ends; below 0 once it has",
    },
];

/// The numbers of this moment. Looks at the mounts, which takes some seconds where one hangs.
#[must_use]
pub fn page(host: &Host) -> Page {
    let mut page = Page::of(&METRICS);
    let status = queries::host_status(host);
    let info = [status.version.as_str(), status.servername.as_str()];
    page.switch("reguid_slotd_info", &info, true);
    page.switch("reguid_slotd_draining", &[], host.is_draining());
    let failed = host.log.usable_now().is_err();
    page.switch("reguid_slotd_log_failed", &[], failed);
    let activity = &host.activity;
    page.count("reguid_slotd_connections", &[], activity.connections());
    let most = host.limits().at_once().into();
    page.count("reguid_slotd_connections_max", &[], most);
    let refused = activity.refused();
    page.count("reguid_slotd_connections_refused_total", &[], refused);
    let (held, longest) = activity.holds();
    page.count("reguid_slotd_locks_held", &[], held as u64);
    let longest = longest.as_secs_f64();
    page.number("reguid_slotd_lock_hold_longest_seconds", &[], longest);
    page.histogram("reguid_slotd_lock_wait_seconds", &[], activity.waits());
    for (outcome, ended) in [
        ("committed", activity.committed()),
        ("rolled_back", activity.rolled_back()),
        ("unsettled", activity.unsettled()),
    ] {
        page.count("reguid_slotd_transactions_total", &[outcome], ended);
    }
    let unsettled = host.unsettled.len() as u64;
    page.count("reguid_slotd_unsettled_mailboxes", &[], unsettled);
    for root in host.store.roots() {
        let away = host.store.mounts().check(&root).is_err();
        page.switch("reguid_slotd_mount_away", &[&root.to_string_lossy()], away);
    }
    let age = match status.sync_log {
        Some(SyncLogAge::NoLog) => Some(0),
        Some(SyncLogAge::Seconds(seconds)) => Some(seconds),
        None => None,
    };
    if let Some(age) = age {
        page.count("reguid_slotd_sync_log_age_seconds", &[], age);
    }
    page.switch("reguid_slotd_sync_log_unknown", &[], age.is_none());
    if let Some(tls) = &host.options.tls {
        let days = tls.certificate().days_left(SystemTime::now());
        #[allow(clippy::cast_precision_loss)] // days
        page.number("reguid_slotd_certificate_days", &[], days as f64);
    }
    page
}
