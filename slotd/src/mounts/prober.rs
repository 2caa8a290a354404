//! Looks at roots in threads of their own, so that a file system that hangs delays no command for
//! long.
//!
//! A `stat` on a hung file system (a dead disk, a lost NFS server) does not return, and cannot be
//! cut short. Each root has one probe thread, for whose answer a command waits for a limited time.
//! While a probe is overdue, that root is refused at once; other roots are not affected.
//!
//! A hand-over to that thread and back costs more than the look itself, so a good answer serves
//! again for as long as the next asker allows.
//!
//! Promises: no lock is held while a probe runs, an answer comes from a probe that began after it
//! was asked for or no longer before than the asker allows, and a hung root costs one thread,
//! however often it is asked about. A crash leaves nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::unmounted;
use crate::protocol::Code;
use crate::refusal::Refusal;

/// How long a probe may take. Roots are always in the kernel's caches: a healthy one takes
/// microseconds.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// What is to be found out about a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The root.
    pub root: PathBuf,
    /// The mount point on record, which must be one now.
    pub point: Option<PathBuf>,
    /// Whether the mount point that it lies on is wanted.
    pub find_point: bool,
}

/// What a probe saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// [`Question::point`] is a mount point; true if none was asked for.
    pub mounted: bool,
    /// The mount point that the root lies on, if that was asked for; `None` for that of `/`.
    pub point: Option<PathBuf>,
    /// The root's device; `None` if there is no such directory.
    pub device: Option<u64>,
}

impl Seen {
    fn is_good(&self) -> bool {
        self.mounted && self.device.is_some()
    }
}

/// How a root is looked at.
pub(super) type Look = dyn Fn(&Question) -> Result<Seen, Refusal> + Send + Sync;

type Answer = Result<Seen, Refusal>;

/// The probe threads, by root.
pub(super) struct Prober {
    look: Arc<Look>,
    limit: Duration,
    threads: Mutex<HashMap<PathBuf, Thread>>,
}

struct Thread {
    questions: Sender<(Question, Sender<Answer>)>,
    progress: Arc<Mutex<Progress>>,
}

/// What a probe thread does and has found.
#[derive(Debug, Default)]
struct Progress {
    /// When the probe that is under way began.
    begun: Option<Instant>,
    /// The last that ended, if what it saw was good: when it began, and what it was asked.
    good: Option<(Instant, Question, Seen)>,
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prober").finish_non_exhaustive()
    }
}

impl Prober {
    /// Probes with `look`, each for at most `limit`.
    pub fn new(look: Arc<Look>, limit: Duration) -> Prober {
        Prober {
            look,
            limit,
            threads: Mutex::default(),
        }
    }

    /// Asks, and waits for the answer for at most the limit. A good one of a probe that began less
    /// than `age` ago serves too.
    ///
    /// # Errors
    /// The probe's own, or [`Code::Unmounted`] if it takes too long.
    pub fn ask(&self, question: Question, age: Duration) -> Answer {
        let root = question.root.clone();
        if let Some(seen) = self.seen_within(&question, age) {
            return Ok(seen);
        }
        let (answer, answered) = channel();
        if !self.send(question, answer)? {
            return Err(self.overdue(&root));
        }
        match answered.recv_timeout(self.limit) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(self.overdue(&root)),
            Err(RecvTimeoutError::Disconnected) => Err(failed(&root, &"the probe ended early")),
        }
    }

    /// What a probe saw that was asked the same and began less than `age` ago, if it was good.
    fn seen_within(&self, question: &Question, age: Duration) -> Option<Seen> {
        if age.is_zero() {
            return None;
        }
        let threads = self.threads.lock();
        let progress = threads.get(&question.root)?.progress.lock();
        let (began, of, seen) = progress.good.as_ref()?;
        (of == question && began.elapsed() < age).then(|| seen.clone())
    }

    /// Hands the question to the root's thread, which is started when it is first needed. False if
    /// that thread's probe is overdue.
    fn send(&self, question: Question, answer: Sender<Answer>) -> Result<bool, Refusal> {
        let root = question.root.clone();
        let mut threads = self.threads.lock();
        if let Some(thread) = threads.get(&root) {
            let begun = thread.progress.lock().begun;
            if begun.is_some_and(|begun| begun.elapsed() >= self.limit) {
                return Ok(false);
            }
            if thread
                .questions
                .send((question.clone(), answer.clone()))
                .is_ok()
            {
                return Ok(true);
            }
            // Its look panicked; another thread takes over.
        }
        let (questions, asked) = channel();
        let progress = Arc::<Mutex<Progress>>::default();
        let (look, to) = (Arc::clone(&self.look), Arc::clone(&progress));
        std::thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || serve(&asked, &*look, &to))
            .map_err(|error| failed(&root, &error))?;
        // The thread has just begun to listen, and keeps listening until the sender is dropped.
        let sent = questions.send((question, answer)).is_ok();
        threads.insert(
            root,
            Thread {
                questions,
                progress,
            },
        );
        Ok(sent)
    }

    fn overdue(&self, root: &Path) -> Refusal {
        unmounted(format!(
            "{} does not answer: a look at it has taken more than {} s; its file system hangs",
            root.display(),
            self.limit.as_secs_f64()
        ))
    }
}

