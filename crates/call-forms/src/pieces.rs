//! Streams cut into pieces that are walked independently.

use intel_pt::sync_forward;

/// A part of a stream, from a PSB (or the stream's start) on.
pub(crate) struct Piece<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Index of the stream.
    pub stream: usize,
    /// Where it begins in the stream.
    pub offset: usize,
}

/// Least length of a piece, in bytes, unless its stream ends.
const PIECE: usize = 256 << 10;
/// Pieces of the first round of a verdict; each round has twice as many as the last.
pub(crate) const FIRST_ROUND: usize = 16;

/// The pieces of all streams, in an order in which each beginning is spread over all of them.
pub(crate) fn pieces<'a>(streams: &[&'a [u8]]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    for (stream, &bytes) in streams.iter().enumerate() {
        let mut offset = 0;
        while offset < bytes.len() {
            let end = offset.saturating_add(PIECE);
            let end = sync_forward(bytes, end.min(bytes.len())).unwrap_or(bytes.len());
            pieces.push(Piece { bytes: &bytes[offset..end], stream, offset });
            offset = end;
        }
    }
    // The fractional parts of the multiples of the golden ratio are spread evenly, however many of them are taken.
    let mut order: Vec<(u64, Piece<'a>)> =
        (0_u64..).zip(pieces).map(|(n, piece)| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), piece)).collect();
    order.sort_unstable_by_key(|(place, _)| *place);
    order.into_iter().map(|(_, piece)| piece).collect()
}

#[cfg(test)]
mod tests {
    use testkit::pt::mixed_trace;

    use super::{PIECE, pieces};

    #[test]
    fn every_byte_is_in_one_piece_and_pieces_begin_at_psbs() {
        let (long, _) = mixed_trace(1, 5 * PIECE);
        let streams: [&[u8]; 4] = [&long, &[], b"no PSB", &long[..PIECE / 2]];
        let mut found = pieces(&streams);
        found.sort_by_key(|piece| (piece.stream, piece.offset));
        for (stream, bytes) in streams.iter().enumerate() {
            let own: Vec<_> = found.iter().filter(|piece| piece.stream == stream).collect();
            let joined: Vec<u8> = own.iter().flat_map(|piece| piece.bytes).copied().collect();
            assert_eq!(joined, *bytes, "{stream}");
            for piece in own {
                assert!(piece.offset == 0 || piece.bytes.starts_with(&[0x02, 0x82].repeat(8)), "{stream}");
                assert!(piece.bytes.len() < PIECE + 0x2000, "{stream}");
            }
        }
        assert_eq!(found.iter().filter(|piece| piece.stream == 0).count(), 5);
    }
}
