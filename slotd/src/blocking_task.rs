//! Blocking work on a second thread: two syncs at once take as long as the longer one.
//!
//! The work goes to tokio's pool for blocking work, so no thread is made for it. If no thread has
//! begun it by the time the result is wanted, or there is no runtime, the thread that wants the
//! result does the work itself: so a full pool cannot make threads wait for each other. Dropping
//! the value cancels work that has not begun. It keeps no state on disk; a crash loses the work.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

type Job<T> = Box<dyn FnOnce() -> T + Send>;

enum State<T> {
    Waiting(Job<T>),
    Running,
    Done(T),
    /// It panicked, or its result was taken.
    Finished,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    over: Condvar,
}

/// Work that may be under way on another thread.
pub struct BlockingTask<T>(Arc<Shared<T>>);

impl<T> std::fmt::Debug for BlockingTask<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockingTask")
    }
}

impl<T> Shared<T> {
    /// Sets the state and gives the one before.
    fn swap(&self, state: State<T>) -> State<T> {
        std::mem::replace(&mut self.state.lock(), state)
    }

    /// Does the work unless a thread has begun it.
    fn run(&self) {
        /// Wakes the waiting thread, also if the work panics.
        struct Notify<'a, T>(&'a Shared<T>, Option<T>);
        impl<T> Drop for Notify<'_, T> {
            fn drop(&mut self) {
                let result = self.1.take().map_or(State::Finished, State::Done);
                self.0.swap(result);
                self.0.over.notify_all();
            }
        }
        let job = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, State::Running) {
                State::Waiting(job) => job,
                other => {
                    *state = other;
                    return;
                }
            }
        };
        let mut notify = Notify(self, None);
        notify.1 = Some(job());
    }
}

impl<T: Send + 'static> BlockingTask<T> {
    /// Begins.
    pub fn begin(job: impl FnOnce() -> T + Send + 'static) -> BlockingTask<T> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Waiting(Box::new(job))),
            over: Condvar::new(),
        });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let shared = Arc::clone(&shared);
            runtime.spawn_blocking(move || shared.run());
        }
        BlockingTask(shared)
    }

    /// Its result. `None` if it panicked.
    #[must_use]
    pub fn join(self) -> Option<T> {
        self.0.run();
        let mut state = self.0.state.lock();
        while matches!(*state, State::Running) {
            self.0.over.wait(&mut state);
        }
        match std::mem::replace(&mut *state, State::Finished) {
            State::Done(result) => Some(result),
            _ => None,
        }
    }
}

impl<T> Drop for BlockingTask<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if matches!(*state, State::Waiting(_)) {
            *state = State::Finished;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};

    fn here() -> ThreadId {
        thread::current().id()
    }

    #[test]
    fn without_a_runtime_the_thread_that_wants_the_result_does_the_work() {
        assert_eq!(BlockingTask::begin(here).join(), Some(here()));
    }

    #[test]
    fn with_a_runtime_it_goes_on_at_the_same_time() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let _guard = runtime.enter();
        let (start, started) = mpsc::channel();
        let (answer, answered) = mpsc::channel();
        let task = BlockingTask::begin(move || {
            start.send(here()).unwrap();
            answered.recv().unwrap()
        });
        assert_ne!(started.recv().unwrap(), here());
        answer.send(7).unwrap();
        assert_eq!(task.join(), Some(7));
    }

    #[test]
    fn a_full_pool_does_not_block_the_thread_that_wants_the_result() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (go, going) = mpsc::channel::<()>();
        let busy = runtime.spawn_blocking(move || {
            let task = BlockingTask::begin(here);
            let result = task.join() == Some(here());
            going.recv().unwrap();
            result
        });
        go.send(()).unwrap();
        assert!(runtime.block_on(busy).unwrap());
    }

    #[test]
    fn work_that_panics_has_no_result() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let _guard = runtime.enter();
        let (start, started) = mpsc::channel();
        let task: BlockingTask<()> = BlockingTask::begin(move || {
            start.send(()).unwrap();
            panic!("on purpose")
        });
        started.recv().unwrap();
        assert_eq!(task.join(), None);
    }
}
