//! The real programs as child processes: slotd served and killed, the others run to their end.
//!
//! Every wait has a bound; a child that a test forgets is killed when its handle drops.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use stores::Host;

/// How long any one program may take in a test before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a program left when it ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Ended {
    /// Fails the test unless the exit code is `code`.
    ///
    /// # Panics
    /// With both outputs.
    #[must_use]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit code {:?}, not {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails the test unless stderr is one line for a person that speaks of `about`.
    ///
    /// # Panics
    /// With that stderr.
    pub fn assert_one_sentence(&self, about: &str) {
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .filter(|l| !l.trim().is_empty())
            .collect();
        assert_eq!(lines.len(), 1, "one sentence, please:\n{}", self.stderr);
        assert!(
            lines[0].contains(about),
            "{:?} does not speak of {about}",
            lines[0]
        );
        for bad in ["panicked", "Os {", "Error(", "unwrap", "RUST_BACKTRACE"] {
            assert!(!lines[0].contains(bad), "{:?}", lines[0]);
        }
    }

    /// Stdout as JSON.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {}\n{}", self.stdout, self.stderr))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A child that is killed and reaped when dropped.
#[derive(Debug)]
pub struct Guard(pub Child);

impl Guard {
    /// Starts a program with stdin closed and both outputs piped.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        // What this machine's operator has configured is nothing to a test.
        for file in [
            "REGUID_CONFIG",
            "REGUID_SLOTD_CONFIG",
            "REGUID_PRECOMPUTE_CONFIG",
        ] {
            if command.get_envs().all(|(name, _)| name != file) {
                command.env(file, "none");
            }
        }
        // Where root runs the tests it owns what they make, but for what a genuine Cyrus works on.
        for stay in ["REGUID_SLOTD_ALLOW_ROOT", "REGUID_PRECOMPUTE_ALLOW_ROOT"] {
            if command.get_envs().all(|(name, _)| name != stay) {
                command.env(stay, "yes");
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(
            command
                .spawn()
                .unwrap_or_else(|e| panic!("{command:?}: {e}")),
        )
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If that fails for another reason than that the process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        match kill(pid, signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(e) => panic!("kill {pid}: {e}"),
        }
    }

    /// Waits for the end, at most [`PATIENCE`]; reads both outputs meanwhile.
    ///
    /// # Panics
    /// If it does not end: the outputs so far are in the message.
    #[must_use]
    pub fn finish(self) -> Ended {
        self.finish_within(PATIENCE)
    }

    /// As [`Guard::finish`], with a patience of its own.
    ///
    /// # Panics
    /// As [`Guard::finish`].
    #[must_use]
    pub fn finish_within(mut self, patience: Duration) -> Ended {
        let out = drain(self.0.stdout.take());
        let err = drain(self.0.stderr.take());
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > deadline {
                break None;
            }
            thread::sleep(Duration::from_millis(2));
        };
        if status.is_none() {
            self.signal(Signal::SIGKILL);
        }
        let text = |rx: mpsc::Receiver<Vec<u8>>| {
            let bytes = rx.recv_timeout(Duration::from_secs(10)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (stdout, stderr) = (text(out), text(err));
        let Some(status) = status else {
            panic!("stuck for {patience:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        };
        Ended {
            code: status.code(),
            stdout,
            stderr,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = tx.send(bytes);
    });
    rx
}

/// Runs a program to its end.
///
/// # Panics
/// If it cannot be started or is stuck.
#[must_use]
pub fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Ended {
    Guard::spawn(Command::new(program).args(args)).finish()
}

/// A slotd that serves one host.
#[derive(Debug)]
pub struct Slotd {
    guard: Guard,
    /// Where it listens, as `--master` and `--replica` take it.
    pub addr: String,
    stderr: mpsc::Receiver<Vec<u8>>,
}

impl Slotd {
    /// Starts slotd for `host` on a Unix socket in its root and waits until it says that it serves.
    ///
    /// # Panics
    /// If it ends or says nothing instead.
    #[must_use]
    pub fn start(program: &str, host: &Host, extra: &[&str]) -> Self {
        Self::start_under(&[], program, host, extra)
    }

    /// The same under a wrapper such as strace.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_under(wrapper: &[String], program: &str, host: &Host, extra: &[&str]) -> Self {
        Self::try_start(wrapper, program, host, extra).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The same, with the outputs as the error when it does not come up.
    ///
    /// # Errors
    /// The line it printed instead, and its stderr.
    ///
    /// # Panics
    /// If the program cannot be started at all.
    pub fn try_start(
        wrapper: &[String],
        program: &str,
        host: &Host,
        extra: &[&str],
    ) -> Result<Self, String> {
        let listen = format!("unix:{}", socket_path(host).display());
        Self::try_start_on(&listen, wrapper, program, host, extra)
    }

    /// The same, where it is to listen somewhere else.
    ///
    /// # Errors
    /// As [`Self::try_start`].
    ///
    /// # Panics
    /// As [`Self::try_start`].
    pub fn try_start_at(
        listen: &str,
        program: &str,
        host: &Host,
        extra: &[&str],
    ) -> Result<Self, String> {
        Self::try_start_on(listen, &[], program, host, extra)
    }

    fn try_start_on(
        listen: &str,
        wrapper: &[String],
        program: &str,
        host: &Host,
        extra: &[&str],
    ) -> Result<Self, String> {
        let mut words: Vec<&OsStr> = wrapper.iter().map(OsStr::new).collect();
        words.push(OsStr::new(program));
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg("serve")
            .arg("--imapd-conf")
            .arg(&host.conf);
        command.arg("--state").arg(host.state_dir().unwrap());
        command.args(["--listen", listen]).args(extra);
        let mut guard = Guard::spawn(&mut command);
        let stderr = drain(guard.0.stderr.take());
        let (tx, rx) = mpsc::channel();
        let stdout = guard.0.stdout.take();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout.unwrap());
            let mut line = String::new();
            let _ = lines.read_line(&mut line);
            let _ = tx.send(line);
            let _ = std::io::copy(&mut lines, &mut std::io::sink());
        });
        let line = rx.recv_timeout(Duration::from_secs(30)).unwrap_or_default();
        if let Some(addr) = line.trim().strip_prefix("slotd: listening on ") {
            return Ok(Self {
                guard,
                addr: addr.to_owned(),
                stderr,
            });
        }
        drop(guard);
        let said = stderr
            .recv_timeout(Duration::from_secs(5))
            .unwrap_or_default();
        Err(format!(
            "slotd did not start: {line}{}",
            String::from_utf8_lossy(&said)
        ))
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// If it cannot be reaped.
    pub fn kill(mut self) {
        self.guard.signal(Signal::SIGKILL);
        let _ = self.guard.0.wait().unwrap();
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If it cannot be asked.
    #[must_use]
    pub fn alive(&mut self) -> bool {
        self.guard.0.try_wait().unwrap().is_none()
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// If it does not end.
    #[must_use]
    pub fn stop(self) -> Ended {
        self.guard.signal(Signal::SIGTERM);
        let Self { guard, stderr, .. } = self;
        let mut ended = guard.finish();
        let said = stderr
            .recv_timeout(Duration::from_secs(5))
            .unwrap_or_default();
        ended.stderr = String::from_utf8_lossy(&said).into_owned();
        ended
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.guard.signal(signal);
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.guard.0.id()
    }
}

/// Where [`Slotd::start`] listens.
#[must_use]
pub fn socket_path(host: &Host) -> PathBuf {
    // A socket path may have 108 bytes; a store may lie deeper than that.
    let name = format!(
        "reguid-{}.sock",
        stores::judge::image::hex(&short_id(&host.root))
    );
    std::env::temp_dir().join(name)
}

fn short_id(path: &Path) -> Vec<u8> {
    stores::judge::image::sha1_of(path.as_os_str().as_encoded_bytes())[..8].to_vec()
}
