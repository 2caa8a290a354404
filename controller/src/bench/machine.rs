//! The machine that a bench runs on: what is known without asking anybody.

use std::fs;
use std::path::Path;

use super::document::Machine;

/// The machine, and the file system that `dir` lies on.
pub(super) fn look(dir: &Path) -> Machine {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let kib = |text: String| text.split(' ').next()?.parse::<u64>().ok();
    let memory = field("/proc/meminfo", "MemTotal").and_then(kib);
    Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
        memory_bytes: memory.unwrap_or_default() * 1024,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned()),
        file_system: file_system(dir).unwrap_or_else(|| "unknown".into()),
        load_before: load(),
        load_after: 0.0,
    }
}

/// Load average of one minute.
pub(super) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or_default()
}

/// The type of the file system, by the longest mount point above `dir`.
fn file_system(dir: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let entries = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        // A blank in a path is written in octal.
        let at = words.next()?.replace("\\040", " ");
        let kind = words.next()?;
        dir.starts_with(&at).then(|| (at.len(), kind.to_owned()))
    });
    // Of two on one point the later one is on top.
    entries
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_is_is_known_on_every_linux() {
        let machine = look(Path::new("/proc/self"));
        assert_eq!(machine.file_system, "proc");
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20);
        assert_ne!(machine.kernel, "unknown");
    }
}
