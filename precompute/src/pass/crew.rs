//! How many threads of a pass work at a time.
//!
//! Cold storage wants many requests in flight, a warm page cache wants a thread a core: with more, each finds the
//! processor's caches full of what the others do. Which of the two it is shows while it runs: threads that wait for
//! storage leave processors idle. So a pass begins with a thread a core, and as long as its threads wait, their number
//! doubles, up to `--jobs`; see [`Meter`]. Who works stays at it, as the processor's caches know him; syncing a finished
//! cache, which is mostly waiting, is done by others. A thread is started when it is first wanted: starting and ending
//! thirty of them takes as long as looking at some ten thousand messages.
//!
//! Nothing here touches a file.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Those who work, and those who wait to be wanted. It counts; who calls it starts the threads.
#[derive(Debug)]
pub struct Crew<T> {
    inner: Mutex<Inner<T>>,
    wanted: Condvar,
    left: Condvar,
    /// Threads in all.
    most: usize,
}

#[derive(Debug)]
struct Inner<T> {
    /// So many may work at a time.
    places: usize,
    taken: usize,
    /// Threads that were started, or are about to be, and have not left.
    hired: usize,
    /// Of these, how many wait to be wanted.
    waiting: usize,
    /// What is finished but for writing it down; not more than threads are there to take it.
    finished: Vec<T>,
    over: bool,
}

/// What one is wanted for.
#[derive(Debug, PartialEq, Eq)]
pub enum Duty<T> {
    /// To work, until the end.
    Work,
    /// To write down what somebody else has finished.
    Finish(T),
}

