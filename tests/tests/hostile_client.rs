//! What comes to slotd's socket is hostile: half lines, lines without end, bytes that are no text,
//! thousands of connections, bytes that drip, commands in any order, a connection cut after any of
//! its bytes. slotd stays up and answers a good client meanwhile, its memory stays small, no lock
//! and no staged file is left, and every descriptor comes back.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indexfile::{FileKind, IndexFile};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use stores::Host;
use stores::genuine::unpack_239;
use stores::judge::locks;
use tests::attack::{PATIENCE, answered, enlarge, files, raise_files, unharmed, until};
use tests::fleet::program;
use tests::process::{Guard, Slotd};
use tests::wire::{Wire, value};

const MAILBOX: &str = "user.alice.expunged";
const OTHER: &str = "user.alice";

/// A slotd that is attacked.
struct Attacked {
    _dir: tempfile::TempDir,
    host: Host,
    slotd: Slotd,
    /// Its open files before.
    files: usize,
}

impl Attacked {
    fn start(extra: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = unpack_239(dir.path()).unwrap();
        let slotd = Slotd::start(&program("slotd"), &host, extra);
        let files = files(slotd.pid());
        Self {
            _dir: dir,
            host,
            slotd,
            files,
        }
    }

    /// A connection; refused if slotd does not take it.
    fn connect(&self) -> UnixStream {
        self.connect_within(PATIENCE)
            .expect("slotd takes no connection")
    }

    /// One that waits no longer for anything.
    fn connect_within(&self, limit: Duration) -> io::Result<UnixStream> {
        let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        set_socket_timeout(&fd, Timeout::Send, Some(limit))?;
        set_socket_timeout(&fd, Timeout::Recv, Some(limit))?;
        let path = self.slotd.addr.strip_prefix("unix:").unwrap();
        connect(&fd, &SocketAddrUnix::new(path)?)?;
        Ok(UnixStream::from(fd))
    }

    /// A client that behaves comes, and is answered in time.
    fn serves(&self) {
        answered(|limit| {
            let mut good = self.connect_within(limit)?;
            good.write_all(b"HELLO\n")?;
            let mut said = String::new();
            let _ = BufReader::new(good).read_line(&mut said)?;
            if said.starts_with("OK slotd=") {
                return Ok(());
            }
            Err(io::Error::other(said))
        });
    }

    fn index(&self) -> std::path::PathBuf {
        self.host.dirs(MAILBOX).meta.join("cyrus.index")
    }

    /// The versions of index and expunge file, both of them sound; neither is locked nor has a
    /// successor, once all that went has been noticed.
    fn settled(&self) -> (u32, u32) {
        let meta = self.host.dirs(MAILBOX).meta;
        let busy = || {
            let new = ["cyrus.index.NEW", "cyrus.expunge.NEW"];
            locks::held(&self.index()).unwrap() || new.iter().any(|f| meta.join(f).exists())
        };
        until("a lock or a staged file is left", || !busy());
        let version = |kind: FileKind| {
            let file = IndexFile::open(&meta.join(kind.file_name()), kind).unwrap();
            file.verify().unwrap();
            file.minor_version()
        };
        (version(FileKind::Index), version(FileKind::Expunge))
    }

    /// All that was promised, after the attack.
    fn end(mut self) {
        assert!(self.slotd.alive(), "slotd is gone");
        self.serves();
        self.settled();
        let _ = unharmed(self.slotd, self.files);
    }
}

/// The next line, without its end; nothing if the connection was closed instead.
fn line(stream: &mut UnixStream) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) if byte == *b"\n" => return Some(String::from_utf8(line).unwrap()),
            Ok(_) => line.extend(byte),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
            Err(e) => panic!("no answer and no end: {e}"),
        }
    }
}

fn ask(stream: &mut UnixStream, command: &str) -> String {
    stream.write_all(format!("{command}\n").as_bytes()).unwrap();
    line(stream).unwrap_or_else(|| panic!("{command}: the connection was closed"))
}

fn must(stream: &mut UnixStream, command: &str) {
    let reply = ask(stream, command);
    assert!(reply.starts_with("OK"), "{command}: {reply}");
}

#[test]
fn bytes_that_are_no_command_get_an_answer_or_an_end_and_harm_nobody() {
    let it = Attacked::start(&[]);
    let mut random = fastrand::Rng::with_seed(19);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(9000)
        .collect();
    let hello_of_tls = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &noise].concat();
    let attacks: [&[u8]; 12] = [
        b"\n",
        b"\0\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"LOCK user.alice.expunged\0\n",
        b"LOCK user.alice.expunged",
        b"LOCK ../../../etc/passwd\n",
        b"GET / HTTP/1.1\r\nHost: slotd\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\xff\xfe\xfd\n\xff\n",
        b"* OK [CAPABILITY IMAP4rev1] ready\r\na LOGIN a b\r\n",
        &noise,
        &hello_of_tls,
    ];
    for attack in attacks {
        for half_closed in [true, false] {
            let mut bad = it.connect();
            // It may be closed on the way.
            let _ = bad.write_all(attack);
            it.serves();
            if half_closed {
                let _ = bad.shutdown(std::net::Shutdown::Write);
                let mut said = String::new();
                let _ = bad.read_to_string(&mut said);
                let answered = |l: &str| l.starts_with("BAD ") || l.starts_with("NO ");
                assert!(said.lines().all(answered), "{attack:?}: {said}");
            }
        }
    }
    assert_eq!(it.settled(), (9, 9));
    it.end();
}

