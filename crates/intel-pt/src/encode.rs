//! One packet into bytes: the other direction of `decode`, for tests and for rewriting streams.

use crate::bytes::sign_extend_48;
use crate::error::Unencodable;
use crate::last_ip::Ip;
use crate::opcode::{self as op, ext, ext2};
use crate::packet::{Mode, Packet, Payload, Trigger};
use core::ops::Deref;

/// The bytes of one packet, 1 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    bytes: [u8; 16],
    len: usize,
}

impl Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The bytes of `packet`, with reserved bits 0 and CYC as short as it can be.
///
/// # Errors
///
/// When a field is out of the range that its documentation states.
pub fn encode(packet: &Packet) -> Result<Encoded, Unencodable> {
    let mut out = Encoded { bytes: [0; 16], len: 0 };
    match *packet {
        Packet::Pad => out.put(&[op::PAD]),
        Packet::TntShort(tnt) => {
            limit("tnt.8", "branches", tnt.len().into(), 6, "1 to 6")?;
            out.put(&[((1 << tnt.len() | tnt.bits()) << 1) as u8]);
        }
        Packet::TntLong(tnt) => out.ext(ext::LONG_TNT).le(1 << tnt.len() | tnt.bits(), 6),
        Packet::Tip(ip) => out.ip("tip", op::TIP, ip)?,
        Packet::TipPge(ip) => out.ip("tip.pge", op::TIP_PGE, ip)?,
        Packet::TipPgd(ip) => out.ip("tip.pgd", op::TIP_PGD, ip)?,
        Packet::Fup(ip) => out.ip("fup", op::FUP, ip)?,
        Packet::Psb => out.put(&op::PSB),
        Packet::PsbEnd => out.put(&[op::EXT, ext::PSBEND]),
        Packet::Mode(mode) => out.put(&[op::MODE, mode_byte(mode)?]),
        Packet::Pip(pip) => {
            limit("pip", "cr3", pip.cr3, (1 << 52) - 32, "0 to 2^52 - 32")?;
            limit("pip", "cr3 bits 4:0", pip.cr3 & 0x1f, 0, "0")?;
            out.ext(ext::PIP).le(pip.cr3 >> 5 << 1 | u64::from(pip.non_root), 6);
        }
        Packet::Cbr(ratio) => out.ext(ext::CBR).le(ratio.into(), 2),
        Packet::Tsc(tsc) => {
            limit("tsc", "tsc", tsc, (1 << 56) - 1, "0 to 2^56 - 1")?;
            out.one(op::TSC).le(tsc, 7);
        }
        Packet::Mtc(ctc) => out.put(&[op::MTC, ctc]),
        Packet::Tma { ctc, fast_counter } => {
            limit("tma", "fast counter", fast_counter.into(), 511, "0 to 511")?;
            out.ext(ext::TMA).le(u64::from(fast_counter) << 24 | u64::from(ctc), 5);
        }
        Packet::Cyc(value) => out.cyc(value),
        Packet::Vmcs(vmcs) => {
            limit("vmcs", "base", vmcs.base, (1 << 52) - 4096, "0 to 2^52 - 4096")?;
            limit("vmcs", "base bits 11:0", vmcs.base & 0xfff, 0, "0")?;
            out.ext(ext::VMCS).le(vmcs.base >> 12, 5);
        }
        Packet::Ovf => out.put(&[op::EXT, ext::OVF]),
        Packet::TraceStop => out.put(&[op::EXT, ext::TRACE_STOP]),
        Packet::Mnt(payload) => out.ext(ext::EXT2).one(ext2::MNT).le(payload, 8),
        Packet::Ptw { payload, ip } => {
            let size = matches!(payload, Payload::Eight(_)) as u8;
            out.ext(ext::PTW | size << 5 | if ip { ext::PTW_IP } else { 0 }).payload(payload);
        }
        Packet::Exstop { ip } => out.put(&[op::EXT, if ip { ext::EXSTOP_IP } else { ext::EXSTOP }]),
        Packet::Mwait { hints, extensions } => {
            out.ext(ext::MWAIT).le(u64::from(extensions) << 32 | u64::from(hints), 8);
        }
        Packet::Pwre(pwre) => {
            limit("pwre", "state", pwre.state.into(), 15, "0 to 15")?;
            limit("pwre", "sub-state", pwre.sub_state.into(), 15, "0 to 15")?;
            out.ext(ext::PWRE).put(&[u8::from(pwre.hardware) << 3, pwre.state << 4 | pwre.sub_state]);
        }
        Packet::Pwrx(pwrx) => {
            limit("pwrx", "last state", pwrx.last.into(), 15, "0 to 15")?;
            limit("pwrx", "deepest state", pwrx.deepest.into(), 15, "0 to 15")?;
            limit("pwrx", "wake reason", pwrx.wake.into(), 15, "0 to 15")?;
            out.ext(ext::PWRX).put(&[pwrx.last << 4 | pwrx.deepest, pwrx.wake, 0, 0, 0]);
        }
        Packet::Bbp { kind, four_bytes } => {
            limit("bbp", "kind", kind.into(), 31, "0 to 31")?;
            out.ext(ext::BBP).put(&[u8::from(four_bytes) << 7 | kind]);
        }
        Packet::Bip { id, payload } => {
            limit("bip", "id", id.into(), 31, "0 to 31")?;
            out.one(id << 3 | op::BIP).payload(payload);
        }
        Packet::Bep { ip } => out.put(&[op::EXT, if ip { ext::BEP_IP } else { ext::BEP }]),
        Packet::Cfe { kind, ip, vector } => {
            limit("cfe", "type", kind.0.into(), 31, "0 to 31")?;
            out.ext(ext::CFE).put(&[u8::from(ip) << 7 | kind.0, vector]);
        }
        Packet::Evd { kind, payload } => {
            limit("evd", "type", kind.0.into(), 31, "0 to 31")?;
            out.ext(ext::EVD).one(kind.0).le(payload, 8);
        }
        Packet::Trig(trigger) => out.trig(trigger),
    }
    Ok(out)
}

