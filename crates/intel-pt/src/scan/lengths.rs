//! How far it is from one packet to the next, outside a block.

use crate::opcode::{self as op, ext};

/// The bit of a step that counts a packet with an address.
pub(super) const NOTE: u32 = 54;

/// The length of the packet that begins with these two bytes, and a 1 at [`NOTE`] if it has an address. 0 for packets that
/// need care.
#[inline(always)]
pub(super) fn step(pair: [u8; 2]) -> u64 {
    STEPS[usize::from(u16::from_le_bytes(pair)) % STEPS.len()]
}

/// The length of a packet that is too rare for [`step`] and is skipped like the others; 0 for those that need care.
#[cold]
pub(super) fn rare(packet: &[u8]) -> u64 {
    match *packet {
        // A long TNT without a stop bit is damage.
        [op::EXT, ext::LONG_TNT, a, b, c, d, e, f, ..] if u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) < 2 => 0,
        [op::EXT, code, ..] => u64::from(EXT_LEN[usize::from(code)]),
        // Longer ones may count beyond 64 bits.
        [first, ref rest @ ..] if first & op::CYC_MASK == op::CYC => {
            rest.iter().take(8).position(|byte| byte & op::CYC_MORE == 0).map_or(0, |last| last as u64 + 2)
        }
        _ => 0,
    }
}

/// By the first byte and, in bit 8, bit 0 of the second one, which in a CYC says that a third one follows.
static STEPS: [u64; 512] = {
    let mut table = [0; 512];
    let mut index = 0;
    while index < 512 {
        let first = index as u8;
        table[index] = match first & op::IP_PACKET_MASK {
            op::TIP | op::TIP_PGE | op::TIP_PGD | op::FUP => match first >> 5 {
                0 => 1,
                1 => 3 | 1 << NOTE,
                2 => 5 | 1 << NOTE,
                3 | 4 => 7 | 1 << NOTE,
                6 => 9 | 1 << NOTE,
                _ => 0,
            },
            _ if first & op::CYC_MASK == op::CYC => match (first & op::CYC_MORE_FIRST != 0, index >= 256) {
                (false, _) => 1,
                (true, false) => 2,
                (true, true) => 0,
            },
            _ => match first {
                op::TSC => 8,
                op::MTC | op::MODE => 2,
                // Short TNT and PAD.
                _ if first & 1 == 0 && first != op::EXT => 1,
                _ => 0,
            },
        };
        index += 1;
    }
    table
};

/// Of packets that begin with 02, by their second byte.
const EXT_LEN: [u8; 256] = {
    let mut table = [0; 256];
    table[ext::PSBEND as usize] = 2;
    table[ext::LONG_TNT as usize] = 8;
    table[ext::PIP as usize] = 8;
    table[ext::CBR as usize] = 4;
    table[ext::TMA as usize] = 7;
    table[ext::VMCS as usize] = 7;
    table[ext::TRACE_STOP as usize] = 2;
    table[ext::EXSTOP as usize] = 2;
    table[ext::EXSTOP_IP as usize] = 2;
    table[ext::MWAIT as usize] = 10;
    table[ext::PWRE as usize] = 4;
    table[ext::PWRX as usize] = 7;
    table[ext::CFE as usize] = 4;
    table
};
