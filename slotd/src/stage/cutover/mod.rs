//! The change-over to version 12 and later, and the way back from there.
//!
//! `PREPARE` makes the new index beside the mailbox while 2.3 serves it (`cyrus.cutover.index`) and
//! writes down what it was made from (`cyrus.cutover`). Under the locks, while no server runs, that
//! is compared: if nothing has changed the file is used, else it is made anew. No message is read
//! but to compare it with its GUID, once. The live files are read and never written. The expunge
//! file, whose messages the new index has, gets no successor.
//!
//! The way back is open while the live index is byte for byte what was made, and the `.OLD` files
//! are what it was made from.
//!
//! A crash leaves these two files, complete or not there, and what a stage leaves. Without
//! `cyrus.cutover` the index beside it means nothing.

mod carries;
mod guids;
mod inputs;
mod reservation;
mod stamp;
mod undo;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use indexfile::cutover::{self, CutoverError, SIDE_NAME, STAMP_NAME};
use indexfile::dir::OpenError;
use indexfile::{FileKind, IoContext as _, IoError, layout};

pub use crate::fileops::is_over;
pub use carries::carries;
pub use reservation::{Reservation, Reservations};
pub use stamp::{Content, Stamp};
pub use undo::{undo, way_back};

use self::guids::Compared;
use self::inputs::Gathered;
use super::{
    Identities, Incarnation, LiveFiles, Note, Sources, Stage, StagedFile, locked, remove_strays,
    sources,
};
use crate::failpoint;
use crate::fs::{CreatedFile, FileId, NewFile, Unsynced, copy_attributes, sync_new};
use crate::lock::{MailboxLocks, wait};
use crate::protocol::{self, Code, FileState, Upgrade};
use crate::refusal::Refusal;
use crate::store::{Place, Store};

/// How often a mailbox that is written to meanwhile is prepared again.
const ATTEMPTS: u32 = 3;

/// Whether an upgrade to this version is a change-over.
#[must_use]
pub fn is_target(version: u32) -> bool {
    layout::CUTOVER.contains(&version)
}

/// An index that is ready to become the live one, under [`SIDE_NAME`].
#[derive(Debug)]
struct Ready {
    file: File,
    /// It was there already, and nothing has changed since.
    unchanged: bool,
    compared: Compared,
}

/// `PREPARE`, for a version that is written ([`is_target`]). The mailbox need not be locked.
///
/// # Errors
/// The mailbox would be refused; or it was changed each time that it was read.
pub fn prepare(
    store: &Store,
    place: &Place,
    to: u32,
    cancel: &AtomicBool,
) -> Result<protocol::Prepared, Refusal> {
    let live = LiveFiles::without_locks(store, place)?;
    let messages = live.num_records();
    let local = sources::open_local(place, &Incarnation::of(place, &live.index)?);
    let sources = &Sources {
        local: local.as_ref(),
        ..Sources::default()
    };
    if live.index.minor_version() == to {
        return Ok(protocol::Prepared {
            messages,
            unchanged: true,
            ..protocol::Prepared::default()
        });
    }
    let mut attempts = 1;
    let ready = loop {
        match ready(store, place, to, sources, cancel) {
            Err(refusal) if refusal.code == Code::Locked && attempts < ATTEMPTS => attempts += 1,
            ready => break ready?,
        }
    };
    Ok(protocol::Prepared {
        prepared: true,
        unchanged: ready.unchanged,
        messages,
        cached: ready.compared.cached,
        hashed: ready.compared.hashed,
    })
}