/// Answers questions until nobody can ask any more.
fn serve(asked: &Receiver<(Question, Sender<Answer>)>, look: &Look, progress: &Mutex<Progress>) {
    while let Ok((question, answer)) = asked.recv() {
        let now = Instant::now();
        progress.lock().begun = Some(now);
        let seen = look(&question);
        let good = seen.as_ref().ok().filter(|seen| seen.is_good());
        *progress.lock() = Progress {
            begun: None,
            good: good.map(|seen| (now, question, seen.clone())),
        };
        // Who asked may have stopped waiting.
        let _ = answer.send(seen);
    }
}

fn failed(root: &Path, why: &dyn std::fmt::Display) -> Refusal {
    let text = format!("cannot look whether {} is mounted: {why}", root.display());
    Refusal::new(Code::Io, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn question(root: &str) -> Question {
        Question {
            root: root.into(),
            point: None,
            find_point: false,
        }
    }

    /// A prober for which `/hung` hangs until the sender is dropped; with the number of looks at
    /// it.
    fn with_a_hung_root(limit: Duration) -> (Prober, Sender<()>, Arc<AtomicUsize>) {
        let (release, released) = channel();
        let (released, looks) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&looks);
        let look = move |question: &Question| {
            if question.root == Path::new("/hung") {
                counted.fetch_add(1, Ordering::Relaxed);
                let _ = released.lock().recv();
            }
            Ok(Seen {
                mounted: true,
                ..Seen::default()
            })
        };
        (Prober::new(Arc::new(look), limit), release, looks)
    }

    #[test]
    fn a_root_that_hangs_is_refused_in_time_and_others_are_answered_meanwhile() {
        let (prober, release, _) = with_a_hung_root(Duration::from_millis(50));
        let refusal = prober.ask(question("/hung"), Duration::ZERO).unwrap_err();
        assert_eq!(refusal.code, Code::Unmounted);
        assert!(refusal.text.contains("/hung"), "{refusal}");
        // The probe of the other root still hangs: it is released only below.
        assert!(
            prober
                .ask(question("/healthy"), Duration::ZERO)
                .unwrap()
                .mounted
        );
        drop(release);
    }

    #[test]
    fn others_are_answered_while_somebody_waits_for_a_root_that_hangs() {
        let (prober, release, looks) = with_a_hung_root(Duration::from_secs(600));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| prober.ask(question("/hung"), Duration::ZERO));
            while looks.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            assert!(
                prober
                    .ask(question("/healthy"), Duration::ZERO)
                    .unwrap()
                    .mounted
            );
            assert!(!waiting.is_finished());
            drop(release);
            assert!(waiting.join().unwrap().unwrap().mounted);
        });
    }

    #[test]
    fn a_root_that_hangs_costs_one_thread_however_often_it_is_asked_about() {
        let (prober, release, looks) = with_a_hung_root(Duration::from_millis(20));
        for _ in 0..50 {
            let refusal = prober.ask(question("/hung"), Duration::ZERO).unwrap_err();
            assert_eq!(refusal.code, Code::Unmounted);
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        drop(release);
    }

    #[test]
    fn a_root_that_answers_again_is_served_again() {
        let (prober, release, _) = with_a_hung_root(Duration::from_millis(20));
        prober.ask(question("/hung"), Duration::ZERO).unwrap_err();
        drop(release);
        while prober.ask(question("/hung"), Duration::ZERO).is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_look_that_panics_fails_one_question_and_not_the_next() {
        let first = AtomicUsize::new(0);
        let look = move |_: &Question| {
            assert!(first.fetch_add(1, Ordering::Relaxed) > 0, "on purpose");
            Ok(Seen::default())
        };
        let prober = Prober::new(Arc::new(look), Duration::from_secs(600));
        assert_eq!(
            prober.ask(question("/a"), Duration::ZERO).unwrap_err().code,
            Code::Io
        );
        // The thread may take a moment to end.
        while prober.ask(question("/a"), Duration::ZERO).is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_good_answer_serves_again_as_long_as_the_asker_allows_and_no_other_does() {
        let looks = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&looks);
        let look = move |question: &Question| {
            count.fetch_add(1, Ordering::Relaxed);
            let there = question.root != Path::new("/gone");
            Ok(Seen {
                mounted: true,
                point: None,
                device: there.then_some(1),
            })
        };
        let prober = Prober::new(Arc::new(look), Duration::from_secs(600));
        let hour = Duration::from_secs(3600);
        let ask = |question: Question, age| {
            prober.ask(question, age).unwrap();
            looks.load(Ordering::Relaxed)
        };
        assert_eq!(ask(question("/a"), hour), 1);
        assert_eq!(ask(question("/a"), hour), 1);
        assert_eq!(ask(question("/a"), Duration::ZERO), 2);
        let other = Question {
            point: Some("/".into()),
            ..question("/a")
        };
        assert_eq!(ask(other, hour), 3);
        // What was not there may be there by now.
        assert_eq!(ask(question("/gone"), hour), 4);
        assert_eq!(ask(question("/gone"), hour), 5);
    }
}
