//! The SHA-NI kernel: the blocks of one to four messages hashed side by side on one core.
//!
//! Why it exists: `sha1rnds4` takes several cycles until its result can be used, and one message
//! is one long chain of them, so a single stream leaves most of the unit idle. Independent streams
//! fill the gaps; `docs/benchmarks.md` has what that is worth.
//!
//! What it promises: for each lane exactly what `sha1::block_api::compress` does (the tests compare
//! bit by bit). It holds no state; a crash in it leaves nothing.
//!
//! `unsafe` is confined to this file: unaligned loads and stores through pointers taken from
//! references, and the call of a `target_feature` function after the processor was asked.
#![allow(unsafe_code)] // vector intrinsics have no safe loads and stores

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_loadu_si128, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha1msg1_epu32, _mm_sha1msg2_epu32, _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128, _mm_xor_si128,
};

use super::{Block, State};

/// Whether this processor has what [`compress`] needs.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("sse2")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

/// Feeds `blocks[lane]` to `states[lane]` for every lane; all lanes have the same number of blocks.
///
/// Returns `false`, having done nothing, if the processor cannot do it or the lanes differ in
/// length; the caller then uses the portable code.
pub(super) fn compress<const N: usize>(
    states: &mut [State; N],
    blocks: &[&[Block]; N],
    proof: Available,
) -> bool {
    let count = blocks.first().map_or(0, |lane| lane.len());
    if blocks.iter().any(|lane| lane.len() != count) {
        return false;
    }
    let Available(()) = proof;
    // SAFETY: an `Available` can only be had from `Available::detect`, which asked the processor
    // for each of the features that `lanes` is compiled with.
    unsafe { lanes(states, blocks, count) };
    true
}

/// Proof that [`available`] said yes: without one the kernel cannot be called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Available(());

impl Available {
    /// Asks the processor.
    pub(super) fn detect() -> Option<Self> {
        available().then_some(Self(()))
    }
}

/// Sixteen bytes of a block, words in host order as the SHA instructions want them.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn load(block: &Block, quarter: usize) -> __m128i {
    let bytes: &[u8; 16] = match block.as_chunks::<16>().0 {
        [a, b, c, d] => match quarter {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        },
        _ => return _mm_set_epi64x(0, 0), // a block is always four quarters
    };
    // SAFETY: `bytes` is a reference to sixteen readable bytes; the load needs no alignment.
    let raw = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let reverse = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    _mm_shuffle_epi8(raw, reverse)
}

/// One group of four rounds in every lane, then the message schedule for the group four later.
macro_rules! group {
    // Groups 0 to 3 use the message words as they were loaded.
    (first $w:ident, $abcd:ident, $in:ident, $out:ident, $g:literal, $f:literal, $n:ident) => {
        for l in 0..$n {
            $in[l] = _mm_sha1nexte_epu32($in[l], $w[$g][l]);
            $out[l] = $abcd[l];
            $abcd[l] = _mm_sha1rnds4_epu32::<$f>($abcd[l], $in[l]);
        }
    };
    // Later groups make their words first, in the place of those used four groups before.
    ($w:ident, $abcd:ident, $in:ident, $out:ident,
     $a:literal, $b:literal, $c:literal, $d:literal, $f:literal, $n:ident) => {
        for l in 0..$n {
            $w[$a][l] = _mm_sha1msg2_epu32(
                _mm_xor_si128(_mm_sha1msg1_epu32($w[$a][l], $w[$b][l]), $w[$c][l]),
                $w[$d][l],
            );
            $in[l] = _mm_sha1nexte_epu32($in[l], $w[$a][l]);
            $out[l] = $abcd[l];
            $abcd[l] = _mm_sha1rnds4_epu32::<$f>($abcd[l], $in[l]);
        }
    };
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[allow(clippy::needless_range_loop)] // the loops over N unroll and interleave
#[allow(clippy::many_single_char_names)] // the names of FIPS 180-4
fn lanes<const N: usize>(states: &mut [State; N], blocks: &[&[Block]; N], count: usize) {
    let zero = _mm_set_epi64x(0, 0);
    let mut abcd = [zero; N];
    let mut e0 = [zero; N];
    for l in 0..N {
        let [a, b, c, d, e] = states[l];
        abcd[l] = _mm_set_epi32(
            a.cast_signed(),
            b.cast_signed(),
            c.cast_signed(),
            d.cast_signed(),
        );
        e0[l] = _mm_set_epi32(e.cast_signed(), 0, 0, 0);
    }
    for i in 0..count {
        let saved_abcd = abcd;
        let saved_e = e0;
        let mut w = [[zero; N]; 4];
        let mut e1 = [zero; N];
        for l in 0..N {
            for (quarter, words) in w.iter_mut().enumerate() {
                words[l] = load(&blocks[l][i], quarter);
            }
        }
        // Group 0: e comes from the state, so it is added rather than rotated in.
        for l in 0..N {
            e0[l] = _mm_add_epi32(e0[l], w[0][l]);
            e1[l] = abcd[l];
            abcd[l] = _mm_sha1rnds4_epu32::<0>(abcd[l], e0[l]);
        }
        group!(first w, abcd, e1, e0, 1, 0, N);
        group!(first w, abcd, e0, e1, 2, 0, N);
        group!(first w, abcd, e1, e0, 3, 0, N);
        group!(w, abcd, e0, e1, 0, 1, 2, 3, 0, N);
        group!(w, abcd, e1, e0, 1, 2, 3, 0, 1, N);
        group!(w, abcd, e0, e1, 2, 3, 0, 1, 1, N);
        group!(w, abcd, e1, e0, 3, 0, 1, 2, 1, N);
        group!(w, abcd, e0, e1, 0, 1, 2, 3, 1, N);
        group!(w, abcd, e1, e0, 1, 2, 3, 0, 1, N);
        group!(w, abcd, e0, e1, 2, 3, 0, 1, 2, N);
        group!(w, abcd, e1, e0, 3, 0, 1, 2, 2, N);
        group!(w, abcd, e0, e1, 0, 1, 2, 3, 2, N);
        group!(w, abcd, e1, e0, 1, 2, 3, 0, 2, N);
        group!(w, abcd, e0, e1, 2, 3, 0, 1, 2, N);
        group!(w, abcd, e1, e0, 3, 0, 1, 2, 3, N);
        group!(w, abcd, e0, e1, 0, 1, 2, 3, 3, N);
        group!(w, abcd, e1, e0, 1, 2, 3, 0, 3, N);
        group!(w, abcd, e0, e1, 2, 3, 0, 1, 3, N);
        group!(w, abcd, e1, e0, 3, 0, 1, 2, 3, N);
        for l in 0..N {
            e0[l] = _mm_sha1nexte_epu32(e0[l], saved_e[l]);
            abcd[l] = _mm_add_epi32(abcd[l], saved_abcd[l]);
        }
    }
    for l in 0..N {
        let mut words = [0u32; 4];
        // SAFETY: `words` is sixteen writable bytes; the store needs no alignment.
        unsafe {
            _mm_storeu_si128(
                words.as_mut_ptr().cast(),
                _mm_shuffle_epi32::<0x1b>(abcd[l]),
            );
        }
        let [a, b, c, d] = words;
        states[l] = [a, b, c, d, _mm_extract_epi32::<3>(e0[l]).cast_unsigned()];
    }
}
