//! Which bytes may begin a packet of more than one byte.

use wide::i8x16;

/// Bytes that [`marks`] looks at.
pub(super) const MARKED: usize = 32;

/// Bit n is set when byte n is odd or 02. From a packet boundary on, outside a block, the bytes before the first of those
/// are short TNT packets and PAD.
#[inline(always)]
pub(super) fn marks(bytes: &[u8; MARKED]) -> u32 {
    let half = |bytes: [u8; 16]| {
        let bytes = i8x16::new(bytes.map(|byte| byte as i8));
        let odd = (bytes & i8x16::ONE).simd_eq(i8x16::ONE);
        (odd | bytes.simd_eq(i8x16::splat(2))).to_bitmask()
    };
    let (halves, _) = bytes.as_chunks::<16>();
    half(halves[0]) | half(halves[1]) << 16
}
