//! A throwaway `PostgreSQL` server: a cluster of its own in a temporary directory, reached by a
//! socket there and by nothing else.
//!
//! It is stopped when its handle drops; a test that is killed leaves it running. The programs
//! refuse to run as root, so root becomes user `postgres`, who comes with the package.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use controller::journal::conformance;
use controller::journal::{Candidate, Change, Filter, Journal, MailboxId, RunId, RunSpec};

/// How long any of the programs may take, in seconds.
const PATIENCE: &str = "120";
/// A port is part of a socket's name, and nothing else here.
const PORT: u16 = 5499;

/// What a run over these pairs is started with.
#[must_use]
pub fn spec(pairs: &str) -> RunSpec {
    RunSpec {
        master_id: String::new(),
        replica_id: String::new(),
        pairs: pairs.to_owned(),
        ..conformance::spec()
    }
}

/// Begins a run with this many mailboxes; their ids.
///
/// # Panics
/// If the journal cannot be written, or has not all of them then.
#[must_use]
pub fn begin(journal: &dyn Journal, pairs: &str, count: usize) -> (RunId, Vec<MailboxId>) {
    let run = journal.begin_run(&spec(pairs), 1).unwrap();
    let names = (0..count).map(|n| format!("user.u{n}").parse().unwrap());
    let listed: Vec<Candidate> = names.map(|name| Candidate::new(name, false)).collect();
    assert_eq!(journal.add(run, &listed).unwrap(), count as u64);
    let (mut ids, mut after) = (Vec::new(), MailboxId(0));
    loop {
        let page = journal.page(run, Filter::All, after, 1000).unwrap();
        let Some(last) = page.last() else {
            return (run, ids);
        };
        after = last.id;
        ids.extend(page.iter().map(|row| row.id));
    }
}

/// The decision about a mailbox of version 9 on both hosts.
#[must_use]
pub fn decide(mailbox: MailboxId) -> Change {
    Change::Decide {
        mailbox,
        before: [Some(9), Some(9)],
    }
}

/// A server.
pub struct Cluster {
    dir: tempfile::TempDir,
    databases: AtomicU32,
}

impl Cluster {
    /// Makes one and starts it, with these settings besides (`fsync=off`). Its files are in memory
    /// where that is a directory: what stops here is the server, never the machine.
    ///
    /// # Panics
    /// If it cannot, with what the programs said.
    #[must_use]
    pub fn new(settings: &[&str]) -> Self {
        Self::made(Self::empty(), settings)
    }

    /// Makes one whose files are on a disk, for measurements.
    ///
    /// # Panics
    /// As [`Cluster::new`].
    #[must_use]
    pub fn on_disk() -> Self {
        Self::made(Self::beneath(Path::new("/tmp")), &[])
    }

    fn made(cluster: Self, settings: &[&str]) -> Self {
        let data = cluster.data();
        let data = data.to_str().unwrap();
        // -N: not synced, which is for what is in it at its start only.
        let options = ["-A", "trust", "--no-instructions", "-N", "-E", "UTF8"];
        run(
            "initdb",
            &[&["-D", data, "-U", "reguid", "--locale=C"], &options[..]].concat(),
        );
        let socket = format!("unix_socket_directories = '{}'", cluster.socket());
        let port = format!("port = {PORT}");
        let own = [
            "listen_addresses = ''",
            "max_wal_senders = 4",
            &port,
            &socket,
        ];
        let conf = [&own, settings].concat().join("\n") + "\n";
        cluster.append(&conf);
        cluster.start();
        cluster
    }

    fn empty() -> Self {
        let memory = Path::new("/dev/shm");
        Self::beneath(if memory.is_dir() {
            memory
        } else {
            Path::new("/tmp")
        })
    }

    fn beneath(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if nix::unistd::geteuid().is_root() {
            let user = nix::unistd::User::from_name("postgres").unwrap();
            let user = user.expect("the package postgresql brings a user postgres");
            nix::unistd::chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        Self {
            dir,
            databases: AtomicU32::new(0),
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn socket(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    fn append(&self, conf: &str) {
        let path = self.data().join("postgresql.auto.conf");
        let before = fs::read_to_string(&path).unwrap();
        fs::write(&path, before + conf).unwrap();
    }

    /// Host and port, for the address of a database.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}:{PORT}", self.socket().replace('/', "%2F"))
    }

    /// The address of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://reguid@{}/{database}", self.host())
    }

    /// Makes an empty database: its name.
    #[must_use]
    pub fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0"),
        );
        name
    }

    /// A copy of a database to which nobody has a connection: its name.
    #[must_use]
    pub fn copy(&self, database: &str) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE {database}"),
        );
        name
    }

    /// What a statement answers, a row a line.
    ///
    /// # Panics
    /// It fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let port = PORT.to_string();
        let common = [
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "reguid",
        ];
        let which = ["-h", self.socket(), "-p", &port, "-d", database, "-c", sql];
        run("psql", &[&common[..], &which].concat())
    }

    /// Starts it, and waits until it takes connections.
    pub fn start(&self) {
        let log = self.dir.path().join("log");
        self.ctl(&["-l", log.to_str().unwrap(), "start"]);
    }

    /// Stops it as a crash does: what was not synced is lost, clients are cut off.
    pub fn crash(&self) {
        self.ctl(&["-m", "immediate", "stop"]);
    }

    /// Makes a standby of it, which is started and follows.
    #[must_use]
    pub fn standby(&self) -> Self {
        let standby = Self::empty();
        let (data, port) = (standby.data(), PORT.to_string());
        let data = data.to_str().unwrap();
        let from = ["-h", self.socket(), "-p", &port, "-U", "reguid"];
        run(
            "pg_basebackup",
            &[&from[..], &["-D", data, "-R", "-X", "stream", "-c", "fast"]].concat(),
        );
        standby.append(&format!(
            "unix_socket_directories = '{}'\n",
            standby.socket()
        ));
        standby.start();
        standby
    }

    /// Makes a standby a server of its own.
    pub fn promote(&self) {
        self.ctl(&["promote"]);
    }

    fn ctl(&self, what: &[&str]) {
        let data = self.data();
        run(
            "pg_ctl",
            &[&["-D", data.to_str().unwrap(), "-w"], what].concat(),
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.data().join("postmaster.pid").exists() {
            self.crash();
        }
    }
}

/// Runs one of its programs: what it says.
fn run(program: &str, args: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE);
    if nix::unistd::geteuid().is_root() {
        let user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"];
        command.arg("setpriv").args(user);
    }
    let path = programs().join(program);
    // A started server keeps what it inherits: no pipe, or its reader waits for the server's end.
    let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let status = command
        .arg(&path)
        .args(args)
        .current_dir("/")
        .stdin(std::process::Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(err.try_clone().unwrap())
        .status()
        .unwrap();
    let text = |mut file: fs::File| {
        use std::io::{Read as _, Seek as _};
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    };
    let (out, err) = (text(out), text(err));
    assert!(status.success(), "{program} {args:?}: {status}\n{out}{err}");
    out.trim_end().to_owned()
}

/// Where the programs of the newest version are: Debian has them outside of PATH.
fn programs() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").expect("the package postgresql");
    let version = |path: &Path| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    let newest = installed
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| version(path));
    newest.expect("a version of PostgreSQL").join("bin")
}