/// Appending. The longest packet, PSB, has 16 bytes, so the array is long enough for every one.
impl Encoded {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn one(&mut self, byte: u8) -> &mut Self {
        self.put(&[byte]);
        self
    }

    fn ext(&mut self, code: u8) -> &mut Self {
        self.put(&[op::EXT, code]);
        self
    }

    fn le(&mut self, value: u64, n: usize) {
        self.put(&value.to_le_bytes()[..n]);
    }

    fn payload(&mut self, payload: Payload) {
        match payload {
            Payload::Four(value) => self.le(value.into(), 4),
            Payload::Eight(value) => self.le(value, 8),
        }
    }

    fn ip(&mut self, packet: &'static str, opcode: u8, ip: Ip) -> Result<(), Unencodable> {
        self.put(&[opcode | ip.ip_bytes() << 5]);
        match ip {
            Ip::Suppressed => {}
            Ip::Update16(low) => self.le(low.into(), 2),
            Ip::Update32(low) => self.le(low.into(), 4),
            Ip::SignExtend48(ip) => {
                if sign_extend_48(ip) != ip {
                    let allowed = "bits 63:48 equal to bit 47";
                    return Err(Unencodable { packet, field: "address", found: ip, allowed });
                }
                self.le(ip, 6);
            }
            Ip::Update48(low) => {
                limit(packet, "address bits 47:0", low, (1 << 48) - 1, "0 to 2^48 - 1")?;
                self.le(low, 6);
            }
            Ip::Full(ip) => self.le(ip, 8),
        }
        Ok(())
    }

    fn trig(&mut self, trigger: Trigger) {
        let flag = |set: bool, bit: u8| u8::from(set) << bit;
        let flags = flag(trigger.ip, 7) | flag(trigger.instructions.is_some(), 6) | flag(trigger.multiple, 5);
        self.put(&[op::TRIG, flags, trigger.triggers]);
        if let Some(count) = trigger.instructions {
            self.le(count.into(), 2);
        }
    }

    fn cyc(&mut self, value: u64) {
        let mut rest = value >> 5;
        let more = if rest == 0 { 0 } else { op::CYC_MORE_FIRST };
        self.put(&[(value as u8 & 0x1f) << 3 | more | op::CYC]);
        while rest != 0 {
            let bits = (rest as u8 & 0x7f) << 1;
            rest >>= 7;
            self.put(&[bits | if rest == 0 { 0 } else { op::CYC_MORE }]);
        }
    }
}

fn mode_byte(mode: Mode) -> Result<u8, Unencodable> {
    let flag = |set: bool, bit: u8| u8::from(set) << bit;
    Ok(match mode {
        Mode::Exec(exec) => flag(exec.cs_l, 0) | flag(exec.cs_d, 1) | flag(exec.interrupts, 2),
        Mode::Tsx(tsx) => 1 << 5 | flag(tsx.in_tx, 0) | flag(tsx.abort, 1),
        Mode::Other { leaf, bits } => {
            limit("mode", "leaf", leaf.into(), 7, "2 to 7")?;
            limit("mode", "leaf", u64::from(leaf < 2), 0, "2 to 7")?;
            limit("mode", "bits", bits.into(), 31, "0 to 31")?;
            leaf << 5 | bits
        }
    })
}

fn limit(
    packet: &'static str,
    field: &'static str,
    found: u64,
    max: u64,
    allowed: &'static str,
) -> Result<(), Unencodable> {
    if found <= max { Ok(()) } else { Err(Unencodable { packet, field, found, allowed }) }
}
