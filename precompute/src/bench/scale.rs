//! How time and memory grow with the number of messages and mailboxes.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::store::Store;

/// One size.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Mailboxes.
    pub mailboxes: u32,
    /// Messages in each.
    pub messages: u32,
}

/// What a size cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The size.
    pub size: Size,
    /// Time of the first run, with the page cache warm.
    pub first: Duration,
    /// Time of a run that finds all in the caches.
    pub again: Duration,
    /// Peak memory in KiB: all that was mapped in at a time (`VmHWM`), and of that what is not file
    /// pages (`RssAnon`, sampled).
    pub peak: u64,
    /// See `peak`.
    pub anonymous: u64,
}

/// Makes a store of each size and measures both runs; messages have `bytes` bytes.
///
/// # Errors
/// If a store cannot be made or a run fails.
pub fn run(
    program: &Path,
    dir: &Path,
    sizes: &[Size],
    bytes: usize,
    say: &dyn Fn(&str),
) -> io::Result<Vec<Cost>> {
    let mut costs = Vec::new();
    // They stay until the end: making files is slow on ext4 for a minute after many were removed.
    let mut stores = Vec::new();
    for size in sizes {
        say(&format!(
            "{} mailboxes of {} messages",
            size.mailboxes, size.messages
        ));
        let store = Store::uniform(dir, size.mailboxes, size.messages, bytes)?;
        let (first, peak, anonymous) = watched(program, &store.root)?;
        let (again, peak_again, anonymous_again) = watched(program, &store.root)?;
        costs.push(Cost {
            size: *size,
            first,
            again,
            peak: peak.max(peak_again),
            anonymous: anonymous.max(anonymous_again),
        });
        stores.push(store);
    }
    Ok(costs)
}

fn watched(program: &Path, root: &Path) -> io::Result<(Duration, u64, u64)> {
    let start = Instant::now();
    let mut command = Command::new(program);
    command
        .args(["run", "--quiet", "--spool"])
        .arg(root)
        .stdout(Stdio::null());
    let mut child = command.spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let (mut peak, mut anonymous) = (0, 0);
    loop {
        if let Some(exit) = child.try_wait()? {
            if !exit.success() {
                return Err(io::Error::other("precompute run failed"));
            }
            return Ok((start.elapsed(), peak, anonymous));
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        peak = number(&text, "VmHWM:").max(peak);
        anonymous = number(&text, "RssAnon:").max(anonymous);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The number behind `key` (with its colon) in a text such as `/proc/meminfo` or
/// `/proc/PID/status`; 0 if it is not there.
#[must_use]
pub fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}
