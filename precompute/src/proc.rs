//! Figures that the kernel gives as text under `/proc`. Pure parsing; nothing is read or written
//! here.

/// The KiB behind `key` (with its colon) in a text such as `/proc/meminfo` or `/proc/PID/status`; 0
/// if it is not there.
#[must_use]
pub(crate) fn kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}
