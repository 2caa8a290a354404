//! Does what the course says.

use std::time::Duration;

use indexfile::exit::Exit;
use slotd::client::ClientError;
use slotd::protocol::{Command, DrainRequest, Fields, HostDrain, Kicked, Reply};
use tokio::time::{Instant, sleep};

use super::compare::{Comparison, compare};
use super::course::{Action, Course, End, Event, Line, Wanted, failed};
use super::look::{Host, look};
use super::undo::Undo;
use crate::error::RunError;
use crate::hosts::{Link, hello};
use crate::stop::{Stop, StopSignal};
use crate::two_phase::Side;

/// Between two questions while somebody is waited for.
const PACE: Duration = Duration::from_secs(1);

/// A host to be drained or opened.
pub struct Job {
    /// It.
    pub host: Host,
    /// The other one of its pair, if there is one.
    pub partner: Option<Host>,
    /// Those of other pairs.
    pub others: Vec<Host>,
    /// What the operator wants.
    pub wanted: Wanted,
    /// Who that is, in words.
    pub by: String,
    /// For `msg/motd`.
    pub announce: Option<String>,
    /// For `msg/shutdown`.
    pub shutdown: String,
    /// When to end early.
    pub stop: StopSignal,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it came to.
    pub end: End,
    /// Sessions that are left, in words.
    pub left: Vec<String>,
}

/// Drains the host; each step is said as soon as it is done.
///
/// # Errors
/// The host does not answer at all.
pub async fn drain(job: &Job, mut tell: impl FnMut(&Line)) -> Result<Ended, RunError> {
    let before = hello(&job.host.connect, job.host.side).await?;
    let (mut course, mut action) = Course::new(job.wanted.clone(), before.host);
    let mut driver = Driver::new(job);
    loop {
        if let Action::End(end) = action {
            let left = course.left().to_vec();
            return Ok(Ended { end, left });
        }
        let event = driver.perform(&action).await;
        let (lines, next) = course.step(event);
        lines.iter().for_each(&mut tell);
        action = next;
    }
}

/// Puts the host into service again.
///
/// # Errors
/// The host does not answer at all.
pub async fn undrain(job: &Job, mut tell: impl FnMut(&Line)) -> Result<Ended, RunError> {
    hello(&job.host.connect, job.host.side).await?;
    let (mut course, mut action) = Undo::new(job.wanted.clone());
    let mut driver = Driver::new(job);
    loop {
        if let Action::End(end) = action {
            let left = Vec::new();
            return Ok(Ended { end, left });
        }
        let event = driver.perform(&action).await;
        let (lines, next) = course.step(event);
        lines.iter().for_each(&mut tell);
        action = next;
    }
}

struct Driver<'a> {
    job: &'a Job,
    link: Link,
    /// To the host whose log replication works off.
    master: Link,
    /// When the first question of this step was asked.
    since: Instant,
}

impl<'a> Driver<'a> {
    fn new(job: &'a Job) -> Self {
        Self {
            job,
            link: Link::new(job.host.side, &job.host.connect),
            master: Link::new(Side::Master, &job.host.connect),
            since: Instant::now(),
        }
    }

    async fn perform(&mut self, action: &Action) -> Event {
        match self.try_perform(action).await {
            Ok(event) => event,
            Err(end) => Event::Failed(end),
        }
    }

    async fn try_perform(&mut self, action: &Action) -> Result<Event, End> {
        let job = self.job;
        match action {
            Action::Look => {
                let partner = job.partner.iter().cloned().collect::<Vec<Host>>();
                Ok(Event::Looked {
                    partner: look(&partner).await.pop(),
                    others: look(&job.others).await,
                })
            }
            Action::Begin | Action::Shut => {
                let shut = *action == Action::Shut;
                let command = Command::Drain(DrainRequest {
                    by: job.by.clone(),
                    announce: job.announce.clone(),
                    shutdown: shut.then(|| job.shutdown.clone()),
                });
                said(self.link.call(&command).await, 0)
            }
            Action::Ask { pause } => {
                let waited = self.pause(*pause).await?;
                said(self.link.call_again(&Command::Host).await, waited)
            }
            Action::AskLog { pause } => {
                let waited = self.pause(*pause).await?;
                said(self.master.call_again(&Command::Host).await, waited)
            }
            Action::Kick => {
                let fields = fields(self.link.call(&Command::Kick).await)?;
                // Those that were ended are waited for anew.
                self.since = Instant::now();
                Kicked::from_fields(&fields)
                    .map(Event::Kicked)
                    .map_err(|error| failed(Exit::Unavailable, error.to_string()))
            }
            Action::TakeBack => {
                fields(self.link.call(&Command::Undrain).await)?;
                Ok(Event::TakenBack)
            }
            Action::Compare => match compare(&job.host.connect, &job.stop).await {
                Ok(found) => Ok(Event::Compared(found)),
                Err(RunError::Empty(_)) => Ok(Event::Compared(Comparison::default())),
                Err(error) => Err(failed(error.exit(), error.to_string())),
            },
            Action::End(end) => Ok(Event::Failed(end.clone())),
        }
    }

    /// Waits, if somebody is waited for; gives how long this step has taken, milliseconds.
    async fn pause(&mut self, pause: bool) -> Result<u64, End> {
        if !pause {
            self.since = Instant::now();
            return Ok(0);
        }
        let mut stop = self.job.stop.clone();
        tokio::select! {
            () = sleep(PACE) => {}
            () = stop.reached(Stop::Finish) => {
                let why = "stopped; the host stays as it is now: the same command goes on, or \
                           undrain opens it";
                return Err(failed(Exit::RolledBack, why.to_owned()));
            }
        }
        let waited = self.since.elapsed().as_millis();
        Ok(u64::try_from(waited).unwrap_or(u64::MAX))
    }
}

fn said(reply: Result<Reply, ClientError>, waited: u64) -> Result<Event, End> {
    let said = HostDrain::from_fields(&fields(reply)?);
    let said = said.map_err(|error| failed(Exit::Unavailable, error.to_string()))?;
    Ok(Event::Said(Box::new(said), waited))
}

/// What was answered, or what a refusal ends with.
fn fields(reply: Result<Reply, ClientError>) -> Result<Fields, End> {
    use slotd::protocol::Code;
    match reply {
        Ok(Reply::Ok(fields)) => Ok(fields),
        Ok(Reply::No { code, text }) => {
            let exit = match code {
                Code::State | Code::Unsupported => Exit::Config,
                Code::Damaged => Exit::Data,
                Code::Denied => Exit::Denied,
                Code::Io | Code::NoSpace => Exit::Io,
                _ => Exit::Unavailable,
            };
            Err(failed(exit, text))
        }
        Ok(Reply::Bad(text)) => {
            let text = format!("{text}: its slotd is of an earlier release");
            Err(failed(Exit::Config, text))
        }
        Err(error) => Err(failed(Exit::Unavailable, error.to_string())),
    }
}
