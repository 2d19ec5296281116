use crate::decode::{Block, decode};
use crate::error::{Error, Reason};
use crate::last_ip::{Ip, LastIp};
use crate::opcode::{self as op, ext};
use crate::packet::Packet;
use crate::sync::sync_forward;

/// An address that a trace names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hit {
    /// Offset of the packet.
    pub offset: usize,
    /// The packet's kind.
    pub kind: HitKind,
    /// The address.
    pub ip: u64,
}

/// Which packet named an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HitKind {
    /// TIP.
    Tip,
    /// TIP.PGE.
    TipPge,
    /// TIP.PGD.
    TipPgd,
    /// FUP.
    Fup,
}

/// What a scan went over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// PSB packets.
    pub psb: u64,
    /// Addresses reported.
    pub hits: u64,
    /// OVF packets.
    pub overflows: u64,
    /// Stretches that could not be read, one before the first PSB included.
    pub gaps: u64,
    /// Bytes in them.
    pub gap_bytes: u64,
}

/// Reports every address in TIP, TIP.PGE, TIP.PGD and FUP packets, from the first PSB on.
///
/// It finds what [`Packets`](crate::Packets) and [`LastIp`] find, several times faster.
pub fn scan(bytes: &[u8], hit: impl FnMut(Hit)) -> Totals {
    scan_with_gaps(bytes, hit, |_| {})
}

/// As [`scan`](scan()), and reports what could not be read.
pub fn scan_with_gaps(bytes: &[u8], mut hit: impl FnMut(Hit), mut gap: impl FnMut(Error)) -> Totals {
    let mut totals = Totals::default();
    let mut at = 0;
    let mut block = Block::Outside;
    let mut last = LastIp::unknown();
    let mut reason = Reason::BeforeSync;
    loop {
        // Here `at` is no packet boundary: `reason` says why. A failed packet is no PSB, so the search may begin at it.
        let resume = sync_forward(bytes, at).unwrap_or(bytes.len());
        if resume > at {
            totals.gaps += 1;
            totals.gap_bytes += (resume - at) as u64;
            gap(Error { offset: at, resume, reason });
        }
        at = resume;
        reason = loop {
            if block == Block::Outside {
                (at, last) = skip(bytes, at, last, &mut totals, &mut hit);
            }
            let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else {
                return totals;
            };
            let (packet, len) = match decode(rest, block) {
                Ok(found) => found,
                Err(reason) => break reason,
            };
            block = block.after(&packet);
            match packet {
                Packet::Psb => {
                    totals.psb += 1;
                    last = LastIp::after_psb();
                }
                Packet::Ovf => totals.overflows += 1,
                _ => {}
            }
            if let Some((kind, ip)) = address(&packet)
                && let Some(ip) = last.update(ip)
            {
                totals.hits += 1;
                hit(Hit { offset: at, kind, ip });
            }
            at += len;
        };
        block = Block::Outside;
    }
}

fn address(packet: &Packet) -> Option<(HitKind, Ip)> {
    match *packet {
        Packet::Tip(ip) => Some((HitKind::Tip, ip)),
        Packet::TipPge(ip) => Some((HitKind::TipPge, ip)),
        Packet::TipPgd(ip) => Some((HitKind::TipPgd, ip)),
        Packet::Fup(ip) => Some((HitKind::Fup, ip)),
        _ => None,
    }
}

/// How far ahead the quick loop reads: up to 7 short packets, then one of up to 10 bytes, the longest in its tables.
const AHEAD: usize = 17;

/// Goes over packets outside blocks as long as they need no care, and returns the offset of the first that does: a PSB,
/// an OVF, a BBP, a packet near the end, anything rare or wrong.
///
/// Each turn looks at 8 bytes as one number and jumps over the short TNT and PAD packets at their start at once: they
/// are the even bytes other than 02. What follows is an address packet nearly always. Its length and its address come
/// from small tables indexed by IPBytes, without a branch, because IPBytes is what a branch predictor cannot guess.
#[inline(always)]
fn skip(bytes: &[u8], mut at: usize, last: LastIp, totals: &mut Totals, hit: &mut impl FnMut(Hit)) -> (usize, LastIp) {
    // Reading begins at a PSB only, and there the last IP is known.
    let Some(mut ip) = last.get() else { return (at, last) };
    let mut hits = 0;
    while let Some(ahead) = bytes.get(at..).and_then(|rest| rest.first_chunk::<AHEAD>()) {
        let word = load(ahead, 0);
        let short = u64::MAX / 255;
        let twos = word ^ (2 * short);
        // Bit 7 of each byte that is odd or 02. Of the bytes after a 02 some may be marked falsely; only the first
        // mark counts.
        let stop = (word & short) << 7 | twos.wrapping_sub(short) & !twos & (0x80 * short);
        if stop == 0 {
            at += 8;
            continue;
        }
        let run = (stop.trailing_zeros() / 8) as usize;
        at += run;
        let first = (word >> (8 * run)) as u8;
        let kind = match first & op::IP_PACKET_MASK {
            op::TIP => HitKind::Tip,
            op::TIP_PGE => HitKind::TipPge,
            op::TIP_PGD => HitKind::TipPgd,
            op::FUP => HitKind::Fup,
            _ => {
                let len = match first {
                    op::EXT => usize::from(EXT_LEN[usize::from(ahead[run + 1])]),
                    _ => usize::from(ONE_LEN[usize::from(first)]),
                };
                // A long TNT without a stop bit is damage.
                let empty =
                    first == op::EXT && ahead[run + 1] == ext::LONG_TNT && load(ahead, run + 1) >> 8 & MASK_48 < 2;
                if len == 0 || empty {
                    break;
                }
                at += len;
                continue;
            }
        };
        let ip_bytes = first >> 5;
        let len = usize::from(IP_LEN[usize::from(ip_bytes)]);
        if len == 0 {
            break;
        }
        let shift = IP_SHIFT[usize::from(ip_bytes)];
        let keep = IP_KEEP[usize::from(ip_bytes)];
        let value = (((load(ahead, run + 1) << shift) as i64) >> shift) as u64;
        ip = ip & keep | value & !keep;
        if ip_bytes != 0 {
            hits += 1;
            hit(Hit { offset: at, kind, ip });
        }
        at += len;
    }
    totals.hits += hits;
    (at, LastIp::known(ip))
}

#[inline(always)]
fn load(ahead: &[u8; AHEAD], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&ahead[at..at + 8]);
    u64::from_le_bytes(word)
}

const MASK_48: u64 = (1 << 48) - 1;

/// By IPBytes: the packet's length, 0 for reserved values.
const IP_LEN: [u8; 8] = [1, 3, 5, 7, 7, 0, 9, 0];
/// By IPBytes: the bits to shift out and in again, with the sign, so that the address field remains.
const IP_SHIFT: [u32; 8] = [0, 48, 32, 16, 16, 0, 0, 0];
/// By IPBytes: the bits of the last IP that stay.
const IP_KEEP: [u64; 8] = [!0, !0xffff, !0xffff_ffff, 0, !MASK_48, !0, 0, !0];

/// Lengths of packets with one opcode byte other than TNT, PAD and those with an address; 0 for those that need care.
const ONE_LEN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let opcode = byte as u8;
        table[byte] = match opcode {
            op::TSC => 8,
            op::MTC | op::MODE => 2,
            _ if opcode & (op::CYC_MASK | op::CYC_MORE_FIRST) == op::CYC => 1,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// Lengths of packets that begin with 02, by their second byte; 0 for those that need care.
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
