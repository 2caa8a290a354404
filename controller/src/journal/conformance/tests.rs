//! The suite for the journal in a file and the one in memory.

use super::{Stores, hold};
use crate::journal::memory::MemoryStore;
use crate::journal::{JournalStore, SqliteStore};

struct Memory(MemoryStore);

impl Stores for Memory {
    fn new() -> Self {
        Self(MemoryStore::new())
    }
    fn store(&self) -> &dyn JournalStore {
        &self.0
    }
    fn crash(&self) -> Self {
        Self(self.0.after_crash())
    }
}

struct Sqlite {
    directory: tempfile::TempDir,
    store: SqliteStore,
}

impl Stores for Sqlite {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("state.db")).unwrap();
        Self { directory, store }
    }
    fn store(&self) -> &dyn JournalStore {
        &self.store
    }
    /// Takes the files as they are on disk at this moment, as a kill would leave them.
    fn crash(&self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for name in ["state.db", "state.db-wal"] {
            let _ = std::fs::copy(self.directory.path().join(name), copy.path().join(name));
        }
        let store = SqliteStore::open(&copy.path().join("state.db")).unwrap();
        Self {
            directory: copy,
            store,
        }
    }
}

#[test]
fn the_journal_in_a_file_keeps_every_promise() {
    hold::<Sqlite>();
}

#[test]
fn the_journal_in_memory_keeps_every_promise() {
    hold::<Memory>();
}
