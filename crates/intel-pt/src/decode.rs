//! One packet out of bytes.

use crate::bytes::{le, sign_extend_48};
use crate::error::Reason;
use crate::last_ip::Ip;
use crate::opcode::{self as op, ext, ext2};
use crate::packet::{CfeKind, EvdKind, Exec, Mode, Packet, Payload, Pip, Pwre, Pwrx, Tnt, Trigger, Tsx, Vmcs};

/// Whether the next packet lies in a PEBS block (between BBP and BEP). Decoding needs this context because a byte with the
/// low bits `100` is a BIP inside a block and a short TNT outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BlockContext {
    /// Not in a block.
    #[default]
    Outside,
    /// In a block whose items have 4 bytes.
    Items4,
    /// In a block whose items have 8 bytes.
    Items8,
}

impl BlockContext {
    /// The context after `packet`. Packets of flow and mode close a block; timing, power and FUP do not (Linux perf).
    #[inline]
    pub fn after(self, packet: &Packet) -> Self {
        match packet {
            Packet::Bbp { four_bytes: true, .. } => Self::Items4,
            Packet::Bbp { four_bytes: false, .. } => Self::Items8,
            Packet::Pad
            | Packet::Fup(_)
            | Packet::Tsc(_)
            | Packet::Mtc(_)
            | Packet::Tma { .. }
            | Packet::Cyc(_)
            | Packet::Cbr(_)
            | Packet::Mnt(_)
            | Packet::Exstop { .. }
            | Packet::Pwre(_)
            | Packet::Pwrx(_)
            | Packet::Bip { .. } => self,
            _ => Self::Outside,
        }
    }
}

/// Reads the packet at the start of `bytes`, which must be a packet boundary, and says how many bytes it has (1 to 16).
///
/// # Errors
///
/// [`Reason::UnknownOpcode`], [`Reason::BadField`], or [`Reason::Truncated`] when the bytes end inside the packet (an
/// empty slice included).
#[inline]
pub fn decode(bytes: &[u8], block: BlockContext) -> Result<(Packet, usize), Reason> {
    let Some(&first) = bytes.first() else {
        return Err(Reason::Truncated { packet: "packet", needs: 1, has: 0 });
    };
    if block != BlockContext::Outside && first & op::BIP_MASK == op::BIP {
        return bip(bytes, first, block);
    }
    if first & 1 == 0 {
        return match first {
            op::PAD => Ok((Packet::Pad, 1)),
            op::EXT => extended(bytes),
            // The highest set bit is above bit 1, because 0 and 2 are taken.
            _ => match Tnt::from_stop_bit(u64::from(first >> 1)) {
                Some(tnt) => Ok((Packet::TntShort(tnt), 1)),
                None => Err(unknown(bytes, 1)),
            },
        };
    }
    match first & op::IP_PACKET_MASK {
        op::TIP => ip(bytes, first, "tip").map(|(ip, len)| (Packet::Tip(ip), len)),
        op::TIP_PGE => ip(bytes, first, "tip.pge").map(|(ip, len)| (Packet::TipPge(ip), len)),
        op::TIP_PGD => ip(bytes, first, "tip.pgd").map(|(ip, len)| (Packet::TipPgd(ip), len)),
        op::FUP => ip(bytes, first, "fup").map(|(ip, len)| (Packet::Fup(ip), len)),
        _ if first & op::CYC_MASK == op::CYC => cyc(bytes, first),
        _ => match first {
            op::TSC => Ok((Packet::Tsc(field(bytes, "tsc", 1, 7)?), 8)),
            op::MTC => Ok((Packet::Mtc(field(bytes, "mtc", 1, 1)? as u8), 2)),
            op::MODE => Ok((Packet::Mode(mode(field(bytes, "mode", 1, 1)? as u8)), 2)),
            op::TRIG => trig(bytes),
            _ => Err(unknown(bytes, 1)),
        },
    }
}

