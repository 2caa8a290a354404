//! `controller upgrade` as a child process, which a bench may kill in the middle.
//!
//! Promises: it does not outlive the value that stands for it. If the bench itself is killed, the
//! slotds end with it, and the controller once it has waited [`HOST_WAIT`] for them. A terminal's
//! Ctrl-C does not reach it. Every wait has an end. Whatever the environment and configuration
//! files say, it works by the defaults.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use indexfile::IoContext as _;
use parking_lot::Mutex;
use serde::Deserialize;

use super::BenchError;
use crate::demo::Slotd;
use crate::demo::signals::Signals;
use crate::journal::Ended;

/// How often signals are looked at while something is waited for.
const GLANCE: Duration = Duration::from_millis(20);
/// How long nothing may happen: no mailbox done, and no end.
const SILENCE: Duration = Duration::from_secs(120);
/// Seconds that it waits for a slotd that is away.
const HOST_WAIT: &str = "60";

/// A running upgrade.
pub(super) struct Upgrading {
    child: Child,
    /// When each mailbox was done; closed when the process has ended.
    done: Receiver<Instant>,
    said: Arc<Mutex<String>>,
}

/// What is read of a line that a controller says with `--progress json`.
#[derive(Deserialize)]
struct Line {
    event: String,
    #[serde(default)]
    ended: String,
    #[serde(default)]
    text: String,
}

/// What is read of its summary.
#[derive(Deserialize)]
struct Summary {
    mailboxes: u64,
    upgraded: u64,
}

impl Upgrading {
    /// Begins a run over the mailboxes of this list, or goes on with it.
    pub fn start(slotds: &[Slotd; 2], list: &Path, state: &Path) -> Result<Self, BenchError> {
        let program = std::env::current_exe().io_context("find", Path::new("/proc/self/exe"))?;
        let mut command = Command::new(&program);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"REGUID_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["upgrade", "--config", "none", "--host-wait", HOST_WAIT])
            .args(["--verbose", "--progress", "json", "--json"])
            .args(["--master", slotds[0].address()])
            .args(["--replica", slotds[1].address()])
            .arg("--mailboxes")
            .arg(list)
            .arg("--state")
            .arg(state)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .io_context("run", &program)?;
        let said = Arc::new(Mutex::new("nothing".to_owned()));
        let done = reader(child.stderr.take(), Arc::clone(&said));
        Ok(Self { child, done, said })
    }

    /// Waits until that many more mailboxes are done.
    pub fn wait_for(&self, mailboxes: usize, signals: &Signals) -> Result<(), BenchError> {
        for _ in 0..mailboxes {
            if self.event(signals)?.is_none() {
                return Err(self.failed("ended too early"));
            }
        }
        Ok(())
    }

    /// Waits until a mailbox is done after that moment; when that was. `None`: none was left.
    pub fn next(&self, signals: &Signals, after: Instant) -> Result<Option<Instant>, BenchError> {
        loop {
            match self.event(signals)? {
                Some(at) if at <= after => {}
                next => return Ok(next),
            }
        }
    }

    /// Waits until all are done and it has ended; when that was.
    pub fn finish(mut self, signals: &Signals) -> Result<Instant, BenchError> {
        while self.event(signals)?.is_some() {}
        let ended = Instant::now();
        let mut text = String::new();
        if let Some(stdout) = self.child.stdout.as_mut() {
            stdout
                .read_to_string(&mut text)
                .io_context("read from", Path::new("controller upgrade"))?;
        }
        let status = self
            .child
            .wait()
            .io_context("wait for", Path::new("controller upgrade"))?;
        match serde_json::from_str::<Summary>(&text) {
            Ok(all) if status.success() && all.upgraded == all.mailboxes => Ok(ended),
            Ok(all) => Err(self.failed(&format!(
                "upgraded {} of {} ({status})",
                all.upgraded, all.mailboxes
            ))),
            Err(_) => Err(self.failed(&format!("failed ({status})"))),
        }
    }

    /// Kills it (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// When the next mailbox was done; `None` once the process has ended.
    fn event(&self, signals: &Signals) -> Result<Option<Instant>, BenchError> {
        let end = Instant::now() + SILENCE;
        loop {
            match self.done.recv_timeout(GLANCE) {
                Ok(at) => return Ok(Some(at)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if Instant::now() > end => {
                    return Err(self.failed(&format!("did nothing for {} s", SILENCE.as_secs())));
                }
                Err(RecvTimeoutError::Timeout) => signals.check()?,
            }
        }
    }

    fn failed(&self, how: &str) -> BenchError {
        BenchError::Upgrade {
            how: how.to_owned(),
            said: self.said.lock().clone(),
        }
    }
}

impl Drop for Upgrading {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends the moment at which each mailbox was done, and keeps what was said last for people.
fn reader(stderr: Option<ChildStderr>, said: Arc<Mutex<String>>) -> Receiver<Instant> {
    let (sender, done) = mpsc::channel();
    if let Some(stderr) = stderr {
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { break };
                match serde_json::from_str::<Line>(&line) {
                    Ok(event) if event.event == "mailbox" => {
                        let ended = event.ended == Ended::Upgraded.as_str();
                        if ended && sender.send(Instant::now()).is_err() {
                            break;
                        }
                    }
                    Ok(event) if event.text.is_empty() => {}
                    Ok(event) => *said.lock() = event.text,
                    // Not an event: it fell over before it could say one.
                    Err(_) => *said.lock() = line,
                }
            }
        });
    }
    done
}
