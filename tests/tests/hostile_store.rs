//! What lies where a file of a store is expected is hostile: a link, a fifo, a socket, a directory,
//! something huge, truncated or growing. Every program refuses it and names it, or does its work
//! right; none hangs, crashes, takes much memory, or touches anything elsewhere.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use stores::Host;
use stores::genuine::unpack_239;
use stores::judge::snapshot;
use tests::fleet::program;
use tests::process::{Guard, Slotd};
use tests::wire::Wire;

const MAILBOX: &str = "user.alice.expunged";
/// What a program may come to, KiB.
const LIMIT_KIB: i64 = 64 << 10;
/// Commands of slotd that look at a mailbox, `{}`.
const LOOKS: &[&str] = &["STATUS {}", "VERIFY {}", "SHA1S {}"];
/// Its whole way up and down.
const CHANGES: &[&str] = &[
    "PREPARE {}",
    "LOCK {} wait_ms=100",
    "UPGRADE",
    "COMMIT",
    "ROLLBACK",
    "LOCK {} wait_ms=100",
    "UPGRADE 9",
    "COMMIT",
    "ROLLBACK",
    "CLEAN {}",
];
/// How long one may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// The exit codes of docs/controller.md: anything else is a crash, or nothing that was thought of.
const CODES: [i32; 11] = [0, 64, 65, 67, 69, 70, 74, 75, 76, 77, 78];

/// What lies in the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    /// A link to a sound file of the same kind elsewhere.
    LinkOut,
    /// A link to nothing, elsewhere: what is created through it is a write there.
    LinkToNothing,
    /// A link to itself.
    Loop,
    /// A link to a device that never ends.
    LinkToDevice,
    Fifo,
    Socket,
    Directory,
    Empty,
    /// The first half of what was there.
    Truncated,
    /// A terabyte that takes no room.
    Sparse,
    /// What was there, and more and more behind it.
    Growing,
}

const ALL: [Odd; 11] = [
    Odd::LinkOut,
    Odd::LinkToNothing,
    Odd::Loop,
    Odd::LinkToDevice,
    Odd::Fifo,
    Odd::Socket,
    Odd::Directory,
    Odd::Empty,
    Odd::Truncated,
    Odd::Sparse,
    Odd::Growing,
];

/// Puts it there; what makes a file grow stops when this is dropped.
struct Placed {
    stop: std::sync::Arc<AtomicBool>,
    grows: Option<thread::JoinHandle<()>>,
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(grows) = self.grows.take() {
            grows.join().unwrap();
        }
    }
}

impl Odd {
    fn put(self, path: &Path, elsewhere: &Path) -> Placed {
        let was = fs::read(path).unwrap_or_default();
        let _ = fs::remove_file(path);
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let mut placed = Placed {
            stop: std::sync::Arc::clone(&stop),
            grows: None,
        };
        match self {
            Odd::LinkOut => symlink(elsewhere.join("sound"), path).unwrap(),
            Odd::LinkToNothing => symlink(elsewhere.join("nothing"), path).unwrap(),
            Odd::Loop => symlink(path, path).unwrap(),
            Odd::LinkToDevice => symlink("/dev/zero", path).unwrap(),
            Odd::Fifo => nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            // By a short name: that of a socket may have 108 bytes.
            Odd::Socket => {
                let short = elsewhere.parent().unwrap().join("s");
                let _ = fs::remove_file(&short);
                drop(UnixListener::bind(&short).unwrap());
                fs::rename(&short, path).unwrap();
            }
            Odd::Directory => fs::create_dir(path).unwrap(),
            Odd::Empty => fs::write(path, b"").unwrap(),
            Odd::Truncated => fs::write(path, &was[..was.len() / 2]).unwrap(),
            Odd::Sparse => {
                fs::write(path, &was).unwrap();
                let file = fs::File::options().write(true).open(path).unwrap();
                file.set_len(1 << 40).unwrap();
            }
            Odd::Growing => {
                fs::write(path, &was).unwrap();
                let mut file = fs::File::options().append(true).open(path).unwrap();
                placed.grows = Some(thread::spawn(move || {
                    for _ in 0..20_000 {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        file.write_all(&[0x55; 777]).unwrap();
                        thread::sleep(Duration::from_micros(300));
                    }
                }));
            }
        }
        placed
    }
}

/// A store, a copy of one mailbox to come back to, and a place where nothing may change.
struct Attacked {
    dir: tempfile::TempDir,
    host: Host,
    meta: PathBuf,
    data: PathBuf,
    list: PathBuf,
}

