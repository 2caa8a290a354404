//! What the master is sent to have something to be asked about: RESERVE and ACTIVATE, which the
//! client under test cannot say.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{ADMIN, Host, PASSWORD};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session with the master, logged in.
pub struct Writer {
    from: BufReader<TcpStream>,
}

impl Writer {
    /// Connects.
    ///
    /// # Panics
    /// If the master refuses.
    #[must_use]
    pub fn login(master: &Host) -> Self {
        let stream = TcpStream::connect((master.address.as_str(), 3905)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut writer = Self {
            from: BufReader::new(stream),
        };
        while !writer.line().starts_with("* OK MUPDATE") {}
        // "\0mupdateadmin\0secret"
        assert_eq!((ADMIN, PASSWORD), ("mupdateadmin", "secret"));
        writer.ask("AUTHENTICATE \"PLAIN\" \"AG11cGRhdGVhZG1pbgBzZWNyZXQ=\"");
        writer
    }

    /// Reserves a name.
    ///
    /// # Panics
    /// If the master refuses.
    pub fn reserve(&mut self, name: &str, location: &str) {
        self.ask(&format!("RESERVE \"{name}\" \"{location}\""));
    }

    /// Makes mailboxes active, whether they are anywhere or not.
    ///
    /// # Panics
    /// If the master refuses.
    pub fn activate(&mut self, mailboxes: &[(String, &str)]) {
        for some in mailboxes.chunks(100) {
            let lines = some.iter().map(|(name, location)| {
                let n = name.len();
                format!("a ACTIVATE {{{n}+}}\r\n{name} \"{location}\" \"anyone\tlrs\t\"\r\n")
            });
            let lines: String = lines.collect();
            self.from.get_mut().write_all(lines.as_bytes()).unwrap();
            for _ in some {
                let line = self.line();
                assert!(line.starts_with("a OK"), "{line}");
            }
        }
    }

    fn ask(&mut self, command: &str) {
        let line = format!("a {command}\r\n");
        self.from.get_mut().write_all(line.as_bytes()).unwrap();
        let line = self.line();
        assert!(line.starts_with("a OK"), "{command}: {line}");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "the master closed: {line}");
        line
    }
}
