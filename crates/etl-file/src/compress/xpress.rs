//! Plain XPRESS, that is LZ77 without entropy coding (MS-XCA 2.3 and 2.4).
//!
//! ```text
//!   flags: u32, most significant bit first     0: one literal byte     1: a match
//!   match: u16 = (distance - 1) << 3 | length  length 0..=6: that + 3
//!          7: a nibble follows; two matches share one byte, the low nibble is used first
//!            nibble 15: a byte follows
//!              byte 255: a u16 follows; if it is 0, a u32 follows; both count from 3
//! ```
//!
//! A compressed trace is read as fast as this decoder runs, so it has two loops over the same state: a fast one, which
//! copies in whole words beyond what it needs and therefore stays clear of the ends of input and output, and a careful
//! one for the rest.

use super::{BAD_DISTANCE, BAD_LENGTH, Fault, INPUT_ENDS, SLACK, TOO_LONG, copy_match};

/// Input bytes that the fast loop may look at in one round: the flags, 32 literals, and a match with all its extensions.
const INPUT_AHEAD: usize = 4 + 32 + 16;
/// Output bytes that the literals of one round may take.
const OUTPUT_AHEAD: usize = 32;

/// Flags that are used up: only the bit that marks the end is left, at the top.
const NO_FLAGS: u64 = 1 << 63;

/// Where decoding stands.
struct State {
    /// Position in the input.
    at: usize,
    /// Position in the output.
    to: usize,
    /// The flags not used yet, from the top, followed by a bit that marks their end.
    flags: u64,
    /// The byte of nibbles last read; its high nibble is the next one if `nibble_left`.
    nibbles: u8,
    nibble_left: bool,
}

/// Fills `out[..expected]`, `out` being `SLACK` bytes longer; answers how much of the input that took.
pub(crate) fn decompress(input: &[u8], out: &mut [u8], expected: usize) -> Result<usize, Fault> {
    debug_assert_eq!(out.len(), expected + SLACK);
    let mut state = State { at: 0, to: 0, flags: NO_FLAGS, nibbles: 0, nibble_left: false };
    state.fast(input, out, expected)?;
    state.careful(input, out, expected)
}

impl State {
    /// Decodes until the end of input or output is near. One round is a run of literals, possibly empty, and a match.
    fn fast(&mut self, input: &[u8], out: &mut [u8], expected: usize) -> Result<(), Fault> {
        let Self { mut at, mut to, mut flags, mut nibbles, mut nibble_left } = *self;
        while at + INPUT_AHEAD <= input.len() && to + OUTPUT_AHEAD <= expected {
            let literals = flags.leading_zeros() as usize;
            // Most runs are short, so eight bytes are copied whether there are as many or none.
            copy_from::<8>(input, at, out, to);
            if literals > 8 {
                copy_from::<32>(input, at, out, to);
            }
            flags <<= literals;
            at += literals;
            to += literals;
            if flags == NO_FLAGS {
                flags = with_end(u32::from_le_bytes(word(input, at)));
                at += 4;
                continue;
            }
            flags <<= 1;
            let code = u32::from_le_bytes(word(input, at));
            at += 2;
            let distance = (code as usize & 0xffff) / 8 + 1;
            let mut length = (code & 7) as usize + 3;
            if length == 10 {
                // Which of the two nibbles it is alternates; choosing without a branch spares a misprediction.
                let fresh = (code >> 16) as u8;
                let nibble = if nibble_left { nibbles >> 4 } else { fresh & 15 };
                at += usize::from(!nibble_left);
                nibbles = fresh;
                nibble_left = !nibble_left;
                length = match nibble {
                    15 => extended_length(input, &mut at)?,
                    _ => length + usize::from(nibble),
                };
            }
            if distance > to {
                return Err(BAD_DISTANCE);
            }
            if length > expected - to {
                return Err(TOO_LONG);
            }
            copy_match(out, to, distance, length);
            to += length;
        }
        *self = Self { at, to, flags, nibbles, nibble_left };
        Ok(())
    }

    /// Decodes the rest, byte by byte.
    fn careful(mut self, input: &[u8], out: &mut [u8], expected: usize) -> Result<usize, Fault> {
        while self.to < expected {
            if self.flags == NO_FLAGS {
                self.flags = with_end(u32::from_le_bytes(take(input, &mut self.at)?));
            }
            let is_match = self.flags & NO_FLAGS != 0;
            self.flags <<= 1;
            if !is_match {
                let [literal] = take(input, &mut self.at)?;
                out[self.to] = literal;
                self.to += 1;
                continue;
            }
            let code = usize::from(u16::from_le_bytes(take(input, &mut self.at)?));
            let distance = code / 8 + 1;
            let mut length = (code & 7) + 3;
            if length == 10 {
                let nibble = if self.nibble_left {
                    self.nibbles >> 4
                } else {
                    [self.nibbles] = take(input, &mut self.at)?;
                    self.nibbles & 15
                };
                self.nibble_left = !self.nibble_left;
                length = match nibble {
                    15 => extended_length(input, &mut self.at)?,
                    _ => length + usize::from(nibble),
                };
            }
            if distance > self.to {
                return Err(BAD_DISTANCE);
            }
            if length > expected - self.to {
                return Err(TOO_LONG);
            }
            copy_match(out, self.to, distance, length);
            self.to += length;
        }
        Ok(self.at)
    }
}

/// A flag word with the bit that marks its end.
fn with_end(flags: u32) -> u64 {
    u64::from(flags) << 32 | 1 << 31
}

/// The length of a match whose three bits say 7 and whose nibble says 15.
fn extended_length(input: &[u8], at: &mut usize) -> Result<usize, Fault> {
    let [byte] = take(input, at)?;
    if byte < 255 {
        return Ok(usize::from(byte) + 15 + 7 + 3);
    }
    let mut length = u32::from(u16::from_le_bytes(take(input, at)?));
    if length == 0 {
        length = u32::from_le_bytes(take(input, at)?);
    }
    // Lengths that a shorter form could have held are not allowed (MS-XCA 2.4.4).
    if length < 15 + 7 { Err(BAD_LENGTH) } else { Ok((length as usize).saturating_add(3)) }
}

fn take<const N: usize>(input: &[u8], at: &mut usize) -> Result<[u8; N], Fault> {
    let bytes = input.get(*at..*at + N).ok_or(INPUT_ENDS)?;
    *at += N;
    Ok(bytes.try_into().expect("the range has N bytes"))
}

#[inline(always)]
fn word(input: &[u8], at: usize) -> [u8; 4] {
    input[at..at + 4].try_into().expect("the range has 4 bytes")
}

#[inline(always)]
fn copy_from<const N: usize>(input: &[u8], from: usize, out: &mut [u8], to: usize) {
    let bytes: [u8; N] = input[from..from + N].try_into().expect("the range has N bytes");
    out[to..to + N].copy_from_slice(&bytes);
}
