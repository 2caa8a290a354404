//! Where the lines of a log go instead of standard error: to syslog or to journald, a datagram
//! each.
//!
//! Nothing is kept here and nothing blocks: a line that the daemon has no room for, or that comes
//! while it is restarted, is an error to the caller and is lost.

use std::fmt::Write as _;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Facility `mail`, as for Cyrus.
const FACILITY: u8 = 2;
/// Longest line, bytes; what is longer is cut. Syslog daemons take 8 KiB by default.
const LONGEST: usize = 7 << 10;

/// Where a log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogTo {
    /// Standard error.
    #[default]
    Stderr,
    /// The local syslog daemon: `/dev/log`.
    Syslog,
    /// The journal of systemd: `/run/systemd/journal/socket`.
    Journald,
}

/// How important a line is; the numbers are those of syslog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A human must look now.
    Critical = 2,
    /// Something failed.
    Error = 3,
    /// Something may have to be looked at.
    Warning = 4,
    /// What happens in the course of things.
    Info = 6,
    /// For who looks for a fault.
    Debug = 7,
}

/// One of the two daemons.
#[derive(Debug)]
pub struct Sink {
    socket: UnixDatagram,
    path: PathBuf,
    to: LogTo,
    name: &'static str,
}

impl Sink {
    /// The daemon, for a program of that name; `None` for standard error, which is none.
    ///
    /// # Errors
    /// It does not listen on this machine.
    pub fn open(to: LogTo, name: &'static str) -> io::Result<Option<Self>> {
        let path = match to {
            LogTo::Stderr => return Ok(None),
            LogTo::Syslog => "/dev/log",
            LogTo::Journald => "/run/systemd/journal/socket",
        };
        Self::at(to, name, Path::new(path)).map(Some)
    }

    /// The same at a socket of its own.
    fn at(to: LogTo, name: &'static str, path: &Path) -> io::Result<Self> {
        // Connected, a socket would not outlive a restart of the daemon.
        UnixDatagram::unbound()?.connect(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let path = path.to_owned();
        Ok(Self {
            socket,
            path,
            to,
            name,
        })
    }

    /// Sends one line; further ones in it are part of it.
    ///
    /// # Errors
    /// It is not there now, or has no room.
    pub fn send(&self, severity: Severity, line: &str) -> io::Result<()> {
        let line = cut(line.trim_end());
        let datagram = if self.to == LogTo::Journald {
            self.fields(severity, line)
        } else {
            let priority = FACILITY * 8 + severity as u8;
            let (name, pid) = (self.name, std::process::id());
            format!("<{priority}>{name}[{pid}]: {line}").into_bytes()
        };
        self.socket.send_to(&datagram, &self.path).map(drop)
    }

    /// As journald takes it. The text has its length before it, so no line in it is another field.
    fn fields(&self, severity: Severity, line: &str) -> Vec<u8> {
        let mut head = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            head,
            "PRIORITY={}\nSYSLOG_FACILITY={FACILITY}\nSYSLOG_IDENTIFIER={}\nMESSAGE\n",
            severity as u8, self.name
        );
        let mut out = head.into_bytes();
        out.extend((line.len() as u64).to_le_bytes());
        out.extend(line.as_bytes());
        out.push(b'\n');
        out
    }
}

fn cut(line: &str) -> &str {
    let mut end = line.len().min(LONGEST);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

/// One value in the manner of Cyrus, `<value>`. What could end it, or begin another line, is
/// escaped as in a URI: `%`, `<`, `>` and control characters.
#[must_use]
pub fn bracketed(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('<');
    for c in value.chars() {
        if c.is_control() || "%<>\u{2028}\u{2029}".contains(c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
    out.push('>');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(to: LogTo, line: &str) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let sink = Sink::at(to, "reguid", &path).unwrap();
        sink.send(Severity::Warning, line).unwrap();
        let mut datagram = vec![0; 1 << 16];
        let n = daemon.recv(&mut datagram).unwrap();
        datagram.truncate(n);
        drop(daemon);
        assert!(
            sink.send(Severity::Warning, line).is_err(),
            "nobody listens"
        );
        datagram
    }

    #[test]
    fn syslog_gets_facility_severity_name_and_process() {
        let pid = std::process::id();
        let line = String::from_utf8(received(LogTo::Syslog, "a line\n")).unwrap();
        assert_eq!(line, format!("<20>reguid[{pid}]: a line"));
        let long = received(LogTo::Syslog, &"\u{e9}".repeat(LONGEST));
        assert!(long.len() < LONGEST + 40);
        assert!(
            String::from_utf8(long).is_ok(),
            "no character is cut in two"
        );
    }

    #[test]
    fn journald_gets_a_text_that_cannot_make_another_field() {
        let datagram = received(LogTo::Journald, "a\nPRIORITY=0\n");
        let expected: &[&[u8]] = &[
            b"PRIORITY=4\nSYSLOG_FACILITY=2\nSYSLOG_IDENTIFIER=reguid\nMESSAGE\n",
            &12_u64.to_le_bytes(),
            b"a\nPRIORITY=0\n",
        ];
        assert_eq!(datagram, expected.concat());
    }

    #[test]
    fn a_daemon_that_is_not_there_is_an_error_at_the_start() {
        let none = Path::new("/nonexistent/log");
        assert!(Sink::at(LogTo::Journald, "reguid", none).is_err());
        assert!(matches!(Sink::open(LogTo::Stderr, "reguid"), Ok(None)));
    }

    #[test]
    fn no_value_can_end_itself_or_forge_a_key() {
        for (value, shown) in [
            ("user.joe", "<user.joe>"),
            ("x> mailbox=<y", "<x%3E mailbox=%3Cy>"),
            ("a\nevent=<b>\r", "<a%0Aevent=%3Cb%3E%0D>"),
            ("100%\u{85}\u{e9}", "<100%25%C2%85\u{e9}>"),
        ] {
            assert_eq!(bracketed(value), shown);
        }
    }
}
