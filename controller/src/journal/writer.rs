//! The one thread that writes: takes what has been submitted, in order, and commits it as one
//! transaction, so that the decisions of many mailboxes share one disk sync.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Durability, JournalError, Receipt};

/// How long a lazy change may wait for a durable one to travel with.
const LAZY_WAIT: Duration = Duration::from_millis(200);
/// How many changes one transaction takes at most.
const GROUP_MAX: usize = 4096;

/// A change, to be made once; a journal in memory makes it again after a crash.
pub(super) type Apply = Box<dyn Fn(&Connection) -> rusqlite::Result<()> + Send + Sync>;
type Done = oneshot::Sender<Result<(), JournalError>>;

struct Op {
    apply: Apply,
    durability: Durability,
    done: Done,
}

/// The handle of the writer thread; ends it when dropped, after everything has been written.
pub(super) struct Writer {
    queue: Option<Sender<Op>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. It owns the connection from now on.
    pub(super) fn start(connection: Connection, path: PathBuf) -> std::io::Result<Self> {
        let (queue, ops) = channel();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                let mut writer = Loop {
                    connection,
                    path,
                    ops,
                    failed: None,
                };
                writer.run();
            })?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Hands a change over.
    pub(super) fn submit(&self, durability: Durability, apply: Apply) -> Receipt {
        let (done, receipt) = Receipt::pair();
        if let Some(queue) = &self.queue {
            // If the thread is gone, `done` is dropped, and the receipt says so.
            let _ = queue.send(Op {
                apply,
                durability,
                done,
            });
        }
        receipt
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

struct Loop {
    connection: Connection,
    path: PathBuf,
    ops: Receiver<Op>,
    failed: Option<String>,
}

impl Loop {
    fn run(&mut self) {
        while let Ok(first) = self.ops.recv() {
            let group = self.gather(first);
            self.write(group);
        }
    }

    /// Everything that is waiting; if it is all lazy, a little longer than that.
    fn gather(&self, first: Op) -> Vec<Op> {
        let mut durable = first.durability == Durability::Durable;
        let mut group = vec![first];
        let until = Instant::now() + LAZY_WAIT;
        while group.len() < GROUP_MAX {
            let op = if durable {
                self.ops.try_recv().ok()
            } else {
                let left = until.saturating_duration_since(Instant::now());
                self.ops.recv_timeout(left).ok()
            };
            let Some(op) = op else { break };
            durable |= op.durability == Durability::Durable;
            group.push(op);
        }
        group
    }

    fn write(&mut self, group: Vec<Op>) {
        let mut waiting = Vec::with_capacity(group.len());
        let result = match &self.failed {
            Some(first) => {
                waiting.extend(group.into_iter().map(|op| op.done));
                Err(JournalError::Poisoned {
                    first: first.clone(),
                })
            }
            None => self.commit(group, &mut waiting).map_err(|error| {
                // Whether it is on disk or not, nobody knows: never write after it.
                let text = error.to_string();
                self.failed = Some(text.clone());
                JournalError::Sqlite {
                    path: self.path.clone(),
                    text,
                }
            }),
        };
        for done in waiting {
            // Nobody waits for most lazy changes.
            let _ = done.send(result.clone());
        }
    }

    fn commit(&mut self, group: Vec<Op>, waiting: &mut Vec<Done>) -> rusqlite::Result<()> {
        let mut first_error = None;
        let transaction = match self.connection.unchecked_transaction() {
            Ok(transaction) => Some(transaction),
            Err(error) => {
                first_error = Some(error);
                None
            }
        };
        for op in group {
            waiting.push(op.done);
            if let (Some(transaction), None) = (&transaction, &first_error) {
                first_error = (op.apply)(transaction).err();
            }
        }
        match (first_error, transaction) {
            (None, Some(transaction)) => transaction.commit(),
            (error, _) => error.map_or(Ok(()), Err),
        }
    }
}
