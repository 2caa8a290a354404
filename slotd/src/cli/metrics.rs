//! `serve --metrics` and `--metrics-file`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexfile::exit::Exit;
use tokio::task::JoinSet;

use super::Failure;
use super::args::Serve;
use crate::host::Host;
use crate::metrics::{page, serve, write_file};

/// How often the file is written.
const EVERY: Duration = Duration::from_secs(15);

/// What is served, until it is dropped. The file goes then too: numbers of a slotd that is gone say
/// nothing.
pub(super) struct Metrics {
    file: Option<PathBuf>,
    _tasks: JoinSet<()>,
}

impl Metrics {
    pub(super) fn begin(host: &Arc<Host>, args: &Serve) -> Result<Metrics, Failure> {
        let mut tasks = JoinSet::new();
        if let Some(addr) = args.metrics {
            let failed = |error: std::io::Error| {
                let text = format!("cannot serve metrics on {addr}: {error}");
                Failure::new(Exit::of_io(&error), text)
            };
            let listener = addr.bind().map_err(failed)?;
            let at = listener.local_addr().map_err(failed)?;
            eprintln!("slotd: metrics at http://{at}/metrics");
            let host = Arc::clone(host);
            tasks.spawn(serve(listener, move || openmetrics(Arc::clone(&host))));
        }
        if let Some(path) = &args.metrics_file {
            write_now(host, path).map_err(|(exit, text)| Failure::new(exit, text))?;
            tasks.spawn(keep_writing(Arc::clone(host), path.clone()));
        }
        Ok(Metrics {
            file: args.metrics_file.clone(),
            _tasks: tasks,
        })
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        if let Some(path) = &self.file {
            // If it cannot be removed, its age tells that nobody writes it.
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn openmetrics(host: Arc<Host>) -> Option<String> {
    // A root that hangs must not keep the reactor.
    let made = tokio::task::spawn_blocking(move || page(&host).into_openmetrics());
    made.await.ok()
}

fn write_now(host: &Host, path: &Path) -> Result<(), (Exit, String)> {
    let written = write_file(path, page(host));
    written.map_err(|error| {
        (
            Exit::of_io(&error.source),
            format!("--metrics-file: {error}"),
        )
    })
}

async fn keep_writing(host: Arc<Host>, path: PathBuf) {
    let mut failed = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let (of, to) = (Arc::clone(&host), path.clone());
        let written = tokio::task::spawn_blocking(move || write_now(&of, &to)).await;
        let error = written.ok().and_then(Result::err).map(|(_, text)| text);
        if let Some(text) = error.as_ref().filter(|_| error != failed) {
            tracing::warn!("{text}");
        }
        failed = error;
    }
}
