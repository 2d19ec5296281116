//! The text form, that of libipt's ptdump: a name, then the payload in hexadecimal.

use super::{CfeKind, CodeWidth, EvdKind, Mode, Packet, Payload, Tnt};
use crate::last_ip::Ip;
use core::fmt::{Display, Formatter, Result, Write};

/// As libipt's ptdump prints it; the name is padded to 10 columns when a payload follows.
impl Display for Packet {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Self::Pad => f.write_str("pad"),
            Self::TntShort(tnt) => write_tnt(f, "tnt.8", tnt),
            Self::TntLong(tnt) => write_tnt(f, "tnt.64", tnt),
            Self::Tip(ip) => write!(f, "{:<10} {ip}", "tip"),
            Self::TipPge(ip) => write!(f, "{:<10} {ip}", "tip.pge"),
            Self::TipPgd(ip) => write!(f, "{:<10} {ip}", "tip.pgd"),
            Self::Fup(ip) => write!(f, "{:<10} {ip}", "fup"),
            Self::Psb => f.write_str("psb"),
            Self::PsbEnd => f.write_str("psbend"),
            Self::Mode(mode) => write_mode(f, mode),
            Self::Pip(pip) => {
                write!(f, "{:<10} {:x}{}", "pip", pip.cr3, if pip.non_root { ", nr" } else { "" })
            }
            Self::Cbr(ratio) => write!(f, "{:<10} {ratio:x}", "cbr"),
            Self::Tsc(tsc) => write!(f, "{:<10} {tsc:x}", "tsc"),
            Self::Mtc(ctc) => write!(f, "{:<10} {ctc:x}", "mtc"),
            Self::Tma { ctc, fast_counter } => write!(f, "{:<10} {ctc:x}, {fast_counter:x}", "tma"),
            Self::Cyc(cycles) => write!(f, "{:<10} {cycles:x}", "cyc"),
            Self::Vmcs(vmcs) => write!(f, "{:<10} {:x}", "vmcs", vmcs.base),
            Self::Ovf => f.write_str("ovf"),
            Self::TraceStop => f.write_str("stop"),
            Self::Mnt(payload) => write!(f, "{:<10} {payload:x}", "mnt"),
            Self::Ptw { payload, ip } => {
                let size = matches!(payload, Payload::Eight(_)) as u8;
                write!(f, "{:<10} {size}: {payload}{}", "ptw", ip_flag(ip))
            }
            Self::Exstop { ip: true } => write!(f, "{:<10} ip", "exstop"),
            Self::Exstop { ip: false } => f.write_str("exstop"),
            Self::Mwait { hints, extensions } => write!(f, "{:<10} {hints:08x}, {extensions:08x}", "mwait"),
            Self::Pwre(pwre) => {
                let (state, sub) = (c_state(pwre.state), c_state(pwre.sub_state));
                write!(f, "{:<10} c{state}.{sub}{}", "pwre", if pwre.hardware { ", hw" } else { "" })
            }
            Self::Pwrx(pwrx) => {
                let reason = match pwrx.wake {
                    0b0001 => "int: ",
                    0b0100 => "st: ",
                    0b1000 => "hw: ",
                    _ => "",
                };
                write!(f, "{:<10} {reason}c{}, c{}", "pwrx", c_state(pwrx.last), c_state(pwrx.deepest))
            }
            Self::Bbp { kind, four_bytes } => write!(f, "{:<10} {kind:x}, {}", "bbp", if four_bytes { 4 } else { 8 }),
            Self::Bip { id, payload } => write!(f, "{:<10} {id:x}: {payload}", "bip"),
            Self::Bep { ip: true } => write!(f, "{:<10} ip", "bep"),
            Self::Bep { ip: false } => f.write_str("bep"),
            Self::Cfe { kind, ip, vector } => {
                write!(f, "{:<10} {:x}", "cfe", kind.0)?;
                // Interrupts, start-up IPIs, VM exits by interrupt and user interrupts have a vector.
                if matches!(kind, CfeKind::INTR | CfeKind::SIPI | CfeKind::VMEXIT_INTR | CfeKind::UINTR) {
                    write!(f, ": {vector}")?;
                }
                write!(f, "{} type {kind}", ip_flag(ip))
            }
            Self::Evd { kind, payload } => write!(f, "{:<10} {:x}: {payload:x} type {kind}", "evd", kind.0),
            Self::Trig(trig) => {
                write!(f, "{:<10} {:x}{}", "trig", trig.triggers, ip_flag(trig.ip))?;
                if trig.multiple {
                    f.write_str(", mult")?;
                }
                trig.instructions.map_or(Ok(()), |count| write!(f, ", icnt: {count}"))
            }
        }
    }
}

