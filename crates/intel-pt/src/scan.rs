//! Which addresses a stream names, without decoding everything in between.

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

/// Reports every address in TIP, TIP.PGE, TIP.PGD and FUP packets, from the first PSB on, in order.
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
    let mut ahead = Ahead::new();
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
            if block == Block::Outside
                && let Some(ip) = last.get()
            {
                let mut lane = Lane { at, ip };
                run(bytes, &mut lane, &mut ahead, &mut |found| {
                    totals.hits += 1;
                    hit(found);
                });
                (at, last) = (lane.at, LastIp::known(lane.ip));
            }
            if let Some(lane) = ahead.take_at(at) {
                totals.psb += 1;
                totals.hits += ahead.found as u64;
                ahead.hits[..ahead.found].iter().copied().for_each(&mut hit);
                (at, block, last) = (lane.at, Block::Outside, LastIp::known(lane.ip));
            }
            let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else {
                return totals;
            };
            let (packet, len) = match decode(rest, block) {
                Ok(found) => found,
                Err(reason) => break reason,
            };
            block = block.after(&packet);
            if let Some((kind, ip)) = address(&packet)
                && let Some(ip) = last.update(ip)
            {
                totals.hits += 1;
                hit(Hit { offset: at, kind, ip });
            }
            at += len;
            match packet {
                Packet::Psb => {
                    totals.psb += 1;
                    last = LastIp::after_psb();
                    ahead.start_after(bytes, at);
                }
                Packet::Ovf => totals.overflows += 1,
                _ => {}
            }
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

/// A place in the trace, outside a block, with the last IP known.
#[derive(Clone, Copy)]
struct Lane {
    at: usize,
    ip: u64,
}

/// The second of two lanes. Where a packet ends is known only when its length is, so one lane leaves most of a
/// processor idle; two of them run side by side:
///
/// ```text
///   PSB ....first lane....► PSB ....second lane....► PSB
///                           ▲ its hits wait in `hits` until the first lane ends exactly here
/// ```
///
/// When the first lane does not (damage, or bytes that look like a PSB), the second lane's work is thrown away. Running
/// the lanes of whole segments first and sorting afterwards would need memory in proportion to the trace.
struct Ahead {
    /// Offset of the PSB after which the lane began; nothing when there is no second lane.
    start: Option<usize>,
    lane: Lane,
    /// False once the lane met a packet that needs care.
    runs: bool,
    hits: [Hit; Ahead::MOST],
    found: usize,
}

impl Ahead {
    /// Hits that wait. A processor writes a PSB every 2 to 4 KiB in most configurations, with some 600 addresses.
    const MOST: usize = 1024;

    fn new() -> Self {
        let hits = [Hit { offset: 0, kind: HitKind::Tip, ip: 0 }; Self::MOST];
        Self { start: None, lane: Lane { at: 0, ip: 0 }, runs: false, hits, found: 0 }
    }

    /// Begins a second lane at the next PSB after `at`, unless there is one already.
    fn start_after(&mut self, bytes: &[u8], at: usize) {
        if self.start.is_none_or(|start| start < at) {
            self.start = sync_forward(bytes, at);
            self.runs = self.start.is_some();
            self.lane = Lane { at: self.start.unwrap_or(0) + op::PSB.len(), ip: 0 };
            self.found = 0;
        }
    }

    /// Where the second lane is, if the first has arrived at its start.
    fn take_at(&mut self, at: usize) -> Option<Lane> {
        if self.start != Some(at) {
            return None;
        }
        self.start = None;
        self.runs = false;
        Some(self.lane)
    }
}

/// Moves the first lane to its next packet that needs care, and the second one as far as it gets meanwhile.
#[inline(always)]
fn run(bytes: &[u8], lane: &mut Lane, ahead: &mut Ahead, hit: &mut impl FnMut(Hit)) {
    if ahead.runs {
        let (mut first, mut second, mut found) = (*lane, ahead.lane, ahead.found);
        let on = loop {
            if !turn(bytes, &mut first, hit) {
                break false;
            }
            let Some(slot) = ahead.hits.get_mut(found) else { break true };
            if !turn(bytes, &mut second, &mut |hit| {
                *slot = hit;
                found += 1;
            }) {
                break true;
            }
        };
        ahead.runs = !on;
        (*lane, ahead.lane, ahead.found) = (first, second, found);
        if !on {
            return;
        }
    }
    while turn(bytes, lane, hit) {}
}

