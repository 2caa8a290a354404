//! A piece of blocking work beside one's own: two syncs at once take as long as the longer one.
//!
//! The work goes to a thread that tokio keeps for such things, so none is made for it. If none is
//! free by the time the result is wanted, or there is no runtime, whoever wants it does it himself:
//! nobody can wait for a thread that waits for him. Dropping the value takes work back that has not
//! begun. It keeps no state on disk; a crash loses the work.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

type Job<T> = Box<dyn FnOnce() -> T + Send>;

enum State<T> {
    Waiting(Job<T>),
    Running,
    Done(T),
    /// It panicked, or its result was taken.
    Gone,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    over: Condvar,
}

/// Work that may be under way on another thread.
pub struct Aside<T>(Arc<Shared<T>>);

impl<T> std::fmt::Debug for Aside<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Aside")
    }
}

impl<T> Shared<T> {
    /// Sets the state and gives the one before.
    fn swap(&self, state: State<T>) -> State<T> {
        std::mem::replace(&mut self.state.lock(), state)
    }

    /// Does the work if nobody has begun it.
    fn run(&self) {
        /// Whoever waits is told, also if the work panics.
        struct Tell<'a, T>(&'a Shared<T>, Option<T>);
        impl<T> Drop for Tell<'_, T> {
            fn drop(&mut self) {
                let result = self.1.take().map_or(State::Gone, State::Done);
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
        let mut tell = Tell(self, None);
        tell.1 = Some(job());
    }
}

impl<T: Send + 'static> Aside<T> {
    /// Begins.
    pub fn begin(job: impl FnOnce() -> T + Send + 'static) -> Aside<T> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Waiting(Box::new(job))),
            over: Condvar::new(),
        });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let shared = Arc::clone(&shared);
            runtime.spawn_blocking(move || shared.run());
        }
        Aside(shared)
    }

    /// Its result. `None` if it panicked.
    #[must_use]
    pub fn join(self) -> Option<T> {
        self.0.run();
        let mut state = self.0.state.lock();
        while matches!(*state, State::Running) {
            self.0.over.wait(&mut state);
        }
        match std::mem::replace(&mut *state, State::Gone) {
            State::Done(result) => Some(result),
            _ => None,
        }
    }
}

impl<T> Drop for Aside<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if matches!(*state, State::Waiting(_)) {
            *state = State::Gone;
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
    fn without_a_runtime_it_is_done_by_whoever_wants_it() {
        assert_eq!(Aside::begin(here).join(), Some(here()));
    }

    #[test]
    fn with_one_it_goes_on_at_the_same_time() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let _guard = runtime.enter();
        let (tell, told) = mpsc::channel();
        let (answer, answered) = mpsc::channel();
        let aside = Aside::begin(move || {
            tell.send(here()).unwrap();
            answered.recv().unwrap()
        });
        assert_ne!(told.recv().unwrap(), here());
        answer.send(7).unwrap();
        assert_eq!(aside.join(), Some(7));
    }

    #[test]
    fn nobody_waits_for_a_thread_that_is_not_free() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (go, gone) = mpsc::channel::<()>();
        let busy = runtime.spawn_blocking(move || {
            let aside = Aside::begin(here);
            let result = aside.join() == Some(here());
            gone.recv().unwrap();
            result
        });
        go.send(()).unwrap();
        assert!(runtime.block_on(busy).unwrap());
    }

    #[test]
    fn work_that_panics_is_told_of() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let _guard = runtime.enter();
        let (tell, told) = mpsc::channel();
        let aside: Aside<()> = Aside::begin(move || {
            tell.send(()).unwrap();
            panic!("on purpose")
        });
        told.recv().unwrap();
        assert_eq!(aside.join(), None);
    }
}
