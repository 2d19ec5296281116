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
/// It finds what [`Packets`](crate::Packets) and [`LastIp`] find, several times faster, and needs 24 KiB of stack.
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
    /// Offset of the PSB that the lane began with; nothing when there is no second lane.
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
    let Some(mut rest) = bytes.get(lane.at..) else { return };
    let mut ip = lane.ip;
    let mut both = ahead.runs;
    if let Some(mut second) = bytes.get(ahead.lane.at..).filter(|_| both) {
        let (mut second_ip, mut found) = (ahead.lane.ip, ahead.found);
        let first_on = loop {
            match turn(rest, &mut ip, &mut |left, kind, ip| hit(Hit { offset: bytes.len() - left, kind, ip })) {
                Some(next) => rest = next,
                None => break false,
            }
            let Some(slot) = ahead.hits.get_mut(found) else { break true };
            match turn(second, &mut second_ip, &mut |left, kind, ip| {
                *slot = Hit { offset: bytes.len() - left, kind, ip };
                found += 1;
            }) {
                Some(next) => second = next,
                None => break true,
            }
        };
        ahead.lane = Lane { at: bytes.len() - second.len(), ip: second_ip };
        ahead.found = found;
        ahead.runs = !first_on;
        both = !first_on;
    }
    if !both {
        while let Some(next) =
            turn(rest, &mut ip, &mut |left, kind, ip| hit(Hit { offset: bytes.len() - left, kind, ip }))
        {
            rest = next;
        }
    }
    *lane = Lane { at: bytes.len() - rest.len(), ip };
}

/// How far ahead a turn looks: more than 7 short packets and the longest packet in its tables.
const WINDOW: usize = 24;

/// Goes over some packets, of which the last at most has an address, and returns what is left. Nothing when the first
/// packet needs care: a PSB, an OVF, a BBP, a packet near the end, anything rare or wrong.
///
/// It looks at 8 bytes as one number and jumps over the short TNT and PAD packets at their start at once: they are the
/// even bytes other than 02. What follows is an address packet nearly always. Its length and its address come from
/// constants indexed by IPBytes, without a branch, because IPBytes is what a branch predictor cannot guess.
#[inline(always)]
fn turn<'a>(rest: &'a [u8], ip: &mut u64, hit: &mut impl FnMut(usize, HitKind, u64)) -> Option<&'a [u8]> {
    let window = rest.first_chunk::<WINDOW>()?;
    let word = load(window, 0);
    let odd = word & LOW_BITS;
    // Bit 7 of each byte below 3. Bytes above the first may be marked falsely, which does no harm.
    let small = word.wrapping_sub(3 * LOW_BITS) & !word & (0x80 * LOW_BITS);
    // Looks at the bits below the first odd byte only; at all, if there is none.
    if small & odd.wrapping_sub(1) != 0 {
        return even(rest, window, (small.trailing_zeros() / 8) as usize);
    }
    if odd == 0 {
        return rest.get(8..);
    }
    let bits = odd.trailing_zeros();
    let (run, first) = ((bits / 8) as usize, (word >> bits) as u8);
    let packet = &ODD[usize::from(first)];
    let len = usize::from(packet.len & 0xf);
    if let Some(kind) = packet.kind {
        let field = &FIELDS[usize::from(first >> 5)];
        let value = load(window, run + 1) & field.take;
        *ip = *ip & field.keep | (value ^ field.sign).wrapping_sub(field.sign);
        if len != 1 {
            hit(rest.len() - run, kind, *ip);
        }
    } else if len == 0 {
        return if run == 0 { None } else { rest.get(run..) };
    }
    rest.get(run + len..)
}

/// The part of a turn that goes over a PAD or a packet that begins with 02 at `run`.
fn even<'a>(rest: &'a [u8], window: &[u8; WINDOW], run: usize) -> Option<&'a [u8]> {
    if window[run] == op::PAD {
        let pads = rest.iter().skip(run).take_while(|byte| **byte == op::PAD).count();
        return rest.get(run + pads..);
    }
    let code = window[run + 1];
    let len = usize::from(EXT_LEN[usize::from(code)]);
    // A long TNT without a stop bit is damage.
    let damaged = code == ext::LONG_TNT && (load(window, run + 1) >> 8) & MASK_48 < 2;
    if len != 0 && !damaged {
        rest.get(run + len..)
    } else if run != 0 {
        rest.get(run..)
    } else {
        None
    }
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

/// How an address field is put into the last IP. Aligned, because the offset of an entry is then three bits of the opcode
/// as they stand.
#[repr(align(32))]
struct Field {
    /// Bits of the last IP that stay.
    keep: u64,
    /// Bits taken from the packet.
    take: u64,
    /// The bit that is copied to all above it, or 0.
    sign: u64,
}

/// By IPBytes. The reserved values 5 and 7 never get here.
const FIELDS: [Field; 8] = [
    Field { keep: !0, take: 0, sign: 0 },
    Field { keep: !0xffff, take: 0xffff, sign: 0 },
    Field { keep: !0xffff_ffff, take: 0xffff_ffff, sign: 0 },
    Field { keep: 0, take: MASK_48, sign: 1 << 47 },
    Field { keep: !MASK_48, take: MASK_48, sign: 0 },
    Field { keep: !0, take: 0, sign: 0 },
    Field { keep: 0, take: !0, sign: 0 },
    Field { keep: !0, take: 0, sign: 0 },
];

/// A packet whose first byte is odd.
#[derive(Clone, Copy)]
struct Odd {
    /// 0 for packets that need care.
    len: u8,
    /// Of the packets with an address.
    kind: Option<HitKind>,
}

/// By the first byte.
const ODD: [Odd; 256] = {
    let mut table = [Odd { len: 0, kind: None }; 256];
    let mut byte = 0;
    while byte < 256 {
        let opcode = byte as u8;
        let kind = match opcode & op::IP_PACKET_MASK {
            op::TIP => Some(HitKind::Tip),
            op::TIP_PGE => Some(HitKind::TipPge),
            op::TIP_PGD => Some(HitKind::TipPgd),
            op::FUP => Some(HitKind::Fup),
            _ => None,
        };
        table[byte] = match (kind, opcode) {
            (Some(_), _) => match opcode >> 5 {
                0 => Odd { len: 1, kind },
                1 => Odd { len: 3, kind },
                2 => Odd { len: 5, kind },
                3 | 4 => Odd { len: 7, kind },
                6 => Odd { len: 9, kind },
                _ => Odd { len: 0, kind: None },
            },
            (None, op::TSC) => Odd { len: 8, kind },
            (None, op::MTC | op::MODE) => Odd { len: 2, kind },
            (None, _) if opcode & (op::CYC_MASK | op::CYC_MORE_FIRST) == op::CYC => Odd { len: 1, kind },
            (None, _) => Odd { len: 0, kind },
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
