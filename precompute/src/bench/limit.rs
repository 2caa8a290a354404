//! How fast the cores hash what is in their caches.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::hash::lanes::LANE_BYTES;
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

/// Hashes `bytes` bytes, on `threads` threads, as a pass would if reading took no time: all lanes,
/// each from a buffer of its own that stays in the core's cache.
pub fn hash_alone(bytes: u64, threads: usize) {
    let kernel = Kernel::detect();
    let lanes = kernel.lanes();
    let step = (lanes * LANE_BYTES) as u64;
    let steps = AtomicU64::new(bytes.div_ceil(step));
    let work = || {
        let buffers = vec![vec![0x5a; LANE_BYTES]; lanes];
        let blocks: Vec<&[Block]> = buffers.iter().map(|b| b.as_chunks().0).collect();
        let left = |n: u64| n.checked_sub(1);
        let mut states = [INITIAL; MAX_LANES];
        while steps.fetch_update(Relaxed, Relaxed, left).is_ok() {
            kernel.compress(&mut states[..lanes], black_box(&blocks));
        }
        black_box(states);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
}
