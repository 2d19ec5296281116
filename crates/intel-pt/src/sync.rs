//! Where decoding can start: PSB packets.

use crate::bytes::word;
use crate::opcode::PSB;

/// What 8 bytes inside a run of `02 82` look like, read little-endian at either phase.
const PHASE_02: u64 = 0x8202_8202_8202_8202;
const PHASE_82: u64 = 0x0282_0282_0282_0282;

/// The offset of the first PSB that begins at or after `from`.
///
/// A PSB may begin at any offset. When a run of `02 82` is longer than the 16 bytes of a PSB (the packet before may end
/// in such bytes), the PSB is the last 16 bytes of the run. libipt does the same.
pub fn sync_forward(bytes: &[u8], from: usize) -> Option<usize> {
    // Any 16 bytes in a row contain one whole 8-byte word of this stride, wherever they begin, and inside a PSB that
    // word has one of two values. Most of a trace is far from any PSB: there, whole blocks are passed over.
    let mut at = from;
    loop {
        while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<64>())
            && !may_hold_psb(block)
        {
            at += block.len();
        }
        let found = word(bytes, at)?;
        if found == PHASE_02 || found == PHASE_82 {
            let start = run_start(bytes, if found == PHASE_02 { at } else { at + 1 }, from);
            let end = run_end(bytes, start);
            if end - start >= PSB.len() {
                return Some(end - PSB.len());
            }
            at = end;
        } else {
            at += 8;
        }
    }
}

/// The PSB at which reading goes on after an error at `failed`, the offset of bytes that are not a packet. It begins at or
/// after `start`.
///
/// Damaged bytes may have been read as a packet that reaches into a PSB, so the search begins 15 bytes before the error: at
/// the first PSB that the error can lie in. This is libipt's rule. The PSB that was read last ends at or before the error,
/// so it is not found again, and every error lies after the one before.
pub(crate) fn resync(bytes: &[u8], start: usize, failed: usize) -> Option<usize> {
    sync_forward(bytes, failed.saturating_sub(PSB.len() - 1).max(start))
}

/// True when one of the block's words may be one of the two: when 4 bytes in a row are 02 or 82 each. Looks at 4-byte
/// words, which is what vector instructions compare on every processor.
fn may_hold_psb(block: &[u8; 64]) -> bool {
    let (words, _) = block.as_chunks::<4>();
    words.iter().fold(false, |any, word| any | (u32::from_le_bytes(*word) & !0x8080_8080 == 0x0202_0202))
}

/// The offset of the last PSB that begins before `before`. The PSB itself may reach beyond `before`.
pub fn sync_backward(bytes: &[u8], before: usize) -> Option<usize> {
    // The word at the end of the last candidate, then every eighth one towards the start.
    let mut end = before.saturating_add(PSB.len() - 1).min(bytes.len());
    while let Some(at) = end.checked_sub(8) {
        let found = word(bytes, at)?;
        if found == PHASE_02 || found == PHASE_82 {
            let start = run_start(bytes, if found == PHASE_02 { at } else { at + 1 }, 0);
            let stop = run_end(bytes, start);
            if stop - start >= PSB.len() && stop - PSB.len() < before {
                return Some(stop - PSB.len());
            }
            // The run is not a PSB or begins too late. No PSB that begins before it can reach into it.
            end = start.min(at) + 7;
        } else {
            end = at;
        }
    }
    None
}

/// The start of the run of `02 82` that contains the pair at `at`, not before `floor`.
fn run_start(bytes: &[u8], mut at: usize, floor: usize) -> usize {
    while at >= floor + 2 && bytes[at - 2..at] == PSB[..2] {
        at -= 2;
    }
    at
}

/// The end of the run of `02 82` that begins at `at`.
fn run_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at..at + 2) == Some(&PSB[..2]) {
        at += 2;
    }
    at
}
