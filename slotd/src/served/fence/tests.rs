use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const UNIX: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";
const TCP: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid\n";
const LISTEN_143: &str = "   0: 00000000:008F 00000000:0000 0A 00000000:00000000 00:00000000 0\n";
const LISTEN_2003: &str = "   1: 0100007F:07D3 00000000:0000 0A 00000000:00000000 00:00000000 0\n";
const CONNECTED: &str = "   2: 0100007F:008F 0100007F:9999 01 00000000:00000000 00:00000000 0\n";

/// A store of 2.3 with `msg/shutdown`, and a machine on which nothing runs.
struct Machine {
    tmp: tempfile::TempDir,
    fence: Fence,
}

impl Machine {
    fn new() -> Machine {
        Machine::with("")
    }

    fn with(more: &str) -> Machine {
        let tmp = tempfile::tempdir().unwrap();
        let at = |name: &str| tmp.path().join(name);
        for dir in [
            "conf/msg",
            "conf/socket",
            "spool",
            "root/proc/net",
            "root/etc",
            "root/run",
        ] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        fs::write(at("conf/msg/shutdown"), "until ten\n").unwrap();
        fs::write(at("root/proc/net/unix"), UNIX).unwrap();
        fs::write(at("root/proc/net/tcp"), TCP).unwrap();
        fs::write(at("root/etc/services"), "imap2 143/tcp imap\n").unwrap();
        let text = format!(
            "configdirectory: {0}/conf\npartition-default: {0}/spool\n{more}",
            tmp.path().display()
        );
        fs::write(at("imapd.conf"), text).unwrap();
        let conf = ImapdConf::load(&at("imapd.conf")).unwrap();
        let mut fence = Fence::new(&conf, &[at("spool")]);
        fence.root = at("root");
        Machine { tmp, fence }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), text).unwrap();
    }

    fn process(&self, pid: u32, argv: &[&str]) -> PathBuf {
        let dir = self.at("root/proc").join(pid.to_string());
        fs::create_dir_all(dir.join("fd")).unwrap();
        let name = Path::new(argv[0]).file_name().unwrap().to_str().unwrap();
        fs::write(dir.join("comm"), format!("{name}\n")).unwrap();
        fs::write(dir.join("cmdline"), argv.join("\0") + "\0").unwrap();
        symlink(self.at("root"), dir.join("root")).unwrap();
        dir
    }

    /// What is proven is not believed here.
    fn why(&self) -> String {
        *self.fence.proven.lock() = None;
        self.fence
            .verify(&[])
            .err()
            .map_or(String::new(), |e| e.to_string())
    }

    fn refuses(&self, why: &str) {
        let said = self.why();
        assert!(said.contains(why), "{said:?} does not say {why:?}");
    }

    fn stands(&self) {
        assert_eq!(self.why(), "");
    }
}

#[test]
fn it_stands_where_nothing_runs_and_shutdown_is_a_regular_file_and_not_before() {
    let machine = Machine::new();
    machine.stands();
    let shutdown = machine.at("conf/msg/shutdown");
    fs::remove_file(&shutdown).unwrap();
    machine.refuses("conf/msg/shutdown is not there");
    fs::create_dir(&shutdown).unwrap();
    machine.refuses("conf/msg/shutdown is not a regular file");
    fs::remove_dir(&shutdown).unwrap();
    symlink(machine.at("imapd.conf"), &shutdown).unwrap();
    machine.refuses("is not a regular file");
    let conf = ImapdConf::parse("partition-default: /spool\n").unwrap();
    let none = Fence::new(&conf, &[]).verify(&[]);
    assert!(
        matches!(none, Err(NotFenced::NoConfigDirectory)),
        "{none:?}"
    );
}

#[test]
fn a_process_that_has_a_file_of_the_store_open_stands_against_it() {
    for file in ["spool/user/joe/cyrus.index", "conf/mailboxes.db"] {
        let machine = Machine::new();
        machine.write(file, "");
        let imapd = machine.process(77, &["/usr/cyrus/bin/imapd"]);
        machine.stands();
        symlink(machine.at(file), imapd.join("fd/9")).unwrap();
        machine.refuses(&format!(
            "imapd (process 77) has {} open",
            machine.at(file).display()
        ));
    }
    let machine = Machine::new();
    fs::remove_dir_all(machine.at("root/proc")).unwrap();
    machine.refuses("no process could be looked at: cannot list");
}

