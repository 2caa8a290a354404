//! SIGHUP to a slotd that serves: what may change counts at once, what may not is named, what
//! cannot be used leaves all as it was; and nothing that is under way ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::fleet::{Fleet, program};
use tests::process::{PATIENCE, Slotd};

/// A client that says a line and hears one.
struct Client(BufReader<UnixStream>);

impl Client {
    fn new(slotd: &Slotd) -> Client {
        let path = slotd.addr.strip_prefix("unix:").unwrap();
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    fn say(&mut self, line: &str) -> String {
        writeln!(self.0.get_mut(), "{line}").unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        answer
    }

    /// What `HELLO` says of a limit.
    fn limit(&mut self, key: &str) -> String {
        let hello = self.say("HELLO");
        let key = format!("{key}=");
        let mut words = hello.split_ascii_whitespace();
        let found = words.find_map(|word| word.strip_prefix(&key));
        found.unwrap_or_else(|| panic!("{key}: {hello}")).to_owned()
    }

    /// Any mailbox of the store.
    fn mailbox(&mut self) -> String {
        let listed = self.say("LIST max=1");
        let mut words = listed.split_ascii_whitespace();
        let names = words.find_map(|word| word.strip_prefix("names="));
        names.unwrap_or_else(|| panic!("{listed}")).to_owned()
    }
}

/// A slotd with a configuration file, whose log can be read while it serves.
struct Server {
    slotd: Slotd,
    config: PathBuf,
    log: PathBuf,
}

impl Server {
    fn start(fleet: &Fleet, config: &str) -> Server {
        let [path, log] = ["slotd.toml", "slotd.log"].map(|name| fleet.dir.path().join(name));
        fs::write(&path, config).unwrap();
        let shell = format!("exec \"$0\" \"$@\" 2>{}", log.display());
        let wrapper = ["sh".to_owned(), "-c".to_owned(), shell];
        let shown = ["--config", path.to_str().unwrap()];
        let slotd = Slotd::start_under(&wrapper, &program("slotd"), &fleet.master, &shown);
        Server {
            slotd,
            config: path,
            log,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Has it read that configuration, or none; what it logs until it says this once more.
    fn reload(&self, config: Option<&str>, until: &str) -> String {
        match config {
            Some(text) => fs::write(&self.config, text).unwrap(),
            None => fs::remove_file(&self.config).unwrap(),
        }
        let before = self.log().len();
        self.slotd.signal(Signal::SIGHUP);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.log().split_off(before);
            if said.lines().any(|line| line.contains(until)) {
                return said;
            }
            assert!(Instant::now() < deadline, "{until:?} is never said: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

const READ: &str = "the configuration was read anew";
const REFUSED: &str = "the configuration cannot be used";

#[test]
fn limits_of_the_configuration_count_after_a_sighup_and_a_locked_mailbox_stays_locked() {
    let fleet = Fleet::of_239();
    let server = Server::start(&fleet, "[serve]\nmax-connections = 40\nmax-lock = 60\n");
    let mut client = Client::new(&server.slotd);
    assert_eq!(client.limit("connections"), "40");
    let mailbox = client.mailbox();
    let locked = client.say(&format!("LOCK {mailbox}"));
    assert!(locked.starts_with("OK"), "{locked}");
    let lower = "[serve]\nmax-connections = 20\nmax-connections-peer = 9\n\
                 max-transactions-peer = 1\nmax-lock = 60\n";
    let said = server.reload(Some(lower), READ);
    assert!(said.contains("20 connections, 9 of one user"), "{said}");
    let mut other = Client::new(&server.slotd);
    let limits = ["connections", "connections_peer", "transactions_peer"];
    assert_eq!(limits.map(|key| other.limit(key)), ["20", "9", "1"]);
    // The lock stands, and counts.
    let refused = other.say("LOCK user.nobody");
    assert!(refused.starts_with("NO [FULL]"), "{refused}");
    let given_back = client.say("ROLLBACK");
    assert!(given_back.starts_with("OK"), "{given_back}");
    let refused = other.say("LOCK user.nobody");
    assert!(refused.starts_with("NO [NOMAILBOX]"), "{refused}");
    // The default, which is more than it began with.
    let _ = server.reload(Some("[serve]\nmax-lock = 60\n"), READ);
    let more: u32 = other.limit("connections").parse().unwrap();
    assert!(more > 40, "{more}: 512, or what open files allow");
    drop((client, other));
    let _ = server.slotd.stop().expect_code(0);
}

#[test]
fn what_is_wrong_in_the_configuration_changes_nothing_at_a_sighup_and_the_log_says_why() {
    let fleet = Fleet::of_239();
    let server = Server::start(&fleet, "[serve]\nmax-connections = 40\n");
    let mut client = Client::new(&server.slotd);
    for (text, why) in [
        ("max-lock = -3\n", "--max-lock -3"),
        ("max-conections = 5\n", "max-conections"),
        ("allow-user = [\"no-such-user\"]\n", "no user no-such-user"),
        ("max-connections-peer = \"many\"\n", "many"),
    ] {
        let text = format!("[serve]\nmax-connections = 20\n{text}");
        let said = server.reload(Some(&text), REFUSED);
        assert!(said.contains(why), "{why}: {said}");
        assert!(said.contains("what counted before counts on"), "{said}");
        assert_eq!(client.limit("connections"), "40", "{text}");
    }
    let said = server.reload(None, REFUSED);
    assert!(said.contains(server.config.to_str().unwrap()), "{said}");
    assert_eq!(client.limit("connections"), "40");
    let _ = server.reload(Some("[serve]\nmax-connections = 20\n"), READ);
    assert_eq!(client.limit("connections"), "20");
    drop(client);
    let _ = server.slotd.stop().expect_code(0);
}

#[test]
fn what_cannot_change_while_it_serves_is_named_at_a_sighup() {
    let fleet = Fleet::of_239();
    let server = Server::start(&fleet, "[serve]\nmax-connections = 40\nmax-wait = 7\n");
    let later = "[serve]\nmax-connections = 20\nmax-idle = 9\n";
    let said = server.reload(Some(later), "counts from the next start");
    let pending = "counts from the next start of slotd on: --max-idle, --max-wait\n";
    assert!(said.contains(pending), "{said}");
    // What can is changed all the same, and what is as it was is not named.
    assert_eq!(Client::new(&server.slotd).limit("connections"), "20");
    let same = "[serve]\nmax-connections = 30\nmax-wait = 7\n";
    let _ = server.reload(Some(same), READ);
    let _ = server.reload(Some(same), READ);
    assert_eq!(
        server.log().matches("counts from the next start").count(),
        1
    );
    let _ = server.slotd.stop().expect_code(0);
}

#[test]
fn a_sighup_changes_how_much_is_logged() {
    let fleet = Fleet::of_239();
    let server = Server::start(&fleet, "");
    let connected = |server: &Server| {
        let _ = Client::new(&server.slotd).say("HELLO");
        server.log().matches("connected, as a controller").count()
    };
    assert_eq!(connected(&server), 0);
    let _ = server.reload(Some("verbose = 1\n"), READ);
    assert_eq!(connected(&server), 1);
    let _ = server.reload(Some(""), READ);
    assert_eq!(connected(&server), 1);
    let _ = server.slotd.stop().expect_code(0);
}

#[test]
fn a_sighup_while_slotd_starts_does_not_end_it() {
    let fleet = Fleet::of_239();
    let lock = fleet.master.state_dir().unwrap().join("slotd.lock");
    // From its first file on, until it is gone.
    let shell = format!(
        "(until [ -e '{}' ]; do :; done; while kill -HUP $$ 2>/dev/null; do sleep .01; done) & \
         exec \"$0\" \"$@\"",
        lock.display()
    );
    let wrapper = ["sh".to_owned(), "-c".to_owned(), shell];
    let slotd = Slotd::start_under(&wrapper, &program("slotd"), &fleet.master, &[]);
    assert_eq!(Client::new(&slotd).limit("connections"), "512");
    slotd.kill();
}