/// The packets that begin with 02.
fn extended(bytes: &[u8]) -> Result<(Packet, usize), Reason> {
    let code = field(bytes, "with opcode 02", 1, 1)? as u8;
    Ok(match code {
        ext::PSB => psb(bytes)?,
        ext::PSBEND => (Packet::PsbEnd, 2),
        ext::OVF => (Packet::Ovf, 2),
        ext::TRACE_STOP => (Packet::TraceStop, 2),
        ext::LONG_TNT => {
            let payload = field(bytes, "tnt.64", 2, 6)?;
            let allowed = "a stop bit above bit 0";
            let bad = Reason::BadField { packet: "tnt.64", field: "payload", found: payload, allowed };
            (Packet::TntLong(Tnt::from_stop_bit(payload).ok_or(bad)?), 8)
        }
        ext::PIP => {
            let payload = field(bytes, "pip", 2, 6)?;
            (Packet::Pip(Pip { cr3: payload >> 1 << 5, non_root: payload & 1 == 1 }), 8)
        }
        ext::CBR => (Packet::Cbr(field(bytes, "cbr", 2, 2)? as u8), 4),
        ext::TMA => {
            let payload = field(bytes, "tma", 2, 5)?;
            (Packet::Tma { ctc: payload as u16, fast_counter: (payload >> 24 & 0x1ff) as u16 }, 7)
        }
        ext::VMCS => (Packet::Vmcs(Vmcs { base: field(bytes, "vmcs", 2, 5)? << 12 }), 7),
        ext::EXT2 => match field(bytes, "with opcode 02 c3", 2, 1)? as u8 {
            ext2::MNT => (Packet::Mnt(field(bytes, "mnt", 3, 8)?), 11),
            _ => return Err(unknown(bytes, 3)),
        },
        ext::EXSTOP => (Packet::Exstop { ip: false }, 2),
        ext::EXSTOP_IP => (Packet::Exstop { ip: true }, 2),
        ext::MWAIT => {
            let payload = field(bytes, "mwait", 2, 8)?;
            (Packet::Mwait { hints: payload as u32, extensions: (payload >> 32) as u32 }, 10)
        }
        ext::PWRE => {
            let payload = field(bytes, "pwre", 2, 2)?;
            let nibble = |shift: u32| (payload >> shift & 0xf) as u8;
            (Packet::Pwre(Pwre { state: nibble(12), sub_state: nibble(8), hardware: payload & 8 != 0 }), 4)
        }
        ext::PWRX => {
            let payload = field(bytes, "pwrx", 2, 5)?;
            let nibble = |shift: u32| (payload >> shift & 0xf) as u8;
            (Packet::Pwrx(Pwrx { last: nibble(4), deepest: nibble(0), wake: nibble(8) }), 7)
        }
        ext::BBP => {
            let payload = field(bytes, "bbp", 2, 1)? as u8;
            (Packet::Bbp { kind: payload & 0x1f, four_bytes: payload & 0x80 != 0 }, 3)
        }
        ext::BEP => (Packet::Bep { ip: false }, 2),
        ext::BEP_IP => (Packet::Bep { ip: true }, 2),
        ext::CFE => {
            let payload = field(bytes, "cfe", 2, 2)?;
            let kind = CfeKind(payload as u8 & 0x1f);
            (Packet::Cfe { kind, ip: payload & 0x80 != 0, vector: (payload >> 8) as u8 }, 4)
        }
        ext::EVD => {
            let kind = EvdKind(field(bytes, "evd", 2, 1)? as u8 & 0x1f);
            (Packet::Evd { kind, payload: field(bytes, "evd", 3, 8)? }, 11)
        }
        _ if code & ext::PTW_MASK == ext::PTW => {
            let ip = code & ext::PTW_IP != 0;
            match code >> 5 & 3 {
                0 => (Packet::Ptw { payload: Payload::Four(field(bytes, "ptw", 2, 4)? as u32), ip }, 6),
                1 => (Packet::Ptw { payload: Payload::Eight(field(bytes, "ptw", 2, 8)?), ip }, 10),
                size => {
                    let allowed = "0 (4 bytes), 1 (8 bytes)";
                    return Err(Reason::BadField { packet: "ptw", field: "size", found: size.into(), allowed });
                }
            }
        }
        _ => return Err(unknown(bytes, 2)),
    })
}

fn psb(bytes: &[u8]) -> Result<(Packet, usize), Reason> {
    for (at, (&found, allowed)) in bytes.iter().zip(op::PSB).enumerate() {
        if found != allowed {
            let allowed = if at % 2 == 0 { "02" } else { "82" };
            return Err(Reason::BadField { packet: "psb", field: "byte", found: found.into(), allowed });
        }
    }
    if bytes.len() < op::PSB.len() {
        return Err(Reason::Truncated { packet: "psb", needs: op::PSB.len(), has: bytes.len() });
    }
    Ok((Packet::Psb, op::PSB.len()))
}

