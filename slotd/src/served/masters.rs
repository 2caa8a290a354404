//! Which processes are a Cyrus master, and which `imapd.conf` each serves.
//!
//! A master has no file of the store open, and starts the processes that do: it counts also while
//! none of them runs. It is known by its name, which another program may have: Postfix's master is
//! recognised by its path.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use indexfile::IoError;
use indexfile::dir::read_named;
use indexfile::mailbox::{ConfError, ImapdConf};

use super::proc::{Process, processes};

/// What packages call it: Cyrus itself, Red Hat, Debian.
const NAMES: [&str; 3] = ["master", "cyrus-master", "cyrmaster"];
/// Its options that take a value, in 2.3 to 3.12.
const WITH_VALUE: &[u8] = b"CMpljLPrx";
/// What it serves unless `-C` says otherwise.
const DEFAULT_CONF: &str = "/etc/imapd.conf";
/// Where it writes its process id unless `-p` says otherwise: Cyrus itself, Debian.
const PID_FILES: [&str; 4] = [
    "var/run/cyrus-master.pid",
    "run/cyrus-master.pid",
    "run/cyrmaster.pid",
    "var/run/cyrmaster.pid",
];
/// The longest such file, in bytes.
const PID_FILE: u64 = 4096;

/// A Cyrus master.
#[derive(Debug)]
pub(super) struct Master {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) serves: Serves,
}

/// Which `imapd.conf` a master serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    /// Ours: the same file, or one with the same configdirectory.
    Ours,
    Other,
    /// It could not be found out.
    Unknown,
}

/// All processes with a Cyrus master's name. `root`: where `/proc` is below.
pub(super) fn running(root: &Path, conf: &ImapdConf) -> Result<Vec<Master>, IoError> {
    let all = processes(&root.join("proc"))?.into_iter();
    let named = |name: &str| NAMES.contains(&name);
    Ok(all.filter_map(|p| master(&p, conf, named)).collect())
}

/// The process that one of the files names to which a master writes its process id. Such a file is
/// a master's, so that its name needs only to resemble one: `cyrus23-master`.
pub(super) fn by_pid_file(root: &Path, conf: &ImapdConf) -> Option<(PathBuf, Master)> {
    let set = conf.setting("master_pid_file").map(PathBuf::from);
    let known = PID_FILES.iter().map(|file| root.join(file));
    let mut files: Box<dyn Iterator<Item = PathBuf>> = match set {
        Some(file) => Box::new(std::iter::once(file)),
        None => Box::new(known),
    };
    files.find_map(|file| {
        let text = read_named(&file, PID_FILE).ok()?;
        let pid = std::str::from_utf8(&text).ok()?.split_whitespace().next()?;
        let process = Process::of(&root.join("proc"), pid.parse().ok()?);
        let resembles = |name: &str| name.contains("master") || name.starts_with("cyr");
        Some((file, master(&process, conf, resembles)?))
    })
}

fn master(process: &Process, conf: &ImapdConf, named: impl Fn(&str) -> bool) -> Option<Master> {
    let name = process.name();
    if !named(&name) {
        return None;
    }
    let argv = process.argv();
    // One that has ended, and is waited for by its parent, has none.
    let program = argv.first()?;
    let here = std::fs::read_link(process.dir.join("exe")).ok();
    let at = here.as_deref().into_iter().chain([Path::new(program)]);
    let postfix = |path: &Path| path.iter().any(|part| contains(part, b"postfix"));
    if at.into_iter().any(postfix) {
        return None;
    }
    Some(Master {
        pid: process.pid,
        name,
        serves: serves(process, &argv, conf),
    })
}

fn contains(text: &OsStr, part: &[u8]) -> bool {
    text.as_bytes().windows(part.len()).any(|w| w == part)
}

/// What follows `-C`, as getopt reads it: alone, or at the end of other options' letters.
fn option_c(argv: &[OsString]) -> Option<&OsStr> {
    let mut arguments = argv.iter().skip(1);
    while let Some(argument) = arguments.next() {
        let Some(letters) = argument.as_bytes().strip_prefix(b"-") else {
            continue;
        };
        if letters == b"-" {
            return None;
        }
        let Some(at) = letters.iter().position(|b| WITH_VALUE.contains(b)) else {
            continue;
        };
        let value = match &letters[at + 1..] {
            [] => arguments.next()?.as_os_str(),
            rest => OsStr::from_bytes(rest),
        };
        if letters[at] == b'C' {
            return Some(value);
        }
    }
    None
}

fn serves(process: &Process, argv: &[OsString], ours: &ImapdConf) -> Serves {
    let named = Path::new(option_c(argv).unwrap_or(OsStr::new(DEFAULT_CONF)));
    let file = if named.is_absolute() {
        named.to_path_buf()
    } else {
        match std::fs::read_link(process.dir.join("cwd")) {
            Ok(cwd) => cwd.join(named),
            Err(_) => return Serves::Unknown,
        }
    };
    // A process in a container sees another file under that name.
    let own_root = process.dir.join("root");
    let seen = |path: &Path| match (path.strip_prefix("/"), own_root.metadata()) {
        (Ok(inner), Ok(_)) => own_root.join(inner),
        _ => path.to_path_buf(),
    };
    let file = seen(&file);
    if ours.file().is_some_and(|conf| is_same(conf, &file)) {
        return Serves::Ours;
    }
    match ImapdConf::load(&file) {
        Ok(conf) => match (conf.config_directory(), ours.config_directory()) {
            (Some(theirs), Some(ours)) if is_same(&seen(theirs), ours) => Serves::Ours,
            (Some(_), Some(_)) => Serves::Other,
            _ => Serves::Unknown,
        },
        // A proxy, which has no mailboxes.
        Err(ConfError::NoPartitions) => Serves::Other,
        Err(_) => Serves::Unknown,
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|m| (m.dev(), m.ino())).ok();
    id(a).is_some_and(|found| id(b) == Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c(line: &str) -> Option<String> {
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        option_c(&argv).map(|v| v.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_file_that_a_master_serves_is_read_from_its_command_line_as_getopt_reads_it() {
        let two = Some("/etc/two.conf".to_owned());
        assert_eq!(c("master -C /etc/two.conf -d"), two);
        assert_eq!(c("master -l 64 -C/etc/two.conf"), two);
        assert_eq!(c("master -dC /etc/two.conf"), two);
        assert_eq!(c("master -M -C -C /etc/two.conf"), two);
        assert_eq!(c("master -p /run/C -d"), None);
        assert_eq!(c("master -dpC"), None);
        assert_eq!(c("master - word -C /etc/two.conf"), two);
        assert_eq!(c("master -- -C /etc/two.conf"), None);
        assert_eq!(c("master"), None);
    }
}
