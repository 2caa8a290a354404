//! SHA-1, of one message or of several at a time on one core.
//!
//! [`Kernel`] is the compression function: up to [`MAX_LANES`] independent messages advance side by
//! side where the processor has SHA-NI, one after the other (with the `sha1` crate) elsewhere.
//! [`lanes::run`] keeps those lanes busy: a lane whose message ends takes the next one.
//!
//! Promise: every digest equals what the `sha1` crate computes for the same bytes. Nothing here
//! does I/O, and a crash leaves nothing behind.

mod kernel;
pub mod lanes;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

pub use kernel::{Kernel, MAX_LANES};

/// Bytes of a SHA-1 block.
pub const BLOCK_LEN: usize = 64;
/// One 64-byte block of input.
pub type Block = [u8; BLOCK_LEN];
/// The five chaining words between two blocks.
pub type State = [u32; 5];
/// A finished SHA-1.
pub type Digest = [u8; 20];

/// The chaining words before the first block (FIPS 180-4, 5.3.1).
pub const INITIAL: State = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];

/// The digest that chaining words stand for once the padded message went in.
#[must_use]
pub fn digest_of(state: &State) -> Digest {
    let mut out = [0; 20];
    for (to, word) in out.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    out
}

/// SHA-1 of one byte string.
#[must_use]
pub fn sha1_of(bytes: &[u8]) -> Digest {
    use sha1::Digest as _;
    sha1::Sha1::digest(bytes).into()
}

#[cfg(test)]
mod tests;