/// IPBytes, a colon and 16 digits, with `?` for those that the packet does not have.
impl Display for Ip {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}: ", self.ip_bytes())?;
        match self {
            Self::Suppressed => f.write_str("????????????????"),
            Self::Update16(ip) => write!(f, "????????????{ip:04x}"),
            Self::Update32(ip) => write!(f, "????????{ip:08x}"),
            Self::Update48(ip) => write!(f, "????{ip:012x}"),
            Self::SignExtend48(ip) | Self::Full(ip) => write!(f, "{ip:016x}"),
        }
    }
}

/// `!` for taken and `.` for not taken, oldest first.
impl Display for Tnt {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.iter().try_for_each(|taken| f.write_char(if taken { '!' } else { '.' }))
    }
}

/// Hexadecimal, as many digits as the payload has.
impl Display for Payload {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Four(value) => write!(f, "{value:x}"),
            Self::Eight(value) => write!(f, "{value:x}"),
        }
    }
}

/// As "64-bit".
impl Display for CodeWidth {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Bits16 => "16-bit",
            Self::Bits32 => "32-bit",
            Self::Bits64 => "64-bit",
        })
    }
}

/// The event's short name, `?` for an unknown one.
impl Display for CfeKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match *self {
            Self::INTR => "intr",
            Self::IRET => "iret",
            Self::SMI => "smi",
            Self::RSM => "rsm",
            Self::SIPI => "sipi",
            Self::INIT => "init",
            Self::VMENTRY => "vmentry",
            Self::VMEXIT => "vmexit",
            Self::VMEXIT_INTR => "vmexit_intr",
            Self::SHUTDOWN => "shutdown",
            Self::UINTR => "uintr",
            Self::UIRET => "uiret",
            _ => "?",
        })
    }
}

/// The short name, `?` for an unknown one.
impl Display for EvdKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match *self {
            Self::CR2 => "cr2",
            Self::VMXQ => "vmxq",
            Self::VMXR => "vmxr",
            _ => "?",
        })
    }
}

fn write_tnt(f: &mut Formatter<'_>, name: &str, tnt: Tnt) -> Result {
    write!(f, "{name:<10} {tnt}")
}

fn write_mode(f: &mut Formatter<'_>, mode: Mode) -> Result {
    let (name, flags) = match mode {
        Mode::Exec(exec) => ("mode.exec", [("cs.l", exec.cs_l), ("cs.d", exec.cs_d), ("if", exec.interrupts)]),
        Mode::Tsx(tsx) => ("mode.tsx", [("intx", tsx.in_tx), ("abrt", tsx.abort), ("", false)]),
        Mode::Other { leaf, bits } => return write!(f, "{:<10} {leaf:x}: {bits:x}", "mode"),
    };
    let mut set = flags.iter().filter(|flag| flag.1).map(|flag| flag.0);
    match set.next() {
        None => f.write_str(name),
        Some(first) => {
            write!(f, "{name:<10} {first}")?;
            set.try_for_each(|flag| write!(f, ", {flag}"))
        }
    }
}

fn ip_flag(ip: bool) -> &'static str {
    if ip { ", ip" } else { "" }
}

/// The number of a C-state: the packets count from C1, and 15 is C0.
fn c_state(field: u8) -> u8 {
    (field + 1) & 0xf
}
