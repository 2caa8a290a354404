//! `STATUS` without a mailbox: what this host is doing.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::preflight::servername;
use crate::host::Host;
use crate::protocol::{HostStatus, SyncLogAge};
use crate::sync_log;

/// Where the kernel says what the host is doing.
const LOAD: &str = "/proc/loadavg";
const IO: &str = "/proc/pressure/io";

/// A number, or nothing, or why it cannot be looked at.
type Looked<T> = Result<Option<T>, String>;

/// `STATUS` without a mailbox.
#[must_use]
pub fn host_status(host: &Host) -> HostStatus {
    let apart = |looked: Looked<f64>| match looked {
        Ok(number) => (number, None),
        Err(why) => (None, Some(why)),
    };
    let (load, load_error) = apart(number(Path::new(LOAD), ""));
    let (io, io_error) = apart(number(Path::new(IO), "some avg10="));
    let waits = host.activity.recent_waits();
    let waited = |time: Duration| (waits.count > 0).then_some(time.as_secs_f64() * 1000.0);
    let mut status = HostStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        servername: servername(host.store.conf()),
        load,
        load_error,
        io,
        io_error,
        lock_waits: waits.count,
        lock_wait_p99_ms: waited(waits.p99),
        lock_wait_max_ms: waited(waits.max),
        ..HostStatus::default()
    };
    match oldest_sync_log(host) {
        Ok(None) => status.sync_log = Some(SyncLogAge::NoLog),
        Ok(Some(log)) => {
            let age = SystemTime::now().duration_since(log.since);
            let seconds = age.unwrap_or_default().as_secs();
            status.sync_log = Some(SyncLogAge::Seconds(seconds));
            status.sync_log_file = Some(log.path.to_string_lossy().into_owned());
        }
        Err(why) => status.sync_log_error = Some(why),
    }
    status
}

fn oldest_sync_log(host: &Host) -> Looked<sync_log::SyncLog> {
    let directory = host.store.conf().config_directory();
    let directory = directory.ok_or("imapd.conf has no configdirectory")?;
    sync_log::oldest(directory).map_err(|error| error.to_string())
}

/// The first number of a file of the kernel, after a prefix; `None` if this kernel has no such
/// file.
fn number(path: &Path, prefix: &str) -> Looked<f64> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let first = text.strip_prefix(prefix).unwrap_or_default();
    let first = first.split_whitespace().next().unwrap_or_default();
    match first.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(number)),
        _ => Err(format!("{} is not understood", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_does_not_count_is_absent_and_never_zero() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("io");
        assert_eq!(number(&path, "some avg10="), Ok(None));
        std::fs::write(&path, "some avg10=4.25 avg60=0.00 avg300=0.00 total=1\n").unwrap();
        assert_eq!(number(&path, "some avg10="), Ok(Some(4.25)));
        std::fs::write(&path, "0.50 0.60 0.70 1/200 4711\n").unwrap();
        assert_eq!(number(&path, ""), Ok(Some(0.5)));
        for odd in ["", "full avg10=1.00", "some avg10=x", "some avg10=nan"] {
            std::fs::write(&path, odd).unwrap();
            let why = number(&path, "some avg10=").unwrap_err();
            assert!(why.contains("not understood"), "{odd}: {why}");
        }
        // Whatever it is that cannot be read, it is there.
        let why = number(dir.path(), "").unwrap_err();
        assert!(why.contains(&dir.path().display().to_string()), "{why}");
    }
}
