//! `--panic-file`: a run ends at once, as by `controller panic`, as soon as a file is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indexfile::exit::Exit;

use super::Fail;
use crate::control::Flag;
use crate::stop::StopHandle;

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct PanicFile {
    /// End the run at once when FILE appears, as `panic` does: what is not decided is rolled back,
    /// what is decided is carried out. A run does not begin while FILE is there.
    #[arg(long, value_name = "FILE")]
    panic_file: Option<PathBuf>,
}

impl PanicFile {
    /// Refuses to begin while it is there. Must be called on the runtime.
    pub(super) async fn check(&self) -> Result<(), Fail> {
        let Some(path) = &self.panic_file else {
            return Ok(());
        };
        match Flag::new(path).why().await {
            None => Ok(()),
            Some(why) => Err(Fail::new(
                Exit::Config,
                format!("--panic-file: {why}; nothing was begun"),
            )),
        }
    }

    /// Looks for it while there is something to stop. Must be called on the runtime.
    pub(super) fn watch(&self, handle: &StopHandle, tell: impl Fn(&str) + Send + 'static) {
        let Some(path) = self.panic_file.clone() else {
            return;
        };
        tokio::spawn(watch(path, handle.clone(), tell));
    }
}

async fn watch(path: PathBuf, handle: StopHandle, tell: impl Fn(&str)) {
    tokio::select! {
        () = handle.is_done() => {}
        why = appears(&path) => {
            if handle.panic(&format!("{why} (--panic-file)")) {
                tell(&format!(
                    "ending at once: {why} (--panic-file); what is not decided stays as it was"
                ));
            }
        }
    }
}

/// Returns once it is there, with what there is to say of it.
async fn appears(path: &Path) -> String {
    let mut flag = Flag::new(path);
    loop {
        tokio::time::sleep(EVERY).await;
        if let Some(why) = flag.why().await {
            return why;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::stop::{Stop, stop_pair};

    #[tokio::test]
    async fn a_file_that_appears_ends_a_run_at_once_and_one_that_is_there_begins_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("panic");
        let file = PanicFile {
            panic_file: Some(path.clone()),
        };
        assert!(file.check().await.is_ok());
        let (handle, mut stop) = stop_pair();
        let (sender, told) = channel();
        file.watch(&handle, move |text| drop(sender.send(text.to_owned())));
        std::fs::write(&path, "").unwrap();
        stop.reached(Stop::Now).await;
        let why = stop.panic().unwrap();
        assert!(why.ends_with("/panic exists (--panic-file)"), "{why}");
        assert!(told.recv().unwrap().starts_with("ending at once: "));
        let refused = file.check().await.unwrap_err();
        assert_eq!(refused.exit, Exit::Config);
        assert!(
            refused.text.ends_with("; nothing was begun"),
            "{}",
            refused.text
        );
    }
}
