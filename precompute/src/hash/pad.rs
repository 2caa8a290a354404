//! SHA-1 padding (FIPS 180-4, 5.1.1): a one bit, zeros, and the length in bits as 64 bits.

use super::BLOCK_LEN;

/// Bytes that [`pad`] may need after the data.
pub(super) const MAX_PADDING: usize = BLOCK_LEN + 8;

/// Writes the padding behind the last `used` bytes of a message of `total` bytes.
///
/// Returns the new fill, a whole number of blocks; `None` if the buffer is too small.
pub(super) fn pad(buffer: &mut [u8], used: usize, total: u64) -> Option<usize> {
    let end = (used + 9).div_ceil(BLOCK_LEN) * BLOCK_LEN;
    let tail = buffer.get_mut(used..end)?;
    let (body, length) = tail.split_at_mut_checked(tail.len().checked_sub(8)?)?;
    body.fill(0);
    *body.first_mut()? = 0x80;
    length.copy_from_slice(&total.wrapping_mul(8).to_be_bytes());
    Some(end)
}
