//! SIGINT, SIGTERM and SIGHUP while the demo runs: noted here, obeyed between steps.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indexfile::{IoContext, IoError};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::DemoError;

/// Listens for the rest of its life.
pub(crate) struct Signals {
    runtime: Runtime,
    flag: Arc<AtomicBool>,
    count: watch::Receiver<u32>,
}

impl Signals {
    /// Starts to listen; from now on these signals do not end the process by themselves.
    pub fn listen() -> Result<Self, IoError> {
        let this = Path::new("this process");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .io_context("start threads of", this)?;
        let flag = Arc::new(AtomicBool::new(false));
        let (counter, count) = watch::channel(0);
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            let (flag, counter) = (Arc::clone(&flag), counter.clone());
            let entered = runtime.enter();
            let mut signals = signal(kind).io_context("catch signals of", this)?;
            drop(entered);
            runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    flag.store(true, Ordering::Relaxed);
                    counter.send_modify(|n| *n += 1);
                }
            });
        }
        Ok(Self {
            runtime,
            flag,
            count,
        })
    }

    /// Set once a signal came.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// How many came; a second one means now.
    pub fn count(&self) -> watch::Receiver<u32> {
        self.count.clone()
    }

    /// The runtime that listens, for other work as well.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Fails if a signal came.
    pub fn check(&self) -> Result<(), DemoError> {
        if self.flag.load(Ordering::Relaxed) {
            Err(DemoError::Stopped)
        } else {
            Ok(())
        }
    }
}
