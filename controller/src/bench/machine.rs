//! The machine that a bench runs on: what is known without asking anybody.

use std::fs;
use std::path::Path;

use precompute::bench::scale::number;
use slotd::mounts::file_system;

use super::document::Machine;
use crate::control::load_average;

/// The machine, and the file system that `dir` lies on.
pub(super) fn look(dir: &Path) -> Machine {
    let text = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let processors = text("/proc/cpuinfo");
    let cpu = processors
        .lines()
        .find(|line| line.starts_with("model name"));
    let cpu = cpu.and_then(|line| line.split_once(':'));
    Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        cpu: cpu.map_or_else(|| "unknown".into(), |(_, name)| name.trim().to_owned()),
        memory_bytes: number(&text("/proc/meminfo"), "MemTotal:") * 1024,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned()),
        file_system: file_system(dir).unwrap_or_else(|| "unknown".into()),
        load_before: load(),
        load_after: 0.0,
    }
}

/// Load average of one minute.
pub(super) fn load() -> f64 {
    load_average().unwrap_or_default()
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
