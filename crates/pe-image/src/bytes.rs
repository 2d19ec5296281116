//! Reading little-endian numbers from untrusted bytes. All arithmetic on offsets that come from a file is here or in
//! [`crate::file`]: what leaves these functions is inside its slice.

/// The bytes `at .. at + N`, if the slice has them.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The 16-bit number at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

/// The 32-bit number at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

/// The 64-bit number at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

/// The bytes before the first NUL; `None` when there is none.
pub(crate) fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some(&bytes[..end])
}

/// The part that two half-open ranges share, if any.
pub(crate) fn overlap(a: std::ops::Range<u64>, b: std::ops::Range<u64>) -> Option<std::ops::Range<u64>> {
    let (start, end) = (a.start.max(b.start), a.end.min(b.end));
    (start < end).then_some(start..end)
}
