//! Pauses a run while a flag file exists or the machine is busy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::output::complain;
use crate::governor::Governor;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Pause while this file exists.
    pub pause_file: Option<PathBuf>,
    /// Pause while the load average of the last minute is not below this.
    pub load_below: Option<f64>,
}

impl Watch {
    /// Starts a thread that looks once a second, for as long as the process lives.
    pub fn start(self, governor: &Arc<Governor>) {
        if self.pause_file.is_none() && self.load_below.is_none() {
            return;
        }
        let governor = Arc::clone(governor);
        governor.set_pause(self.reason().is_some());
        std::thread::spawn(move || {
            let mut was = false;
            loop {
                let reason = self.reason();
                governor.set_pause(reason.is_some());
                match &reason {
                    Some(reason) if !was => complain(&format!("paused: {reason}")),
                    None if was => complain(&"going on"),
                    _ => {}
                }
                was = reason.is_some();
                std::thread::sleep(Duration::from_secs(1));
            }
        });
    }

    /// Why to pause now.
    fn reason(&self) -> Option<String> {
        let flag = self.pause_file.as_ref().filter(|path| path.exists());
        if let Some(path) = flag {
            return Some(format!("{} exists", path.display()));
        }
        let limit = self.load_below?;
        let text = std::fs::read_to_string("/proc/loadavg").ok()?;
        let load: f64 = text.split(' ').next()?.parse().ok()?;
        (load >= limit).then(|| format!("the load is {load}, not below {limit}"))
    }
}
