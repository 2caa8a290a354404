//! Checksums, so that an input gets past them.

/// As zlib's.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ 0xedb8_8320 & (crc & 1).wrapping_neg();
        }
    }
    !crc
}

/// Puts the checksum of what lies before it there.
pub fn put_crc32(file: &mut [u8], from: usize, at: usize) -> Option<()> {
    let crc = crc32(file.get(from..at)?);
    let place = file.get_mut(at..at + 4)?;
    place.copy_from_slice(&crc.to_be_bytes());
    Some(())
}
