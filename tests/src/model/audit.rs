//! Whether a pair does what the world does that it stands for.
//!
//! Nothing that [`Two`] keeps for later is used for the world's side: it is put together, its steps
//! are listed and taken as [`Fleet`](super::Fleet) does, and only what comes of it is given its
//! name as a pair.

use std::collections::HashSet;

use super::names::quick;
use super::{Move, Pair, Step, Two};

impl Two {
    /// Whether it is this state's turn.
    #[must_use]
    pub fn is_audited(&self, pair: &Pair) -> bool {
        (quick(pair) >> 16).is_multiple_of(self.audited)
    }

    /// Compares every step of a pair with those of its world.
    ///
    /// # Errors
    /// What only one of them does.
    pub fn audit(&self, pair: &Pair) -> Result<(), String> {
        if pair.shared.broken.is_some() {
            return Ok(());
        }
        let world = self.world(pair);
        let whole: Vec<Move> = self
            .every_step(&world)
            .into_iter()
            .map(|(step, calm)| Move {
                step,
                calm,
                to: self.pair(world.after(&self.config, step)),
            })
            .collect();
        let parts = self.moves(pair);
        if parts.len() != whole.len() {
            return Err(format!("{} steps, not {}", parts.len(), whole.len()));
        }
        let [parts, all]: [HashSet<Move>; 2] =
            [&parts, &whole].map(|m| m.iter().copied().collect());
        if let Some(odd) = parts.symmetric_difference(&all).next() {
            return Err(format!("only one of them does {odd:?}"));
        }
        let first =
            |found: Option<Move>| -> Option<Step> { found.filter(|m| m.calm).map(|m| m.step) };
        let [calm, also] = [self.calm_move(pair), whole.first().copied()].map(first);
        if calm != also {
            return Err(format!("on a calm day {calm:?}, not {also:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stateright::Model;

    use super::super::Config;
    use super::super::pair::both_key;
    use super::*;

    fn two(faults: u8) -> (Two, Pair) {
        let two = Two::new(Config::upgrade(faults));
        let first = two.init_states()[0];
        (two, first)
    }

    #[test]
    fn a_pair_that_does_what_its_world_does_passes() {
        let (two, mut pair) = two(1);
        for _ in 0..40 {
            two.audit(&pair).expect("alike");
            pair = two.moves(&pair).last().expect("something happens").to;
        }
    }

    #[test]
    fn a_step_left_out_of_a_mailbox_is_noticed() {
        let (two, pair) = two(0);
        let known = two.moves(&pair).len();
        let key = two.own_key(&pair, 0);
        let steps = two.own.get(&key).expect("looked at");
        two.own.replace(key, steps[1..].into());
        assert!(two.moves(&pair).len() < known);
        assert!(two.audit(&pair).is_err());
    }

    #[test]
    fn a_step_left_out_of_a_host_is_noticed() {
        let (two, pair) = two(1);
        assert!(!two.moves(&pair).is_empty());
        let steps = two.both.get(&both_key(&pair)).expect("looked at");
        two.both.replace(both_key(&pair), steps[1..].into());
        assert!(two.audit(&pair).is_err());
    }

    #[test]
    fn a_step_that_leads_elsewhere_is_noticed() {
        let (two, pair) = two(0);
        assert!(!two.moves(&pair).is_empty());
        let key = two.own_key(&pair, 0);
        let mut steps = two.own.get(&key).expect("looked at").to_vec();
        steps[0].part = pair.parts[0];
        two.own.replace(key, steps.into());
        assert!(two.audit(&pair).is_err());
    }
}
