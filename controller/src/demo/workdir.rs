//! The directory that the demo works in, and its end.
//!
//! Promises: unless it was asked to be kept, the directory is gone when this value is, whatever
//! happened in between (short of SIGKILL). It refuses to work in a directory that holds anything.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use indexfile::{IoContext, IoError};
use tempfile::TempDir;

use super::DemoError;

/// Longest path of a Unix socket, without the closing NUL (`sockaddr_un`).
const SOCKET_MAX: usize = 107;

/// Where the demo works.
#[derive(Debug)]
pub(crate) struct Workdir {
    path: PathBuf,
    sockets: PathBuf,
    /// Those that go when this goes.
    _temporary: Vec<TempDir>,
}

impl Workdir {
    /// `keep` is made if it does not exist; without it a new directory in the system's place for
    /// temporary files is used.
    pub fn new(keep: Option<&Path>) -> Result<Self, DemoError> {
        let mut temporary = Vec::new();
        let path = if let Some(path) = keep {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .io_context("create directory", path)?;
            if !is_empty(path)? {
                return Err(DemoError::NotEmpty(path.to_owned()));
            }
            path.canonicalize().io_context("resolve", path)?
        } else {
            let made = temp_dir(&temporary_root())?;
            let path = made
                .path()
                .canonicalize()
                .io_context("resolve", made.path())?;
            temporary.push(made);
            path
        };
        // imapd.conf, whose values these paths become, is a file of lines.
        if path.to_str().is_none_or(|p| p.contains(char::is_control)) {
            return Err(DemoError::OddPath(path));
        }
        let sockets = if path.as_os_str().len() + "/replica.sock".len() <= SOCKET_MAX {
            path.clone()
        } else {
            let made = temp_dir(Path::new("/tmp"))?;
            let path = made.path().to_owned();
            temporary.push(made);
            path
        };
        Ok(Self {
            path,
            sockets,
            _temporary: temporary,
        })
    }

    /// The directory itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the sockets go: a path that is short enough for one.
    pub fn socket(&self, host: &str) -> PathBuf {
        self.sockets.join(format!("{host}.sock"))
    }
}

fn temp_dir(root: &Path) -> Result<TempDir, IoError> {
    tempfile::Builder::new()
        .prefix("reguid-demo-")
        .tempdir_in(root)
        .io_context("create a directory in", root)
}

/// `TMPDIR` if it is set, else `/var/tmp` where it is usable: that is a disk, and what the demo
/// says about durable commits means something there; `/tmp` is often memory.
fn temporary_root() -> PathBuf {
    let wish = std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty());
    let disk = Path::new("/var/tmp");
    match wish {
        Some(wish) => wish.into(),
        None if tempfile::tempfile_in(disk).is_ok() => disk.to_owned(),
        None => "/tmp".into(),
    }
}

fn is_empty(path: &Path) -> Result<bool, IoError> {
    match fs::read_dir(path)
        .io_context("read directory", path)?
        .next()
    {
        None => Ok(true),
        Some(Ok(_)) => Ok(false),
        Some(Err(e)) => Err::<bool, io::Error>(e).io_context("read directory", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_directory_goes_and_a_kept_one_stays() {
        let gone = Workdir::new(None).expect("a directory");
        let path = gone.path().to_owned();
        fs::write(path.join("file"), "x").expect("written");
        drop(gone);
        assert!(!path.exists());
        let dir = tempfile::tempdir().expect("a directory");
        let kept = Workdir::new(Some(&dir.path().join("a/b"))).expect("a directory");
        drop(kept);
        assert!(dir.path().join("a/b").is_dir());
    }

    #[test]
    fn a_directory_that_holds_something_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("precious"), "x").expect("written");
        assert!(matches!(
            Workdir::new(Some(dir.path())),
            Err(DemoError::NotEmpty(_))
        ));
    }

    #[test]
    fn sockets_get_a_short_path_however_deep_the_directory_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let deep = dir.path().join("d".repeat(100));
        let work = Workdir::new(Some(&deep)).expect("a directory");
        assert!(work.socket("replica").as_os_str().len() <= SOCKET_MAX);
        let socket = work.socket("replica");
        std::os::unix::net::UnixListener::bind(&socket).expect("binds");
        drop(work);
        assert!(!socket.exists());
    }
}
