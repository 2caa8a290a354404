//! A participant that behaves as slotd promises.

use crate::two_phase::{Answer, Reason, Refusal, Request};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Session {
    Idle,
    Locked(Option<u8>),
    Held { undo: u8 },
}

/// A participant as slotd promises to be.
#[derive(Clone, Debug)]
pub(super) struct Participant {
    pub(super) version: u8,
    pub(super) session: Session,
    pub(super) commits: u32,
    /// As `UPGRADE` answered it, while it holds.
    pub(super) digest: Option<[u8; 20]>,
    /// It said so itself.
    pub(super) confirmed: bool,
}

impl Participant {
    pub(super) fn close(&mut self) {
        // Uncommitted: rolled back. Held: released as committed.
        self.session = Session::Idle;
        self.digest = None;
        self.confirmed = false;
    }

    pub(super) fn execute(&mut self, request: Request) -> Answer {
        if request == Request::Confirm {
            self.confirmed = self.session != Session::Idle && self.digest.is_some();
        }
        let expired = || no(Reason::Expired);
        match (request, self.session) {
            (Request::Prepare { .. }, Session::Idle) => Answer::Done,
            (Request::Lock, Session::Idle) => {
                self.session = Session::Locked(None);
                Answer::Locked {
                    index: self.version,
                    uidvalidity: 1,
                }
            }
            (Request::Upgrade { to, .. }, Session::Locked(_)) => {
                let changed = to != self.version;
                self.session = Session::Locked(changed.then_some(to));
                self.digest = Some([to; 20]);
                Answer::Staged {
                    changed,
                    from: self.version,
                    digest: [to; 20],
                }
            }
            (Request::Confirm, Session::Locked(_) | Session::Held { .. }) => Answer::Confirmed {
                digest: self.digest,
            },
            (Request::Commit { hold, .. }, Session::Locked(staged)) => {
                self.commits += 1;
                let undo = self.version;
                self.version = staged.unwrap_or(undo);
                self.session = if hold {
                    Session::Held { undo }
                } else {
                    Session::Idle
                };
                Answer::Done
            }
            (Request::Release { .. }, Session::Held { .. })
            | (Request::RollBack, Session::Locked(_)) => {
                self.close();
                Answer::Done
            }
            (Request::RollBack, Session::Held { undo }) => {
                self.version = undo;
                self.close();
                Answer::Done
            }
            _ => expired(),
        }
    }
}

pub(super) fn no(reason: Reason) -> Answer {
    Answer::No(Refusal {
        reason,
        text: "refused".to_owned(),
    })
}
