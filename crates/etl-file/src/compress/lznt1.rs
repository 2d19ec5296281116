//! LZNT1 (MS-XCA 2.5): chunks of up to 4096 bytes, each stored or compressed on its own.

use super::{BAD_DISTANCE, Fault, INPUT_ENDS, TOO_LONG, copy_match};

/// Fills `out[..expected]`, `out` being longer by the slack that copies need; answers how much of the input that took.
pub(crate) fn decompress(input: &[u8], out: &mut [u8], expected: usize) -> Result<usize, Fault> {
    let mut at = 0;
    let mut to = 0;
    while to < expected {
        let header = match input.get(at..at + 2) {
            Some(bytes) => u16::from_le_bytes([bytes[0], bytes[1]]),
            None => return Err(INPUT_ENDS),
        };
        if header == 0 {
            return Err(INPUT_ENDS);
        }
        at += 2;
        let size = usize::from(header & 0xfff) + 1;
        let chunk = input.get(at..at + size).ok_or(INPUT_ENDS)?;
        at += size;
        if header & 0x8000 == 0 {
            if size > expected - to {
                return Err(TOO_LONG);
            }
            out[to..to + size].copy_from_slice(chunk);
            to += size;
        } else {
            to = decompress_chunk(chunk, out, to, expected)?;
        }
    }
    Ok(at)
}

/// One compressed chunk; answers where its output ends.
fn decompress_chunk(chunk: &[u8], out: &mut [u8], start: usize, expected: usize) -> Result<usize, Fault> {
    let mut at = 0;
    let mut to = start;
    while at < chunk.len() {
        let flags = chunk[at];
        at += 1;
        for bit in 0..8 {
            if at >= chunk.len() {
                break;
            }
            if to >= expected {
                return Err(TOO_LONG);
            }
            if flags >> bit & 1 == 0 {
                out[to] = chunk[at];
                (at, to) = (at + 1, to + 1);
                continue;
            }
            let code = chunk.get(at..at + 2).ok_or(INPUT_ENDS)?;
            let code = u16::from_le_bytes([code[0], code[1]]);
            at += 2;
            // The further into the chunk, the more bits the distance gets and the fewer the length.
            let written = to - start;
            if written == 0 {
                return Err(BAD_DISTANCE);
            }
            let distance_bits = (usize::BITS - (written - 1).leading_zeros()).max(4);
            let length_bits = 16u32.saturating_sub(distance_bits);
            let distance = usize::from(code >> length_bits) + 1;
            let length = usize::from(code & ((1u32 << length_bits) - 1) as u16) + 3;
            if distance > written {
                return Err(BAD_DISTANCE);
            }
            if length > expected - to {
                return Err(TOO_LONG);
            }
            copy_match(out, to, distance, length);
            to += length;
        }
        // A chunk never holds more than 4096 bytes; more would also leave the distance without a length.
        if to - start > 4096 {
            return Err(TOO_LONG);
        }
    }
    Ok(to)
}