impl Attacked {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = unpack_239(&dir.path().join("host")).unwrap();
        let dirs = host.dirs(MAILBOX);
        let list = dir.path().join("list");
        fs::write(&list, format!("{MAILBOX}\n")).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        // What a run makes is there as well.
        let it = Self {
            meta: dirs.meta,
            data: dirs.data,
            dir,
            host,
            list,
        };
        let _ = it.run("precompute", &["run"], true).expect_code(0);
        copy(&it.meta, &it.dir.path().join("meta"));
        copy(&it.data, &it.dir.path().join("data"));
        it
    }

    fn elsewhere(&self) -> PathBuf {
        self.dir.path().join("elsewhere")
    }

    /// As it was.
    fn restore(&self) {
        for (from, to) in [("meta", &self.meta), ("data", &self.data)] {
            let _ = fs::remove_file(to);
            let _ = fs::remove_dir_all(to);
            copy(&self.dir.path().join(from), to);
        }
    }

    fn run(&self, name: &str, args: &[&str], conf: bool) -> tests::process::Ended {
        let mut command = Command::new(program(name));
        command.args(args);
        if conf {
            command.arg("--imapd-conf").arg(&self.host.conf);
            command.arg("--mailboxes").arg(&self.list);
        }
        Guard::spawn(&mut command).finish_within(PATIENCE)
    }

    /// A program has ended as it should: with one of our codes, and if it refused something with
    /// the name of what it refused.
    fn judge(what: &str, ended: &tests::process::Ended, named: &str) {
        let code = ended.code.unwrap_or(-1);
        assert!(CODES.contains(&code), "{what}: {ended:?}");
        let said = format!("{}\n{}", ended.stdout, ended.stderr);
        assert!(!said.contains("panicked"), "{what}: {said}");
        if code != 0 {
            assert!(
                said.contains(named),
                "{what}: {named} is not named: {ended:?}"
            );
        }
    }
}

/// Swaps what two names lead to: at no instant is nothing there.
fn exchange(one: &Path, other: &Path) {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let cwd = rustix::fs::CWD;
    rustix::fs::renameat_with(cwd, one, cwd, other, flags).unwrap();
}

/// Copies a flat directory.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            let to = to.join(entry.file_name());
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// The largest resident size of any child so far.
fn children_peak() -> i64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss()
}

/// Every kind of thing in the place of one file of a mailbox, before all programs.
fn in_the_place_of(names: &[&str]) {
    let it = Attacked::new();
    let slotd = Slotd::start(&program("slotd"), &it.host, &[]);
    for name in names {
        for odd in ALL {
            let what = format!("{name} is {odd:?}");
            it.restore();
            // A mailbox of 2.3.9 has its messages apart from the rest.
            let dir = if name.ends_with('.') {
                &it.data
            } else {
                &it.meta
            };
            let path = dir.join(name);
            let sound = fs::read(&path).or_else(|_| fs::read(it.meta.join("cyrus.index")));
            fs::write(it.elsewhere().join("sound"), sound.unwrap()).unwrap();
            let before = snapshot::take(&it.elsewhere()).unwrap();
            let placed = odd.put(&path, &it.elsewhere());
            if odd != Odd::LinkToDevice || !name.ends_with('.') {
                let meta = it.meta.to_str().unwrap();
                Attacked::judge(&what, &it.run("indexfile", &["check", meta], false), name);
            }
            if !name.ends_with('.') {
                let dump = it.run("indexfile", &["dump", path.to_str().unwrap()], false);
                Attacked::judge(&what, &dump, name);
            }
            for verb in ["verify", "scrub", "run"] {
                Attacked::judge(&what, &it.run("precompute", &[verb], true), name);
            }
            let mut wire = Wire::connect(&slotd.addr).unwrap();
            for command in LOOKS.iter().chain(CHANGES) {
                let reply = wire.ask(&command.replace("{}", MAILBOX));
                let fits = reply.starts_with("OK") || reply.starts_with("NO [STATE]");
                let fits = fits || reply.starts_with("NO [TOOLATE]");
                assert!(fits || reply.contains(name), "{what}: {command}: {reply}");
            }
            drop((placed, wire));
            let after = snapshot::take(&it.elsewhere()).unwrap();
            let differences = snapshot::differences(&before, &after);
            assert!(differences.is_empty(), "{what}: {differences:?}");
        }
    }
    assert_eq!(slotd.stop().code, Some(0));
    let peak = children_peak();
    eprintln!("largest resident size: {peak} KiB");
    assert!(peak < LIMIT_KIB, "{peak} KiB");
}

#[test]
fn in_the_place_of_the_files_of_cyrus() {
    in_the_place_of(&["cyrus.header", "cyrus.index", "cyrus.expunge"]);
}

#[test]
fn in_the_place_of_our_files() {
    in_the_place_of(&["cyrus.sha1s", "cyrus.uuids"]);
}

#[test]
fn in_the_place_of_staged_and_replaced_files() {
    in_the_place_of(&[
        "cyrus.index.NEW",
        "cyrus.expunge.NEW",
        "cyrus.index.OLD",
        "cyrus.expunge.OLD",
    ]);
}

