//! What the target `journal` does with its bytes: a state file in which any column has any value,
//! or any byte is another one, is read and reported on. `cargo test` replays the corpus through the
//! same code (`controller/tests/fuzz_corpus.rs`).

use controller::journal::{
    AtOnce, Attempt, Candidate, Change, Durability, Ended, Figures, Filter, Journal, JournalError,
    JournalStore, MailboxId, RunInfo, RunSpec, SqliteStore, Verb,
};
use controller::report::{Disagreements, Measured, PageOptions, Story, page};
use controller::two_phase::{Reason, Side};
use indexfile::mailbox::MailboxName;
use rusqlite::Connection;
use std::path::Path;
use tempfile::TempDir;

/// Columns whose value an input may set. None of them finds a row for another one.
const COLUMNS: &[(&str, &[&str])] = &[
    ("pair", &["name", "journal_id", "master_id", "replica_id"]),
    (
        "run",
        &[
            "command",
            "to_version",
            "undoes",
            "words",
            "pairs",
            "started_at",
            "finished_at",
        ],
    ),
    (
        "run_pair",
        &[
            "master",
            "replica",
            "master_id",
            "replica_id",
            "selection",
            "listed",
            "started_at",
            "finished_at",
        ],
    ),
    (
        "mailbox",
        &[
            "name",
            "partition",
            "named",
            "back_master",
            "back_replica",
            "state",
            "in_doubt",
            "before_master",
            "before_replica",
            "forward_master",
            "forward_replica",
            "attempts",
            "reason",
            "side",
            "detail",
            "messages",
            "altered",
            "cached",
            "hashed",
            "lag",
            "lock_us_master",
            "lock_us_replica",
            "finished_at",
            "uniqueid_master",
            "uniqueid_replica",
        ],
    ),
    ("pause", &["since"]),
    ("disagreement", &["code", "findings", "examples"]),
    ("at_once", &["at_once", "bound", "fewest", "most", "why"]),
];

/// Words that mean something in some column.
const WORDS: &[&str] = &[
    "",
    "upgrade",
    "rollback",
    "cutover",
    "undo",
    "rehearse",
    "pending",
    "decided",
    "reversing",
    "upgraded",
    "unchanged",
    "rehearsed",
    "rolled_back",
    "gone",
    "unmounted",
    "wrong_guid",
    "no_mailbox",
    "locked",
    "damaged",
    "master",
    "replica",
    "user.joe",
    "user.joe\n",
    "../joe",
    "a,b",
    "2026",
    "\u{1b}[2J",
    "\u{202e}",
    "--partition p",
    "duplicate",
    "9223372036854775807",
];

/// A state file, and where copies of it are put.
struct Place {
    dir: TempDir,
    image: Vec<u8>,
}

thread_local! {
    static PLACE: Place = Place::new();
}

/// First byte: bit 0, whether columns or bytes are changed; bit 1, whether the file is opened for
/// writing. The rest is changes.
pub fn journal(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    PLACE.with(|place| {
        let path = place.dir.path().join("state");
        if mode & 1 == 0 {
            std::fs::write(&path, &place.image).expect("write");
            set_columns(&path, rest);
        } else {
            std::fs::write(&path, patched(&place.image, rest)).expect("write");
        }
        read(&path, mode & 2 != 0);
        for name in ["state-wal", "state-shm", "state-journal"] {
            let _ = std::fs::remove_file(place.dir.path().join(name));
        }
    });
}

/// Changes: where (24 bits), and the new byte.
fn patched(image: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    for change in changes.chunks_exact(4) {
        let at = u32::from_be_bytes([0, change[0], change[1], change[2]]) as usize % image.len();
        image[at] = change[3];
    }
    image
}

/// What is left of an input.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn number(&mut self) -> i64 {
        let mut eight = [0; 8];
        let bytes = self.bytes(8);
        eight[..bytes.len()].copy_from_slice(bytes);
        i64::from_be_bytes(eight)
    }
}

/// Changes: table, column, which mailbox, and the new value.
fn set_columns(path: &Path, changes: &[u8]) {
    let db = Connection::open(path).expect("it is sound so far");
    let quick = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF";
    db.execute_batch(quick).expect("plain settings");
    db.execute_batch("BEGIN").expect("nobody else has it");
    let mut left = Left(changes);
    while let (Some(table), Some(column), Some(kind)) = (left.byte(), left.byte(), left.byte()) {
        let (table, columns) = COLUMNS[usize::from(table) % COLUMNS.len()];
        let column = columns[usize::from(column) % columns.len()];
        let row = match (table, kind >> 4) {
            ("mailbox", which @ 1..) => format!("WHERE id = {which}"),
            _ => String::new(),
        };
        let set = |value: &str| format!("UPDATE {table} SET {column} = {value} {row}");
        let length = left.byte().unwrap_or(0);
        // A value that a constraint refuses is not there.
        let _ = match kind & 7 {
            0 => db.execute(&set("NULL"), []),
            1 => db.execute(&set("?1"), [left.number()]),
            2 => db.execute(&set("?1"), [i64::from(length.cast_signed())]),
            3 => db.execute(&set("?1"), [left.bytes(length.into())]),
            4 => db.execute(&set("CAST(?1 AS TEXT)"), [left.bytes(length.into())]),
            5 => db.execute(&set("?1"), [f64::from(length) * 1e300]),
            _ => db.execute(&set("?1"), [WORDS[usize::from(length) % WORDS.len()]]),
        };
    }
    db.execute_batch("COMMIT").expect("it is in memory");
}

