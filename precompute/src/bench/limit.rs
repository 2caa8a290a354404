//! How fast one core hashes what is in its cache, by number of lanes.

use std::hint::black_box;
use std::time::Instant;

use crate::hash::{BLOCK_LEN, Block, INITIAL, Kernel, MAX_LANES};

/// Bytes a lane hashes from, again and again; four of these fit the second-level cache.
const BYTES: usize = 32 << 10;
/// Short enough that the best of many tries is not interrupted by others.
const TIMES: usize = 12;
const TRIES: usize = 800;

/// Bytes a second with 1 to [`MAX_LANES`] lanes, the best of several tries.
#[must_use]
pub fn lane_rates() -> Vec<(usize, f64)> {
    let buffer = vec![0x5a; BYTES];
    let (blocks, _) = buffer.as_chunks::<BLOCK_LEN>();
    (1..=MAX_LANES)
        .map(|lanes| (lanes, rate(lanes, blocks)))
        .collect()
}

fn rate(lanes: usize, blocks: &[Block]) -> f64 {
    let kernel = Kernel::detect().with_lanes(lanes);
    let inputs = [blocks; MAX_LANES];
    let once = || {
        let mut states = [INITIAL; MAX_LANES];
        let start = Instant::now();
        for _ in 0..TIMES {
            kernel.compress(&mut states[..lanes], black_box(&inputs[..lanes]));
        }
        black_box(states);
        start.elapsed().as_secs_f64()
    };
    let best = (0..TRIES).map(|_| once()).fold(f64::INFINITY, f64::min);
    #[allow(clippy::cast_precision_loss)] // a few megabytes
    let bytes = (TIMES * lanes * BYTES) as f64;
    bytes / best
}