#[test]
fn in_the_place_of_a_message() {
    in_the_place_of(&["2."]);
}

/// `imapd.conf`, a file that it includes, and a list of mailboxes: every program that reads one.
#[test]
fn in_the_place_of_configuration_and_lists() {
    let it = Attacked::new();
    let conf = it.dir.path().join("imapd.conf");
    let list = it.dir.path().join("names");
    for odd in ALL {
        // These are named by a person, through links if it comes to that; and a list may come from
        // a pipe, which is read to its end.
        if matches!(odd, Odd::LinkOut) {
            continue;
        }
        for path in [&conf, &list] {
            if path == &list && matches!(odd, Odd::Fifo | Odd::Sparse | Odd::LinkToDevice) {
                continue;
            }
            let what = format!("{} is {odd:?}", path.display());
            fs::copy(&it.host.conf, &conf).unwrap();
            fs::write(&list, format!("{MAILBOX}\n")).unwrap();
            let placed = odd.put(path, &it.elsewhere());
            for (name, verb) in [("precompute", "run"), ("precompute", "scrub")] {
                let mut command = Command::new(program(name));
                command.arg(verb).arg("--imapd-conf").arg(&conf);
                command.arg("--mailboxes").arg(&list);
                let ended = Guard::spawn(&mut command).finish_within(PATIENCE);
                // What is there is text then, and what it says is named.
                let text = matches!(odd, Odd::Empty | Odd::Truncated | Odd::Growing);
                let named = path.file_name().unwrap().to_str().unwrap();
                Attacked::judge(&what, &ended, if text { "" } else { named });
            }
            if path == &conf {
                for verb in ["serve", "recover"] {
                    let mut command = Command::new(program("slotd"));
                    command.arg(verb).arg("--imapd-conf").arg(&conf);
                    command.arg("--state").arg(it.dir.path().join("state"));
                    if verb == "serve" {
                        let socket = it.dir.path().join("sock");
                        command.arg("--listen");
                        command.arg(format!("unix:{}", socket.display()));
                        if !matches!(odd, Odd::Fifo | Odd::Socket | Odd::Directory | Odd::Loop) {
                            continue;
                        }
                    } else {
                        fs::create_dir_all(it.dir.path().join("state")).unwrap();
                    }
                    let ended = Guard::spawn(&mut command).finish_within(PATIENCE);
                    let text = matches!(odd, Odd::Empty | Odd::Truncated | Odd::Growing);
                    Attacked::judge(&what, &ended, if text { "" } else { "imapd.conf" });
                }
            }
            drop(placed);
            let _ = fs::remove_file(path);
            let _ = fs::remove_dir_all(path);
        }
    }
    assert!(children_peak() < LIMIT_KIB, "{} KiB", children_peak());
}

/// slotd's own files, in its state directory and in the configdirectory: it starts or says why not,
/// and writes nothing elsewhere.
#[test]
fn in_the_place_of_slotds_own_files() {
    let it = Attacked::new();
    let state = it.dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let recover = || {
        let mut command = Command::new(program("slotd"));
        command
            .arg("recover")
            .arg("--imapd-conf")
            .arg(&it.host.conf);
        command.arg("--state").arg(&state);
        Guard::spawn(&mut command).finish_within(PATIENCE)
    };
    let _ = recover().expect_code(0);
    let conf = fs::read_to_string(&it.host.conf).unwrap();
    let configdirectory = conf
        .lines()
        .find_map(|line| line.strip_prefix("configdirectory:"))
        .map(|dir| PathBuf::from(dir.trim()))
        .unwrap();
    let mut own: Vec<PathBuf> = Vec::new();
    for dir in [&state, &configdirectory] {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let name = entry.file_name();
            let ours = dir == &state || name.as_bytes().starts_with(b"reguid.");
            if ours && entry.file_type().unwrap().is_file() {
                own.push(entry.path());
            }
        }
    }
    for more in [
        "served.json",
        "coordinators",
        "epoch",
        "mounts.json",
        "intents",
    ] {
        if !own.iter().any(|path| path.ends_with(more)) {
            own.push(state.join(more));
        }
    }
    eprintln!("{own:?}");
    assert!(own.len() >= 7, "{own:?}");
    for path in &own {
        let sound = fs::read(path).ok();
        for odd in ALL {
            let what = format!("{} is {odd:?}", path.display());
            fs::write(
                it.elsewhere().join("sound"),
                sound.as_deref().unwrap_or(b"x\n"),
            )
            .unwrap();
            let before = snapshot::take(&it.elsewhere()).unwrap();
            let placed = odd.put(path, &it.elsewhere());
            let ended = recover();
            Attacked::judge(&what, &ended, path.file_name().unwrap().to_str().unwrap());
            drop(placed);
            let after = snapshot::take(&it.elsewhere()).unwrap();
            let differences = snapshot::differences(&before, &after);
            assert!(differences.is_empty(), "{what}: {differences:?}");
            let _ = fs::remove_file(path);
            let _ = fs::remove_dir_all(path);
            if let Some(sound) = &sound {
                fs::write(path, sound).unwrap();
            }
            for left in fs::read_dir(&state).unwrap().map(Result::unwrap) {
                if left.file_name().to_string_lossy().contains(".damaged-") {
                    fs::remove_file(left.path()).unwrap();
                }
            }
        }
    }
    assert!(children_peak() < LIMIT_KIB, "{} KiB", children_peak());
}

