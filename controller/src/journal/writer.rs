//! The one thread that writes: takes what has been submitted, in order, and commits it as one
//! transaction, so that the decisions of many mailboxes share one sync.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Durability;
use super::sql::Op;

/// How long a lazy change may wait for a durable one to travel with.
const LAZY_WAIT: Duration = Duration::from_millis(200);
/// How many changes one transaction takes at most.
const GROUP_MAX: usize = 4096;

/// What the thread writes to.
pub(super) trait Backend: Send + 'static {
    /// Writes these in their order, as one transaction, and answers each. It is durable then, or
    /// may be lazy if all of them are.
    fn write(&mut self, group: Vec<Op>);
}

/// The handle of the writer thread; ends it when dropped, after everything has been written.
pub(super) struct Writer {
    queue: Option<Sender<Op>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. It owns the backend from now on.
    pub(super) fn start(mut backend: impl Backend) -> std::io::Result<Self> {
        let (queue, ops) = channel();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                while let Ok(first) = ops.recv() {
                    backend.write(gather(&ops, first));
                }
            })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Hands something over.
    pub(super) fn submit(&self, op: Op) {
        if let Some(queue) = &self.queue {
            // If the thread is gone, `done` is dropped, and the receipt says so.
            let _ = queue.send(op);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already; there is nobody to tell.
            let _ = thread.join();
        }
    }
}

/// Everything that is waiting; if it is all lazy, a little longer than that.
fn gather(ops: &Receiver<Op>, first: Op) -> Vec<Op> {
    let mut durable = first.durability == Durability::Durable;
    let mut group = vec![first];
    let until = Instant::now() + LAZY_WAIT;
    while group.len() < GROUP_MAX {
        let op = if durable {
            ops.try_recv().ok()
        } else {
            let left = until.saturating_duration_since(Instant::now());
            ops.recv_timeout(left).ok()
        };
        let Some(op) = op else { break };
        durable |= op.durability == Durability::Durable;
        group.push(op);
    }
    group
}
