//! What everybody who works for a run has in common.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::alert::{Alerts, Told};
use super::away::Away;
use super::bound::{Bound, Sides};
use super::breaker::Breaker;
use super::connect::Connect;
use super::gone::Witnesses;
use super::heard::Ear;
use super::observe::Observer;
use super::room::{descriptors, fit};
use super::settings::{RunError, Settings, StopSignal};
use super::token::Token;
use crate::control::Control;
use crate::journal::Journal;

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
    /// Who is told when a human must look.
    pub alerts: Alerts,
    /// How it is stopped.
    pub stop: StopSignal,
}

/// What everybody who works for a run has in common.
pub(super) struct Shared {
    pub(super) parts: Parts,
    /// This coordinator's place on the hosts; `parts.connect` is the same.
    pub(super) bound: Arc<Bound>,
    pub(super) control: Arc<Control>,
    pub(super) away: Away,
    pub(super) told: Told,
    pub(super) breaker: Breaker,
    pub(super) witnesses: Witnesses,
    /// Whether the operator named the partition: then no other one will do.
    pub(super) strict: AtomicBool,
    pub(super) ear: Ear,
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
        let bound = Bound::begin(&parts.connect, journal, observer, sides).await?;
        let ids = bound.ids();
        parts.connect = Arc::clone(&bound) as Arc<dyn Connect>;
        let capacities = bound.capacities();
        let (most, _) = fit(usize::MAX, capacities, descriptors());
        let (_, why) = fit(control.limits().parallel, capacities, descriptors());
        if let Some(why) = why {
            parts.observer.say(&why);
        }
        control.update(|state| state.most = most);
        let away = Away::new(
            Arc::clone(&parts.connect),
            Arc::clone(&parts.observer),
            Arc::clone(control),
            ids.clone(),
        );
        let max_failures = parts.settings.max_failures;
        let shared = Self {
            parts,
            bound,
            control: Arc::clone(control),
            away,
            told: Told::default(),
            breaker: Breaker::new(max_failures),
            witnesses: Witnesses::default(),
            strict: AtomicBool::new(false),
            ear: Ear::default(),
            token: OnceLock::new(),
        };
        Ok((Arc::new(shared), ids))
    }

    /// The end of this coordinator's work: the hosts are told if nothing is open.
    pub(super) async fn end(&self) {
        self.bound.leave(self.parts.journal.as_ref()).await;
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
