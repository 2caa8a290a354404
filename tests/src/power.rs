//! An ext4 file system of its own, whose power can be cut.
//!
//! It lies in an image file on a loop device. [`Ext4::cut`] shuts it down without flushing its log
//! (`EXT4_IOC_SHUTDOWN`): what was not synced is gone, as after a power cut, and [`Ext4::mount`]
//! replays the journal. Needs root and loop devices.
#![allow(unsafe_code)] // one ioctl that no crate wraps

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::libc;

use crate::process::run;

/// `_IOR('X', 125, __u32)` of the kernel's fs/ext4/ext4.h.
const EXT4_IOC_SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: shut down without flushing the journal.
const NOLOGFLUSH: u32 = 2;

/// The file system, mounted from [`Ext4::make`] to the end of the value.
pub struct Ext4 {
    dir: tempfile::TempDir,
    options: String,
}

impl Ext4 {
    /// Makes and mounts one of 48 MiB with these mount options (`data=ordered`, `data=writeback`).
    ///
    /// # Panics
    /// If a program is missing or fails.
    #[must_use]
    pub fn make(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(48 << 20).unwrap();
        fs::create_dir(dir.path().join("mnt")).unwrap();
        let args = [
            "-q",
            "-F",
            "-E",
            "lazy_itable_init=0",
            image.to_str().unwrap(),
        ];
        let _ = run("mkfs.ext4", args).expect_code(0);
        let ext4 = Self {
            dir,
            options: options.to_owned(),
        };
        ext4.mount();
        ext4
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// Mounts it again, replaying the journal.
    ///
    /// # Panics
    /// If that fails.
    pub fn mount(&self) {
        let (image, at) = (self.dir.path().join("image"), self.path());
        let options = format!("loop,{}", self.options);
        let args = [
            "-t",
            "ext4",
            "-o",
            &options,
            image.to_str().unwrap(),
            at.to_str().unwrap(),
        ];
        let _ = run("mount", args).expect_code(0);
    }

    /// Cuts the power.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn cut(&self) {
        shut_down(&self.path()).unwrap();
    }

    /// Unmounts it; nothing may have a file of it open.
    ///
    /// # Panics
    /// If it stays busy.
    pub fn unmount(&self) {
        let _ = run("umount", [self.path()]).expect_code(0);
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = run("umount", [Path::new("-l"), &self.path()]);
    }
}

fn shut_down(mount_point: &Path) -> io::Result<()> {
    let dir = File::open(mount_point)?;
    let flags: u32 = NOLOGFLUSH;
    // SAFETY: the descriptor is open, and this request reads one u32 behind the pointer.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const flags) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs root and loop devices"]
    fn what_was_not_synced_is_gone_and_what_was_is_there() {
        let ext4 = Ext4::make("data=ordered");
        let synced = ext4.path().join("synced");
        fs::write(&synced, "kept").unwrap();
        File::open(&synced).unwrap().sync_all().unwrap();
        File::open(ext4.path()).unwrap().sync_all().unwrap();
        fs::write(ext4.path().join("lost"), "lost").unwrap();
        ext4.cut();
        ext4.unmount();
        ext4.mount();
        assert_eq!(fs::read_to_string(&synced).unwrap(), "kept");
        assert!(!ext4.path().join("lost").exists());
    }
}
