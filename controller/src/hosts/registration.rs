//! The two stores that a journal belongs to, and this coordinator's place on them.
//!
//! # What it promises
//!
//! * Before anything else each host says which store it has. A store that is not the journal's, or
//!   not that of an open transaction, is refused: there a mailbox that is missing would prove
//!   nothing, and one that is there is another one.
//! * Every connection of a run registers the journal, so that no other coordinator comes between,
//!   and says again which store it leads to: an address may change hands.
//! * The registration is held for the whole run, and taken back at its end if nothing is left open.
//! * Once a host has said that a coordinator with a higher epoch has taken over nothing is sent to
//!   either, neither a `ROLLBACK` nor `LEAVE`: what is open is the other one's.
//!
//! # What a crash leaves
//!
//! Connections that close. The slotds remember that this journal may have decided something, and
//! tell every other one.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use slotd::client::{Client, ClientError};
use slotd::protocol::{Code, Command};
use tokio::sync::Mutex;

use super::connect::{BoxFuture, Connect};
use super::probe::identify_hosts;
use crate::error::RunError;
use crate::journal::{Journal, MailboxId, OpenTransaction, Owner, for_each_open};
use crate::observer::Observer;
use crate::two_phase::Side;

/// Whether hosts that were given the wrong way round are refused, or found by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sides {
    AsGiven,
    Found,
}

/// How often a coordinator says that it is there.
const STAY: Duration = Duration::from_secs(600);

/// The connections of one coordinator.
pub struct Registration {
    inner: Arc<dyn Connect>,
    swapped: bool,
    journal: String,
    epoch: Option<u64>,
    rows_lost: bool,
    /// Why nothing may be sent any more.
    fenced: OnceLock<String>,
    ids: [String; 2],
    capacities: [Option<u32>; 2],
    /// Hold the registration.
    keepers: Mutex<[Option<Client>; 2]>,
}

impl Registration {
    /// Greets the hosts, sees that they are the journal's, and registers.
    ///
    /// # Errors
    /// A host does not answer, is in failover, is not the journal's, or works for another
    /// coordinator.
    pub(crate) async fn begin(
        connect: &Arc<dyn Connect>,
        journal: &dyn Journal,
        observer: &dyn Observer,
        sides: Sides,
    ) -> Result<Arc<Self>, RunError> {
        let (mut ids, mut capacities, failover) = identify_hosts(connect).await?;
        if let Some(why) = failover {
            return Err(RunError::Config(format!("{why}; nothing was begun")));
        }
        let owner = journal.owner()?;
        let swapped = sides == Sides::Found && changed_places(&owner, &ids);
        if swapped {
            ids.swap(0, 1);
            capacities.swap(0, 1);
            observer
                .say("the hosts were given the wrong way round; they are known by their stores");
        }
        check(&owner, journal, &ids)?;
        let bound = Self {
            inner: Arc::clone(connect),
            swapped,
            journal: owner.id,
            epoch: owner.epoch,
            rows_lost: owner.rows_lost,
            fenced: OnceLock::new(),
            ids,
            capacities,
            keepers: Mutex::default(),
        };
        for side in Side::ALL {
            if bound.address(side).is_some() {
                bound.keep(side, observer).await?;
            }
        }
        let bound = Arc::new(bound);
        tokio::spawn(stay(Arc::downgrade(&bound)));
        Ok(bound)
    }

    /// As a run does, for a command that changes mailboxes and is none: see
    /// [`Registration::leave`].
    ///
    /// # Errors
    /// A host does not answer, is not the journal's, or works for another coordinator.
    pub async fn engage(
        connect: &Arc<dyn Connect>,
        journal: &dyn Journal,
        observer: &dyn Observer,
    ) -> Result<Arc<Self>, RunError> {
        Self::begin(connect, journal, observer, Sides::AsGiven).await
    }

    /// What the hosts call their stores; empty for a side that the run does not have.
    pub(crate) fn ids(&self) -> [String; 2] {
        self.ids.clone()
    }

    /// How many connections each slotd serves at once, where it says so.
    pub(crate) fn capacities(&self) -> [Option<u32>; 2] {
        self.capacities
    }

    /// Whether the newest rows of the journal may be missing.
    pub(crate) fn rows_lost(&self) -> bool {
        self.rows_lost
    }

    async fn keep(&self, side: Side, observer: &dyn Observer) -> Result<(), RunError> {
        let (client, left) = self.registered(side).await.map_err(|error| match error {
            ClientError::Refused {
                code: Code::Busy,
                text,
            } => RunError::Unavailable {
                side: side.as_str(),
                text,
            },
            // It never had the store, so nobody has taken it over.
            ClientError::Refused {
                code: Code::Fenced,
                text,
            } if self.epoch.is_none() => RunError::Unavailable {
                side: side.as_str(),
                text,
            },
            ClientError::Refused {
                code: Code::Fenced,
                text,
            } => RunError::TakenOver(format!("the {side} says {text}")),
            error => RunError::unanswered(side.as_str(), &error),
        })?;
        if let Some(left) = left {
            observer.say(&format!(
                "{side}: the coordinator with journal {left} went away from this store and did \
                 not say that nothing is \
                 open there; what it has decided is settled by `controller recover` with its own \
                 state file"
            ));
        }
        self.keepers.lock().await[side.index()] = Some(client);
        Ok(())
    }

