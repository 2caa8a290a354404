//! What replication has still to send from this host, and how often it looks.

use std::path::Path;

use indexfile::mailbox::ImapdConf;

use crate::protocol::{Code, HostDrain};
use crate::refusal::Refusal;
use crate::sync_log::{SyncLogError, oldest};

/// `sync_repeat_interval` without a setting, seconds.
const DEFAULT_REPEAT: u64 = 1;

/// Fills in what is said of replication.
pub(super) fn look(dir: &Path, conf: &ImapdConf, into: &mut HostDrain) -> Result<(), Refusal> {
    let on = conf.setting("sync_log").map(str::to_ascii_lowercase);
    let on = on.is_some_and(|on| ["1", "y", "yes", "t", "true", "on"].contains(&on.as_str()));
    into.sync_log = on;
    into.sync_repeat_ms = repeat_ms(conf.setting("sync_repeat_interval"));
    into.sync_shutdown = conf.setting("sync_shutdown_file").map(str::to_owned);
    let left = oldest(dir).map_err(|error| match error {
        SyncLogError::Io(io) => io.into(),
        error => Refusal::new(Code::Io, error.to_string()),
    })?;
    into.sync_left = left.map(|log| log.path.to_string_lossy().into_owned());
    Ok(())
}

/// Milliseconds: a number of seconds in 2.3; later also `90s`, `3m`, `1h`.
fn repeat_ms(setting: Option<&str>) -> u64 {
    let text = setting.unwrap_or_default().trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim().chars().next() {
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => 1,
    };
    let seconds = digits.parse::<u64>().unwrap_or(DEFAULT_REPEAT);
    seconds.saturating_mul(unit).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_read_as_any_cyrus_writes_it() {
        let texts = [
            None,
            Some("3"),
            Some("90s"),
            Some("2m"),
            Some("x"),
            Some(""),
        ];
        let is = [1000, 3000, 90_000, 120_000, 1000, 1000];
        assert_eq!(texts.map(repeat_ms), is);
    }
}