#[test]
fn what_was_proven_is_not_believed_for_long_nor_across_a_change_of_shutdown() {
    let machine = Machine::new();
    let holder = |machine: &Machine| {
        machine.write("conf/mailboxes.db", "");
        let imapd = machine.process(77, &["imapd"]);
        symlink(machine.at("conf/mailboxes.db"), imapd.join("fd/9")).unwrap();
    };
    machine.fence.verify(&[]).unwrap();
    holder(&machine);
    machine.write("conf/msg/shutdown", "until noon\n");
    machine.fence.verify(&[]).unwrap_err();

    let machine = Machine::new();
    machine.fence.verify(&[]).unwrap();
    holder(&machine);
    let fresh = machine.fence.proven.lock().unwrap();
    let before = Instant::now().checked_sub(FRESH + FRESH).unwrap();
    *machine.fence.proven.lock() = Some(Proven {
        at: before,
        ..fresh
    });
    machine.fence.verify(&[]).unwrap_err();
    // What a later Cyrus left is looked for again after twenty times as long as that takes.
    let machine = Machine::new();
    machine.fence.verify(&[]).unwrap();
    machine.write("conf/user/j/joe.conversations", "");
    let fresh = machine.fence.proven.lock().unwrap();
    let old = |took| {
        *machine.fence.proven.lock() = Some(Proven {
            at: before,
            looked: (before, took),
            ..fresh
        });
    };
    old(Duration::from_secs(3600));
    machine.fence.verify(&[]).unwrap();
    old(FRESH / LOOK_SHARE);
    machine.fence.verify(&[]).unwrap_err();
    fs::remove_file(machine.at("conf/msg/shutdown")).unwrap();
    machine.fence.verify(&[]).unwrap_err();
}

#[test]
fn a_socket_that_another_process_has_bound_in_the_configdirectory_stands_against_it() {
    let machine = Machine::new();
    let line = |inode: u32, path: &Path| {
        let flags = "00000002 00000000 00010000 0001 01";
        format!("0000000000000000: {flags} {inode:5} {}\n", path.display())
    };
    let idle = machine.at("conf/socket/idle one");
    let table = UNIX.to_owned() + &line(12, Path::new("/run/other")) + &line(0, Path::new("@x"));
    machine.write("root/proc/net/unix", &table);
    machine.stands();
    machine.write("root/proc/net/unix", &(table.clone() + &line(34, &idle)));
    machine.refuses(&format!(
        "a process has the socket {} bound",
        idle.display()
    ));
    // Under another name of the directory, too.
    symlink(machine.at("conf"), machine.at("other")).unwrap();
    let other = machine.at("other/socket/idle one");
    machine.write("root/proc/net/unix", &(table.clone() + &line(34, &other)));
    machine.refuses("other/socket/idle one bound");
    // slotd's own, with a connection that waits.
    let own = machine
        .at("root/proc")
        .join(std::process::id().to_string())
        .join("fd");
    fs::create_dir_all(&own).unwrap();
    symlink("socket:[34]", own.join("3")).unwrap();
    let ours = table + &line(34, &idle) + &line(0, &idle);
    machine.write("root/proc/net/unix", &ours);
    machine.stands();
    fs::remove_file(machine.at("root/proc/net/unix")).unwrap();
    machine.refuses("net/unix: No such file");
}

