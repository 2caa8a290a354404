//! Opening a file of slotd's own that stays, such as one that is only locked.
//!
//! Never through a link, never waiting for a fifo's other end, and only a regular file: what lies
//! there may be anybody's. A crash leaves an empty file.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens it; with `create` for writing too, and it is made, its owner's alone, if it is not there.
///
/// # Errors
/// The system's; something else than a regular file lies there.
pub fn open_own(path: &Path, create: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options()
        .read(true)
        .write(create)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other(format!(
            "{} is no regular file",
            path.display()
        )))
    }
}
