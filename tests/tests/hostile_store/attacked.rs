//! A store that is attacked, and by what the programs are judged.

use std::fs;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use stores::Host;
use stores::genuine::unpack_239;
use tests::fleet::program;
use tests::process::{Ended, Guard};

pub const MAILBOX: &str = "user.alice.expunged";
/// What a program may come to, KiB.
const LIMIT_KIB: i64 = 64 << 10;
/// How long one may take before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The exit codes of docs/controller.md: anything else is a crash, or nothing that was thought of.
const CODES: [i32; 11] = [0, 64, 65, 67, 69, 70, 74, 75, 76, 77, 78];

/// A store, a copy of one mailbox to come back to, and a place where nothing may change.
pub struct Attacked {
    pub dir: tempfile::TempDir,
    pub host: Host,
    pub meta: PathBuf,
    pub data: PathBuf,
    pub list: PathBuf,
    /// Before each program.
    pub wrapper: Vec<String>,
}

impl Attacked {
    pub fn new() -> Self {
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
            wrapper: Vec::new(),
        };
        let _ = it.run("precompute", &["run"], true).expect_code(0);
        copy(&it.meta, &it.dir.path().join("meta"));
        copy(&it.data, &it.dir.path().join("data"));
        it
    }

    /// The same; the programs have no rights that make them open what its mode forbids, though this
    /// process may have them.
    pub fn by_mode_alone() -> Self {
        let mut it = Self::new();
        if rustix::process::geteuid().is_root() {
            own(it.dir.path());
            let without = "-dac_override,-dac_read_search";
            it.wrapper = vec![
                "setpriv".to_owned(),
                format!("--bounding-set={without}"),
                format!("--inh-caps={without}"),
            ];
        }
        it
    }

    pub fn elsewhere(&self) -> PathBuf {
        self.dir.path().join("elsewhere")
    }

    /// As it was.
    pub fn restore(&self) {
        for (from, to) in [("meta", &self.meta), ("data", &self.data)] {
            let _ = fs::remove_file(to);
            let _ = fs::remove_dir_all(to);
            copy(&self.dir.path().join(from), to);
        }
    }

    pub fn run(&self, name: &str, args: &[&str], conf: bool) -> Ended {
        let words = [self.wrapper.clone(), vec![program(name)]].concat();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(args);
        if conf {
            command.arg("--imapd-conf").arg(&self.host.conf);
            command.arg("--mailboxes").arg(&self.list);
        }
        Guard::spawn(&mut command).finish_within(PATIENCE)
    }

    /// A program has ended as it should: with one of our codes, and if it refused something with
    /// the name of what it refused.
    pub fn judge(what: &str, ended: &Ended, named: &str) {
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

/// Everything there becomes this user's own.
fn own(dir: &Path) {
    lchown(dir, Some(0), Some(0)).unwrap();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            own(&entry.path());
        } else {
            lchown(entry.path(), Some(0), Some(0)).unwrap();
        }
    }
}

/// Copies a flat directory.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            let to = to.join(entry.file_name());
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// No child of this process took more memory than it may so far.
pub fn assert_memory() {
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    eprintln!("largest resident size: {peak} KiB");
    assert!(peak < LIMIT_KIB, "{peak} KiB");
}
