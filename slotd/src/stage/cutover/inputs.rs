//! Everything that an index of version 12 to 19 is made from, opened and read.

use std::fs::File;

use indexfile::cache_file::CacheFile;
use indexfile::cutover::{HeaderImage, shares_seen};
use indexfile::dir::{OpenError, limit, link_to_nothing, open_named};
use indexfile::message::{Spool, Stamp};
use indexfile::seen::{self, SeenError, SeenRecord};
use indexfile::{FileKind, IndexFile, IoContext as _, hex};
use sha1::{Digest, Sha1};

use super::stamp::{Content, Inputs};
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::stage::{LiveFiles, spool};
use crate::store::{Place, Store};

const HEADER: &str = "cyrus.header";
const CACHE: &str = "cyrus.cache";

/// The sources of one mailbox.
#[derive(Debug)]
pub(super) struct Gathered {
    pub live: LiveFiles,
    pub header: HeaderImage,
    pub cache: CacheFile,
    pub seen: Option<SeenRecord>,
    /// What they say.
    pub inputs: Inputs,
}

impl Gathered {
    /// Reads the sources of a mailbox, locked or not.
    ///
    /// # Errors
    /// One is not there, or is damaged; a message file is not there, or has another size than its
    /// record.
    pub fn of(store: &Store, place: &Place) -> Result<Gathered, Refusal> {
        let (index, index_content) = open(place, FileKind::Index)?
            .ok_or_else(|| store.why_not_there(&place.mailbox, &place.partition))?;
        let (expunge, expunge_content) = open(place, FileKind::Expunge)?.unzip();
        let (header, header_content) = header(place)?;
        let (mut cache, length) = cache(place)?;
        let generation = cache.generation()?.unwrap_or_default();
        let live = LiveFiles { index, expunge };
        let shared = shares_seen(&live.index);
        let seen = seen_record(store, place, &header.file().uniqueid, shared)?;
        let messages = messages(&spool(place)?, &live)?;
        let inputs = Inputs {
            index: index_content,
            expunge: expunge_content,
            header: header_content,
            cache: (generation, length),
            seen: seen.as_ref().map(digest),
            messages,
        };
        Ok(Gathered {
            live,
            header,
            cache,
            seen,
            inputs,
        })
    }
}

fn open(place: &Place, kind: FileKind) -> Result<Option<(IndexFile, Content)>, Refusal> {
    let dir = place.directory_of(kind);
    let path = dir.path_of(kind.file_name());
    let file = match dir.open_file(kind.file_name(), false) {
        Ok(file) => file,
        Err(OpenError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let content = Content::of(&file, &path)?;
    Ok(Some((IndexFile::from_file(&file, &path, kind)?, content)))
}

fn header(place: &Place) -> Result<(HeaderImage, Content), Refusal> {
    let bytes = place.header.read(HEADER, limit::HEADER)?;
    let content = Content {
        size: bytes.len() as u64,
        sha1: hex(&Sha1::digest(&bytes)),
    };
    let image = HeaderImage::new(&bytes, &place.header.path_of(HEADER))?;
    Ok((image, content))
}

fn cache(place: &Place) -> Result<(CacheFile, u64), Refusal> {
    let path = place.cache.path_of(CACHE);
    let file = place.cache.open_file(CACHE, false)?;
    let length = file.metadata().io_context("stat", &path)?.len();
    Ok((CacheFile::from_file(&file, &path)?, length))
}

/// The owner's record; a user who never looked has no database, or no record in it. One that should
/// be at the other end of a link, and is not, is no such user's.
fn seen_record(
    store: &Store,
    place: &Place,
    uniqueid: &str,
    shared: bool,
) -> Result<Option<SeenRecord>, Refusal> {
    let Some(path) = store.conf().seen_path(&place.mailbox, shared) else {
        return Ok(None);
    };
    let file: File = match open_named(&path) {
        Ok(file) => file,
        Err(OpenError::Missing { .. }) => {
            let Some(link) = link_to_nothing(&path) else {
                return Ok(None);
            };
            let text = format!(
                "{} is a symbolic link to nothing: what was seen of the mailbox is not known",
                link.display()
            );
            return Err(Refusal::new(Code::Incomplete, text));
        }
        Err(error) => return Err(error.into()),
    };
    if uniqueid.is_empty() {
        let path = place.header.path_of(HEADER);
        let text = format!(
            "{} has no unique id, by which a seen database goes",
            path.display()
        );
        return Err(Refusal::new(Code::Damaged, text));
    }
    seen::from_file(&file, &path, uniqueid).map_err(|error| match error {
        SeenError::Io(error) => error.into(),
        error => Refusal::new(Code::Damaged, error.to_string()),
    })
}

fn digest(seen: &SeenRecord) -> String {
    let mut hash = Sha1::new();
    let mut word = |word: u32| hash.update(word.to_be_bytes());
    word(seen.last_uid);
    word(seen.last_change);
    for (first, last) in seen.ranges() {
        word(*first);
        word(*last);
    }
    hex(&hash.finalize())
}

/// A look at each message file of both, which must have the size that its record says.
fn messages(spool: &Spool, live: &LiveFiles) -> Result<String, Refusal> {
    let mut hash = Sha1::new();
    for record in live.by_uid()? {
        let (_, record) = record?;
        let (uid, size) = (record.uid(), record.size());
        let stat = spool.stat(uid)?;
        if stat.size != size {
            let text = format!(
                "UID {uid} has {} bytes in {}, and {size} by its record",
                stat.size,
                spool.path().display()
            );
            return Err(Refusal::new(Code::NoMessage, text));
        }
        let Stamp {
            mtime_ns,
            ctime_ns,
            inode,
        } = stat.stamp;
        hash.update(uid.to_be_bytes());
        hash.update(size.to_be_bytes());
        hash.update(inode.to_be_bytes());
        hash.update(mtime_ns.to_be_bytes());
        hash.update(ctime_ns.to_be_bytes());
    }
    Ok(hex(&hash.finalize()))
}