/// Stages the change-over of a locked mailbox, whose live files were checked.
///
/// # Errors
/// The mailbox is refused: nothing live is changed.
pub fn stage(
    (locks, live): (&MailboxLocks, &LiveFiles),
    store: &Store,
    want: Upgrade,
    sources: &Sources<'_>,
    cancel: &AtomicBool,
    note: Note<'_>,
) -> Result<Stage, Refusal> {
    let mut stage = Stage::empty(live, want.version);
    if live.index.minor_version() == want.version {
        if live.expunge.is_some() {
            return Err(expunge_beside(live, want.version));
        }
        stage.finish(locks)?;
        return Ok(stage);
    }
    remove_strays(locks)?;
    let place = &locks.place;
    let ready = ready(store, place, want.version, sources, cancel)?;
    locks.mark("stage");
    stage.report.prepared = ready.unchanged;
    stage.report.cached = ready.compared.cached;
    stage.report.hashed = ready.compared.hashed;
    stage.by_content = want.by_content;
    stage.add_side(locks, ready.file)?;
    if let Some(expunge) = locks.file(FileKind::Expunge) {
        stage.removed = Some(expunge.id);
        stage.set_state(FileKind::Expunge, FileState::Removed);
    }
    // What `.OLD` has of identifiers before version 10 goes with it; no record changes its GUID.
    let keeps = Identities {
        version: cutover::FROM,
        ..Identities::default()
    };
    stage.keep_old(locks, live, &keeps, (want.run, None), note)?;
    stage.finish(locks)?;
    Ok(stage)
}

impl Stage {
    /// The prepared index, which lies under [`SIDE_NAME`], gets the live one's attributes as they
    /// are now.
    fn add_side(&mut self, locks: &MailboxLocks, file: File) -> Result<(), Refusal> {
        let path = locks.place.index.path_of(SIDE_NAME);
        if !wait::try_lock(&file).io_context("lock", &path)? {
            let text = format!("{} is in use by somebody else", path.display());
            return Err(Refusal::new(Code::Locked, text));
        }
        let live = locked(locks, FileKind::Index)?;
        copy_attributes(&live.file, &file, &path)?;
        let id = FileId::of(&file).io_context("stat", &path)?;
        self.files.push(StagedFile {
            kind: FileKind::Index,
            made: CreatedFile {
                file,
                id,
                named: false,
            },
            unsynced: Some(Unsynced::All),
            from: Some(live.id),
        });
        self.set_state(FileKind::Index, FileState::Staged);
        Ok(())
    }
}

/// Removes the name of an index that is live, or of no use any more. It does no harm if it stays:
/// `cyrus.cutover` says whether it may be used.
pub fn forget_side(place: &Place) {
    if let Err(error) = place.index.unlink(SIDE_NAME) {
        tracing::warn!(mailbox = %place.mailbox, "{error}");
    }
}

/// The index of this version, made from what the mailbox is now: the one that was prepared, if that
/// is so.
fn ready(
    store: &Store,
    place: &Place,
    to: u32,
    sources: &Sources<'_>,
    cancel: &AtomicBool,
) -> Result<Ready, Refusal> {
    let gathered = Gathered::of(store, place)?;
    if let Some(stamp) = Stamp::read(place)?
        && stamp.to == to
        && stamp.from == gathered.inputs
        && let Some(file) = side(place, &stamp)?
    {
        return Ok(Ready {
            file,
            unchanged: true,
            compared: Compared::default(),
        });
    }
    check_versions(&gathered)?;
    let compared = guids::compare(place, &gathered, sources, cancel)?;
    let inputs = gathered.inputs.clone();
    let new = write(place, gathered, to)?;
    if cancel.load(Ordering::Relaxed) {
        return Err(Refusal::new(Code::Expired, "it was cut short"));
    }
    if Gathered::of(store, place)?.inputs != inputs {
        let text = format!(
            "mailbox {} was changed while it was read; PREPARE again",
            place.mailbox
        );
        return Err(Refusal::new(Code::Locked, text));
    }
    let file = put(place, new, to, inputs)?;
    Ok(Ready {
        file,
        unchanged: false,
        compared,
    })
}

