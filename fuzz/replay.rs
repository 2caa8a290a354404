//! Replays the committed corpus of a fuzz target in `cargo test`, on the stable toolchain: each
//! input whole, cut, flipped, and spliced with others by a fixed seed. Promises the same on every
//! machine, and that nothing is taken in one piece that an input only announces.

#![allow(unsafe_code)] // an allocator that counts
#![allow(dead_code)] // each crate's test uses a part

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

struct Counting;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // Not while the thread ends.
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

/// The largest piece of memory that this thread asked for meanwhile, bytes.
pub fn largest(work: impl FnOnce()) -> usize {
    LARGEST.set(0);
    work();
    LARGEST.get()
}

/// A target, and how much of it is replayed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// What it does with an input.
    pub drive: fn(&[u8]),
    /// Most memory that may be taken in one piece for an input of no length, bytes.
    pub apart: usize,
    /// Most cuts, flips and splices of each input, each.
    pub most: usize,
}

/// What may be taken in one piece for each byte of an input: copies of it, or a list of its
/// shortest items.
const EACH: usize = 64;

impl Target {
    /// All of its corpus.
    pub fn replay(self) {
        let corpus = self.corpus();
        for (n, input) in corpus.iter().enumerate() {
            self.one(input);
            let step = |length: usize| (length / self.most).max(1);
            for cut in (0..input.len()).step_by(step(input.len())) {
                self.one(&input[..cut]);
            }
            for at in (0..input.len()).step_by(step(input.len())) {
                let mut flipped = input.clone();
                flipped[at] ^= [0x01, 0x10, 0x81][at % 3];
                self.one(&flipped);
            }
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (n as u64 + 1));
            for _ in 0..self.most {
                self.one(&random.spliced(input, &corpus));
            }
        }
    }

    /// One input.
    pub fn one(self, input: &[u8]) {
        let largest = largest(|| (self.drive)(input));
        let limit = self.apart + input.len() * EACH;
        let length = input.len();
        assert!(largest <= limit, "{length} bytes made it take {largest}");
    }

    fn corpus(self) -> Vec<Vec<u8>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let dir = dir.join(self.name);
        let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 4, "{}", dir.display());
        let read = |path| std::fs::read(path).unwrap();
        files.iter().map(read).collect()
    }
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

    fn spliced(&mut self, input: &[u8], corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut one = input.to_vec();
        for _ in 0..=self.below(4) {
            let other = &corpus[self.below(corpus.len())];
            let (from, to) = (self.below(other.len()), self.below(other.len()));
            let piece = &other[from.min(to)..from.max(to)];
            let at = self.below(one.len());
            match self.below(3) {
                0 => drop(one.splice(at..at, piece.iter().copied())),
                1 => one.truncate(at),
                _ => one.push(u8::try_from(self.below(256)).unwrap()),
            }
        }
        one
    }
}
