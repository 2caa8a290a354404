//! Ways to spoil a mailbox, each as it was met in the wild.

use std::fs;
use std::path::Path;

/// Overwrites bytes of a file in place.
///
/// # Panics
/// If the file cannot be read or written, or is too short.
pub fn overwrite(path: &Path, at: usize, with: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    fs::write(path, bytes).unwrap();
}

/// Puts text where an index file was.
///
/// # Panics
/// If the file cannot be written.
pub fn write_nonsense(path: &Path) {
    fs::write(path, "this is no index file\n".repeat(20)).unwrap();
}

/// Makes a file empty.
///
/// # Panics
/// If the file cannot be written.
pub fn empty(path: &Path) {
    fs::write(path, "").unwrap();
}

/// Sets the minor version in a header and nothing else.
///
/// # Panics
/// As [`overwrite`].
pub fn set_minor(path: &Path, minor: u32) {
    overwrite(path, 8, &minor.to_be_bytes());
}

/// Cuts the last record of an index file in half.
///
/// # Panics
/// If the file cannot be read or written.
pub fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 40]).unwrap();
}

/// Minor version 9 with record size 88: a version 10 file that a 2.3.9 server appended to.
///
/// # Panics
/// If the file cannot be read or written, or is not at version 9.
pub fn make_hybrid(path: &Path) {
    make_v10(path);
    set_minor(path, 9);
}

/// The same file at version 10 with padded UUIDs, as 2.3.16 upgrades it at open.
///
/// # Panics
/// If the file cannot be read or written, or is not at version 9.
pub fn make_v10(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let mut out = bytes[..96].to_vec();
    assert_eq!(
        out[8..12],
        9_u32.to_be_bytes(),
        "{} is not at version 9",
        path.display()
    );
    out[8..12].copy_from_slice(&10_u32.to_be_bytes());
    out[16..20].copy_from_slice(&88_u32.to_be_bytes());
    for record in bytes[96..].chunks_exact(80) {
        out.extend_from_slice(&record[..72]);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&record[72..]);
    }
    fs::write(path, out).unwrap();
}