#[test]
fn a_master_that_serves_the_store_stands_against_it_by_whatever_file_and_no_other() {
    let conf = |machine: &Machine| machine.at("imapd.conf").to_str().unwrap().to_owned();
    for name in ["master", "cyrus-master", "cyrmaster"] {
        let machine = Machine::new();
        let dir = machine.process(
            5,
            &[&format!("/usr/sbin/{name}"), "-d", "-C", &conf(&machine)],
        );
        // In the same root as we are.
        fs::remove_file(dir.join("root")).unwrap();
        machine.refuses(&format!(
            "{name} (process 5) is a Cyrus master that serves this store"
        ));
    }
    let machine = Machine::new();
    machine.process(5, &["master"]);
    machine.refuses("which imapd.conf it serves could not be found out");
    let text = "configdirectory: /elsewhere\npartition-default: /elsewhere\n";
    machine.write("root/etc/imapd.conf", text);
    machine.stands();
    machine.write("root/etc/imapd.conf", "configdirectory: /elsewhere\n");
    machine.stands();
    let own = fs::read_to_string(conf(&machine)).unwrap();
    // Below its own root, a directory of this name is ours.
    fs::remove_file(machine.at("root/proc/5/root")).unwrap();
    symlink("/", machine.at("root/proc/5/root")).unwrap();
    machine.write("copy/imapd.conf", &own);
    let copy = machine.at("copy/imapd.conf");
    let argv = format!("master\0-C{}\0", copy.display());
    machine.write("root/proc/5/cmdline", &argv);
    machine.refuses("is a Cyrus master that serves this store");
    machine.write("root/proc/5/cmdline", "master\0-C\0imapd.conf\0");
    machine.refuses("could not be found out");
    symlink(machine.at("copy"), machine.at("root/proc/5/cwd")).unwrap();
    machine.refuses("is a Cyrus master that serves this store");

    // Postfix has one, too, and so has a process that has ended and waits for its parent.
    let machine = Machine::new();
    machine.process(6, &["/usr/lib/postfix/sbin/master", "-w"]);
    let other = machine.process(7, &["master"]);
    symlink("/usr/libexec/postfix/master", other.join("exe")).unwrap();
    let ended = machine.process(8, &["master"]);
    fs::write(ended.join("cmdline"), "").unwrap();
    machine.stands();
}

#[test]
fn a_pid_file_stands_against_it_while_its_process_is_a_master_of_this_store() {
    let machine = Machine::new();
    let conf = machine.at("imapd.conf");
    let argv = ["/opt/cyrus23-master", "-C", conf.to_str().unwrap()];
    let dir = machine.process(4711, &argv);
    fs::remove_file(dir.join("root")).unwrap();
    machine.stands();
    for file in [
        "var/run/cyrus-master.pid",
        "run/cyrus-master.pid",
        "run/cyrmaster.pid",
    ] {
        let file = format!("root/{file}");
        machine.write(&file, "4711\n");
        machine.refuses("cyrus23-master (process 4711), which runs");
        machine.refuses(&file);
        machine.write(&file, "4712\n");
        machine.stands();
    }
    machine.write("root/run/cyrmaster.pid", "4711\n");
    machine.write("root/proc/4711/comm", "bash\n");
    machine.stands();
    machine.write("root/proc/4711/comm", "cyrus23-master\n");
    let other = "configdirectory: /elsewhere\npartition-default: /elsewhere\n";
    machine.write("other.conf", other);
    let argv = format!("master\0-C\0{}\0", machine.at("other.conf").display());
    machine.write("root/proc/4711/cmdline", &argv);
    machine.stands();
    // A master whose file cannot be read.
    machine.write(
        "root/proc/4711/cmdline",
        "master\0-C\0/nowhere/imapd.conf\0",
    );
    machine.refuses("(process 4711), which runs");

    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().join("m.pid");
    let machine = Machine::with(&format!("master_pid_file: {}\n", file.display()));
    machine.process(4711, &["cyrus23-master"]);
    machine.write("root/run/cyrmaster.pid", "4711\n");
    machine.stands();
    fs::write(&file, "4711\n").unwrap();
    machine.refuses(&format!("{} names cyrus23-master", file.display()));
}

