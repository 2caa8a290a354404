//! A client as a child process: started, waited for, stopped.
//!
//! Promises: no child outlives the value that stands for it, nor the process. A terminal's Ctrl-C
//! does not reach it. Every wait has an end.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use indexfile::IoContext;

use super::client::SUBCOMMAND;
use super::error::LiveError;
use crate::demo::signals::Signals;

/// How often signals are looked at while something is waited for.
pub(super) const GLANCE: Duration = Duration::from_millis(20);

/// A running client, or what replicates.
pub(super) struct Child {
    name: String,
    process: std::process::Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Child {
    /// Starts one; `dir` gets its log. Must be called from the main thread: the system ends the
    /// child with the thread that made it.
    pub fn start(name: String, dir: &Path, args: &[String]) -> Result<Self, LiveError> {
        let program = std::env::current_exe().io_context("find", Path::new("/proc/self/exe"))?;
        let log = dir.join(format!("{}.log", name.replace(' ', "-")));
        let stderr = File::create(&log).io_context("create", &log)?;
        let mut process = Command::new(&program)
            .arg(SUBCOMMAND)
            .arg(std::process::id().to_string())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .io_context("run", &program)?;
        let input = process.stdin.take();
        let lines = reader(process.stdout.take());
        Ok(Self {
            name,
            process,
            input,
            lines,
            log,
        })
    }

    /// Its next line.
    pub fn line(&self, signals: &Signals, within: Duration) -> Result<String, LiveError> {
        let end = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(GLANCE) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Disconnected) => return Err(self.failed("ended too early")),
                Err(RecvTimeoutError::Timeout) if Instant::now() > end => {
                    return Err(self.failed(&format!("said nothing for {} s", within.as_secs())));
                }
                Err(RecvTimeoutError::Timeout) => signals.check()?,
            }
        }
    }

    /// Lets it begin.
    pub fn go(&mut self) -> Result<(), LiveError> {
        let sent = self.input.as_mut().map(|input| input.write_all(b"go\n"));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failed("ended before it began")),
        }
    }

    /// Waits until it has ended by itself.
    pub fn finish(mut self, signals: &Signals, within: Duration) -> Result<(), LiveError> {
        let end = Instant::now() + within;
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.failed(&format!("failed ({status})"))),
                Err(error) => return Err(self.failed(&format!("cannot be waited for ({error})"))),
                Ok(None) if Instant::now() > end => {
                    return Err(self.failed(&format!("did not end in {} s", within.as_secs())));
                }
                Ok(None) => signals.check()?,
            }
            std::thread::sleep(GLANCE);
        }
    }

    fn failed(&self, how: &str) -> LiveError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        LiveError::Client {
            name: self.name.clone(),
            how: how.to_owned(),
            said: log.lines().last().unwrap_or("nothing").to_owned(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn reader(stdout: Option<ChildStdout>) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = stdout {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    lines
}
