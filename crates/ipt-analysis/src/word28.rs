//! What the word at offset 28 of an Intel PT event means.
//!
//! ipt.sys hands it to the kernel with each piece of a snapshot, and no document says what it is. Three readings are
//! possible, and the pieces of one snapshot can tell them apart:
//!
//! | reading | a snapshot of two pieces of 65,480 and 100 bytes has |
//! | --- | --- |
//! | where the ring buffer's writer stood | any two numbers up to the buffer's size |
//! | the piece's number | 0 and 1, or 1 and 2 |
//! | the bytes left | 100 and 0, or 65,580 and 100 |

/// One piece of a snapshot: the data of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The word at offset 28.
    pub word: u32,
    /// Bytes of data that the event declares.
    pub declared: u32,
    /// Bytes of data that are there.
    pub bytes: u64,
}

/// A meaning that the word may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// Where the ring buffer's writer stood.
    RingPosition,
    /// The number of the piece, from 0 or 1.
    Index,
    /// How many bytes of the snapshot come after the piece, or from it on.
    BytesLeft,
}

impl Meaning {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RingPosition, Self::Index, Self::BytesLeft];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::RingPosition => "ring-position",
            Self::Index => "index",
            Self::BytesLeft => "bytes-left",
        }
    }

    /// Whether the words of a snapshot's pieces, in order, may have this meaning. `buffer` is the size of the processor's
    /// buffer in bytes. False without pieces.
    pub fn fits(self, pieces: &[Piece], buffer: u64) -> bool {
        if pieces.is_empty() {
            return false;
        }
        let total: u64 = pieces.iter().map(|piece| u64::from(piece.declared)).sum();
        let all = |expected: &dyn Fn(usize) -> u64| {
            pieces.iter().enumerate().all(|(index, piece)| u64::from(piece.word) == expected(index))
        };
        let left = |from: usize| pieces.iter().skip(from).map(|piece| u64::from(piece.declared)).sum::<u64>();
        match self {
            Self::RingPosition => pieces.iter().all(|piece| u64::from(piece.word) <= buffer.max(total)),
            Self::Index => all(&|index| index as u64) || all(&|index| index as u64 + 1),
            Self::BytesLeft => all(&|index| left(index + 1)) || all(&left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Meaning, Piece};

    #[test]
    fn pieces_tell_the_meanings_apart() {
        const BUFFER: u64 = 0x2_0000;
        let check = |pieces: &[(u32, u32)], expected: &[&str]| {
            let pieces: Vec<Piece> =
                pieces.iter().map(|&(word, declared)| Piece { word, declared, bytes: declared.into() }).collect();
            let fitting = Meaning::ALL.into_iter().filter(|meaning| meaning.fits(&pieces, BUFFER));
            assert_eq!(fitting.map(Meaning::name).collect::<Vec<_>>(), expected, "{pieces:?}");
        };
        check(&[], &[]);
        check(&[(0, 65_480), (1, 100)], &["ring-position", "index"]);
        check(&[(1, 65_480), (2, 100)], &["ring-position", "index"]);
        check(&[(100, 65_480), (0, 100)], &["ring-position", "bytes-left"]);
        check(&[(65_580, 65_480), (100, 100)], &["ring-position", "bytes-left"]);
        check(&[(0x1234, 65_480), (0x1234, 100)], &["ring-position"]);
        check(&[(0x2_0001, 65_480), (0, 100)], &[]);
        // One piece with 0 says nothing.
        check(&[(0, 100)], &["ring-position", "index", "bytes-left"]);
        check(&[(100, 100)], &["ring-position", "bytes-left"]);
    }
}