#[test]
fn a_port_or_socket_of_cyrus_conf_that_is_listened_on_stands_against_it() {
    let machine = Machine::new();
    let tcp =
        |lines: &[&str]| machine.write("root/proc/net/tcp", &(TCP.to_owned() + &lines.concat()));
    tcp(&[LISTEN_143, LISTEN_2003, CONNECTED]);
    // No cyrus.conf: its ports are not known.
    machine.stands();
    let services = |text: &str| machine.write("cyrus.conf", &format!("SERVICES {{\n{text}\n}}\n"));
    services("imap cmd=\"imapd\" listen=\"imap\" prefork=5");
    machine.refuses("0.0.0.0:143 is listened on, which");
    machine.refuses("cyrus.conf gives to the service imap");
    tcp(&[LISTEN_2003, CONNECTED]);
    machine.stands();
    services("lmtp listen=127.0.0.1:lmtp");
    machine.refuses("127.0.0.1:2003 is listened on");
    services("lmtp listen=127.0.0.2:lmtp");
    machine.stands();
    services("lmtp listen=2003");
    machine.refuses("127.0.0.1:2003 is listened on");
    tcp(&[]);
    let six = "0: 00000000000000000000000000000000:07D3 0:0 0A 0\n";
    machine.write("root/proc/net/tcp6", &(TCP.to_owned() + six));
    machine.refuses("[::]:2003 is listened on");
    machine.write(
        "root/proc/net/udp",
        &(TCP.to_owned() + "0: 00000000:1069 0:0 07 0\n"),
    );
    services("fud listen=fud proto=udp");
    machine.refuses("0.0.0.0:4201 is listened on");

    let lmtp = machine.at("lmtp");
    services(&format!("lmtpunix listen=\"{}\"", lmtp.display()));
    machine.stands();
    let line = format!(
        "0: 00000002 00000000 00010000 0001 01 9 {}\n",
        lmtp.display()
    );
    machine.write("root/proc/net/unix", &(UNIX.to_owned() + &line));
    machine.refuses("lmtp is bound, which");
}

#[test]
fn a_cyrus_conf_that_is_not_understood_stands_against_it() {
    let mut machine = Machine::new();
    machine.write("cyrus.conf", "SERVICES {\n x listen=whatever\n}\n");
    machine.refuses("the service x listens on \"whatever\", and no port of that name is known");
    machine.write("cyrus.conf", "EVENTS {\n}\n");
    machine.refuses("cyrus.conf has no section SERVICES");
    fs::remove_file(machine.at("cyrus.conf")).unwrap();
    fs::create_dir(machine.at("cyrus.conf")).unwrap();
    machine.refuses("cyrus.conf: it is a directory");
    let named = machine.at("elsewhere.conf");
    machine.fence.cyrus_conf = Some(named);
    machine.refuses("elsewhere.conf: No such file");
    machine.write("elsewhere.conf", "SERVICES {\n imap listen=imap\n}\n");
    machine.stands();
    machine.write("root/proc/net/tcp", &(TCP.to_owned() + LISTEN_143));
    machine.refuses("elsewhere.conf gives to the service imap");
}

#[test]
fn processes_that_may_be_the_server_s_and_could_not_be_looked_at_stand_against_it() {
    let proc = tempfile::tempdir().unwrap();
    let (server, me, root) = (500, 500, 0);
    let unseen = |users: &[u32]| Unseen {
        pid: 9,
        users: users.to_vec(),
    };
    let judge = |unseen: &[Unseen], user: u32| {
        let scan = Scan {
            unseen: unseen.to_vec(),
            ..Scan::default()
        };
        let at = (proc.path(), Path::new("/conf"));
        let result = nothing_open(scan, at, (user, server));
        result.err().map_or(String::new(), |e| e.to_string())
    };
    assert_eq!(judge(&[], root), "");
    let said = judge(&[], me);
    assert!(
        said.contains("hides the processes of other users"),
        "{said}"
    );
    fs::create_dir(proc.path().join("1")).unwrap();
    assert_eq!(judge(&[], me), "");
    assert_eq!(judge(&[unseen(&[0, 0]), unseen(&[501])], me), "");
    let some = [unseen(&[0]), unseen(&[0, 500]), unseen(&[])];
    let said = judge(&some, me);
    assert!(
        said.starts_with("2 of the processes of the server's user"),
        "{said}"
    );
    assert!(said.contains("as root or as that user"), "{said}");
    // To root it makes no difference whose of the users it is, nor whether the store is root's.
    let by_root = |server: u32, unseen: Vec<Unseen>| {
        let scan = Scan {
            unseen,
            ..Scan::default()
        };
        let at = (proc.path(), Path::new("/conf"));
        nothing_open(scan, at, (root, server))
    };
    for server in [server, root] {
        let unseen = [&some[..], &[unseen(&[501])]].concat();
        let said = by_root(server, unseen).unwrap_err().to_string();
        assert!(said.starts_with("3 processes could not be"), "{said}");
        assert!(said.contains("CAP_SYS_PTRACE"), "{said}");
        by_root(server, vec![some[0].clone()]).unwrap();
    }
    let said = judge(&[], 501);
    assert!(said.contains("slotd runs as user 501"), "{said}");
}

