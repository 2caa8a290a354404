//! Looks at roots in threads of their own, so that a file system that hangs delays no command for
//! long.
//!
//! A `stat` on a hung file system (a dead disk, a lost NFS server) does not return, and cannot be
//! cut short. Each root has one probe thread, for whose answer a command waits for a limited time.
//! While a probe is overdue, that root is refused at once; other roots are not affected.
//!
//! Promises: no lock is held while a probe runs, an answer comes from a probe that began after it
//! was asked for, and a hung root costs one thread, however often it is asked about. A crash leaves
//! nothing.

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
    /// When the probe that is under way began.
    begun: Arc<Mutex<Option<Instant>>>,
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

    /// Asks, and waits for the answer for at most the limit.
    ///
    /// # Errors
    /// The probe's own, or [`Code::Unmounted`] if it takes too long.
    pub fn ask(&self, question: Question) -> Answer {
        let root = question.root.clone();
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

    /// Hands the question to the root's thread, which is started when it is first needed. False if
    /// that thread's probe is overdue.
    fn send(&self, question: Question, answer: Sender<Answer>) -> Result<bool, Refusal> {
        let root = question.root.clone();
        let mut threads = self.threads.lock();
        if let Some(thread) = threads.get(&root) {
            if thread
                .begun
                .lock()
                .is_some_and(|begun| begun.elapsed() >= self.limit)
            {
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
        let begun = Arc::new(Mutex::new(None));
        let (look, since) = (Arc::clone(&self.look), Arc::clone(&begun));
        std::thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || serve(&asked, &*look, &since))
            .map_err(|error| failed(&root, &error))?;
        // The thread has just begun to listen, and keeps listening until the sender is dropped.
        let sent = questions.send((question, answer)).is_ok();
        threads.insert(root, Thread { questions, begun });
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
fn serve(
    asked: &Receiver<(Question, Sender<Answer>)>,
    look: &Look,
    begun: &Mutex<Option<Instant>>,
) {
    while let Ok((question, answer)) = asked.recv() {
        *begun.lock() = Some(Instant::now());
        let seen = look(&question);
        *begun.lock() = None;
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
        let refusal = prober.ask(question("/hung")).unwrap_err();
        assert_eq!(refusal.code, Code::Unmounted);
        assert!(refusal.text.contains("/hung"), "{refusal}");
        // The probe of the other root still hangs: it is released only below.
        assert!(prober.ask(question("/healthy")).unwrap().mounted);
        drop(release);
    }

    #[test]
    fn others_are_answered_while_somebody_waits_for_a_root_that_hangs() {
        let (prober, release, looks) = with_a_hung_root(Duration::from_secs(600));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| prober.ask(question("/hung")));
            while looks.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            assert!(prober.ask(question("/healthy")).unwrap().mounted);
            assert!(!waiting.is_finished());
            drop(release);
            assert!(waiting.join().unwrap().unwrap().mounted);
        });
    }

    #[test]
    fn a_root_that_hangs_costs_one_thread_however_often_it_is_asked_about() {
        let (prober, release, looks) = with_a_hung_root(Duration::from_millis(20));
        for _ in 0..50 {
            let refusal = prober.ask(question("/hung")).unwrap_err();
            assert_eq!(refusal.code, Code::Unmounted);
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        drop(release);
    }

    #[test]
    fn a_root_that_answers_again_is_served_again() {
        let (prober, release, _) = with_a_hung_root(Duration::from_millis(20));
        prober.ask(question("/hung")).unwrap_err();
        drop(release);
        while prober.ask(question("/hung")).is_err() {
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
        assert_eq!(prober.ask(question("/a")).unwrap_err().code, Code::Io);
        // The thread may take a moment to end.
        while prober.ask(question("/a")).is_err() {
            std::thread::yield_now();
        }
    }
}
