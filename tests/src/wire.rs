//! A bare line client for slotd: what a person types with `socat`, and no more.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connection on which whole lines go out and whole lines come back.
pub struct Wire {
    reader: BufReader<Box<dyn Stream>>,
}

trait Stream: io::Read + io::Write + Send {}
impl Stream for UnixStream {}
impl Stream for TcpStream {}

impl Wire {
    /// Connects to `unix:/path` or `host:port`; no reply may take longer than 30 seconds.
    ///
    /// # Errors
    /// What connect says.
    pub fn connect(addr: &str) -> io::Result<Self> {
        let limit = Some(Duration::from_secs(30));
        let stream: Box<dyn Stream> = if let Some(path) = addr.strip_prefix("unix:") {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(limit)?;
            Box::new(stream)
        } else {
            let stream = TcpStream::connect(addr)?;
            stream.set_read_timeout(limit)?;
            Box::new(stream)
        };
        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    /// Sends one line, whatever its bytes, and returns the reply without its line end.
    ///
    /// # Errors
    /// A broken connection, or `UnexpectedEof` when slotd closed it.
    pub fn ask_bytes(&mut self, line: &[u8]) -> io::Result<String> {
        let out = self.reader.get_mut();
        out.write_all(line)?;
        out.write_all(b"\n")?;
        out.flush()?;
        let mut reply = String::new();
        if self.reader.read_line(&mut reply)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(reply.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// [`Self::ask_bytes`] for text, failing the test on a broken connection.
    ///
    /// # Panics
    /// If the connection breaks.
    pub fn ask(&mut self, line: &str) -> String {
        self.ask_bytes(line.as_bytes())
            .unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// Sends a line that must be answered with OK, and returns the reply.
    ///
    /// # Panics
    /// On any other reply.
    pub fn must(&mut self, line: &str) -> String {
        let reply = self.ask(line);
        assert!(reply == "OK" || reply.starts_with("OK "), "{line}: {reply}");
        reply
    }
}

/// The value of `key=value` in a reply.
#[must_use]
pub fn value<'a>(reply: &'a str, key: &str) -> Option<&'a str> {
    reply
        .split(' ')
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// A mailbox name as it goes over the wire: everything but letters, digits and `-_.~` escaped.
#[must_use]
pub fn escape(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::new(), |mut s, b| {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            s.push(char::from(b));
        } else {
            let _ = write!(s, "%{b:02X}");
        }
        s
    })
}
