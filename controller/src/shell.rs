//! Runs a shell command of the operator's: with a bound, and nothing of it is left behind.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How it ended; `None` if it took longer than `limit`. Then all that it started is killed, not the
/// shell alone.
///
/// # Errors
/// There is no shell, or it cannot be waited for.
pub async fn run(
    command: &str,
    environment: &[(&str, &str)],
    limit: Duration,
) -> std::io::Result<Option<ExitStatus>> {
    let mut child = tokio::process::Command::new("/bin/sh")
        .args(["-c", command])
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    if let Ok(status) = tokio::time::timeout(limit, child.wait()).await {
        return status.map(Some);
    }
    if let Some(group) = group {
        // It leads its group and is not reaped yet, so the number is still its own.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    child.wait().await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_command_that_takes_too_long_has_started_is_killed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let file = file.to_str().unwrap();
        let command = "sleep 300 & echo $! >\"$FILE\"; wait";
        let limit = Duration::from_secs(1);
        let ended = run(command, &[("FILE", file)], limit).await.unwrap();
        assert_eq!(ended, None);
        let pid = std::fs::read_to_string(file).unwrap();
        let status = format!("/proc/{}/stat", pid.trim());
        // Dead, whether or not somebody has reaped it.
        let dead = || match std::fs::read_to_string(&status) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        while !dead() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ended = run("exit 3", &[], limit).await.unwrap();
        assert_eq!(ended.and_then(|s| s.code()), Some(3));
    }
}
