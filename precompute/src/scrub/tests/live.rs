//! A store in use: messages come and go by Cyrus's own protocols while scrubs run, and none of it
//! is taken for damage. What is damaged meanwhile is still found.

use super::*;
use indexfile::flags::{EXPUNGED, UNLINKED};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The same mailboxes many times over, so that most of a scrub falls in the busy time.
const TIMES: usize = 10;
/// Beyond this many messages more go than come.
const MOST: usize = 80;
const ARCHIVED: u32 = 1 << 29;
const NEEDS_CLEANUP: u32 = 1 << 28;

/// One mailbox and the thread of Cyrus that works on it.
struct Live {
    store: Store,
    cold: TempDir,
    last_uid: u32,
    rng: u64,
    /// Messages that were damaged on purpose and must stay.
    keep: u32,
}

impl Live {
    fn new(minor: u32, seed: u64, keep: u32) -> Self {
        let store = Store::new(minor, 40);
        let cold = tempfile::tempdir().expect("scratch");
        Self {
            store,
            cold,
            last_uid: 40,
            rng: seed | 1,
            keep,
        }
    }

    fn mailbox(&self) -> Target {
        plain(self.store.path(), None, Some(self.cold.path()))
    }

    fn random(&mut self, below: u32) -> u32 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        u32::try_from(self.rng % u64::from(below)).expect("small")
    }

    /// Between two steps of one operation, Cyrus may be anywhere.
    fn breathe(&mut self) {
        match self.random(4) {
            0 => std::thread::sleep(Duration::from_millis(2)),
            1 => std::thread::yield_now(),
            _ => {}
        }
    }

    fn sizes(&self) -> (usize, usize) {
        let layout = indexfile::layout::of(self.store.minor).expect("a version");
        (layout.header_size as usize, layout.record_size as usize)
    }

    /// Writes one record of the index in place.
    fn write_record(&self, at: usize, bytes: &[u8]) {
        let (header, record) = self.sizes();
        let from = header + at * record;
        let file = OpenOptions::new()
            .write(true)
            .open(self.store.path().join("cyrus.index"))
            .expect("open");
        file.write_all_at(&bytes[from..from + record], from as u64)
            .expect("write");
    }

    /// Writes the header of the index in place.
    fn write_header(&self, bytes: &[u8]) {
        let file = OpenOptions::new()
            .write(true)
            .open(self.store.path().join("cyrus.index"))
            .expect("open");
        file.write_all_at(&bytes[..self.sizes().0], 0)
            .expect("write");
    }

    fn index_bytes(&self) -> Vec<u8> {
        let builder = IndexBuilder::new(self.store.minor, FileKind::Index).last_uid(self.last_uid);
        builder
            .records(self.store.records.iter().copied())
            .to_bytes()
            .expect("builds")
    }

    fn replace(&self, kind: FileKind) {
        let bytes = match kind {
            FileKind::Index => self.index_bytes(),
            FileKind::Expunge => self.store.bytes(kind),
        };
        let path = self.store.path().join(kind.file_name());
        let new = path.with_extension("NEW");
        std::fs::write(&new, bytes).expect("write");
        std::fs::rename(&new, &path).expect("rename");
    }

    /// The files first, then the records in place, then the header.
    fn deliver(&mut self) {
        for _ in 0..=self.random(3) {
            self.last_uid += 1;
            let len = 1 + self.random(30_000) as usize;
            let message = body(u64::from(self.last_uid), len);
            // Not in one piece.
            let (first, rest) = message.split_at(len / 2);
            let file = self.store.file(self.last_uid);
            std::fs::write(&file, first).expect("write");
            self.breathe();
            let file = OpenOptions::new().append(true).open(file).expect("open");
            std::io::Write::write_all(&mut &file, rest).expect("write");
            self.breathe();
            self.store.records.push(record(self.last_uid, &message));
            self.write_record(self.store.records.len() - 1, &self.index_bytes());
        }
        self.breathe();
        self.write_header(&self.index_bytes());
    }

    fn victim(&mut self) -> Option<usize> {
        let count = u32::try_from(self.store.records.len()).expect("small");
        let at = self.random(count) as usize;
        (self.store.records[at].uid > self.keep).then_some(at)
    }

    /// 2.3, `expunge_mode: immediate`: a new index first, then the files go.
    fn expunge_at_once(&mut self) {
        let Some(at) = self.victim() else { return };
        let uid = self.store.records.remove(at).uid;
        self.replace(FileKind::Index);
        self.breathe();
        std::fs::remove_file(self.store.file(uid)).expect("unlink");
    }

    /// 2.3, delayed: the record is appended to cyrus.expunge, then a new index is renamed in.
    fn expunge_later(&mut self) {
        let Some(at) = self.victim() else { return };
        let record = self.store.records.remove(at);
        self.store.expunged.push(record);
        let path = self.store.path().join("cyrus.expunge");
        if path.exists() {
            let bytes = self.store.bytes(FileKind::Expunge);
            let (header, size) = self.sizes();
            let file = OpenOptions::new().write(true).open(path).expect("open");
            let from = header + (self.store.expunged.len() - 1) * size;
            file.write_all_at(&bytes[from..], from as u64)
                .expect("write");
            file.write_all_at(&bytes[..header], 0).expect("write");
        } else {
            self.replace(FileKind::Expunge);
        }
        self.breathe();
        self.replace(FileKind::Index);
    }

    /// `cyr_expire` of 2.3: a new cyrus.expunge is renamed in, then the files go.
    fn expire(&mut self) {
        let gone = std::mem::take(&mut self.store.expunged);
        if gone.is_empty() {
            return;
        }
        self.replace(FileKind::Expunge);
        for record in gone {
            self.breathe();
            std::fs::remove_file(self.store.file(record.uid)).expect("unlink");
        }
    }

    /// A flag changes in place.
    fn store_flags(&mut self) {
        let Some(at) = self.victim() else { return };
        self.store.records[at].system_flags ^= indexfile::flags::FLAGGED;
        self.store.records[at].modseq += 1;
        self.write_record(at, &self.index_bytes());
    }

    /// 3.x: expunged in place; later unlinked in place, and then the file goes.
    fn expunge_in_place(&mut self) {
        let Some(at) = self.victim() else { return };
        let record = &mut self.store.records[at];
        if record.system_flags & EXPUNGED == 0 {
            record.system_flags |= EXPUNGED;
            return self.write_record(at, &self.index_bytes());
        }
        if record.system_flags & UNLINKED == 0 {
            let (uid, archived) = (record.uid, record.system_flags & ARCHIVED != 0);
            record.system_flags |= UNLINKED;
            self.write_record(at, &self.index_bytes());
            self.breathe();
            let file = if archived {
                self.cold.path().join(format!("{uid}."))
            } else {
                self.store.file(uid)
            };
            std::fs::remove_file(file).expect("unlink");
        }
    }

    /// 3.x: records of unlinked messages go.
    fn repack(&mut self) {
        self.store
            .records
            .retain(|record| record.system_flags & UNLINKED == 0);
        self.replace(FileKind::Index);
    }

    /// 3.x: copied, marked, and the first copy removed.
    fn archive(&mut self) {
        let Some(at) = self.victim() else { return };
        if self.store.records[at].system_flags & (ARCHIVED | UNLINKED) != 0 {
            return;
        }
        let uid = self.store.records[at].uid;
        std::fs::copy(
            self.store.file(uid),
            self.cold.path().join(format!("{uid}.")),
        )
        .expect("copy");
        self.breathe();
        self.store.records[at].system_flags |= ARCHIVED | NEEDS_CLEANUP;
        self.write_record(at, &self.index_bytes());
        self.breathe();
        std::fs::remove_file(self.store.file(uid)).expect("unlink");
        self.store.records[at].system_flags &= !NEEDS_CLEANUP;
        self.write_record(at, &self.index_bytes());
    }

    fn act(&mut self) {
        let old = self.store.minor <= 10;
        let full = self.store.records.len() > MOST;
        match self.random(8) {
            0..=2 if full && old => self.expunge_at_once(),
            0..=2 if full => self.expunge_in_place(),
            0..=2 => self.deliver(),
            3 if old => self.expunge_at_once(),
            4 if old => self.expunge_later(),
            5 if old => self.expire(),
            3 | 4 if !old => self.expunge_in_place(),
            5 if !old => self.archive(),
            6 if !old => self.repack(),
            _ => self.store_flags(),
        }
        self.breathe();
    }
}