#[test]
fn a_line_of_a_gigabyte_is_ended_long_before() {
    let it = Attacked::start(&[]);
    for byte in *b"A\0 " {
        let mut bad = it.connect();
        let piece = vec![byte; 1 << 16];
        let taken = (0..1 << 14).take_while(|_| bad.write_all(&piece).is_ok());
        let taken = taken.count();
        assert!(taken < 64, "{taken} pieces of 64 KiB were taken");
        let said = line(&mut bad);
        // Where the end came as a reset what was said may be lost.
        assert!(said.is_none_or(|l| l.starts_with("BAD a line is at most ")));
        it.serves();
    }
    it.end();
}

/// What each of thousands of connections says before it says nothing more.
fn thousands(what: &[u8], answered: bool) {
    const CONNECTIONS: usize = 10_000;
    // Each has ten thousand files open here.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    raise_files(CONNECTIONS as u64 + 200);
    let it = Attacked::start(&["--max-lock", "60"]);
    let mut holder = it.connect();
    must(&mut holder, &format!("LOCK {MAILBOX}"));
    must(&mut holder, "UPGRADE");
    let mut idle = Vec::new();
    for n in 0..CONNECTIONS {
        let mut bad = it.connect();
        // One that was refused or ended for others may be closed already.
        let _ = bad.write_all(what);
        if answered {
            let _ = line(&mut bad);
        }
        idle.push(bad);
        if n % 250 == 0 {
            it.serves();
        }
    }
    it.serves();
    // Who holds a mailbox is never sent away for them.
    must(&mut holder, "COMMIT");
    drop((idle, holder));
    assert_eq!(it.settled(), (10, 10));
    it.end();
}

#[test]
fn thousands_of_silent_connections_starve_nobody() {
    thousands(b"", false);
}

#[test]
fn thousands_of_connections_that_have_been_answered_once_starve_nobody() {
    thousands(b"HELLO\n", true);
}

#[test]
fn thousands_of_half_lines_starve_nobody_and_take_little_memory() {
    thousands(&[b'L'; 8000], false);
}

/// Each begins a walk of a large store, which goes on with its next page.
#[test]
fn clients_that_walk_a_large_store_take_little_memory_and_starve_nobody() {
    let it = Attacked::start(&[]);
    raise_files(2000);
    enlarge(&it.host);
    let mut walks = Vec::new();
    for n in 0..800 {
        let mut bad = it.connect();
        bad.write_all(b"LIST after=user.alice max=1\n").unwrap();
        walks.push(bad);
        if n % 100 == 0 {
            it.serves();
        }
    }
    let mut pages = 0;
    for walk in &mut walks {
        // One that made room for others was closed.
        if let Some(page) = line(walk) {
            pages += usize::from(page.contains(" next="));
        }
    }
    assert!(pages > 200, "{pages} of them walked");
    it.serves();
    drop(walks);
    it.end();
}

#[test]
fn who_does_not_read_what_it_asks_for_starves_nobody() {
    let it = Attacked::start(&["--max-connections", "40"]);
    let commands = b"HELLO\n".repeat(100_000);
    let mut deaf = Vec::new();
    for _ in 0..60 {
        let mut bad = it.connect();
        bad.set_nonblocking(true).unwrap();
        let _ = bad.write(&commands);
        deaf.push(bad);
        it.serves();
    }
    // Each has its replies in its way by now.
    for bad in &mut deaf {
        let _ = bad.write(&commands);
    }
    it.serves();
    drop(deaf);
    it.end();
}

#[test]
fn bytes_that_drip_make_no_line() {
    let it = Attacked::start(&["--first-command", "1"]);
    let mut silent = it.connect();
    let mut drips = it.connect();
    let deadline = Instant::now() + PATIENCE;
    // A byte now and then is no reason to wait on.
    while drips.write_all(b"L").is_ok() {
        assert!(Instant::now() < deadline, "it drips and drips");
        it.serves();
        thread::sleep(Duration::from_millis(50));
    }
    for bad in [&mut silent, &mut drips] {
        let said = line(bad).expect("closed without a word");
        assert!(said.starts_with("BAD ") && said.contains("1 s"), "{said}");
        assert_eq!(line(bad), None);
    }
    // Nor one that comes later, when a first command had been answered.
    let mut later = it.connect();
    must(&mut later, "HELLO");
    let _ = later.write_all(b"LOCK ");
    let said = line(&mut later).expect("closed without a word");
    assert!(said.starts_with("BAD "), "{said}");
    it.end();
}