/// While all programs work on a mailbox its directories become links to others, and come back,
/// again and again: nothing there is touched.
#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nowhere() {
    let it = Attacked::new();
    let elsewhere = it.elsewhere();
    let (sound_meta, sound_data) = (it.dir.path().join("meta"), it.dir.path().join("data"));
    for (from, to) in [(&sound_meta, "meta"), (&sound_data, "data")] {
        copy(from, &elsewhere.join(to));
    }
    let before = snapshot::take(&elsewhere).unwrap();
    let slotd = Slotd::start(&program("slotd"), &it.host, &[]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        for (at, to) in [(&it.meta, "meta"), (&it.data, "data")] {
            let link = it.dir.path().join(format!("{to}.link"));
            symlink(elsewhere.join(to), &link).unwrap();
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    exchange(at, &link);
                    thread::sleep(Duration::from_micros(200));
                }
                if fs::symlink_metadata(at).unwrap().is_symlink() {
                    exchange(at, &link);
                }
            });
        }
        let mut done = 0;
        for _ in 0..150 {
            let mut wire = Wire::connect(&slotd.addr).unwrap();
            for command in CHANGES {
                let reply = wire.ask(&command.replace("{}", MAILBOX));
                done += usize::from(*command == "COMMIT" && reply.starts_with("OK"));
                assert!(
                    reply.starts_with("OK") || reply.starts_with("NO ["),
                    "{reply}"
                );
            }
        }
        for _ in 0..5 {
            for verb in ["run", "verify", "scrub"] {
                let ended = it.run("precompute", &[verb], true);
                Attacked::judge("swapped", &ended, "");
            }
        }
        stop.store(true, Ordering::Relaxed);
        eprintln!("{done} commits between the swaps");
    });
    let after = snapshot::take(&elsewhere).unwrap();
    let differences = snapshot::differences(&before, &after);
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(slotd.stop().code, Some(0));
}

/// Whatever the umask is, what is made has its final owner and mode: that of the file that it
/// replaces, or its owner's alone.
#[test]
fn a_umask_changes_the_mode_of_nothing_that_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let mut caches = Vec::new();
    for umask in ["0", "0777"] {
        let dir = tempfile::tempdir().unwrap();
        let host = unpack_239(&dir.path().join("host")).unwrap();
        let meta = host.dirs(MAILBOX).meta;
        let list = dir.path().join("list");
        fs::write(&list, format!("{MAILBOX}\n")).unwrap();
        let files = ["cyrus.index", "cyrus.expunge"].map(|name| meta.join(name));
        fs::set_permissions(&files[0], fs::Permissions::from_mode(0o640)).unwrap();
        let before = files.each_ref().map(|path| mode(path));
        let under = format!("umask {umask}; exec \"$@\"");
        let wrapper = ["sh", "-c", &under, "sh"].map(ToOwned::to_owned);
        let mut command = Command::new("sh");
        command
            .args(&wrapper[1..])
            .arg(program("precompute"))
            .arg("run");
        command.arg("--imapd-conf").arg(&host.conf);
        command.arg("--mailboxes").arg(&list);
        let _ = Guard::spawn(&mut command).finish().expect_code(0);
        caches.push(mode(&meta.join("cyrus.sha1s")));
        host.state_dir().unwrap();
        let slotd = Slotd::start_under(&wrapper, &program("slotd"), &host, &[]);
        let mut wire = Wire::connect(&slotd.addr).unwrap();
        for command in ["LOCK", "UPGRADE", "COMMIT"] {
            let name = if command == "LOCK" { MAILBOX } else { "" };
            wire.must(format!("{command} {name}").trim_end());
        }
        drop(wire);
        assert_eq!(slotd.stop().code, Some(0));
        assert_eq!(files.each_ref().map(|path| mode(path)), before, "{umask}");
        for entry in fs::read_dir(host.state_dir().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            let mode = mode(&path);
            // What another process could read or write then.
            assert_eq!(
                mode & 0o077,
                0,
                "umask {umask}: {} is {mode:o}",
                path.display()
            );
        }
    }
    assert_eq!(caches[0], caches[1]);
}