#[test]
fn a_process_whose_files_the_system_hides_is_counted_with_the_users_that_it_has() {
    let machine = Machine::new();
    let dir = machine.process(9, &["imapd"]);
    fs::write(dir.join("status"), "Name:\timapd\nUid:\t7\t8\t7\t7\n").unwrap();
    let mode = fs::Permissions::from_mode;
    fs::set_permissions(machine.tmp.path(), mode(0o755)).unwrap();
    fs::set_permissions(dir.join("fd"), mode(0o000)).unwrap();
    let proc = machine.at("root/proc");
    // Root is hidden nothing: this thread is then another user.
    let scan = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::fs::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        stopped::scan(&proc, &[])
    });
    let scan = scan.join().unwrap();
    fs::set_permissions(dir.join("fd"), mode(0o700)).unwrap();
    let users = vec![7, 8, 7, 7];
    assert_eq!(scan.unseen, [Unseen { pid: 9, users }]);
}

#[test]
fn a_store_that_a_later_cyrus_opened_is_not_fenced_and_slotd_s_own_indexes_are_no_sign_of_one() {
    let machine = Machine::new();
    let index = |mailbox: &str| {
        let mut index = [0; 96];
        index[11] = 16;
        let dir = machine.at("spool/user").join(mailbox);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cyrus.index"), index).unwrap();
        dir.join(indexfile::cutover::STAMP_NAME)
    };
    for mailbox in ["joe", "bob", "eve"] {
        fs::write(index(mailbox), "").unwrap();
    }
    machine.stands();
    index("ann");
    let stamp = index("ben");
    machine.refuses("a Cyrus of 2.4 or later has opened the store");
    machine.refuses("has version 16");
    fs::write(stamp, "").unwrap();
    machine.stands();
    // What it was started with is remembered.
    let proof = Evidence::NameLock("/lock/joe.lock".into());
    let known = machine.fence.verify(&[proof]).unwrap_err().to_string();
    assert!(
        known.contains("/lock/joe.lock is a mailbox name lock"),
        "{known}"
    );
    // What somebody prepared for a later server has opened nothing.
    fs::create_dir(machine.at("conf/lock")).unwrap();
    machine.stands();
    let option = Evidence::Option("conversations".into());
    machine.fence.verify(&[option]).unwrap();
    let format = Evidence::Format("duplicate_db: twoskip".into());
    *machine.fence.proven.lock() = None;
    machine.fence.verify(std::slice::from_ref(&format)).unwrap();
    let lock = Evidence::NameLock("/lock/joe.lock".into());
    let known = machine.fence.verify(&[format, lock]).unwrap_err();
    assert!(!known.to_string().contains("duplicate_db"), "{known}");
    Machine::with("duplicate_db: twoskip\n").stands();
    fs::remove_dir(machine.at("conf/lock")).unwrap();
    machine.write("conf/lock", "no directory");
    machine.refuses("it is not known whether a Cyrus of 2.4 or later has opened the store");
    fs::remove_file(machine.at("conf/lock")).unwrap();
    machine.write("conf/user/j/joe.conversations", "");
    machine.refuses("joe.conversations is a file that 2.3 does not know");
}