/// How far ahead a turn looks: up to 7 short packets, then one of up to 10 bytes, the longest in its tables.
const WINDOW: usize = 17;

/// Goes over some packets, of which the last at most has an address. False, with the lane at that packet, when one
/// needs care: a PSB, an OVF, a BBP, a packet near the end, anything rare or wrong.
///
/// It looks at 8 bytes as one number and jumps over the short TNT and PAD packets at their start at once: they are the
/// even bytes other than 02. What follows is an address packet nearly always. Its length and its address come from
/// constants indexed by IPBytes, without a branch, because IPBytes is what a branch predictor cannot guess.
#[inline(always)]
fn turn(bytes: &[u8], lane: &mut Lane, hit: &mut impl FnMut(Hit)) -> bool {
    let Some(window) = bytes.get(lane.at..).and_then(|rest| rest.first_chunk::<WINDOW>()) else {
        return false;
    };
    let word = load(window, 0);
    let odd = word & LOW_BITS;
    let twos = word ^ (2 * LOW_BITS);
    // Bit 7 of each byte that is 02. Bytes above the first may be marked falsely, which does no harm.
    let twos = twos.wrapping_sub(LOW_BITS) & !twos & (0x80 * LOW_BITS);
    // The bits below the first odd byte; all, if there is none.
    if twos & odd.wrapping_sub(1) & !odd != 0 {
        let run = (twos.trailing_zeros() / 8) as usize;
        lane.at += run;
        let code = window[run + 1];
        let len = EXT_LEN[usize::from(code)];
        // A long TNT without a stop bit is damage.
        let damaged = code == ext::LONG_TNT && (load(window, run + 1) >> 8) & MASK_48 < 2;
        if len == 0 || damaged {
            return false;
        }
        lane.at += usize::from(len);
        return true;
    }
    if odd == 0 {
        lane.at += 8;
        return true;
    }
    let shift = odd.trailing_zeros();
    let run = (shift / 8) as usize;
    let first = (word >> shift) as u8;
    lane.at += run;
    let low = first & op::IP_PACKET_MASK;
    let bits = u32::from(first >> 5);
    if IP_PACKETS >> low & 1 == 0 || RESERVED >> bits & 1 == 1 {
        let len = ONE_LEN[usize::from(first)];
        lane.at += usize::from(len);
        return len != 0;
    }
    let cut = IP_CUT[bits as usize];
    let keep = IP_KEEP[bits as usize];
    let value = (((load(window, run + 1) << cut) as i64) >> cut) as u64;
    lane.ip = lane.ip & keep | value & !keep;
    if bits != 0 {
        hit(Hit { offset: lane.at, kind: KINDS[usize::from(low >> 2)], ip: lane.ip });
    }
    lane.at += (IP_LEN >> (4 * bits) & 0xf) as usize;
    true
}

#[inline(always)]
fn load(window: &[u8; WINDOW], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Bit 0 of each byte.
const LOW_BITS: u64 = u64::MAX / 255;
const MASK_48: u64 = (1 << 48) - 1;

/// The packets with an address, by the low 5 bits of their opcode.
const IP_PACKETS: u32 = 1 << op::TIP | 1 << op::TIP_PGE | 1 << op::TIP_PGD | 1 << op::FUP;
/// Their kinds, by bits 4:2.
const KINDS: [HitKind; 8] = {
    let mut kinds = [HitKind::Tip; 8];
    kinds[op::TIP_PGE as usize >> 2] = HitKind::TipPge;
    kinds[op::TIP_PGD as usize >> 2] = HitKind::TipPgd;
    kinds[op::FUP as usize >> 2] = HitKind::Fup;
    kinds
};
/// The values of IPBytes that no processor writes.
const RESERVED: u8 = 1 << 5 | 1 << 7;
/// A packet's length, 4 bits for each value of IPBytes: 1, 3, 5, 7, 7, -, 9, -.
const IP_LEN: u32 = 0x0907_7531;
/// By IPBytes: the bits to shift out and in again, with the sign, so that the address field remains.
const IP_CUT: [u32; 8] = [0, 48, 32, 16, 16, 0, 0, 0];
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