impl<T> Crew<T> {
    /// A crew of at most `most` threads, of which `first` are to begin, none of them hired yet.
    #[must_use]
    pub fn new(most: usize, first: usize) -> Self {
        let most = most.max(1);
        Self {
            inner: Mutex::new(Inner {
                places: first.clamp(1, most),
                taken: 0,
                hired: 0,
                waiting: 0,
                finished: Vec::new(),
                over: false,
            }),
            wanted: Condvar::new(),
            left: Condvar::new(),
            most,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        // Consistent after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more is wanted; `None` once all is over and nothing is left to finish.
    pub fn duty(&self) -> Option<Duty<T>> {
        let mut inner = self.inner();
        loop {
            if let Some(job) = inner.finished.pop() {
                return Some(Duty::Finish(job));
            }
            if inner.over {
                return None;
            }
            if inner.taken < inner.places {
                inner.taken += 1;
                return Some(Duty::Work);
            }
            inner.waiting += 1;
            inner = self
                .wanted
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
            inner.waiting -= 1;
        }
    }

    /// Gives what is finished to one who waits, so that he waits for the disk and not the caller. Where nobody does, `hire` is to
    /// start one more, if there may be one more, and says whether it could.
    ///
    /// # Errors
    /// It, or another such job, comes back if nobody is there to take it.
    pub fn hand_over(&self, job: T, hire: impl FnOnce() -> bool) -> Result<(), T> {
        let mut inner = self.inner();
        let free = inner.finished.len() < inner.waiting;
        if !free && inner.hired >= self.most {
            return Err(job);
        }
        inner.finished.push(job);
        if free {
            drop(inner);
            self.wanted.notify_one();
            return Ok(());
        }
        inner.hired += 1;
        drop(inner);
        // He finds the job there even if all is over by then.
        if hire() {
            return Ok(());
        }
        self.left();
        self.inner().finished.pop().map_or(Ok(()), Err)
    }

    /// Whether there is a place without a thread; one is to be started then, and counts as hired from now on.
    ///
    /// Nobody is wanted once all is over: he would leave at once, and there would be a place again.
    #[must_use]
    pub fn wants_one(&self) -> bool {
        let mut inner = self.inner();
        let wants = !inner.over && inner.hired < inner.places;
        inner.hired += usize::from(wants);
        wants
    }

    /// One who was hired is gone, or could not be started.
    pub fn left(&self) {
        let mut inner = self.inner();
        inner.hired = inner.hired.saturating_sub(1);
        drop(inner);
        self.left.notify_all();
    }

    /// Waits until all are gone.
    pub fn wait_until_all_left(&self) {
        let mut inner = self.inner();
        while inner.hired > 0 {
            inner = self
                .left
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// There is no more work: all who wait may go.
    pub fn over(&self) {
        self.inner().over = true;
        self.wanted.notify_all();
    }

    /// How many may work at a time, if that is not all of them.
    #[must_use]
    pub fn can_grow(&self) -> Option<usize> {
        let places = self.inner().places;
        (places < self.most).then_some(places)
    }

    /// Twice as many from now on.
    pub fn grow(&self) {
        let mut inner = self.inner();
        inner.places = inner.places.saturating_mul(2).min(self.most);
        drop(inner);
        self.wanted.notify_all();
    }
}

/// Tells threads that wait from threads that work: by the processor time of this process.
#[derive(Debug)]
pub struct Meter {
    cores: usize,
    since: (Instant, Duration),
}

impl Meter {
    /// From now on, on a machine of so many cores.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self {
            cores,
            since: (Instant::now(), processor_time()),
        }
    }

    /// Begins anew.
    pub fn restart(&mut self) {
        self.since = (Instant::now(), processor_time());
    }

    /// Whether `working` threads left processors idle that they could have used, since the last time; begins anew.
    pub fn waits(&mut self, working: usize) -> bool {
        let (began, used) = self.since;
        self.restart();
        let (now, all) = self.since;
        let usable = u32::try_from(working.min(self.cores)).unwrap_or(u32::MAX);
        idle(now - began, all.saturating_sub(used), usable)
    }
}

/// More than a quarter of what could have been used was not.
fn idle(elapsed: Duration, used: Duration, usable: u32) -> bool {
    used < elapsed.saturating_mul(usable) / 4 * 3
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn as_many_work_as_there_are_places_and_all_that_is_handed_over_is_finished() {
        for places in [1, 2, 5] {
            let crew = Crew::new(8, places);
            let (workers, finished, kept) = (
                AtomicUsize::new(0),
                AtomicUsize::new(0),
                AtomicUsize::new(0),
            );
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        while let Some(duty) = crew.duty() {
                            match duty {
                                Duty::Finish(n) => drop(finished.fetch_add(n, Ordering::SeqCst)),
                                Duty::Work => {
                                    workers.fetch_add(1, Ordering::SeqCst);
                                    for _ in 0..1_000 {
                                        if let Err(n) = crew.hand_over(1, || false) {
                                            kept.fetch_add(n, Ordering::SeqCst);
                                        }
                                    }
                                    crew.over();
                                    return;
                                }
                            }
                        }
                    });
                }
            });
            let workers = workers.into_inner();
            assert!((1..=places).contains(&workers), "{workers} of {places}");
            assert_eq!(
                finished.into_inner() + kept.into_inner(),
                1_000 * workers,
                "nothing is lost or done twice"
            );
        }
    }

    #[test]
    fn with_nobody_free_one_finishes_what_is_ones_own() {
        let crew = Crew::new(1, 1);
        assert_eq!(crew.duty(), Some(Duty::Work));
        assert_eq!(crew.hand_over(7, || false), Err(7), "none can be had");
        crew.over();
        assert_eq!(crew.duty(), None);
    }

    #[test]
    fn threads_are_started_when_they_are_wanted_and_never_more_than_all() {
        let crew = Crew::new(3, 2);
        let wants: Vec<bool> = (0..3).map(|_| crew.wants_one()).collect();
        assert_eq!(wants, [true, true, false], "two places");
        let mut hired = 0;
        let mut hire = || {
            hired += 1;
            true
        };
        assert_eq!(crew.hand_over(7, &mut hire), Ok(()));
        assert_eq!(crew.hand_over(8, &mut hire), Err(8));
        assert_eq!(hired, 1);
        assert_eq!(crew.duty(), Some(Duty::Finish(7)));
        (0..3).for_each(|_| crew.left());
        crew.wait_until_all_left();
    }

    #[test]
    fn once_all_is_over_nobody_is_hired_however_many_places_are_free() {
        let crew = Crew::<()>::new(8, 2);
        assert!(crew.wants_one());
        crew.over();
        crew.grow();
        assert_eq!(crew.duty(), None, "who comes now leaves");
        crew.left();
        assert!(!crew.wants_one());
        crew.wait_until_all_left();
    }

    #[test]
    fn it_doubles_up_to_all_of_them() {
        let crew = Crew::<()>::new(11, 3);
        let mut seen = Vec::new();
        while let Some(places) = crew.can_grow() {
            seen.push(places);
            crew.grow();
        }
        assert_eq!(seen, [3, 6]);
        assert_eq!(
            Crew::<()>::new(2, 16).can_grow(),
            None,
            "fewer jobs than cores"
        );
    }

    #[test]
    fn waiting_threads_are_told_from_working_ones() {
        let ms = Duration::from_millis;
        assert!(idle(ms(10), ms(1), 2));
        assert!(idle(ms(10), ms(14), 2));
        assert!(!idle(ms(10), ms(16), 2));
        assert!(!idle(ms(10), ms(9), 1), "one thread on two cores");
    }
}
