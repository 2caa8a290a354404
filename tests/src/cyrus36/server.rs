//! A real Cyrus 3.6.1 that serves a store: its master, `imapd` and `sync_server`, on Unix sockets.
//!
//! The store is a copy, given to user cyrus. The imapd.conf beside the one of 2.3 says of the
//! directories what that one says; any password is right. Needs root, for what Cyrus writes to
//! syslog is heard in a mount namespace.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::imap::Imap;
use super::log::Log;
use super::user;
use crate::process::{Ended, Guard};
use stores::Host;
use stores::genuine::copy_host;

/// Directories that Cyrus does not make by itself.
const CONF_DIRS: [&str; 7] = ["db", "lock", "log", "msg", "proc", "quota", "socket"];
/// How long the server may take to come up or go down.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store and the server for it.
#[derive(Debug)]
pub struct Server {
    /// The copy.
    pub host: Host,
    dir: tempfile::TempDir,
    imap: SocketAddr,
    log: Log,
    master: Option<Guard>,
}

impl Server {
    /// Copies `store` and makes ready to serve the copy; nothing is started.
    ///
    /// # Panics
    /// If anything of that fails.
    #[must_use]
    pub fn with_copy_of(store: &Host) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = copy_host(store, &dir.path().join("store")).unwrap();
        for name in CONF_DIRS {
            fs::create_dir_all(host.root.join("conf").join(name)).unwrap();
        }
        fs::create_dir(dir.path().join("dev")).unwrap();
        fs::write(dir.path().join("imapd.conf"), imapd_conf(&host)).unwrap();
        // Free now; nothing else here asks for a port before the server does.
        let imap = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let conf = cyrus_conf(dir.path(), &host, imap);
        fs::write(dir.path().join("cyrus.conf"), conf).unwrap();
        let log = Log::at(&dir.path().join("log"));
        user::give_to_cyrus(dir.path());
        Self {
            host,
            dir,
            imap,
            log,
            master: None,
        }
    }

    /// Its imapd.conf.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.dir.path().join("imapd.conf")
    }

    /// Adds lines to it; for what is started after that.
    ///
    /// # Panics
    /// If the file cannot be rewritten.
    pub fn configure(&self, lines: &str) {
        let text = fs::read_to_string(self.conf()).unwrap();
        fs::write(self.conf(), text + lines).unwrap();
    }

    /// Starts the master, whose first act is `ctl_cyrusdb -r`, and waits until it serves.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(&mut self) {
        let mut master = self.spawn();
        let deadline = Instant::now() + PATIENCE;
        // It listens before it has run what is in START; imapd greets after that.
        while std::os::unix::net::UnixStream::connect(self.socket("imap")).is_err() {
            let ended = master.0.try_wait().unwrap();
            let lines = self.log.lines().join("\n");
            assert!(ended.is_none(), "master ended: {ended:?}\n{lines}");
            assert!(Instant::now() < deadline, "master does not serve\n{lines}");
            thread::sleep(Duration::from_millis(20));
        }
        self.master = Some(master);
        drop(self.login("cyrus"));
    }

    /// Puts a command before all others in START of cyrus.conf.
    ///
    /// # Panics
    /// If the file cannot be rewritten.
    pub fn start_only_after(&self, command: &str) {
        let path = self.dir.path().join("cyrus.conf");
        let text = fs::read_to_string(&path).unwrap();
        let gate = format!("START {{\n  gate cmd=\"{command}\"\n");
        fs::write(path, text.replacen("START {\n", &gate, 1)).unwrap();
    }

    /// Starts the master and waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    #[must_use]
    pub fn start_in_vain(&self) -> Ended {
        self.spawn().finish_within(PATIENCE)
    }

    fn spawn(&self) -> Guard {
        let mut command = self.heard("/usr/sbin/cyrmaster");
        command.arg("-M").arg(self.dir.path().join("cyrus.conf"));
        command.arg("-p").arg(self.dir.path().join("pid"));
        // When it ends it sends SIGTERM to its whole group, other tests' servers in it.
        command.process_group(0);
        Guard::spawn(&mut command)
    }

    /// Runs a tool of Cyrus on the store.
    ///
    /// # Panics
    /// If it is not installed or is stuck.
    #[must_use]
    pub fn run(&self, tool: &str, args: &[&str]) -> Ended {
        Guard::spawn(self.heard(&user::tool(tool)).args(args)).finish()
    }

    /// Sends what the other has not got: all users, or the mailboxes named in `args`.
    ///
    /// # Panics
    /// If `sync_client` is stuck.
    #[must_use]
    pub fn sync_to(&self, other: &Self, args: &[&str]) -> Ended {
        let socket = other.socket("sync");
        let words = ["-v", "-v", "-S", socket.to_str().unwrap()];
        self.run("sync_client", &[&words, args].concat())
    }

    /// A session of `user`; `cyrus` is the administrator.
    ///
    /// # Panics
    /// If the server refuses.
    #[must_use]
    pub fn login(&self, user: &str) -> Imap {
        Imap::login(&self.socket("imap"), user)
    }

    /// Where it serves IMAP by TCP.
    #[must_use]
    pub fn imap(&self) -> SocketAddr {
        self.imap
    }

    /// What the server said to syslog so far that is a warning or worse.
    pub fn faults(&mut self) -> Vec<String> {
        self.log.faults()
    }

    /// All that the server said to syslog so far.
    pub fn log(&mut self) -> &[String] {
        self.log.lines()
    }

    /// Stops the server; the store stays.
    #[must_use]
    pub fn stop(mut self) -> Self {
        self.end();
        self
    }

    fn end(&mut self) {
        let Some(mut master) = self.master.take() else {
            return;
        };
        // SIGTERM, and not at once SIGKILL: it ends its children.
        master.signal(Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(master.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn socket(&self, name: &str) -> PathBuf {
        socket(&self.host, name)
    }

    fn heard(&self, program: &str) -> Command {
        let [dev, log] = ["dev", "log"].map(|name| self.dir.path().join(name));
        let mut command = user::heard(program, &dev, &log);
        command.arg("-C").arg(self.dir.path().join("imapd.conf"));
        command.current_dir(self.dir.path()).env("TZ", "UTC");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn socket(host: &Host, name: &str) -> PathBuf {
    host.root.join("conf/socket").join(name)
}

fn imapd_conf(host: &Host) -> String {
    let mut text = format!(
        "configdirectory: {0}/conf\ndefaultpartition: default\npartition-default: {1}\n\
         hashimapspool: {2}\nservername: interop.test\nadmins: cyrus\nexpunge_mode: delayed\n\
         unixhierarchysep: no\naltnamespace: no\nquota_db: quotalegacy\nsubscription_db: flat\n\
         allowplaintext: yes\nsasl_mech_list: PLAIN\nsasl_pwcheck_method: alwaystrue\n\
         sync_authname: cyrus\nsync_password: secret\nsync_try_imap: no\n",
        host.root.display(),
        host.data.display(),
        if host.hashed { "yes" } else { "no" },
    );
    if !host.on_meta.is_empty() {
        let meta = host.meta.display();
        let files = host.on_meta.join(" ");
        let lines = format!("metapartition-default: {meta}\nmetapartition_files: {files}\n");
        text.push_str(&lines);
    }
    text
}

fn cyrus_conf(dir: &Path, host: &Host, tcp: SocketAddr) -> String {
    let conf = dir.join("imapd.conf").display().to_string();
    let [imap, sync] = ["imap", "sync"].map(|name| socket(host, name).display().to_string());
    let bin = |tool: &str| format!("{} -C {conf}", user::tool(tool));
    format!(
        "START {{\n  recover cmd=\"{} -r\"\n}}\n\
         SERVICES {{\n  imap cmd=\"{}\" listen=\"{imap}\" prefork=0\n  \
         imaptcp cmd=\"{1}\" listen=\"{tcp}\" prefork=0\n  \
         sync cmd=\"{}\" listen=\"{sync}\" prefork=0\n}}\n",
        bin("ctl_cyrusdb"),
        bin("imapd"),
        bin("sync_server"),
    )
}