/// Scrubs `lives` again and again while each is worked on, until enough was done.
fn while_alive(mut lives: Vec<Live>, check: impl Fn(&Summary, &[Finding])) -> Vec<Live> {
    let mailboxes: Vec<Target> = lives.iter().map(Live::mailbox).collect();
    let (done, acts) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for live in &mut lives {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    live.act();
                    acts.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut scrubs = 0;
            while scrubs < 3 || acts.load(Ordering::Relaxed) < 1_000 {
                let steps = (0..TIMES).flat_map(|_| mailboxes.clone()).map(Ok);
                let (summary, findings) = scrub_with(steps, &options(Duration::from_millis(500)));
                check(&summary, &findings);
                scrubs += 1;
            }
        }));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    lives
}

#[test]
fn live_delivery_expunge_and_archiving_are_never_taken_for_damage() {
    let lives = [(10, 11), (10, 12), (17, 13), (20, 14)];
    let lives = lives
        .into_iter()
        .map(|(minor, seed)| Live::new(minor, seed, 0))
        .collect();
    let lives = while_alive(lives, |_, findings| assert_eq!(findings, []));
    for live in lives {
        // And when all is quiet, everything is accounted for.
        let (summary, findings) = scrub([live.mailbox()]);
        assert_eq!(findings, []);
        assert_eq!((summary.in_delivery, summary.races), (0, 0));
    }
}

#[test]
fn damage_is_found_in_a_mailbox_in_use_and_nothing_else() {
    let lives: Vec<Live> = [(10, 21), (17, 22)]
        .into_iter()
        .map(|(minor, seed)| Live::new(minor, seed, 3))
        .collect();
    for live in &lives {
        flip(&live.store.file(1), 3);
        std::fs::remove_file(live.store.file(2)).expect("remove");
    }
    while_alive(lives, |_, findings| {
        let mut codes = codes(findings);
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes, [("bit-rot", Some(1)), ("missing", Some(2))]);
        assert_eq!(findings.len(), 2 * 2 * TIMES, "each time it was looked at");
    });
}
