//! Claims to the pairs of a journal in memory, by the rules of `postgres::claims`: for tests and
//! simulations of several controllers, which have a clock of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::JournalError;
use super::sql::Of;

/// The time that all controllers of a journal share, since some beginning.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// One of several controllers.
#[derive(Clone)]
pub struct Claimant {
    /// How it is called.
    pub name: String,
    /// How long a claim lasts that is not renewed.
    pub lease: Duration,
    /// What time it is.
    pub clock: Clock,
}

#[derive(Clone, Debug, Default)]
struct Row {
    owner: Option<String>,
    until: Duration,
    epoch: u64,
}

/// Who has claimed which pair, by its number.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(BTreeMap<i64, Row>);

impl Claims {
    /// Takes a claim that nobody has, whose lease is over, or that this controller has; the epoch,
    /// and whether it shows that the journal went back.
    pub(super) fn take(
        &mut self,
        pair: i64,
        name: &str,
        above: u64,
        who: &Claimant,
    ) -> Result<(u64, bool), JournalError> {
        let now = (who.clock)();
        let row = self.0.entry(pair).or_default();
        let own = row.owner.as_ref() == Some(&who.name);
        if !own && row.owner.is_some() && row.until >= now {
            let left = row.until.saturating_sub(now).as_millis();
            return Err(JournalError::Claimed {
                pair: name.to_owned(),
                host: row.owner.clone().unwrap_or_default(),
                pid: 0,
                left_ms: i64::try_from(left).unwrap_or(i64::MAX),
            });
        }
        let went_back = row.epoch < above;
        if !own || row.epoch <= above {
            row.epoch = row.epoch.max(above) + 1;
        }
        row.owner = Some(who.name.clone());
        row.until = now + who.lease;
        Ok((row.epoch, went_back))
    }

    /// Whether something may be written by that claim.
    pub(super) fn check(&self, of: Of, who: &Claimant) -> Result<(), JournalError> {
        let row = self.0.get(&of.pair);
        let stands = row.is_some_and(|row| {
            row.owner.as_ref() == Some(&who.name) && Some(row.epoch) == of.epoch
        });
        if of.pair == 0 || stands {
            return Ok(());
        }
        Err(JournalError::Fenced {
            pair: format!("number {}", of.pair),
            epoch: of.epoch.unwrap_or(0),
        })
    }

    /// Renews what that controller has.
    pub(super) fn renew(&mut self, who: &Claimant) {
        for row in self.of(who) {
            row.until = (who.clock)() + who.lease;
        }
    }

    /// Gives it back.
    pub(super) fn release(&mut self, who: &Claimant) {
        for row in self.of(who) {
            row.owner = None;
        }
    }

    fn of<'a>(&'a mut self, who: &'a Claimant) -> impl Iterator<Item = &'a mut Row> {
        let mut all = self.0.values_mut();
        std::iter::from_fn(move || all.find(|row| row.owner.as_ref() == Some(&who.name)))
    }

    /// A standby without the last claims has taken over.
    pub(super) fn go_back(&mut self) {
        for row in self.0.values_mut() {
            row.owner = None;
            row.epoch = row.epoch.saturating_sub(1);
        }
    }
}
