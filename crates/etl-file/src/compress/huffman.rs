//! XPRESS with Huffman coding (MS-XCA 2.1 and 2.2).
//!
//! Blocks of 65,536 output bytes, each with its own code: 256 bytes hold the code lengths of 512 symbols, 4 bits each.
//! Symbols below 256 are literals, the others matches: length in the low 4 bits, number of distance bits above.

use super::{BAD_DISTANCE, BAD_LENGTH, Fault, INPUT_ENDS, TOO_LONG, copy_match};

const SYMBOLS: usize = 512;
/// Code lengths go up to 15 bits, so this many bits always hold the next code.
const LOOK: u32 = 15;
const BLOCK: usize = 65_536;

/// Fills `out[..expected]`, `out` being longer by the slack that copies need; answers how much of the input that took.
pub(crate) fn decompress(input: &[u8], out: &mut [u8], expected: usize) -> Result<usize, Fault> {
    // Entry: symbol << 4 | code length; 0 where no code leads.
    let mut table = vec![0u16; 1 << LOOK];
    let mut at = 0;
    let mut to = 0;
    while to < expected {
        build(input.get(at..at + SYMBOLS / 2).ok_or(INPUT_ENDS)?, &mut table)?;
        let mut bits = Bits::new(input, at + SYMBOLS / 2)?;
        let block_end = to + BLOCK;
        while to < expected && to < block_end {
            let entry = table[bits.peek(LOOK) as usize];
            if entry == 0 {
                return Err("no Huffman code matches");
            }
            bits.skip(u32::from(entry & 15))?;
            let symbol = usize::from(entry >> 4);
            if symbol < 256 {
                out[to] = symbol as u8;
                to += 1;
                continue;
            }
            let length = match symbol & 15 {
                15 => bits.long_length()?,
                short => short + 3,
            };
            let distance_bits = (symbol as u32 >> 4) & 15;
            let distance = (1usize << distance_bits) + bits.peek(distance_bits) as usize;
            bits.skip(distance_bits)?;
            if distance > to {
                return Err(BAD_DISTANCE);
            }
            if length > expected - to {
                return Err(TOO_LONG);
            }
            copy_match(out, to, distance, length);
            to += length;
        }
        at = bits.at;
    }
    Ok(at)
}

/// Fills the decoding table from the code lengths. The codes must fill the table exactly.
fn build(lengths: &[u8], table: &mut [u16]) -> Result<(), Fault> {
    let length_of = |symbol: usize| u32::from(lengths[symbol / 2] >> (4 * (symbol % 2)) & 15);
    let mut filled = 0;
    for length in 1..=LOOK {
        for symbol in (0..SYMBOLS).filter(|&symbol| length_of(symbol) == length) {
            let span = 1 << (LOOK - length);
            let entries = table.get_mut(filled..filled + span).ok_or("the Huffman code is over-full")?;
            entries.fill((symbol as u16) << 4 | length as u16);
            filled += span;
        }
    }
    if filled == table.len() { Ok(()) } else { Err("the Huffman code has gaps") }
}

/// The bit stream: 16-bit words, most significant bit first, with whole bytes for long lengths in between.
struct Bits<'i> {
    input: &'i [u8],
    /// Where the next word, or byte, is.
    at: usize,
    /// The bits that were read ahead, at the top.
    next: u32,
    /// Bits read ahead beyond 16.
    extra: i32,
}

impl<'i> Bits<'i> {
    fn new(input: &'i [u8], at: usize) -> Result<Self, Fault> {
        let mut bits = Self { input, at, next: 0, extra: 16 };
        bits.next = u32::from(bits.word()?) << 16;
        bits.next |= u32::from(bits.word()?);
        Ok(bits)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.input.get(self.at).ok_or(INPUT_ENDS)?;
        self.at += 1;
        Ok(byte)
    }

    fn word(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    fn peek(&self, count: u32) -> u32 {
        // Two shifts, because a shift by 32 is not one.
        (self.next >> 1) >> (31 - count)
    }

    fn skip(&mut self, count: u32) -> Result<(), Fault> {
        self.next = (u64::from(self.next) << count) as u32;
        self.extra -= count as i32;
        if self.extra < 0 {
            let word = u32::from(self.word()?);
            self.next |= word << -self.extra;
            self.extra += 16;
        }
        Ok(())
    }

    fn long_length(&mut self) -> Result<usize, Fault> {
        let byte = self.byte()?;
        if byte < 255 {
            return Ok(usize::from(byte) + 15 + 3);
        }
        let mut length = u32::from(self.word()?);
        if length == 0 {
            length = u32::from(self.word()?) | u32::from(self.word()?) << 16;
        }
        if length < 15 { Err(BAD_LENGTH) } else { Ok((length as usize).saturating_add(3)) }
    }
}
