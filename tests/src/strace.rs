//! What a process did to files, in order, from the output of `strace -f -y`.
//!
//! Each system call that locks, syncs, links, renames or unlinks becomes one short text such as
//! `lock cyrus.index`, `sync cyrus.index.NEW`, `rename cyrus.index.NEW cyrus.index`. Calls that
//! failed are left out. A file that has no name yet is `nameless`. A call that strace prints in two
//! halves counts when it ended.

use std::collections::HashMap;
use std::path::Path;

const NAMELESS: &str = "nameless";

/// Words to put before a program so that its file operations go to `log`. strace becomes a
/// grandchild (`-D`), so that the process id of the child stays the program's own.
#[must_use]
pub fn wrapper(log: &Path) -> Vec<String> {
    let calls =
        "trace=fcntl,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,close";
    let words = [
        "strace", "-D", "-f", "-y", "-qq", "-s", "4096", "-e", calls, "-o",
    ];
    words
        .iter()
        .map(|w| (*w).to_owned())
        .chain([log.display().to_string()])
        .collect()
}

/// The operations in a log, in the order they ended.
#[must_use]
pub fn operations(log: &str) -> Vec<String> {
    let mut halves: HashMap<&str, String> = HashMap::new();
    let mut found = Vec::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix("<unfinished ...>") {
            halves.insert(thread, start.to_owned());
            continue;
        }
        let whole = match call.split_once("resumed>") {
            Some((_, rest)) => halves.remove(thread).unwrap_or_default() + rest,
            None => call.to_owned(),
        };
        found.extend(operation(&whole));
    }
    found
}

fn operation(call: &str) -> Option<String> {
    let (name, rest) = call.split_once('(')?;
    let (args, result) = rest.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let of_fd = || {
        let path = args.split_once('<')?.1.split_once('>')?.0;
        let path = Path::new(path.trim_end_matches(" (deleted)"));
        let name = path.file_name()?.to_str()?;
        // To the kernel its name is its inode number.
        let name = if name.starts_with('#') {
            NAMELESS
        } else {
            name
        };
        Some(name.to_owned())
    };
    let quoted: Vec<&str> = args.split('"').skip(1).step_by(2).collect();
    let base = |n: usize| {
        let path = Path::new(quoted.get(n)?);
        if path.starts_with("/proc/self/fd") {
            return Some(NAMELESS.to_owned());
        }
        path.file_name()?.to_str().map(str::to_owned)
    };
    match name {
        "fcntl" if args.contains("F_WRLCK") && args.contains("SETLK") => {
            Some(format!("lock {}", of_fd()?))
        }
        "fcntl" if args.contains("F_UNLCK") => Some(format!("unlock {}", of_fd()?)),
        "close" => Some(format!("close {}", of_fd()?)),
        "fsync" | "fdatasync" => Some(format!("sync {}", of_fd()?)),
        "rename" | "renameat" | "renameat2" => Some(format!("rename {} {}", base(0)?, base(1)?)),
        "link" | "linkat" => Some(format!("link {} {}", base(0)?, base(1)?)),
        "unlink" | "unlinkat" => Some(format!("unlink {}", base(0)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_halves_and_failed_calls_are_understood() {
        let log = r#"
7 fcntl(9</m/user/a b/cyrus.header>, F_OFD_SETLK, {l_type=F_WRLCK, l_whence=SEEK_SET}) = 0
8 fsync(12</m/cyrus.index.NEW> <unfinished ...>
7 fcntl(9</m/cyrus.index>, F_OFD_SETLK, {l_type=F_WRLCK}) = -1 EAGAIN (Try again)
8 <... fsync resumed>) = 0
8 renameat(5</m>, "cyrus.index.NEW", 5</m>, "cyrus.index") = 0
8 close(9</m/cyrus.index (deleted)>) = 0
8 fsync(10</m/#7 (deleted)>) = 0
8 linkat(AT_FDCWD</>, "/proc/self/fd/10", 5</m>, "cyrus.index.NEW", AT_SYMLINK_FOLLOW) = 0
"#;
        let want = [
            "lock cyrus.header",
            "sync cyrus.index.NEW",
            "rename cyrus.index.NEW cyrus.index",
            "close cyrus.index",
            "sync nameless",
            "link nameless cyrus.index.NEW",
        ];
        assert_eq!(operations(log.trim()), want);
    }
}
