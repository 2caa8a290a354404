//! What Cyrus says to syslog, taken from a socket that stands in for `/dev/log`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// Least severe level that counts as a fault: 4, a warning.
const WARNING: u32 = 4;
/// Length of no line that Cyrus writes.
const LONGEST: usize = 64 * 1024;

/// The socket, and all that was said to it so far.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    from: Receiver<String>,
    lines: Vec<String>,
}

impl Log {
    /// Listens at `path`.
    ///
    /// # Panics
    /// If the socket cannot be made.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
        let (to, from) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = vec![0; LONGEST];
            while let Ok(length) = socket.recv(&mut bytes) {
                let line = String::from_utf8_lossy(&bytes[..length]);
                let line = line.trim_end_matches(['\0', '\n']);
                // The end of this Log ends the thread, by the line that `drop` sends.
                if to.send(line.to_owned()).is_err() {
                    break;
                }
            }
        });
        Self {
            path: path.to_owned(),
            from,
            lines: Vec::new(),
        }
    }

    /// All lines until now: a line of our own is sent, and is the last one.
    ///
    /// # Panics
    /// If it does not come back.
    pub fn lines(&mut self) -> &[String] {
        const MARK: &str = "up to here";
        self.say(MARK).unwrap();
        loop {
            let line = self.from.recv_timeout(Duration::from_secs(20)).unwrap();
            if line == MARK {
                return &self.lines;
            }
            self.lines.push(line);
        }
    }

    /// Lines of level warning or worse.
    pub fn faults(&mut self) -> Vec<String> {
        let lines = self.lines().iter();
        lines.filter(|l| level(l) <= WARNING).cloned().collect()
    }

    fn say(&self, text: &str) -> std::io::Result<usize> {
        UnixDatagram::unbound()?.send_to(text.as_bytes(), &self.path)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.from = mpsc::channel().1;
        let _ = self.say("end");
    }
}

/// The level in `<PRIORITY>...`: the three lower bits. A line without one is taken for a fault.
fn level(line: &str) -> u32 {
    let number = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let number = number.and_then(|(number, _)| number.parse::<u32>().ok());
    number.map_or(0, |priority| priority & 7)
}
