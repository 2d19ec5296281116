//! The one place that reads numbers at offsets taken from untrusted bytes.

/// The `n` bytes (at most 8) at `at` as a little-endian number, or `None` when some of them are missing.
#[inline]
pub(crate) fn le(bytes: &[u8], at: usize, n: usize) -> Option<u64> {
    let field = bytes.get(at..)?.get(..n)?;
    let mut word = [0; 8];
    word.get_mut(..n)?.copy_from_slice(field);
    Some(u64::from_le_bytes(word))
}

/// The 8 bytes at `at` as a little-endian number, or `None` when some of them are missing.
#[inline]
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*field))
}

/// `value` with bit 47 copied to the bits above it.
#[inline]
pub(crate) fn sign_extend_48(value: u64) -> u64 {
    (((value << 16) as i64) >> 16) as u64
}
