//! The lanes equal the `sha1` crate, bit for bit.

use proptest::prelude::*;

use super::lanes::{Filled, LANE_BYTES, Lanes, Source, run};
use super::*;

fn kernels() -> Vec<Kernel> {
    let mut all = vec![Kernel::portable()];
    all.extend((1..=MAX_LANES).map(|n| Kernel::detect().with_lanes(n)));
    all
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_le_bytes()[3]
        })
        .collect()
}

/// [`Source`] over byte strings in memory.
struct Slices<'a> {
    messages: &'a [&'a [u8]],
    next: usize,
    digests: Vec<Digest>,
}

impl<'a> Source for Slices<'a> {
    type Message = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Message> {
        let index = self.next;
        self.next += 1;
        self.messages.get(index).map(|bytes| (index, *bytes))
    }

    fn fill(&mut self, message: &mut Self::Message, buffer: &mut [u8]) -> Filled {
        let n = message.1.len().min(buffer.len());
        let (now, later) = message.1.split_at(n);
        buffer[..n].copy_from_slice(now);
        message.1 = later;
        if later.is_empty() {
            Filled::Last(n)
        } else {
            Filled::More
        }
    }

    fn done(&mut self, message: Self::Message, digest: Digest) {
        if let Some(slot) = self.digests.get_mut(message.0) {
            *slot = digest;
        }
    }

    fn failed(&mut self, _message: Self::Message) {}
}

fn with_kernel(kernel: Kernel, messages: &[&[u8]]) -> Vec<Digest> {
    let mut source = Slices {
        messages,
        next: 0,
        digests: vec![[0; 20]; messages.len()],
    };
    run(&mut source, &mut Lanes::new(kernel));
    source.digests
}

#[test]
fn known_answers_of_fips_180() {
    let abc = "a9993e364706816aba3e25717850c26c9cd0d89d";
    let empty = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let two = "84983e441c3bd26ebaae4aa1f95129e5e54670f1";
    let messages: [&[u8]; 3] = [
        b"abc",
        b"",
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
    ];
    let digests = with_kernel(Kernel::detect(), &messages);
    let hex = |d: &Digest| d.iter().fold(String::new(), |s, b| format!("{s}{b:02x}"));
    assert_eq!(
        digests.iter().map(hex).collect::<Vec<_>>(),
        [abc, empty, two]
    );
}

#[test]
fn every_length_around_the_block_edges_equals_the_sha1_crate() {
    let base = noise(2 * LANE_BYTES + 200, 7);
    let mut lengths: Vec<usize> = (0..=300).collect();
    for edge in [512, 1024, 4096, LANE_BYTES, 2 * LANE_BYTES] {
        lengths.extend(edge - 70..=edge + 70);
    }
    for kernel in kernels() {
        let messages: Vec<&[u8]> = lengths.iter().map(|n| &base[..*n]).collect();
        for (message, digest) in messages.iter().zip(with_kernel(kernel, &messages)) {
            assert_eq!(
                digest,
                sha1_of(message),
                "{} bytes, {}",
                message.len(),
                kernel.name()
            );
        }
    }
}

#[test]
fn lanes_of_the_kernel_do_not_touch_each_other() {
    for kernel in kernels() {
        for width in 1..=kernel.lanes() {
            for count in [0, 1, 2, 7] {
                let inputs: Vec<Vec<Block>> = (0..width)
                    .map(|l| {
                        noise(count * BLOCK_LEN, 91 + l as u64)
                            .as_chunks::<BLOCK_LEN>()
                            .0
                            .to_vec()
                    })
                    .collect();
                let start: Vec<State> = (0..width)
                    .map(|l| INITIAL.map(|w| w.rotate_left(u32::try_from(l).unwrap_or(0))))
                    .collect();
                let mut ours = start.clone();
                let slices: Vec<&[Block]> = inputs.iter().map(Vec::as_slice).collect();
                kernel.compress(&mut ours, &slices);
                let mut theirs = start;
                for (state, blocks) in theirs.iter_mut().zip(&inputs) {
                    sha1::block_api::compress(state, blocks);
                }
                assert_eq!(
                    ours,
                    theirs,
                    "{} width {width} blocks {count}",
                    kernel.name()
                );
            }
        }
    }
}

#[test]
fn lanes_of_unequal_length_fall_back_to_the_portable_code() {
    let a = noise(3 * BLOCK_LEN, 1);
    let b = noise(BLOCK_LEN, 2);
    let mut states = [INITIAL; 2];
    Kernel::detect().compress(
        &mut states,
        &[a.as_chunks::<BLOCK_LEN>().0, b.as_chunks::<BLOCK_LEN>().0],
    );
    let mut want = [INITIAL; 2];
    sha1::block_api::compress(&mut want[0], a.as_chunks::<BLOCK_LEN>().0);
    sha1::block_api::compress(&mut want[1], b.as_chunks::<BLOCK_LEN>().0);
    assert_eq!(states, want);
}

/// Fails the messages whose index is odd, after `good` full buffers.
struct Flaky {
    next: usize,
    good: usize,
    done: Vec<(usize, Digest)>,
    failed: Vec<usize>,
}

impl Source for Flaky {
    type Message = (usize, usize);
    fn next(&mut self) -> Option<Self::Message> {
        self.next += 1;
        (self.next <= 12).then_some((self.next, 0))
    }
    fn fill(&mut self, message: &mut Self::Message, buffer: &mut [u8]) -> Filled {
        message.1 += 1;
        if message.1 <= self.good {
            buffer.fill(u8::try_from(message.0).unwrap_or(0));
            Filled::More
        } else if message.0 % 2 == 1 {
            Filled::Failed
        } else {
            Filled::Last(0)
        }
    }
    fn done(&mut self, message: Self::Message, digest: Digest) {
        self.done.push((message.0, digest));
    }
    fn failed(&mut self, message: Self::Message) {
        self.failed.push(message.0);
    }
}

#[test]
fn a_message_that_fails_leaves_the_other_lanes_right() {
    for kernel in kernels() {
        for good in 0..3 {
            let mut source = Flaky {
                next: 0,
                good,
                done: Vec::new(),
                failed: Vec::new(),
            };
            run(&mut source, &mut Lanes::new(kernel));
            source.failed.sort_unstable();
            assert_eq!(source.failed, [1, 3, 5, 7, 9, 11]);
            source.done.sort_unstable();
            for (i, digest) in &source.done {
                let bytes = vec![u8::try_from(*i).unwrap_or(0); good * LANE_BYTES];
                assert_eq!(*digest, sha1_of(&bytes));
            }
            assert_eq!(source.done.len(), 6);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_set_of_messages_equals_the_sha1_crate(
        sizes in proptest::collection::vec((0usize..70_000, any::<u64>()), 0..24),
        lanes in 1..=MAX_LANES,
    ) {
        let messages: Vec<Vec<u8>> = sizes.iter().map(|(n, seed)| noise(*n, *seed)).collect();
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let digests = with_kernel(Kernel::detect().with_lanes(lanes), &slices);
        for (message, digest) in slices.iter().zip(digests) {
            prop_assert_eq!(digest, sha1_of(message));
        }
    }
}