#[test]
fn commands_come_in_any_order_and_all_at_once() {
    let it = Attacked::start(&[]);
    let mut wire = it.connect();
    let early = [
        "COMMIT", "UPGRADE", "RELEASE", "GUIDS", "DIGESTS", "LEAVE", "ROLLBACK",
    ];
    for early in early {
        let reply = ask(&mut wire, early);
        assert!(reply.starts_with("NO [STATE] "), "{early}: {reply}");
    }
    let all = format!(
        "LOCK {MAILBOX}\nLOCK {OTHER}\nCOMMIT\nUPGRADE\nUPGRADE\nLOCK {MAILBOX}\nROLLBACK\n\
         ROLLBACK\nCOMMIT\nLOCK {MAILBOX}\nUPGRADE\nCOMMIT\nCOMMIT\nROLLBACK\nQUIT\nLOCK {OTHER}\n"
    );
    wire.write_all(all.as_bytes()).unwrap();
    let mut said = Vec::new();
    while let Some(line) = line(&mut wire) {
        let end = line.find([']', ' ']).map_or(line.len(), |at| at + 1);
        said.push(line[..end].trim_end().to_owned());
    }
    eprintln!("{said:?}");
    // One answer for each line, in their order; what comes behind QUIT is not looked at.
    assert_eq!(said.len(), 15);
    assert_eq!((said[0].as_str(), said[1].as_str()), ("OK", "NO"));
    assert_eq!((said[11].as_str(), said[13].as_str()), ("OK", "NO"));
    assert_eq!(it.settled(), (10, 10));
    assert!(!locks::held(&it.host.dirs(OTHER).meta.join("cyrus.index")).unwrap());
    it.end();
}

/// The whole of a transaction as it goes over the wire.
fn dialogue() -> Vec<u8> {
    format!("LOCK {MAILBOX} wait_ms=20000\nUPGRADE\nCOMMIT\n").into_bytes()
}

/// Back at version 9, by a client that behaves.
fn back(it: &Attacked) {
    let mut good = it.connect();
    must(&mut good, &format!("LOCK {MAILBOX} wait_ms=20000"));
    must(&mut good, "UPGRADE 9");
    must(&mut good, "COMMIT");
}

#[test]
fn a_connection_cut_after_any_of_its_bytes_leaves_the_old_or_the_new() {
    let it = Attacked::start(&[]);
    let dialogue = dialogue();
    let mut seen = [0, 0];
    // Cut at once, or when all that can be answered has been.
    for waits in [false, true] {
        for cut in 0..=dialogue.len() {
            let mut bad = it.connect();
            bad.write_all(&dialogue[..cut]).unwrap();
            if waits {
                for _ in dialogue[..cut].iter().filter(|b| **b == b'\n') {
                    assert!(line(&mut bad).unwrap().starts_with("OK "));
                }
            }
            drop(bad);
            match it.settled() {
                (9, 9) => seen[0] += 1,
                (10, 10) => {
                    assert_eq!(cut, dialogue.len(), "committed before it was said");
                    seen[1] += 1;
                    back(&it);
                }
                other => panic!("after {cut} bytes: {other:?}"),
            }
        }
    }
    assert!(
        seen[1] >= 1 && seen[0] >= 2 * dialogue.len() - 1,
        "{seen:?}"
    );
    it.end();
}

#[test]
fn transactions_that_are_replayed_do_nothing_twice() {
    let it = Attacked::start(&[]);
    let record = [dialogue(), b"COMMIT\nUPGRADE\nROLLBACK\n".to_vec()].concat();
    thread::scope(|scope| {
        for _ in 0..4 {
            let (mut bad, record) = (it.connect(), &record);
            scope.spawn(move || {
                bad.write_all(&record.repeat(5)).unwrap();
                bad.shutdown(std::net::Shutdown::Write).unwrap();
                while line(&mut bad).is_some() {}
            });
        }
    });
    assert_eq!(it.settled(), (10, 10));
    let mut good = Wire::connect(&it.slotd.addr).unwrap();
    good.must(&format!("LOCK {MAILBOX}"));
    let reply = good.must("UPGRADE");
    assert_eq!(value(&reply, "index"), Some("unchanged"), "{reply}");
    drop(good);
    it.end();
}

#[test]
fn too_few_descriptors_are_said_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let socket = dir.path().join("s");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 100; exec \"$@\"", "sh"]);
    command.arg(program("slotd")).arg("serve");
    command.arg("--imapd-conf").arg(&host.conf);
    command.arg("--state").arg(dir.path().join("state"));
    command
        .arg("--listen")
        .arg(format!("unix:{}", socket.display()));
    let ended = Guard::spawn(&mut command).finish().expect_code(78);
    ended.assert_one_sentence("100 open files");
}
