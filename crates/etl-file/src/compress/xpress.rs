//! Plain XPRESS, that is LZ77 without entropy coding (MS-XCA 2.3 and 2.4).
//!
//! ```text
//!   flags: u32, most significant bit first     0: one literal byte     1: a match
//!   match: u16 = (distance - 1) << 3 | length  length 0..=6: that + 3
//!          7: a nibble follows; two matches share one byte, the low nibble is used first
//!            nibble 15: a byte follows
//!              byte 255: a u16 follows; if it is 0, a u32 follows; both count from 3
//! ```

use super::{BAD_DISTANCE, BAD_LENGTH, Fault, INPUT_ENDS, SLACK, TOO_LONG, copy_match};

/// Input bytes that the fast loop may look at without asking: a run of 32 literals, or a match with all its extensions.
const AHEAD: usize = 40;

/// Fills `out[..expected]`; `out` is `SLACK` bytes longer.
pub(crate) fn decompress(input: &[u8], out: &mut [u8], expected: usize) -> Result<(), Fault> {
    debug_assert_eq!(out.len(), expected + SLACK);
    let mut at = 0;
    let mut to = 0;
    // The byte whose high nibble the next long match uses.
    let mut shared: Option<u8> = None;
    while to < expected {
        let flags = u32::from_le_bytes(take(input, &mut at)?);
        // A bit below the flags stops the count of zeros; when it has come to the top, the word is used up.
        let mut word = u64::from(flags) << 32 | 1 << 31;
        while word != 1 << 63 {
            let literals = word.leading_zeros() as usize;
            if literals > 0 {
                literal_run(input, at, out, to, literals, expected)?;
                at += literals.min(expected - to);
                to += literals;
                if to >= expected {
                    return Ok(());
                }
                word <<= literals;
                continue;
            }
            word <<= 1;
            let code = usize::from(u16::from_le_bytes(take(input, &mut at)?));
            let distance = (code >> 3) + 1;
            let mut length = (code & 7) + 3;
            if length == 10 {
                length = long_length(input, &mut at, &mut shared)?;
            }
            if distance > to {
                return Err(BAD_DISTANCE);
            }
            if length > expected - to {
                return Err(TOO_LONG);
            }
            copy_match(out, to, distance, length);
            to += length;
            if to == expected {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Copies up to 32 literals; what goes beyond the expected output are flag bits that stand for nothing.
#[inline(always)]
fn literal_run(input: &[u8], at: usize, out: &mut [u8], to: usize, count: usize, expected: usize) -> Result<(), Fault> {
    match (input.get(at..at + AHEAD), out.get_mut(to..to + 32)) {
        (Some(from), Some(into)) => {
            into[..8].copy_from_slice(&from[..8]);
            if count > 8 {
                into[8..].copy_from_slice(&from[8..32]);
            }
        }
        (_, _) => {
            let count = count.min(expected - to);
            let from = input.get(at..at + count).ok_or(INPUT_ENDS)?;
            out[to..to + count].copy_from_slice(from);
        }
    }
    Ok(())
}

/// The length of a match whose three bits say 7.
#[inline]
fn long_length(input: &[u8], at: &mut usize, shared: &mut Option<u8>) -> Result<usize, Fault> {
    let nibble = match shared.take() {
        Some(byte) => byte >> 4,
        None => {
            let [byte] = take(input, at)?;
            *shared = Some(byte);
            byte & 15
        }
    };
    if nibble < 15 {
        return Ok(usize::from(nibble) + 7 + 3);
    }
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

#[inline(always)]
fn take<const N: usize>(input: &[u8], at: &mut usize) -> Result<[u8; N], Fault> {
    let bytes = input.get(*at..*at + N).ok_or(INPUT_ENDS)?;
    *at += N;
    Ok(bytes.try_into().expect("the range has N bytes"))
}
