//! Cyrus's programs as the user cyrus, which they insist on.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

/// Where Debian puts the tools.
const BIN: &str = "/usr/lib/cyrus/bin";

/// The path of a tool.
pub(crate) fn tool(name: &str) -> String {
    format!("{BIN}/{name}")
}

/// A program, to be run by user cyrus.
pub(crate) fn as_cyrus(program: &str) -> Command {
    let mut words = words_as_cyrus(program).into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// The words of that command: by setpriv if we are root.
pub(super) fn words_as_cyrus(program: &str) -> Vec<String> {
    let becomes: &[&str] = if nix::unistd::getuid().is_root() {
        &["setpriv", "--reuid=cyrus", "--regid=mail", "--init-groups"]
    } else {
        &[]
    };
    let words = becomes.iter().copied().chain([program]);
    words.map(str::to_owned).collect()
}

/// Gives a directory and all in it to user cyrus, if we are root.
pub(crate) fn give_to_cyrus(root: &Path) {
    if !nix::unistd::getuid().is_root() {
        return;
    }
    let user = nix::unistd::User::from_name("cyrus").unwrap();
    let user = user.expect("no user cyrus: are the Debian packages installed?");
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
}

/// A program in a mount namespace of its own in which `/dev/log` is the socket `log`: there is no
/// other way to have what Cyrus says to syslog. `dev` is an empty directory. `REGUID_CYRUS_ROOT`
/// names the root of the system whose Cyrus it is (a Debian 13, with user cyrus as here), if it is
/// not this one; both have /tmp in common.
pub(crate) fn heard(program: &str, dev: &Path, log: &Path) -> Command {
    const SCRIPT: &str = r#"set -e; dev=$1; log=$2; root=$3; shift 3
        mount -t tmpfs none "$dev"
        for name in null zero random urandom; do
            : >"$dev/$name"; mount --bind "/dev/$name" "$dev/$name"
        done
        : >"$dev/log"; mount --bind "$log" "$dev/log"
        if [ -n "$root" ]; then
            mount --rbind "$dev" "$root/dev"; mount --rbind /tmp "$root/tmp"
            set -- chroot "$root" "$@"
        else
            mount --rbind "$dev" /dev
        fi
        exec "$@""#;
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
    let root = std::env::var_os("REGUID_CYRUS_ROOT").unwrap_or_default();
    command.args([dev, log].map(OsStr::new)).arg(root);
    command.args(words_as_cyrus(program));
    command
}