    async fn registered(&self, side: Side) -> Result<(Client, Option<String>), ClientError> {
        if let Some(text) = self.fenced() {
            let code = Code::Fenced;
            return Err(ClientError::Refused { code, text });
        }
        let mut client = self.inner.connect(self.real(side)).await?;
        let registered = client.register(&self.journal, self.epoch).await;
        if let Err(ClientError::Refused { code, text }) = &registered
            && *code == Code::Fenced
        {
            self.fence(text);
        }
        let greeting = registered?;
        let wanted = &self.ids[side.index()];
        if !wanted.is_empty() && greeting.host_id != *wanted {
            return Err(ClientError::WrongStore {
                addr: client.addr().clone(),
                found: greeting.host_id,
                wanted: wanted.clone(),
            });
        }
        Ok((client, greeting.left))
    }

    fn real(&self, side: Side) -> Side {
        match (side, self.swapped) {
            (Side::Master, true) => Side::Replica,
            (Side::Replica, true) => Side::Master,
            (side, false) => side,
        }
    }

    /// Tells the hosts that nothing is open, if that is so. Whom that does not reach, tells others
    /// of this journal.
    pub async fn leave(&self, journal: &dyn Journal) {
        if self.fenced().is_some() {
            return;
        }
        let open = journal.open_transactions(MailboxId(0), 1);
        if !open.is_ok_and(|open| open.is_empty()) {
            return;
        }
        let mut keepers = self.keepers.lock().await;
        for side in Side::ALL {
            if self.address(side).is_none() {
                continue;
            }
            let kept = keepers[side.index()].take();
            let sent = match kept {
                Some(mut client) => client.ask(&Command::Leave).await.is_ok(),
                None => false,
            };
            // Its slotd was started again meanwhile.
            if !sent && let Ok((mut client, _)) = self.registered(side).await {
                let _ = client.ask(&Command::Leave).await;
            }
        }
    }
}

/// Says now and then that this coordinator is still there: a run may be paused for hours, and a
/// slotd gives up one that is silent for an hour. Ends with the registration.
async fn stay(bound: Weak<Registration>) {
    loop {
        tokio::time::sleep(STAY).await;
        let Some(bound) = bound.upgrade() else { return };
        for side in Side::ALL {
            let mut keepers = bound.keepers.lock().await;
            let keeper = &mut keepers[side.index()];
            let Some(client) = keeper else { continue };
            if bound.fenced().is_some() {
                return;
            }
            if client.hello().await.is_err() {
                // Its slotd was started again, or is away: then the next one tries again.
                let again = bound.registered(side).await;
                if let Ok((client, _)) = again {
                    *keeper = Some(client);
                }
            }
        }
    }
}

impl Connect for Registration {
    fn connect(&self, side: Side) -> BoxFuture<'_, Result<Client, ClientError>> {
        Box::pin(async move { Ok(self.registered(side).await?.0) })
    }

    fn address(&self, side: Side) -> Option<String> {
        self.inner.address(self.real(side))
    }

    fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    fn fence(&self, text: &str) {
        let _ = self.fenced.set(text.to_owned());
    }

    fn cert_days(&self) -> Option<i64> {
        self.inner.cert_days()
    }

    fn fenced(&self) -> Option<String> {
        self.fenced.get().cloned()
    }
}

/// Whether each host is the other one's place in the journal.
fn changed_places(owner: &Owner, ids: &[String; 2]) -> bool {
    let [master, replica] = &owner.hosts;
    let is = |known: &Option<String>, id: &String| known.as_ref().is_some_and(|k| k == id);
    is(master, &ids[1]) || is(replica, &ids[0])
}

/// Whether these are the journal's hosts, and those of everything that is open in it.
fn check(owner: &Owner, journal: &dyn Journal, ids: &[String; 2]) -> Result<(), RunError> {
    if changed_places(owner, ids) {
        return Err(RunError::Config(format!(
            "master and replica have changed places since the first run with this state file: {}; \
             name them as they \
             were, `controller recover` finds them by itself; for a migration the other way round \
             take another state file",
            spelled(owner, ids)
        )));
    }
    let fits = |known: Option<&str>, id: &str| {
        known.is_none_or(|known| known.is_empty() || id.is_empty() || known == id)
    };
    for side in Side::ALL {
        if !fits(owner.hosts[side.index()].as_deref(), &ids[side.index()]) {
            return Err(RunError::Config(format!(
                "this state file belongs to other stores: {}",
                spelled(owner, ids)
            )));
        }
    }
    for_each_open(journal, |open| check_open(&open, ids, &fits))
}

fn check_open(
    open: &OpenTransaction,
    ids: &[String; 2],
    fits: &impl Fn(Option<&str>, &str) -> bool,
) -> Result<(), RunError> {
    let has = !ids[Side::Replica.index()].is_empty();
    match (&open.spec.replica, has) {
        (Some(replica), false) => {
            return Err(RunError::Config(format!(
                "{} has an open transaction with the replica {replica}: give --replica",
                open.row.name
            )));
        }
        (None, true) => {
            return Err(RunError::Config(format!(
                "{} has an open transaction of a run without a replica: first recover without \
                 --replica",
                open.row.name
            )));
        }
        _ => {}
    }
    let known = [&open.spec.master_id, &open.spec.replica_id];
    for side in Side::ALL {
        let (known, id) = (known[side.index()], &ids[side.index()]);
        if !fits(Some(known.as_str()), id) {
            return Err(RunError::Config(format!(
                "{} has an open transaction on the {side} {known}, and this is {id}",
                open.row.name
            )));
        }
    }
    Ok(())
}

fn spelled(owner: &Owner, ids: &[String; 2]) -> String {
    let one = |side: Side| {
        let known = owner.hosts[side.index()].as_deref().unwrap_or("none yet");
        let id = match ids[side.index()].as_str() {
            "" => "none",
            id => id,
        };
        format!("its {side} is {known}, and this one {id}")
    };
    format!("{}; {}", one(Side::Master), one(Side::Replica))
}
