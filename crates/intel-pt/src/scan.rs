//! Which addresses a stream names, without decoding everything in between.

mod address;
mod lanes;
mod lengths;
mod marks;

use self::lanes::Lanes;
use crate::decode::{BlockContext, decode};
use crate::error::{Error, Reason};
use crate::last_ip::{Ip, LastIp};
use crate::opcode as op;
use crate::packet::Packet;
use crate::sync::{resync, sync_forward};

/// An address that a trace names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
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
    let mut block = BlockContext::Outside;
    let mut last = LastIp::unknown();
    let mut lanes = Lanes::new();
    let mut failed = None;
    loop {
        // Here `at` is not a packet boundary: `failed` says why, or it is the start.
        let found = match failed {
            None => sync_forward(bytes, at),
            Some(_) => resync(bytes, 0, at),
        };
        let resume = found.unwrap_or(bytes.len());
        if failed.is_some() || resume > at {
            let error = Error { offset: at, resume, reason: failed.unwrap_or(Reason::BeforeSync) };
            totals.gaps += 1;
            totals.gap_bytes += error.skipped() as u64;
            gap(error);
        }
        at = resume;
        failed = loop {
            if block == BlockContext::Outside
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
                Err(reason) => break Some(reason),
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
        block = BlockContext::Outside;
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