#[inline]
fn ip(bytes: &[u8], first: u8, packet: &'static str) -> Result<(Ip, usize), Reason> {
    Ok(match first >> 5 {
        0 => (Ip::Suppressed, 1),
        1 => (Ip::Update16(field(bytes, packet, 1, 2)? as u16), 3),
        2 => (Ip::Update32(field(bytes, packet, 1, 4)? as u32), 5),
        3 => (Ip::SignExtend48(sign_extend_48(field(bytes, packet, 1, 6)?)), 7),
        4 => (Ip::Update48(field(bytes, packet, 1, 6)?), 7),
        6 => (Ip::Full(field(bytes, packet, 1, 8)?), 9),
        found => {
            let allowed = "0 to 4, 6";
            return Err(Reason::BadField { packet, field: "IPBytes", found: found.into(), allowed });
        }
    })
}

fn mode(payload: u8) -> Mode {
    let bit = |bit: u8| payload & bit != 0;
    match payload >> 5 {
        0 => Mode::Exec(Exec { cs_l: bit(1), cs_d: bit(2), interrupts: bit(4) }),
        1 => Mode::Tsx(Tsx { in_tx: bit(1), abort: bit(2) }),
        leaf => Mode::Other { leaf, bits: payload & 0x1f },
    }
}

fn cyc(bytes: &[u8], first: u8) -> Result<(Packet, usize), Reason> {
    let mut value = u64::from(first >> 3);
    let mut more = first & op::CYC_MORE_FIRST != 0;
    let (mut len, mut shift) = (1, 5);
    while more {
        if len == op::CYC_MAX {
            let allowed = "at most 15";
            return Err(Reason::BadField { packet: "cyc", field: "length", found: len as u64 + 1, allowed });
        }
        let byte = field(bytes, "cyc", len, 1)?;
        let bits = byte >> 1;
        // A counter has 64 bits; a packet of 15 bytes has room for 103.
        if bits != 0 && (shift >= 64 || bits << shift >> shift != bits) {
            let allowed = "a count below 2^64";
            return Err(Reason::BadField { packet: "cyc", field: "bits above 2^61", found: bits, allowed });
        }
        value |= if shift < 64 { bits << shift } else { 0 };
        more = byte as u8 & op::CYC_MORE != 0;
        (len, shift) = (len + 1, shift + 7);
    }
    Ok((Packet::Cyc(value), len))
}

fn bip(bytes: &[u8], first: u8, block: BlockContext) -> Result<(Packet, usize), Reason> {
    let id = first >> 3;
    Ok(if block == BlockContext::Items4 {
        (Packet::Bip { id, payload: Payload::Four(field(bytes, "bip", 1, 4)? as u32) }, 5)
    } else {
        (Packet::Bip { id, payload: Payload::Eight(field(bytes, "bip", 1, 8)?) }, 9)
    })
}

fn trig(bytes: &[u8]) -> Result<(Packet, usize), Reason> {
    let payload = field(bytes, "trig", 1, 2)?;
    let counts = payload & 0x40 != 0;
    let instructions = if counts { Some(field(bytes, "trig", 3, 2)? as u16) } else { None };
    let (ip, multiple) = (payload & 0x80 != 0, payload & 0x20 != 0);
    let trigger = Trigger { triggers: (payload >> 8) as u8, ip, multiple, instructions };
    Ok((Packet::Trig(trigger), if counts { 5 } else { 3 }))
}

/// The `n` bytes at `at`, inside a packet.
#[inline]
fn field(bytes: &[u8], packet: &'static str, at: usize, n: usize) -> Result<u64, Reason> {
    le(bytes, at, n).ok_or(Reason::Truncated { packet, needs: at + n, has: bytes.len() })
}

fn unknown(bytes: &[u8], len: u8) -> Reason {
    let mut found = [0; 3];
    for (to, from) in found.iter_mut().zip(bytes.iter().take(len.into())) {
        *to = *from;
    }
    Reason::UnknownOpcode { found, len }
}
