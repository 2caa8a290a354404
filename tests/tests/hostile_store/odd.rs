//! What may lie where a file is expected.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What lies in the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// A link to a sound file of the same kind elsewhere.
    LinkOut,
    /// A link to nothing, elsewhere: what is created through it is a write there.
    LinkToNothing,
    /// A link to itself.
    Loop,
    /// A link to a device that never ends.
    LinkToDevice,
    /// That device itself, which only root can make.
    Device,
    Fifo,
    Socket,
    Directory,
    Empty,
    /// The first half of what was there.
    Truncated,
    /// A terabyte that takes no room.
    Sparse,
    /// What was there, and more and more behind it.
    Growing,
    /// What was there, which nobody may open: to be met by who has no more rights than its owner.
    Unreadable,
}

/// What anybody can put there.
pub const ALL: [Odd; 11] = [
    Odd::LinkOut,
    Odd::LinkToNothing,
    Odd::Loop,
    Odd::LinkToDevice,
    Odd::Fifo,
    Odd::Socket,
    Odd::Directory,
    Odd::Empty,
    Odd::Truncated,
    Odd::Sparse,
    Odd::Growing,
];

/// Puts it there; what makes a file grow stops when this is dropped.
pub struct Placed {
    stop: std::sync::Arc<AtomicBool>,
    grows: Option<thread::JoinHandle<()>>,
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(grows) = self.grows.take() {
            grows.join().unwrap();
        }
    }
}

impl Odd {
    pub fn put(self, path: &Path, elsewhere: &Path) -> Placed {
        let was = fs::read(path).unwrap_or_default();
        let _ = fs::remove_file(path);
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let mut placed = Placed {
            stop: std::sync::Arc::clone(&stop),
            grows: None,
        };
        match self {
            Odd::LinkOut => symlink(elsewhere.join("sound"), path).unwrap(),
            Odd::LinkToNothing => symlink(elsewhere.join("nothing"), path).unwrap(),
            Odd::Loop => symlink(path, path).unwrap(),
            Odd::LinkToDevice => symlink("/dev/zero", path).unwrap(),
            Odd::Device => {
                let zero = rustix::fs::makedev(1, 5);
                let (cwd, mode) = (rustix::fs::CWD, rustix::fs::Mode::RWXU);
                let kind = rustix::fs::FileType::CharacterDevice;
                rustix::fs::mknodat(cwd, path, kind, mode, zero).unwrap();
            }
            Odd::Fifo => nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            // By a short name: that of a socket may have 108 bytes.
            Odd::Socket => {
                let short = elsewhere.parent().unwrap().join("s");
                let _ = fs::remove_file(&short);
                drop(UnixListener::bind(&short).unwrap());
                fs::rename(&short, path).unwrap();
            }
            Odd::Directory => fs::create_dir(path).unwrap(),
            Odd::Empty => fs::write(path, b"").unwrap(),
            Odd::Truncated => fs::write(path, &was[..was.len() / 2]).unwrap(),
            Odd::Sparse => {
                fs::write(path, &was).unwrap();
                let file = fs::File::options().write(true).open(path).unwrap();
                file.set_len(1 << 40).unwrap();
            }
            Odd::Unreadable => {
                fs::write(path, &was).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
            }
            Odd::Growing => {
                fs::write(path, &was).unwrap();
                let mut file = fs::File::options().append(true).open(path).unwrap();
                placed.grows = Some(thread::spawn(move || {
                    for _ in 0..20_000 {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        file.write_all(&[0x55; 777]).unwrap();
                        thread::sleep(Duration::from_micros(300));
                    }
                }));
            }
        }
        placed
    }
}
