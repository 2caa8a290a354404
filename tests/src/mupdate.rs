//! A mupdate master in this process, for what needs none of Debian's: it lists what it is given,
//! finds single names, and remembers which it was asked about. No TLS, on loopback.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::murder::options;

/// What it hears of one that logs in as its administrator, with the password `secret`.
const RESPONSE: &str = "\"AG11cGRhdGVhZG1pbgBzZWNyZXQ=\"";

/// A list of mailboxes that is made as it is read. Names and locations are ASCII.
pub trait Names: Send + Sync + 'static {
    /// Visits each in order: its name, its location, and whether it is only reserved.
    fn each(&self, visit: &mut dyn FnMut(&str, &str, bool));
    /// One of them.
    fn find(&self, name: &str) -> Option<(String, bool)>;
}

/// Names by name: location, and whether it is only reserved. It can be changed meanwhile.
pub type Table = Mutex<BTreeMap<String, (String, bool)>>;

impl Names for Table {
    fn each(&self, visit: &mut dyn FnMut(&str, &str, bool)) {
        let table = self.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, (location, reserved)) in &table {
            visit(name, location, *reserved);
        }
    }

    fn find(&self, name: &str) -> Option<(String, bool)> {
        let table = self.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(name).cloned()
    }
}

/// The master.
pub struct Mupdate<N> {
    /// What it lists.
    pub names: Arc<N>,
    found: Arc<Mutex<Vec<String>>>,
    port: u16,
    dir: tempfile::TempDir,
}

impl<N: Names> Mupdate<N> {
    /// Serves from now on.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn start(names: N) -> Self {
        let (names, found) = (Arc::new(names), Arc::new(Mutex::new(Vec::new())));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = (Arc::clone(&names), Arc::clone(&found));
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (names, found) = served.clone();
                thread::spawn(move || serve(&stream, names.as_ref(), &found));
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        std::fs::write(&password, "secret\n").unwrap();
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self {
            names,
            found,
            port,
            dir,
        }
    }

    /// The options by which a controller finds it.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let address = format!("127.0.0.1:{}", self.port);
        options(&address, &self.dir.path().join("password"))
    }

    /// The names that it was asked about so far, one by one.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn asked_about(&self) -> Vec<String> {
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One connection, to its end, however it ends.
fn serve(stream: &TcpStream, names: &impl Names, found: &Mutex<Vec<String>>) {
    let _ = answer(stream, names, found);
}

fn answer(stream: &TcpStream, names: &impl Names, found: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, stream);
    out.write_all(
        b"* AUTH \"PLAIN\"\r\n* PARTIAL-UPDATE\r\n\
          * OK MUPDATE \"mupdate.test\" \"Cyrus IMAP\" \"fake\" \"(master)\"\r\n",
    )?;
    out.flush()?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let mut words = line.trim_end().splitn(3, ' ');
        let (tag, verb) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let rest = words.next().unwrap_or("");
        match verb {
            "AUTHENTICATE" if rest.ends_with(RESPONSE) => write!(out, "{tag} OK \"in\"\r\n")?,
            "AUTHENTICATE" => write!(out, "{tag} NO \"undefined error!\"\r\n")?,
            "LIST" => {
                let mut result = Ok(());
                names.each(&mut |name, location, reserved| {
                    if result.is_ok() {
                        result = entry(&mut out, tag, name, location, reserved);
                    }
                });
                result?;
                write!(out, "{tag} OK \"list complete\"\r\n")?;
            }
            "FIND" => {
                let name = rest.trim_matches('"');
                found
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(name.to_owned());
                if let Some((location, reserved)) = names.find(name) {
                    entry(&mut out, tag, name, &location, reserved)?;
                }
                write!(out, "{tag} OK \"Search completed\"\r\n")?;
            }
            "NOOP" => write!(out, "{tag} OK \"Noop done\"\r\n")?,
            "LOGOUT" => {
                write!(out, "{tag} OK \"bye-bye\"\r\n")?;
                return out.flush();
            }
            _ => write!(out, "{tag} BAD \"Unrecognized command\"\r\n")?,
        }
        out.flush()?;
    }
    Ok(())
}

fn entry(
    out: &mut impl Write,
    tag: &str,
    name: &str,
    location: &str,
    reserved: bool,
) -> io::Result<()> {
    let (n, l) = (name.len(), location.len());
    let word = if reserved { "RESERVE" } else { "MAILBOX" };
    write!(
        out,
        "{tag} {word} {{{n}+}}\r\n{name} {{{l}+}}\r\n{location}"
    )?;
    if reserved {
        return out.write_all(b"\r\n");
    }
    out.write_all(b" {14+}\r\nanyone\tlrswip\t\r\n")
}
