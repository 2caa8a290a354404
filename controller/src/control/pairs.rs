//! The controls of all pairs that a controller works on: one of each, and all of them as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::tally::SLOWEST;
use super::{Control, Live};

/// The controls of a controller's pairs, by name. A run without a fleet file has one pair, whose
/// name is empty.
#[derive(Clone, Debug)]
pub struct Controls(Arc<BTreeMap<String, Arc<Control>>>);

impl Controls {
    /// Those of these pairs.
    #[must_use]
    pub fn new(pairs: BTreeMap<String, Arc<Control>>) -> Self {
        Self(Arc::new(pairs))
    }

    /// That of the only pair.
    #[must_use]
    pub fn only(control: Arc<Control>) -> Self {
        Self::new([(String::new(), control)].into())
    }

    /// Each of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Control>> {
        self.0.values()
    }

    /// That of one pair, or all of them.
    ///
    /// # Errors
    /// There is no such pair: a sentence that says so.
    pub fn of(&self, pair: Option<&str>) -> Result<Vec<&Arc<Control>>, String> {
        let Some(pair) = pair else {
            return Ok(self.all().collect());
        };
        match self.0.get(pair) {
            Some(control) => Ok(vec![control]),
            None => Err(format!("no pair {pair:?} is worked on")),
        }
    }

    /// What all of them are doing together.
    #[must_use]
    pub fn live(&self) -> Live {
        let each = self.0.iter().map(|(name, control)| (name, control.live()));
        sum(each)
    }

    /// The same as JSON, with a value for each pair where they have names.
    #[must_use]
    pub fn json(&self) -> Value {
        let to_json = |live: Live| serde_json::to_value(live).unwrap_or_default();
        let mut value = to_json(self.live());
        let named = self.0.iter().filter(|(name, _)| !name.is_empty());
        let pairs: serde_json::Map<String, Value> = named
            .map(|(name, control)| (name.clone(), to_json(control.live())))
            .collect();
        if !pairs.is_empty() {
            value["pairs"] = Value::Object(pairs);
        }
        value
    }
}

/// Puts the name of a pair before a line, if it has one.
#[must_use]
pub fn of_pair(pair: &str, line: &str) -> String {
    if pair.is_empty() {
        line.to_owned()
    } else {
        format!("{pair}: {line}")
    }
}

/// Pairs work side by side: counts and rates add up, and the last one to end is the end.
fn sum<'a>(each: impl Iterator<Item = (&'a String, Live)>) -> Live {
    let mut lives: Vec<(&String, Live)> = each.collect();
    if let [(name, _)] = lives.as_slice()
        && name.is_empty()
        && let Some((_, live)) = lives.pop()
    {
        return live;
    }
    let mut all = Live::default();
    let mut waiting = Vec::new();
    let ends = |live: &Live| live.done >= live.mailboxes && live.mailboxes > 0;
    let open = lives.iter().filter(|(_, live)| !ends(live)).count();
    for (name, live) in lives {
        all.run = all.run.max(live.run);
        all.mailboxes += live.mailboxes;
        all.done += live.done;
        all.failed += live.failed;
        all.under_way += live.under_way;
        all.messages += live.messages;
        all.rate += live.rate;
        all.messages_rate += live.messages_rate;
        if !ends(&live) {
            waiting.extend(live.waiting.iter().map(|why| of_pair(name, why)));
        }
        for (sum, eta) in [
            (&mut all.eta_seconds, live.eta_seconds),
            (&mut all.eta_messages_seconds, live.eta_messages_seconds),
            (&mut all.eta_bytes_seconds, live.eta_bytes_seconds),
        ] {
            *sum = (*sum).max(eta);
        }
        all.parked
            .extend(live.parked.iter().map(|what| of_pair(name, what)));
        all.parallel += live.parallel;
        all.allowed += live.allowed;
        all.slowest.extend(live.slowest);
    }
    // While one pair works, the whole does not wait.
    if open > 0 && waiting.len() == open {
        all.paused = waiting.iter().all(|why| why.ends_with(": paused"));
        all.waiting = Some(waiting.join("; "));
    } else {
        all.parked.extend(waiting);
    }
    all.slowest.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.slowest.truncate(SLOWEST);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Limits;
    use crate::journal::Totals;

    fn control(mailboxes: u64, pending: u64) -> Arc<Control> {
        let control = Control::new(Limits::default());
        let totals = Totals {
            mailboxes,
            pending,
            ..Totals::default()
        };
        control.begins(7, &totals);
        Arc::new(control)
    }

    #[test]
    fn the_only_pair_is_shown_as_it_is() {
        let control = control(10, 5);
        let controls = Controls::only(Arc::clone(&control));
        assert_eq!(controls.live(), control.live());
        assert!(controls.json().get("pairs").is_none());
    }

    #[test]
    fn pairs_add_up_and_the_whole_waits_only_where_none_works() {
        let (a, b) = (control(10, 5), control(20, 20));
        let pairs = [("a".to_owned(), Arc::clone(&a)), ("b".to_owned(), b)];
        let controls = Controls::new(pairs.into());
        a.update(|state| state.paused = true);
        let live = controls.live();
        assert_eq!((live.run, live.mailboxes, live.done), (7, 30, 5));
        assert_eq!(live.waiting, None);
        assert_eq!(live.parked, ["a: paused"]);
        let json = controls.json();
        assert_eq!(json["pairs"]["a"]["waiting"], "paused");
        assert_eq!(json["pairs"]["b"]["mailboxes"], 20);
        for control in controls.of(Some("b")).unwrap() {
            control.update(|state| state.paused = true);
        }
        let live = controls.live();
        assert_eq!(live.waiting.as_deref(), Some("a: paused; b: paused"));
        assert!(live.paused);
        assert!(controls.of(Some("c")).is_err());
        assert_eq!(controls.of(None).unwrap().len(), 2);
    }

    #[test]
    fn a_pair_that_is_done_does_not_count_as_one_that_works() {
        let (a, b) = (control(10, 0), control(20, 20));
        b.holds(Some("replica away".to_owned()));
        let pairs = [("a".to_owned(), a), ("b".to_owned(), b)];
        let live = Controls::new(pairs.into()).live();
        assert_eq!(live.waiting.as_deref(), Some("b: replica away"));
        assert!(!live.paused);
    }
}
