//! What the tasks of one run share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::alert::{Alerted, Alerts};
use super::breaker::Breaker;
use super::busy::HostWatch;
use super::capacity::{descriptors, fit};
use super::liveness::Liveness;
use super::settings::Settings;
use super::token::Token;
use super::warnings::WarningLog;
use crate::control::{Control, Parallel, Places, Running};
use crate::error::RunError;
use crate::hosts::{Connect, Outages, Registration, Sides, failover, hello};
use crate::journal::{Journal, JournalError, RunId};
use crate::observer::Observer;
use crate::stop::StopSignal;
use crate::two_phase::{Failure, Reason, Side};

/// What a run is made of.
#[derive(Clone)]
pub struct Parts {
    /// How it works.
    pub settings: Settings,
    /// How it reaches the hosts.
    pub connect: Arc<dyn Connect>,
    /// Where it keeps what it decided.
    pub journal: Arc<dyn Journal>,
    /// Who watches it.
    pub observer: Arc<dyn Observer>,
    /// Where alerts go.
    pub alerts: Alerts,
    /// How it is stopped.
    pub stop: StopSignal,
    /// The places that it shares with other runs.
    pub places: Places,
}

/// What the tasks of one run share.
pub(super) struct Shared {
    pub(super) parts: Parts,
    /// This coordinator's place on the hosts; `parts.connect` is the same.
    pub(super) registration: Arc<Registration>,
    pub(super) control: Arc<Control>,
    pub(super) outages: Arc<Outages>,
    _busy: HostWatch,
    _running: Running,
    pub(super) alerted: Alerted,
    pub(super) breaker: Breaker,
    pub(super) liveness: Liveness,
    /// Whether the operator named the partition: then no other one will do.
    pub(super) strict: AtomicBool,
    pub(super) warnings: WarningLog,
    /// The runs of which a decided mailbox was taken back, one for each such mailbox.
    pub(super) taken_back: Mutex<Vec<RunId>>,
    /// Of the run that is worked on, once that is known.
    pub(super) token: OnceLock<Token>,
}

impl Shared {
    /// Greets the hosts, and registers with them.
    pub(super) async fn begin(
        mut parts: Parts,
        control: &Arc<Control>,
        sides: Sides,
    ) -> Result<(Arc<Self>, [String; 2]), RunError> {
        let (journal, observer) = (parts.journal.as_ref(), parts.observer.as_ref());
        let bound = Registration::begin(&parts.connect, journal, observer, sides).await?;
        let ids = bound.ids();
        parts.connect = Arc::clone(&bound) as Arc<dyn Connect>;
        let capacities = bound.capacities();
        let (most, _) = fit(usize::MAX, capacities, descriptors());
        // Of a number that was given; what is found is never more than there is room for.
        if let Parallel::Fixed(number) = control.limits().parallel
            && let (_, Some(why)) = fit(number, capacities, descriptors())
        {
            parts.observer.say(&why);
        }
        control.update(|state| state.most = most);
        let outages = Outages::new(
            Arc::clone(&parts.connect),
            Arc::clone(&parts.observer),
            Arc::clone(control),
            ids.clone(),
        );
        let outages = Arc::new(outages);
        let busy = HostWatch::begin(&parts.connect, &parts.observer, control, &outages);
        let max_failures = parts.settings.max_failures;
        let shared = Self {
            parts,
            registration: bound,
            control: Arc::clone(control),
            outages,
            _busy: busy,
            _running: control.runs(),
            alerted: Alerted::default(),
            breaker: Breaker::new(max_failures),
            liveness: Liveness::default(),
            strict: AtomicBool::new(false),
            warnings: WarningLog::default(),
            taken_back: Mutex::default(),
            token: OnceLock::new(),
        };
        Ok((Arc::new(shared), ids))
    }

    /// Why a host that refused a mailbox is in failover, if it is.
    pub(super) async fn failover_of(&self, side: Side) -> Option<String> {
        let greeting = hello(&self.parts.connect, side).await.ok()?;
        failover(side, &greeting)
    }

    /// A side, or the journal, said that another controller has the pair: nothing more is sent.
    pub(super) fn taken_over(&self, failure: &Failure) {
        self.parts.connect.fence(&failure.text);
        self.breaker.taken_over(failure);
    }

    /// Returns once everything is durable, or the pair is another controller's: then nothing is
    /// written any more, which is no failure of the journal.
    pub(super) fn flush(&self) -> Result<(), RunError> {
        match self.parts.journal.flush() {
            Err(error @ JournalError::Fenced { .. }) => {
                self.taken_over(&Failure::new(None, Reason::Fenced, error.to_string()));
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// The end of this coordinator's work: it leaves the hosts if nothing is open.
    pub(super) async fn end(&self) {
        // To learn whether the pair is its own still; any other error has been reported.
        let _ = self.flush();
        self.registration.leave(self.parts.journal.as_ref()).await;
    }
}