/// The prepared index, if it is what was made.
fn side(place: &Place, stamp: &Stamp) -> Result<Option<File>, Refusal> {
    let file = match place.index.open_file(SIDE_NAME, true) {
        Ok(file) => file,
        Err(OpenError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let content = Content::of(&file, &place.index.path_of(SIDE_NAME))?;
    Ok((content == stamp.made).then_some(file))
}

/// Writes the index, complete and on stable storage, without a name where that can be done.
fn write(place: &Place, mut gathered: Gathered, to: u32) -> Result<NewFile<'_>, Refusal> {
    let dir = &*place.index;
    let path = dir.path_of(SIDE_NAME);
    // What is there is of no use any more, and must not be taken for what the new stamp is of.
    dir.unlink(STAMP_NAME)?;
    let mut new = match NewFile::nameless(dir, SIDE_NAME)? {
        Some(new) => new,
        None => NewFile::create(dir, SIDE_NAME)?,
    };
    let sources = cutover::Sources {
        index: &gathered.live.index,
        expunge: gathered.live.expunge.as_ref(),
        header: &gathered.header,
        cache: &mut gathered.cache,
        seen: gathered.seen.as_ref(),
    };
    failpoint::hit("stage.write").io_context("write", &path)?;
    let mut out = BufWriter::with_capacity(256 << 10, new.file());
    let written = cutover::write(sources, to, now(), &mut out);
    let written = written.map_err(|error| refusal(error, &path))?;
    out.flush().io_context("write", &path)?;
    drop(out);
    if written.without_date > 0 {
        let n = written.without_date;
        tracing::debug!(mailbox = %place.mailbox, "{n} messages without a date");
    }
    let live = dir.open_file(FileKind::Index.file_name(), false)?;
    new.finish(&live)?;
    sync_new(new.file(), &path, Unsynced::All)?;
    Ok(new)
}

/// Gives the new index its name, and then writes down what it is.
fn put(place: &Place, new: NewFile<'_>, to: u32, inputs: stamp::Inputs) -> Result<File, Refusal> {
    let dir = &*place.index;
    let path = dir.path_of(SIDE_NAME);
    let made = Content::of(new.file(), &path)?;
    let new = new.keep()?;
    if !new.named {
        dir.unlink(SIDE_NAME)?;
        dir.give_name(&new.file, SIDE_NAME)?;
    }
    dir.sync()?;
    Stamp::new(to, inputs, made).write(place, &new.file)?;
    Ok(new.file)
}

fn check_versions(gathered: &Gathered) -> Result<(), Refusal> {
    let mut files = gathered.live.each();
    let Some(other) = files.find(|file| file.minor_version() != cutover::FROM) else {
        return Ok(());
    };
    let (path, version) = (other.path().display(), other.minor_version());
    let what = if is_over(version) {
        "it is changed over already, to another version; Cyrus's own `reconstruct -V` goes on from \
         there"
    } else {
        "upgrade the mailbox to version 10 first"
    };
    let text = format!("{path} has version {version}: {what}");
    Err(Refusal::new(Code::Unsupported, text))
}

fn expunge_beside(live: &LiveFiles, version: u32) -> Refusal {
    let path = live.expunge.as_ref().map(|file| file.path().display());
    let path = path.map(|path| path.to_string()).unwrap_or_default();
    let text = format!(
        "{path} lies beside an index of version {version}: a `reconstruct` of Cyrus 2.4 or later \
         would unlink its messages; nobody knows whether the index has them"
    );
    Refusal::new(Code::Damaged, text)
}

fn refusal(error: CutoverError, path: &std::path::Path) -> Refusal {
    match error {
        CutoverError::Write(source) => IoError::new("write", path, source).into(),
        CutoverError::Read(error) => error.into(),
        error @ (CutoverError::Version { .. } | CutoverError::OldStyleGuid { .. }) => {
            Refusal::new(Code::Unsupported, error.to_string())
        }
        error => Refusal::new(Code::Damaged, error.to_string()),
    }
}

/// Seconds since 1970.
fn now() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u32::try_from(now.as_secs()).unwrap_or(u32::MAX))
}
