//! A slotd as a child process: started, waited for, stopped.
//!
//! Promises: no child outlives the value that stands for it, nor the process: the kernel
//! signals it when its parent dies, even if that is killed. A terminal's Ctrl-C does not reach it,
//! so that a run can finish what it has begun.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use indexfile::IoContext;
use rustix::process::{Pid, Signal, kill_process};

use super::DemoError;
use super::hosts::Host;

/// Name of the hidden subcommand under which this program is a slotd.
pub const SUBCOMMAND: &str = "demo-slotd";
/// How long a slotd may take until it serves.
const START: Duration = Duration::from_secs(20);
/// How long a slotd may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(5);

/// A running slotd.
#[derive(Debug)]
pub struct Slotd {
    name: &'static str,
    child: Child,
    address: String,
    log: PathBuf,
}

impl Slotd {
    /// Starts a slotd for a host on a Unix socket and waits until it serves.
    ///
    /// `sha1s_from` is a slotd that it may ask for cyrus.sha1s files that it lacks.
    ///
    /// Must be called from a thread that lives as long as the process: the system ends the child
    /// with the thread that made it.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not serve in time.
    pub fn start(host: &Host, socket: &Path, sha1s_from: Option<&Self>) -> Result<Self, DemoError> {
        Self::start_under(&[], host, socket, sha1s_from)
    }

    /// As [`Self::start`], but run by the command given, which must put slotd in its own place.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_under(
        wrapper: &[OsString],
        host: &Host,
        socket: &Path,
        sha1s_from: Option<&Self>,
    ) -> Result<Self, DemoError> {
        let program = std::env::current_exe().io_context("find", Path::new("/proc/self/exe"))?;
        let log = host.store.root.join("slotd.log");
        let stderr = File::create(&log).io_context("create", &log)?;
        let mut listen = OsString::from("unix:");
        listen.push(socket);
        let mut words = wrapper.to_vec();
        words.push(program.clone().into_os_string());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg(SUBCOMMAND)
            .arg(std::process::id().to_string())
            .arg("serve")
            .arg("--imapd-conf")
            .arg(&host.store.conf)
            .arg("--state")
            .arg(host.state())
            .arg("--listen")
            .arg(listen);
        if let Some(peer) = sha1s_from {
            command.arg("--sha1s-from").arg(peer.address());
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .io_context("run", &program)?;
        let mut slotd = Self {
            name: host.name,
            child,
            address: String::new(),
            log,
        };
        let stdout = slotd.child.stdout.take();
        slotd.address = stdout.and_then(listening).ok_or_else(|| slotd.silent())?;
        Ok(slotd)
    }

    /// Where it serves, as `--master` and `--replica` take it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Why it did not say that it serves.
    fn silent(&mut self) -> DemoError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let said = log.lines().last().unwrap_or("nothing on stderr").to_owned();
        let ended = self.child.try_wait().ok().flatten();
        let how = match ended.map(|s| (s.code(), s.signal())) {
            None => "does not serve".to_owned(),
            Some((Some(code), _)) => format!("ended with code {code}"),
            Some((None, signal)) => format!("was killed by signal {}", signal.unwrap_or(0)),
        };
        DemoError::Slotd {
            host: self.name,
            how,
            said,
        }
    }

    /// Kills it (SIGKILL), and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it: SIGTERM, and SIGKILL if it takes too long.
    pub fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), pid) {
            // Not reaped yet, so the number is still this child's.
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + STOP;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > end {
                self.kill();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Slotd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for the line that says where it listens; goes on reading, so that it can go on writing.
fn listening(stdout: ChildStdout) -> Option<String> {
    let (found, answer) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            if let Some(address) = line.strip_prefix("slotd: listening on ") {
                // Nobody waits any more after a timeout.
                let _ = found.send(address.to_owned());
            }
        }
    });
    answer.recv_timeout(START).ok()
}

/// Has this process end with its parent; false if that has ended already.
#[must_use]
pub(crate) fn ends_with(parent: u32) -> bool {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    // The parent may have ended before the line above.
    std::os::unix::process::parent_id() == parent
}

/// What the hidden subcommand does: `demo-slotd PARENT-PID ARGS...` is `slotd ARGS...` that ends
/// with its parent.
#[must_use]
pub fn be_slotd(parent: u32, mut args: Vec<OsString>) -> ExitCode {
    if !ends_with(parent) {
        return ExitCode::SUCCESS;
    }
    args.insert(0, OsString::from("slotd"));
    slotd::cli::run(args)
}
