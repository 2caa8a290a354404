//! Keeping the lanes of a [`Kernel`] busy: a lane whose message ends takes the next one.
//!
//! [`run`] pulls messages from a [`Source`], a buffer at a time, and hands their digests back. It
//! does no I/O of its own, holds one buffer a lane whatever the size of the messages, and ends when
//! the source has no more. A crash in it leaves nothing.

use super::kernel::{Kernel, MAX_LANES};
use super::{BLOCK_LEN, Block, Digest, INITIAL, State, digest_of};

/// Bytes of a message that a lane holds at a time, a whole number of blocks.
///
/// Four of them fit the second-level cache of any processor that has SHA-NI, so that what `read`
/// put there is hashed from there.
pub const LANE_BYTES: usize = 64 * 1024;

const BUFFER_LEN: usize = LANE_BYTES + MAX_PADDING.div_ceil(BLOCK_LEN) * BLOCK_LEN;

/// What [`Source::fill`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The whole buffer is filled and there is more to come.
    More,
    /// The message ends with these bytes of the buffer (0 is fine).
    Last(usize),
    /// The message cannot be read: it is dropped and [`Source::failed`] called.
    Failed,
}

/// Where messages come from and digests go to.
pub trait Source {
    /// A message that has been started.
    type Message;
    /// The next message, or `None` when there are no more. Not called again after `None`.
    fn next(&mut self) -> Option<Self::Message>;
    /// Puts the next bytes of `message` into `buffer`.
    fn fill(&mut self, message: &mut Self::Message, buffer: &mut [u8]) -> Filled;
    /// Takes the SHA-1 of all that was filled.
    fn done(&mut self, message: Self::Message, digest: Digest);
    /// Takes back a message whose `fill` failed.
    fn failed(&mut self, message: Self::Message);
}

/// A kernel and the buffers of its lanes; made once a thread and used again and again.
#[derive(Debug)]
pub struct Lanes {
    kernel: Kernel,
    /// Those that no lane uses now.
    buffers: Vec<Vec<u8>>,
    /// How many may still be made; a thread that never reads a message makes none.
    unmade: usize,
}

impl Lanes {
    /// Buffers for all the lanes of `kernel`: at most [`MAX_LANES`] times [`LANE_BYTES`] and a
    /// little.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            buffers: Vec::new(),
            unmade: kernel.lanes(),
        }
    }

    /// A buffer, the one used last first because the processor's cache still has it.
    fn buffer(&mut self) -> Option<Vec<u8>> {
        let used = self.buffers.pop();
        if used.is_none() && self.unmade > 0 {
            self.unmade -= 1;
            return Some(vec![0; BUFFER_LEN]);
        }
        used
    }
}

struct Lane<M> {
    message: M,
    state: State,
    buffer: Vec<u8>,
    /// Blocks of `buffer` that have been hashed, and that wait.
    used: usize,
    ready: usize,
    /// Bytes of the message so far.
    total: u64,
    last: bool,
}

impl<M> Lane<M> {
    /// Fills the buffer anew; `false` if the message failed.
    fn refill(&mut self, source: &mut impl Source<Message = M>) -> bool {
        let Some(data) = self.buffer.get_mut(..LANE_BYTES) else {
            return false;
        };
        self.used = 0;
        match source.fill(&mut self.message, data) {
            Filled::More => {
                self.total += LANE_BYTES as u64;
                self.ready = LANE_BYTES / BLOCK_LEN;
                true
            }
            Filled::Last(n) => {
                let n = n.min(LANE_BYTES);
                self.total += n as u64;
                self.last = true;
                match pad(&mut self.buffer, n, self.total) {
                    Some(end) => {
                        self.ready = end / BLOCK_LEN;
                        true
                    }
                    None => false,
                }
            }
            Filled::Failed => false,
        }
    }

    fn blocks(&self, count: usize) -> &[Block] {
        let (blocks, _) = self.buffer.as_chunks::<BLOCK_LEN>();
        blocks.get(self.used..self.used + count).unwrap_or_default()
    }
}

/// Hashes everything that `source` has.
pub fn run<F: Source>(source: &mut F, lanes: &mut Lanes) {
    let mut active: Vec<Lane<F::Message>> = Vec::with_capacity(MAX_LANES);
    let mut dry = false;
    loop {
        while !dry {
            let Some(buffer) = lanes.buffer() else {
                break;
            };
            let Some(message) = source.next() else {
                lanes.buffers.push(buffer);
                dry = true;
                break;
            };
            let mut lane = Lane {
                message,
                state: INITIAL,
                buffer,
                used: 0,
                ready: 0,
                total: 0,
                last: false,
            };
            if lane.refill(source) {
                active.push(lane);
            } else {
                lanes.buffers.push(lane.buffer);
                source.failed(lane.message);
            }
        }
        let Some(step) = active.iter().map(|lane| lane.ready).min() else {
            break;
        };
        advance(lanes.kernel, &mut active, step);
        let mut i = 0;
        while i < active.len() {
            let lane = &mut active[i];
            if lane.ready > 0 {
                i += 1;
            } else if lane.last {
                let lane = active.swap_remove(i);
                lanes.buffers.push(lane.buffer);
                source.done(lane.message, digest_of(&lane.state));
            } else if lane.refill(source) {
                i += 1;
            } else {
                let lane = active.swap_remove(i);
                lanes.buffers.push(lane.buffer);
                source.failed(lane.message);
            }
        }
    }
}

/// Hashes the next `step` blocks of every lane.
fn advance<M>(kernel: Kernel, active: &mut [Lane<M>], step: usize) {
    let mut states = [INITIAL; MAX_LANES];
    let mut blocks: [&[Block]; MAX_LANES] = [&[]; MAX_LANES];
    let width = active.len().min(MAX_LANES);
    for ((lane, state), blocks) in active.iter().zip(&mut states).zip(&mut blocks) {
        *state = lane.state;
        *blocks = lane.blocks(step);
    }
    kernel.compress(&mut states[..width], &blocks[..width]);
    for (lane, state) in active.iter_mut().zip(states) {
        lane.state = state;
        lane.used += step;
        lane.ready -= step;
    }
}

/// Bytes that [`pad`] may need after the data.
const MAX_PADDING: usize = BLOCK_LEN + 8;

/// Writes the padding of SHA-1 (FIPS 180-4, 5.1.1: a one bit, zeros, and the length in bits as 64
/// bits) behind the last `used` bytes of a message of `total` bytes.
///
/// Returns the new fill, a whole number of blocks; `None` if the buffer is too small.
fn pad(buffer: &mut [u8], used: usize, total: u64) -> Option<usize> {
    let end = (used + 9).div_ceil(BLOCK_LEN) * BLOCK_LEN;
    let tail = buffer.get_mut(used..end)?;
    let (body, length) = tail.split_at_mut_checked(tail.len().checked_sub(8)?)?;
    body.fill(0);
    *body.first_mut()? = 0x80;
    length.copy_from_slice(&total.wrapping_mul(8).to_be_bytes());
    Some(end)
}
