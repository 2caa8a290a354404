//! Which compression function this processor gets, chosen once at run time.

use super::{Block, State};

/// The most messages that advance side by side on one core.
///
/// Four SHA-NI streams fill the unit; a fifth would only spill registers.
pub const MAX_LANES: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Backend {
    #[cfg(target_arch = "x86_64")]
    ShaNi(super::sha_ni::Available),
    Portable,
}

/// A compression function for up to [`MAX_LANES`] messages at once.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    backend: Backend,
    lanes: usize,
}

impl Kernel {
    /// The fastest kernel of this processor.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(proof) = super::sha_ni::Available::detect() {
            return Self {
                backend: Backend::ShaNi(proof),
                lanes: MAX_LANES,
            };
        }
        Self::portable()
    }

    /// The `sha1` crate, one message at a time.
    #[must_use]
    pub fn portable() -> Self {
        Self {
            backend: Backend::Portable,
            lanes: 1,
        }
    }

    /// The same kernel with another number of lanes (1 to [`MAX_LANES`]; clamped).
    #[must_use]
    pub fn with_lanes(self, lanes: usize) -> Self {
        Self {
            lanes: lanes.clamp(1, MAX_LANES),
            ..self
        }
    }

    /// How many messages it is worth to offer at a time.
    #[must_use]
    pub fn lanes(self) -> usize {
        self.lanes
    }

    /// What it is called in reports: `sha-ni x4`, `sha1 crate`.
    #[must_use]
    pub fn name(self) -> String {
        match self.backend {
            #[cfg(target_arch = "x86_64")]
            Backend::ShaNi(_) => format!("sha-ni x{}", self.lanes),
            Backend::Portable => "sha1 crate".to_owned(),
        }
    }

    /// Feeds `blocks[i]` to `states[i]`. Lanes may differ in length; equal lengths are fast.
    pub fn compress(self, states: &mut [State], blocks: &[&[Block]]) {
        match self.backend {
            #[cfg(target_arch = "x86_64")]
            Backend::ShaNi(proof) => {
                if !sha_ni(states, blocks, proof) {
                    portable(states, blocks);
                }
            }
            Backend::Portable => portable(states, blocks),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn sha_ni(states: &mut [State], blocks: &[&[Block]], proof: super::sha_ni::Available) -> bool {
    /// Narrows both slices to the same constant width.
    fn of_width<const N: usize>(
        states: &mut [State],
        blocks: &[&[Block]],
        proof: super::sha_ni::Available,
    ) -> bool {
        match (states.try_into(), blocks.try_into()) {
            (Ok(states), Ok(blocks)) => super::sha_ni::compress::<N>(states, blocks, proof),
            _ => false,
        }
    }
    match states.len() {
        1 => of_width::<1>(states, blocks, proof),
        2 => of_width::<2>(states, blocks, proof),
        3 => of_width::<3>(states, blocks, proof),
        4 => of_width::<4>(states, blocks, proof),
        _ => false,
    }
}

fn portable(states: &mut [State], blocks: &[&[Block]]) {
    for (state, blocks) in states.iter_mut().zip(blocks) {
        sha1::block_api::compress(state, blocks);
    }
}
