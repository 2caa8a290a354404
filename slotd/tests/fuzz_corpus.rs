//! Replays the committed corpus of the fuzz target of the protocol, each input whole, cut, flipped,
//! and spliced with others by a fixed seed; and sees that no line makes either end take much
//! memory.

#![allow(unsafe_code)] // an allocator that counts

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use slotd::protocol::{Command, MAX_COMMAND, MAX_LINE};

#[path = "../../fuzz/fuzz_targets/drive/wire.rs"]
mod drive;

/// Mutations of each input of the corpus.
const MUTATIONS: u64 = 400;
/// What may be taken for each byte of a line: copies of it, and a list of its shortest items.
const BYTES_A_BYTE: usize = 64;
const BYTES_APART: usize = 16 << 10;

struct Counting;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // Not while the thread ends.
    let _ = TAKEN.try_with(|taken| taken.set(taken.get().saturating_add(bytes)));
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: all of it is the system's; what is added counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The largest piece of memory that was asked for meanwhile, bytes.
fn largest(work: impl FnOnce()) -> usize {
    LARGEST.set(0);
    work();
    LARGEST.get()
}

fn bounded(input: &[u8]) {
    let largest = largest(|| drive::wire(input));
    let limit = BYTES_APART + input.len() * BYTES_A_BYTE;
    assert!(
        largest <= limit,
        "{} bytes made it take {largest}",
        input.len()
    );
}

fn corpus() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/wire");
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{}", dir.display());
    files
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// A generator that gives the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound.max(1)
    }
}

#[test]
fn no_line_makes_either_end_panic_or_take_memory_that_it_only_announces() {
    let corpus = corpus();
    for (n, input) in corpus.iter().enumerate() {
        for cut in 0..=input.len() {
            bounded(&input[..cut]);
        }
        for at in 0..input.len() {
            for bit in [0x01, 0x10, 0x81] {
                let mut flipped = input.clone();
                flipped[at] ^= bit;
                bounded(&flipped);
            }
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (n as u64 + 1));
        for _ in 0..MUTATIONS {
            let mut one = input.clone();
            for _ in 0..=random.below(4) {
                let other = &corpus[random.below(corpus.len())];
                let (from, to) = (random.below(other.len()), random.below(other.len()));
                let piece = &other[from.min(to)..from.max(to)];
                let at = random.below(one.len());
                match random.below(3) {
                    0 => drop(one.splice(at..at, piece.iter().copied())),
                    1 => one.truncate(at),
                    _ => one.push(u8::try_from(random.below(256)).unwrap()),
                }
            }
            bounded(&one);
        }
    }
}

#[test]
fn numbers_that_announce_much_make_nobody_take_it() {
    for line in [
        "\x01OK count=4294967295 next=0 list=\n",
        "\x01OK size=18446744073709551615 offset=18446744073709551615 data=\n",
        "\x01OK parts=4294967295 digests=\n",
        "\x01OK slotd=1 protocol=1 host_id=a state=serving capacity=4294967295 \
         connections=4294967295\n",
        "\x00GUIDS from=0 to=4294967295 max=4294967295\n",
        "\x00DIGESTS from=0 to=4294967295 parts=4294967295\n",
        "\x00LIST max=4294967295\n",
        "\x00LOCK user.a wait_ms=18446744073709551615\n",
    ] {
        bounded(line.as_bytes());
    }
}

#[test]
fn the_longest_lines_take_a_few_times_their_length() {
    for (which, length) in [(0, MAX_COMMAND), (1, MAX_LINE)] {
        for pattern in [
            "a",
            "a=1 ",
            "%41",
            "=",
            " ",
            ",",
            "OK a=b,",
            "LOCK user.a ",
            "\u{e9}",
        ] {
            let mut input = vec![which];
            if which == 1 {
                input.extend(b"OK list=");
            }
            input.extend(pattern.bytes().cycle().take(length - 16));
            input.push(b'\n');
            bounded(&input);
        }
    }
    // One that is longer is not looked at.
    let long = vec![b'A'; MAX_COMMAND + 1];
    let taken = largest(|| assert!(Command::parse(&long).is_err()));
    assert!(taken < 1024, "{taken}");
}
