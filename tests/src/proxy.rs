//! A proxy before slotd that cuts the conversation at a chosen line.
//!
//! Every line through any proxy of a [`Cut`] counts, commands and replies alike, so "the k-th line
//! of the run" names one moment between the three processes. What happens there is a [`Harm`].

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What happens at the chosen line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing: count only.
    None,
    /// The process is killed before the line goes on.
    KillBefore,
    /// The process is killed right after the line went on.
    KillAfter,
    /// The line is lost and the connection breaks.
    LoseAndBreak,
    /// The line goes on, then the connection breaks.
    PassAndBreak,
    /// The line is lost and nobody notices.
    Lose,
}

/// One planned cut, shared by the proxies of both hosts.
#[derive(Clone, Debug)]
pub struct Cut {
    harm: Harm,
    at: usize,
    count: Arc<AtomicUsize>,
    victim: Arc<Mutex<Option<u32>>>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Cut {
    /// `harm` at line `at`, from 1.
    #[must_use]
    pub fn new(harm: Harm, at: usize) -> Self {
        Self {
            harm,
            at,
            count: Arc::default(),
            victim: Arc::default(),
            lines: Arc::default(),
        }
    }

    /// Names the process that dies where the harm is a kill.
    pub fn aim(&self, pid: u32) {
        *self.victim.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
    }

    /// The lines that went through, in order, each with its direction.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn kill_victim(&self) {
        let victim = *self.victim.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = victim.and_then(|p| i32::try_from(p).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Passes one line on, or does the harm. False if the connection shall break.
    fn pass(&self, label: &str, line: &[u8], to: &mut UnixStream) -> bool {
        let n = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let text = format!("{n} {label} {}", String::from_utf8_lossy(line).trim_end());
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
        let harm = if n == self.at { self.harm } else { Harm::None };
        match harm {
            Harm::KillBefore => self.kill_victim(),
            Harm::LoseAndBreak => return false,
            Harm::Lose => return true,
            _ => {}
        }
        if to.write_all(line).is_err() {
            return false;
        }
        match harm {
            Harm::KillAfter => self.kill_victim(),
            Harm::PassAndBreak => return false,
            _ => {}
        }
        true
    }
}

/// Listens on a socket and passes each connection on to another.
pub struct Proxy {
    path: PathBuf,
}

impl Proxy {
    /// Starts passing connections from `path` to the socket `target`.
    ///
    /// # Panics
    /// If the socket cannot be made.
    #[must_use]
    pub fn start(label: &'static str, path: &Path, target: &Path, cut: &Cut) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let (target, cut) = (target.to_owned(), cut.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = UnixStream::connect(&target) else {
                    continue; // the client sees its connection close
                };
                pump(label, "->", &client, &server, &cut);
                pump(label, "<-", &server, &client, &cut);
            }
        });
        Self {
            path: path.to_owned(),
        }
    }

    /// Address for `--master` and `--replica`.
    #[must_use]
    pub fn addr(&self) -> String {
        format!("unix:{}", self.path.display())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn pump(label: &'static str, arrow: &'static str, from: &UnixStream, to: &UnixStream, cut: &Cut) {
    let (Ok(reader), Ok(mut writer)) = (from.try_clone(), to.try_clone()) else {
        return;
    };
    let cut = cut.clone();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).unwrap_or(0);
            if read == 0 || !cut.pass(&format!("{label} {arrow}"), &line, &mut writer) {
                break;
            }
        }
        let _ = reader.get_ref().shutdown(Shutdown::Both);
        let _ = writer.shutdown(Shutdown::Both);
    });
}
