//! Runs a program of the operator's: without a shell, with a bound, and nothing of it is left
//! behind.
//!
//! What it is to know of a mailbox is in its environment. So a mailbox's name, which its owner
//! chooses, is never parsed as a command.

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{AccessFlags, Pid, access};
use tokio::io::AsyncWriteExt;

/// A program and its arguments, as one line: words as a shell would split them, and nothing else of
/// a shell. Who wants one asks for it: `sh -c '...'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    line: String,
    words: Vec<String>,
}

impl FromStr for Executable {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words = shlex::split(line).ok_or("has a quote that is not closed")?;
        if words.first().is_none_or(String::is_empty) {
            return Err("names no program".to_owned());
        }
        let line = line.to_owned();
        Ok(Self { line, words })
    }
}

impl Display for Executable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.line)
    }
}

impl Executable {
    /// The same of a line whose program must be there now: an absolute path, or one in `PATH`.
    ///
    /// # Errors
    /// The line is no command, or no file of that name can be executed.
    pub fn installed(line: &str) -> Result<Self, String> {
        let program: Self = line.parse()?;
        let name = program.words[0].as_str();
        let is_there = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
        let found = if name.contains('/') {
            is_there(Path::new(name))
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut dirs = path.as_bytes().split(|byte| *byte == b':');
            dirs.any(|dir| is_there(&Path::new(OsStr::from_bytes(dir)).join(name)))
        };
        if found {
            Ok(program)
        } else {
            Err(format!(
                "no program {name} can be executed (a shell is used only when it is asked for: \
                 sh -c '...')"
            ))
        }
    }

    /// The file at that path, without arguments. Its name is UTF-8.
    ///
    /// # Errors
    /// It cannot be executed.
    pub fn at(path: &Path) -> Result<Self, String> {
        let word = path.to_str().ok_or("its name is not UTF-8")?;
        if !path.is_file() {
            return Err("it is no file".to_owned());
        }
        access(path, AccessFlags::X_OK).map_err(|_| "it cannot be executed")?;
        Ok(Self {
            line: word.to_owned(),
            words: vec![word.to_owned()],
        })
    }

    /// How it ended; `None` if it took longer than `limit`. Then all that it started is killed, not
    /// the program alone.
    ///
    /// # Errors
    /// It cannot be started, or not be waited for.
    pub async fn run(
        &self,
        environment: &[(&str, &str)],
        limit: Duration,
    ) -> std::io::Result<Option<ExitStatus>> {
        self.run_with(environment, None, limit).await
    }

    /// The same, with this on its standard input; it need not read it.
    ///
    /// # Errors
    /// As [`Executable::run`].
    pub async fn run_with(
        &self,
        environment: &[(&str, &str)],
        input: Option<&[u8]>,
        limit: Duration,
    ) -> std::io::Result<Option<ExitStatus>> {
        let mut child = tokio::process::Command::new(&self.words[0])
            .args(&self.words[1..])
            .envs(environment.iter().copied())
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        let pipe = child.stdin.take();
        let feed = async {
            if let (Some(mut pipe), Some(input)) = (pipe, input) {
                // It may end, or close it, before it has read all.
                let _ = pipe.write_all(input).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            status = child.wait() => return status.map(Some),
            () = feed => {}
            () = tokio::time::sleep(limit) => {}
        }
        if let Some(group) = group {
            // It leads its group and is not reaped yet, so the number is still its own.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        child.wait().await?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn code(line: &str, environment: &[(&str, &str)]) -> Option<i32> {
        let program: Executable = line.parse().unwrap();
        program
            .run(environment, LIMIT)
            .await
            .unwrap()
            .unwrap()
            .code()
    }

    #[tokio::test]
    async fn what_a_program_that_takes_too_long_has_started_is_killed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let file = file.to_str().unwrap();
        let program: Executable = "sh -c 'sleep 300 & echo $! >\"$FILE\"; wait'"
            .parse()
            .unwrap();
        let limit = Duration::from_secs(1);
        let ended = program.run(&[("FILE", file)], limit).await.unwrap();
        assert_eq!(ended, None);
        let pid = std::fs::read_to_string(file).unwrap();
        let status = format!("/proc/{}/stat", pid.trim());
        // Dead, whether or not it was reaped.
        let dead = || match std::fs::read_to_string(&status) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        while !dead() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(code("sh -c 'exit 3'", &[]).await, Some(3));
    }

    #[tokio::test]
    async fn what_is_given_on_standard_input_is_read_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("seen");
        let file = file.to_str().unwrap();
        let large = vec![b'x'; 1 << 20];
        for (line, ended, seen) in [
            ("sh -c 'cat >\"$FILE\"'", Some(0), large.len()),
            ("sh -c 'exec <&-; :>\"$FILE\"; exit 4'", Some(4), 0),
            ("sh -c ':>\"$FILE\"; sleep 300'", None, 0),
        ] {
            let program: Executable = line.parse().unwrap();
            let limit = Duration::from_secs(if ended.is_some() { 60 } else { 1 });
            let environment = [("FILE", file)];
            let run = program.run_with(&environment, Some(&large), limit);
            let status = run.await.unwrap();
            assert_eq!(status.and_then(|status| status.code()), ended, "{line}");
            assert_eq!(std::fs::read(file).unwrap().len(), seen, "{line}");
        }
    }

    #[tokio::test]
    async fn nothing_in_a_line_or_in_the_environment_is_run_by_a_shell() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made");
        let evil = format!("user.x$(touch {0});touch {0}", made.display());
        let line = format!("test 'a  b' != a;touch${{IFS}}{}", made.display());
        // All behind `!=` is one argument of `test`.
        assert_eq!(code(&line, &[("REGUID_MAILBOX", &evil)]).await, Some(0));
        let seen = "sh -c 'test \"$REGUID_MAILBOX\" = \"$SAME\"'";
        let environment = [("REGUID_MAILBOX", evil.as_str()), ("SAME", evil.as_str())];
        assert_eq!(code(seen, &environment).await, Some(0));
        assert!(!made.exists());
    }

    #[test]
    fn a_program_that_is_not_there_is_known_before_it_is_needed() {
        for line in [
            "",
            "  ",
            "''",
            "sh 'x",
            "/nonexistent/x",
            "no-such-program-here",
            "/etc/passwd",
        ] {
            assert!(Executable::installed(line).is_err(), "{line}");
        }
        for line in ["true", "/bin/sh -c 'exit 3'", "sh"] {
            assert!(Executable::installed(line).is_ok(), "{line}");
        }
    }
}