/// Reads all that can be read. A row is what it says, or an error that names no more than a line.
fn read(path: &Path, write: bool) {
    let opened = if write {
        SqliteStore::open_existing(path)
    } else {
        SqliteStore::open_read_only(path)
    };
    let Some(store) = said(opened) else { return };
    said(store.claims());
    for verb in [Verb::Upgrade, Verb::Rehearse] {
        said(store.last_of(verb));
    }
    let last = said(store.last_run()).flatten();
    for pair in said(store.pairs()).unwrap_or_default().iter().take(3) {
        if let Some(journal) = said(store.pair(pair)) {
            of_pair(&*journal);
        }
    }
    if let Some(run) = last {
        said(store.run(run.id));
        if let Some(found) = said(store.disagreements(run.id)) {
            let all = Disagreements(found);
            plain(&all.to_string());
            std::hint::black_box(all.to_json());
        }
        let options = PageOptions {
            slowest: 3,
            fleet: "fleet.conf".to_owned(),
            state: "state".to_owned(),
            now_ms: 1_795_320_000_000,
        };
        if let Some(page) = said(page(&store, &run, &options)) {
            plain(&page);
        }
    }
}

fn of_pair(journal: &dyn Journal) {
    said(journal.owner());
    said(journal.paused());
    said(Measured::last(journal, 10));
    said(journal.open_transactions(MailboxId(0), 10));
    for verb in [Verb::Upgrade, Verb::Rehearse] {
        if let Some(Some(run)) = said(journal.last_of(verb)) {
            of_run(journal, &run);
        }
    }
}

fn of_run(journal: &dyn Journal, run: &RunInfo) {
    std::hint::black_box((run.spec.task(), run.spec.of_what(), run.go_on("--state s")));
    for filter in [
        Filter::All,
        Filter::In(controller::journal::State::RolledBack),
    ] {
        said(journal.page(run.id, filter, MailboxId(0), 10));
    }
    said(journal.changed(run.id, MailboxId(0), 10));
    said(journal.totals(run.id));
    said(journal.at_once(run.id));
    let name = MailboxName::parse("user.joe").expect("a name");
    said(journal.find_all(run.id, &name));
    if let Some(story) = said(Story::collect(journal, run, 2)) {
        plain(&story.to_string());
        serde_json::to_string(&story).expect("it can be written");
    }
}

/// Nothing in it is hidden from a reader, or moves a cursor.
fn plain(text: &str) {
    let hidden = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(hidden), "{text:?}");
}

/// The value; an error is a line.
fn said<T>(result: Result<T, JournalError>) -> Option<T> {
    let text = match result {
        Ok(value) => return Some(value),
        Err(error) => error.to_string(),
    };
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
    None
}

impl Place {
    /// A run with three mailboxes: one decided, one done, one that failed. Then the tables lose
    /// what `SQLite` itself would refuse.
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sound");
        make(&path).expect("a journal");
        loosen(&path).expect("plain SQL");
        let image = std::fs::read(&path).expect("it is there");
        Self { dir, image }
    }
}

fn make(path: &Path) -> Result<(), JournalError> {
    let store = SqliteStore::open(path)?;
    let journal = store.pair("")?;
    let spec = RunSpec {
        verb: Verb::Upgrade,
        to: 10,
        undoes: None,
        master: "unix:/run/m".to_owned(),
        replica: Some("unix:/run/r".to_owned()),
        master_id: "id-m".to_owned(),
        replica_id: "id-r".to_owned(),
        selection: "all".to_owned(),
        words: String::new(),
        pairs: String::new(),
    };
    let run = journal.begin_run(&spec, 1000)?;
    let names =
        ["user.jack", "user.jim", "user.joe"].map(|name| MailboxName::parse(name).expect("a name"));
    journal.add(run, &names.clone().map(|name| Candidate::new(name, false)))?;
    journal.list_complete(run)?;
    for (name, ended) in names
        .iter()
        .zip([None, Some(Ended::Upgraded), Some(Ended::RolledBack)])
    {
        let mailbox = journal.find(run, name)?.expect("it was added").id;
        let change = match ended {
            None => Change::Decide {
                mailbox,
                before: [Some(9), Some(8)],
            },
            Some(ended) => Change::Finish {
                mailbox,
                attempt: attempt(ended),
            },
        };
        journal
            .submit(change, Durability::Durable)
            .wait_blocking()?;
    }
    let found = AtOnce {
        at_once: 6,
        of: "auto".to_owned(),
        least: 4,
        most: 8,
        why: "more did no more".to_owned(),
    };
    journal.note_at_once(run, &found)?;
    journal.set_paused(Some(5000))
}

fn attempt(ended: Ended) -> Attempt {
    let failed = ended == Ended::RolledBack;
    Attempt {
        started_ms: 2000,
        finished_ms: 3000,
        ended,
        reason: failed.then_some(Reason::Damaged),
        side: failed.then_some(Side::Master),
        detail: String::new(),
        figures: Figures {
            messages: 3,
            lock_us: [Some(40), Some(50)],
            ..Figures::default()
        },
    }
}

/// A file that somebody else made may have tables without types and constraints.
fn loosen(path: &Path) -> rusqlite::Result<()> {
    let db = Connection::open(path)?;
    db.execute_batch(
        "INSERT INTO disagreement VALUES (1, 'stale', 1, 'user.joe is not there');
         PRAGMA journal_mode = DELETE;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(replace(replace(sql, 'STRICT, ', ''), 'STRICT', ''),
             'NOT NULL', '') WHERE type = 'table';
         UPDATE sqlite_schema SET sql = substr(sql, 1, instr(sql, 'CHECK (state') - 1)
             || substr(sql, instr(sql, '''gone'')),') + 8) WHERE name = 'mailbox';",
    )?;
    drop(db);
    let sound = Connection::open(path)?.query_row("PRAGMA quick_check", [], |row| row.get(0));
    assert_eq!(sound, Ok("ok".to_owned()));
    Ok(())
}
