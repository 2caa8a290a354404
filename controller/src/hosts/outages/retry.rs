//! The questions to what is away: is it back?

use std::time::Duration;

use slotd::protocol::{Code, Command, Named, Reply};
use tokio::time::Instant;

use super::super::connect::backoff;
use super::super::link::Link;
use super::super::probe::hello;
use super::{Host, Inner, Key, Mount, Since, name_of};
use crate::error::RunError;
use crate::journal::Job;
use crate::two_phase::Side;

/// The pause after the first question that was not answered.
const ASK_FIRST: Duration = Duration::from_millis(500);
/// Longest pause between two questions.
const ASK_MAX: Duration = Duration::from_secs(30);

/// Why a host does not answer as itself.
enum NoAnswer {
    /// In these words; it may pass.
    Away(String),
    /// One side does not trust the other.
    Refused(String),
    /// It could not be asked.
    NotAsked,
}

impl Inner {
    /// Pauses before question number `n` (1 is the first pause); `false` if there is no time left.
    async fn pause(&self, begun: Instant, n: u32) -> bool {
        // Looked at each time: it can be changed while the run waits.
        let left = self.host_wait().saturating_sub(begun.elapsed());
        if left.is_zero() {
            return false;
        }
        let pause = backoff(ASK_FIRST, n, ASK_MAX);
        let mut turned = self.control.subscribe();
        turned.mark_unchanged();
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause.min(left)) => {}
            _ = turned.changed() => {}
        }
        true
    }

    pub(super) async fn ask_host(&self, side: Side, mut why: String) {
        let begun = Instant::now();
        let mut n = 0;
        loop {
            match self.answers(side).await {
                // That we cannot ask says nothing about the host; the next command fails with the
                // reason.
                Ok(()) | Err(NoAnswer::NotAsked) => {
                    let before =
                        std::mem::replace(&mut self.table().hosts[side.index()], Host::There);
                    if let Host::Down(since) = before {
                        let seconds = since.at.elapsed().as_secs();
                        self.observer.say(&format!(
                            "the {side} is back after {seconds} s; the run goes on"
                        ));
                    }
                    self.tell();
                    return;
                }
                Err(NoAnswer::Refused(text)) => {
                    self.observer.say(&format!(
                        "the {side} is not waited for: {text}; the run ends"
                    ));
                    self.table().hosts[side.index()] = Host::Refuses(Since::now(&text));
                    self.tell();
                    return;
                }
                Err(NoAnswer::Away(_)) if n == 0 && self.host_wait().is_zero() => {
                    self.table().hosts[side.index()] = Host::There;
                    self.tell();
                    return;
                }
                Err(NoAnswer::Away(text)) => why = if n == 0 { text } else { why },
            }
            if n == 0 {
                let seconds = self.host_wait().as_secs();
                self.table().hosts[side.index()] = Host::Down(Since::now(&why));
                self.observer.say(&format!(
                    "the {side} is away: {why}; nothing new begins, and it is asked again for \
                     {seconds} s (--host-wait)"
                ));
                self.tell();
            }
            n += 1;
            if !self.pause(begun, n).await {
                break;
            }
        }
        let mut table = self.table();
        let host = &mut table.hosts[side.index()];
        if let Host::Down(since) = host {
            *host = Host::Lost(since.clone());
        }
        drop(table);
        self.tell();
    }

    /// Whether this side's slotd answers, serves, and is the one it was.
    async fn answers(&self, side: Side) -> Result<(), NoAnswer> {
        let greeting = match hello(&self.connect, side).await {
            Ok(greeting) => greeting,
            Err(RunError::Full { .. }) => return Ok(()),
            Err(RunError::Local(_)) => return Err(NoAnswer::NotAsked),
            Err(RunError::Unavailable { text, .. }) => return Err(NoAnswer::Away(text)),
            Err(RunError::Denied { text, .. }) => return Err(NoAnswer::Refused(text)),
            Err(other) => return Err(NoAnswer::Away(other.to_string())),
        };
        if greeting.draining {
            return Err(NoAnswer::Away("its slotd is shutting down".to_owned()));
        }
        if greeting.failed {
            let text = "its slotd's intent log has failed";
            return Err(NoAnswer::Away(text.to_owned()));
        }
        let known = &self.ids[side.index()];
        if !known.is_empty() && *known != greeting.host_id {
            return Err(NoAnswer::Away(format!(
                "the slotd that answers there is another host's ({}, not {known})",
                greeting.host_id
            )));
        }
        Ok(())
    }

    pub(super) async fn ask_mount(&self, key: Key, job: Job) {
        let begun = Instant::now();
        let mut n = 0;
        let is_back = loop {
            n += 1;
            if !self.pause(begun, n).await {
                break false;
            }
            if self.is_mounted(&key, &job).await {
                break true;
            }
        };
        let whose = name_of(&key);
        {
            let mut table = self.table();
            table.news = true;
            if let Some((mount, _)) = table.mounts.get_mut(&key) {
                *mount = if is_back { Mount::Back } else { Mount::Lost };
            }
        }
        self.observer.say(&if is_back {
            format!("{whose} is back: its mailboxes are taken up again")
        } else {
            format!("{whose} was away for longer than --host-wait: its mailboxes fail")
        });
        self.tell();
    }

    /// Whether the host says anything else about that mailbox than that its partition is not
    /// mounted.
    async fn is_mounted(&self, (side, _): &Key, job: &Job) -> bool {
        let of = Named {
            mailbox: job.name.clone(),
            partition: job.partition.clone().filter(|_| *side == Side::Master),
        };
        let mut peer = Link::new(*side, &self.connect);
        match peer.call(&Command::Status(of)).await {
            Ok(Reply::Ok(_)) => true,
            Ok(Reply::No { code, .. }) => !matches!(code, Code::Unmounted | Code::Draining),
            Ok(Reply::Bad(_)) | Err(_) => false,
        }
    }
}
