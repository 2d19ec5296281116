//! The text form of what a walk finds: one line each, addresses in hexadecimal.

use std::fmt::{Display, Formatter, Result};

use super::checks::Finding;
use super::error::{Found, Need, Stop};
use super::events::Event;
use super::quality::{Evidence, Quality};
use super::visit::{Branch, BranchKind};

/// A name, then the addresses and values.
impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Self::Enabled { ip, resumed: true } => write!(f, "tracing resumes at {ip:#x}"),
            Self::Enabled { ip, resumed: false } => write!(f, "tracing begins at {ip:#x}"),
            Self::Disabled { at, to } => {
                f.write_str("tracing ends")?;
                at.map_or(Ok(()), |at| write!(f, " at {at:#x}"))?;
                to.map_or(Ok(()), |to| write!(f, ", execution goes on at {to:#x}"))
            }
            Self::Interrupt { from, to } => write!(f, "interrupt at {from:#x} to {to:#x}"),
            Self::Aborted => f.write_str("transaction aborted"),
            Self::Transaction(tsx) if tsx.in_tx => f.write_str("transaction begins"),
            Self::Transaction(_) => f.write_str("transaction ends"),
            Self::Overflow { ip } => {
                f.write_str("packets lost")?;
                ip.map_or(Ok(()), |ip| write!(f, ", execution goes on at {ip:#x}"))
            }
            Self::Psb { ip: Some(ip) } => write!(f, "synchronised at {ip:#x}"),
            Self::Psb { ip: None } => f.write_str("synchronised, tracing is off"),
            Self::Exec(exec) => {
                let interrupts = if exec.interrupts { ", interrupts enabled" } else { "" };
                write!(f, "{} code{interrupts}", exec.width())
            }
            Self::Paging(pip) => write!(f, "CR3 {:#x}{}", pip.cr3, if pip.non_root { ", guest" } else { "" }),
            Self::Vmcs(vmcs) => write!(f, "VMCS {:#x}", vmcs.base),
            Self::Stopped => f.write_str("a region that stops tracing is entered"),
            Self::Status { packet, ip } => {
                // Packets are padded to columns.
                let text = packet.to_string();
                let mut words = text.split_ascii_whitespace();
                words.next().map_or(Ok(()), |name| f.write_str(name))?;
                words.try_for_each(|word| write!(f, " {word}"))?;
                ip.map_or(Ok(()), |ip| write!(f, " at {ip:#x}"))
            }
            Self::BeforeSync { bytes } => write!(f, "{bytes} bytes before the first PSB"),
            Self::Resync { ip } => write!(f, "the walk goes on at {ip:#x}"),
        }
    }
}

impl Display for Branch {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} from {:#x} to {:#x}", self.kind, self.from, self.to)?;
        match self.kind {
            BranchKind::Return { expected: Some(expected) } if expected != self.to => {
                write!(f, ", the last call was before {expected:#x}")
            }
            _ => Ok(()),
        }
    }
}

impl Display for BranchKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Call => "indirect call",
            Self::Jump => "indirect jump",
            Self::Return { .. } => "return",
            Self::Far => "far transfer",
        })
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::NotTheImport { expected } => write!(f, "the import slot leads to {expected:#x}"),
            Self::NotAfterCall => f.write_str("no call ends where the return goes"),
            Self::NotTheCaller { expected } => write!(f, "the last call returns to {expected:#x}"),
            Self::NotAFunction => f.write_str("no function starts where the call goes"),
        }
    }
}

impl Display for Stop {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::End => f.write_str("end of the trace"),
            Self::Limit => f.write_str("the offset limit is reached"),
            Self::Visitor => f.write_str("stopped by the visitor"),
            Self::Break { ip } => write!(f, "stopped at {ip:#x}"),
            Self::Error(error) => error.fmt(f),
        }
    }
}

/// What an instruction needs, with the instruction.
impl Display for Need {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Tnt => "a conditional branch needs a TNT",
            Self::Tip => "an indirect branch needs a TIP",
            Self::TntOrTip => "a return needs a TNT or a TIP",
        })
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Tnt => "TNT",
            Self::Tip => "TIP",
            Self::Fup => "FUP",
            Self::TipPge => "TIP.PGE",
            Self::Psb => "PSB",
            Self::Ovf => "OVF",
            Self::Other => "another packet",
            Self::End => "the end of the trace",
        })
    }
}

impl Display for Quality {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} of {} bytes followed", self.followed(), self.bytes)?;
        write!(f, " ({} before the first PSB, {} skipped), ", self.before_sync, self.skipped)?;
        match self.lost {
            1 => f.write_str("lost once"),
            times => write!(f, "lost {times} times"),
        }
    }
}

impl Display for Evidence {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { returns, branches, addresses } = self;
        write!(f, "{} bits: {returns} returns, {branches} indirect branches, {addresses} addresses", self.bits())
    }
}
