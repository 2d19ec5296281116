//! Which addresses a stream names, without decoding everything in between.

mod address;
mod lanes;
mod lengths;
mod marks;

use self::lanes::Lanes;
use crate::decode::{Block, decode};
use crate::error::{Error, Reason};
use crate::last_ip::{Ip, LastIp};
use crate::opcode as op;
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

impl HitKind {
    /// By the first byte of a packet with an address.
    #[inline(always)]
    fn of(first: u8) -> Self {
        match first & op::IP_PACKET_MASK {
            op::TIP_PGE => Self::TipPge,
            op::TIP_PGD => Self::TipPgd,
            op::FUP => Self::Fup,
            _ => Self::Tip,
        }
    }
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
/// It finds what [`Packets`](crate::Packets) and [`LastIp`] find, several times faster, and needs 16 KiB of stack.
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
    let mut lanes = Lanes::new();
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
                && let Some(mut ip) = last.get()
            {
                let lane = lanes.read(bytes, at);
                totals.hits += lane.report(bytes, &mut ip, &mut hit);
                (at, last) = (lane.end(), LastIp::known(ip));
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
                    lanes.begin(bytes, at);
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
