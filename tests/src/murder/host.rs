//! One host of a Murder.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{ADMIN, PASSWORD};
use crate::cyrus36::imap::Imap;
use crate::cyrus36::log::Log;
use crate::cyrus36::user;
use crate::process::Guard;

/// Directories that Cyrus does not make by itself.
const DIRS: [&str; 10] = [
    "conf/db",
    "conf/lock",
    "conf/log",
    "conf/msg",
    "conf/proc",
    "conf/quota",
    "conf/socket",
    "spool",
    "p2",
    "dev",
];
/// How long a server may take to come up or go down.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host: its files, and once it is started its servers.
pub struct Host {
    /// `servername`
    pub name: String,
    /// On loopback.
    pub address: String,
    dir: PathBuf,
    log: Log,
    server: Option<Guard>,
}

impl Host {
    /// Makes its directory in `root`, which has the `hosts` and `services` that it sees.
    pub(super) fn new(root: &Path, name: &str, address: &str) -> Self {
        let dir = root.join(name);
        for sub in DIRS {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let log = Log::at(&dir.join("log"));
        Self {
            name: name.to_owned(),
            address: address.to_owned(),
            dir,
            log,
            server: None,
        }
    }

    /// As the master, or as the mupdate of a frontend that follows it.
    pub(super) fn start_mupdate(&mut self, is_master: bool) {
        let root = self.dir.parent().unwrap().display();
        let more = if is_master {
            String::new()
        } else {
            format!(
                "{FOLLOWS}tls_server_cert: {root}/server.pem\ntls_server_key: {root}/server.key\n"
            )
        };
        let conf = format!(
            "{}admins: {ADMIN}\nsasl_pwcheck_method: auxprop\nsasl_auxprop_plugin: sasldb\n\
             sasl_sasldb_path: {}/sasldb2\n{more}",
            self.conf(),
            self.dir.display()
        );
        fs::write(self.dir.join("imapd.conf"), conf).unwrap();
        let mut services = self.service("mupdate", "imapd.conf", &format!("{}:3905", self.address));
        if is_master {
            services = services.replace("mupdate -C", "mupdate -m -C");
        }
        services = services.replace("prefork=0", "prefork=1 maxchild=1");
        let at = (self.address.clone(), 3905);
        self.start(&services, || TcpStream::connect(&at).is_ok());
    }

    /// As a backend.
    pub(super) fn start_imap(&mut self) {
        let conf = self.conf();
        // Without proxyservers it would take itself for a frontend.
        let conf =
            format!("{conf}admins: cyrus\nsasl_pwcheck_method: alwaystrue\nproxyservers: murder\n");
        fs::write(self.dir.join("quiet.conf"), &conf).unwrap();
        fs::write(self.dir.join("imapd.conf"), conf + FOLLOWS).unwrap();
        let socket = |name| self.socket(name).display().to_string();
        let services = self.service("imapd", "imapd.conf", &socket("imap"))
            + &self
                .service("imapd", "quiet.conf", &socket("quiet"))
                .replacen("imapd", "quiet", 1);
        let at = self.socket("imap");
        self.start(&services, || UnixStream::connect(&at).is_ok());
    }

    fn conf(&self) -> String {
        let dir = self.dir.display();
        format!(
            "configdirectory: {dir}/conf\ndefaultpartition: default\n\
             partition-default: {dir}/spool\npartition-p2: {dir}/p2\n\
             servername: {}\nallowplaintext: yes\nsasl_mech_list: PLAIN\n\
             unixhierarchysep: no\naltnamespace: no\ndelete_mode: immediate\n",
            self.name
        )
    }

    fn service(&self, program: &str, conf: &str, listen: &str) -> String {
        let conf = self.dir.join(conf).display().to_string();
        let program_path = user::tool(program);
        format!("  {program} cmd=\"{program_path} -C {conf}\" listen=\"{listen}\" prefork=0\n")
    }

    fn start(&mut self, services: &str, is_up: impl Fn() -> bool) {
        let conf = format!("START {{\n}}\nSERVICES {{\n{services}}}\nEVENTS {{\n}}\n");
        fs::write(self.dir.join("cyrus.conf"), conf).unwrap();
        user::give_to_cyrus(&self.dir);
        let password = format!(
            "echo {PASSWORD} | saslpasswd2 -p -c -f sasldb2 -u {} {ADMIN}",
            self.name
        );
        let mut set = self.inside("sh");
        let _ = Guard::spawn(set.args(["-c", &password]))
            .finish()
            .expect_code(0);
        let mut command = self.inside("/usr/sbin/cyrmaster");
        command.arg("-C").arg(self.dir.join("imapd.conf"));
        command.arg("-M").arg(self.dir.join("cyrus.conf"));
        command.arg("-p").arg(self.dir.join("pid"));
        // When it ends it sends SIGTERM to its whole group.
        command.process_group(0);
        let mut server = Guard::spawn(&mut command);
        let deadline = Instant::now() + PATIENCE;
        while !is_up() {
            let ended = server.0.try_wait().unwrap();
            let lines = self.log.lines().join("\n");
            assert!(
                ended.is_none(),
                "{}: master ended: {ended:?}\n{lines}",
                self.name
            );
            assert!(
                Instant::now() < deadline,
                "{} does not serve\n{lines}",
                self.name
            );
            thread::sleep(Duration::from_millis(20));
        }
        self.server = Some(server);
    }

    /// Ends its servers.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        server.signal(Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(server.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Of a backend, a session of its administrator; what it does is pushed to the master.
    #[must_use]
    pub fn imap(&self) -> Imap {
        Imap::login(&self.socket("imap"), "cyrus")
    }

    /// The same, and the master hears nothing.
    #[must_use]
    pub fn quiet_imap(&self) -> Imap {
        Imap::login(&self.socket("quiet"), "cyrus")
    }

    /// Its own list, by `ctl_mboxlist -d`.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn own_list(&self) -> String {
        let mut command = self.inside(&user::tool("ctl_mboxlist"));
        command.arg("-C").arg(self.dir.join("quiet.conf")).arg("-d");
        Guard::spawn(&mut command).finish().expect_code(0).stdout
    }

    /// All that it said to syslog so far.
    pub fn log(&mut self) -> &[String] {
        self.log.lines()
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.dir.join("conf/socket").join(name)
    }

    /// A program as user cyrus where the names of the Murder lead to its hosts.
    fn inside(&self, program: &str) -> Command {
        const SCRIPT: &str = "set -e; mount --bind \"$1/hosts\" /etc/hosts
            mount --bind \"$1/services\" /etc/services; shift; exec \"$@\"";
        let heard = user::heard(program, &self.dir.join("dev"), &self.dir.join("log"));
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            SCRIPT,
            "sh",
        ]);
        command.arg(self.dir.parent().unwrap());
        command.arg(heard.get_program()).args(heard.get_args());
        command.current_dir(&self.dir);
        command
    }
}

/// Lines of an `imapd.conf` that say who the master is.
const FOLLOWS: &str = "mupdate_server: mupdate.test\nmupdate_username: mupdateadmin\n\
    mupdate_authname: mupdateadmin\nmupdate_password: secret\nproxy_authname: murder\n\
    proxy_password: secret\n";

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            let last: Vec<String> = self.log.lines().iter().rev().take(20).cloned().collect();
            eprintln!(
                "{} said last, the latest first:\n{}",
                self.name,
                last.join("\n")
            );
        }
        self.stop();
    }
}
