//! The packets, named as the SDM names them.

use crate::last_ip::Ip;

mod display;

/// One packet. Names and fields are those of the SDM; unknown values of open lists ([`CfeKind`], [`EvdKind`]) survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Packet {
    /// Filler.
    Pad,
    /// 1 to 6 conditional branches (and compressed returns, which are "taken").
    TntShort(Tnt),
    /// 1 to 47 of them.
    TntLong(Tnt),
    /// The target of an indirect branch, return, far transfer or interrupt.
    Tip(Ip),
    /// Tracing begins at this address.
    TipPge(Ip),
    /// Tracing ends; the address is that of the next instruction, or suppressed.
    TipPgd(Ip),
    /// The source of an asynchronous event, or the address that the packet before it asks for.
    Fup(Ip),
    /// A synchronisation point: last IP and call stack are reset.
    Psb,
    /// The end of the status packets that follow a PSB.
    PsbEnd,
    /// Execution mode or transaction state.
    Mode(Mode),
    /// A move to CR3.
    Pip(Pip),
    /// Core-to-bus clock ratio.
    Cbr(u8),
    /// Bits 55:0 of the time stamp counter (0 to 2^56 - 1).
    Tsc(u64),
    /// 8 bits of the crystal clock counter.
    Mtc(u8),
    /// Aligns TSC and MTC.
    Tma {
        /// Low 16 bits of the crystal clock counter.
        ctc: u16,
        /// Fast counter (0 to 511): TSC ticks since the last crystal clock tick.
        fast_counter: u16,
    },
    /// Core clock cycles since the last CYC.
    Cyc(u64),
    /// The VMCS in use.
    Vmcs(Vmcs),
    /// Packets were lost here.
    Ovf,
    /// A region that stops tracing was entered.
    TraceStop,
    /// Model-specific maintenance.
    Mnt(u64),
    /// Operand of PTWRITE.
    Ptw {
        /// The operand, 4 or 8 bytes.
        payload: Payload,
        /// A FUP with the instruction's address follows.
        ip: bool,
    },
    /// Execution stopped (frequency change or power state).
    Exstop {
        /// A FUP with the address follows.
        ip: bool,
    },
    /// MWAIT was executed.
    Mwait {
        /// EAX.
        hints: u32,
        /// ECX.
        extensions: u32,
    },
    /// A power state was entered.
    Pwre(Pwre),
    /// A power state was left.
    Pwrx(Pwrx),
    /// A block of BIP begins.
    Bbp {
        /// What the block holds (0 to 31).
        kind: u8,
        /// The items have 4 bytes, not 8.
        four_bytes: bool,
    },
    /// An item of a block. Outside a block the same byte is a [`Packet::TntShort`].
    Bip {
        /// Which item (0 to 31).
        id: u8,
        /// 4 or 8 bytes, as the block's BBP said.
        payload: Payload,
    },
    /// The end of a block.
    Bep {
        /// A FUP follows.
        ip: bool,
    },
    /// A control flow event: interrupt, IRET, SMI and the like.
    Cfe {
        /// What happened.
        kind: CfeKind,
        /// A FUP with the source address follows.
        ip: bool,
        /// The vector, where the event has one.
        vector: u8,
    },
    /// Data that belongs to the CFE after it.
    Evd {
        /// What the payload is.
        kind: EvdKind,
        /// The data.
        payload: u64,
    },
    /// A trigger fired.
    Trig(Trigger),
}

impl Packet {
    /// The address field, of the packets that have one.
    pub fn ip(&self) -> Option<Ip> {
        match *self {
            Self::Tip(ip) | Self::TipPge(ip) | Self::TipPgd(ip) | Self::Fup(ip) => Some(ip),
            _ => None,
        }
    }

    /// The branches, of the packets that have some.
    pub fn tnt(&self) -> Option<Tnt> {
        match *self {
            Self::TntShort(tnt) | Self::TntLong(tnt) => Some(tnt),
            _ => None,
        }
    }
}

/// A run of taken/not-taken outcomes, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "UncheckedTnt"))]
pub struct Tnt {
    bits: u64,
    len: u8,
}

impl Tnt {
    /// The most that a packet holds.
    pub const MAX: u8 = 47;

    /// `len` outcomes (1 to 47) in the low bits of `bits`, 1 for taken, the oldest highest.
    pub fn new(bits: u64, len: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&len).then(|| Self { bits: bits & ((1 << len) - 1), len })
    }

    /// From a payload whose highest set bit is the stop bit.
    #[inline]
    pub(crate) fn from_stop_bit(payload: u64) -> Option<Self> {
        let len = payload.checked_ilog2()? as u8;
        Self::new(payload, len)
    }

    /// The outcomes in the low bits, the oldest highest.
    pub fn bits(self) -> u64 {
        self.bits
    }

    /// How many there are, 1 to 47.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(self) -> u8 {
        self.len
    }

    /// The outcomes, oldest first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = bool> + Clone {
        (0..self.len).rev().map(move |bit| self.bits >> bit & 1 == 1)
    }
}

/// The fields of a [`Tnt`] as they are read, before their range is checked.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
struct UncheckedTnt {
    bits: u64,
    len: u8,
}

#[cfg(feature = "serde")]
impl TryFrom<UncheckedTnt> for Tnt {
    type Error = &'static str;

    fn try_from(tnt: UncheckedTnt) -> Result<Self, Self::Error> {
        Self::new(tnt.bits, tnt.len).ok_or("a TNT has 1 to 47 outcomes")
    }
}

/// A MODE packet, by its leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Mode {
    /// Leaf 0.
    Exec(Exec),
    /// Leaf 1.
    Tsx(Tsx),
    /// Any other leaf (2 to 7) and its 5 bits.
    Other {
        /// Bits 7:5.
        leaf: u8,
        /// Bits 4:0.
        bits: u8,
    },
}

/// MODE.Exec: how code is decoded from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Exec {
    /// CS.L and IA32_EFER.LMA: 64-bit code.
    pub cs_l: bool,
    /// CS.D: 32-bit code (when not 64-bit).
    pub cs_d: bool,
    /// Interrupts are enabled (RFLAGS.IF); 0 on processors without event trace.
    pub interrupts: bool,
}

impl Exec {
    /// The default operand size of the code.
    pub fn width(self) -> CodeWidth {
        match (self.cs_l, self.cs_d) {
            (true, _) => CodeWidth::Bits64,
            (false, true) => CodeWidth::Bits32,
            (false, false) => CodeWidth::Bits16,
        }
    }
}

/// The default operand size of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CodeWidth {
    /// Real mode, or a 16-bit segment.
    Bits16,
    /// Protected or compatibility mode.
    Bits32,
    /// Long mode.
    Bits64,
}

/// MODE.TSX: transactional state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tsx {
    /// In a transaction.
    pub in_tx: bool,
    /// The transaction was aborted.
    pub abort: bool,
}

/// The payload of a PIP, 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pip {
    /// CR3 with bits 4:0 clear (0 to 2^52 - 32).
    pub cr3: u64,
    /// In VMX non-root operation: a guest.
    pub non_root: bool,
}

/// The payload of a VMCS packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Vmcs {
    /// Physical address of the VMCS with bits 11:0 clear (0 to 2^52 - 4096).
    pub base: u64,
}

/// A payload of 4 or 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Payload {
    /// 4 bytes.
    Four(u32),
    /// 8 bytes.
    Eight(u64),
}

impl Payload {
    /// The number, whatever its width.
    pub fn value(self) -> u64 {
        match self {
            Self::Four(value) => value.into(),
            Self::Eight(value) => value,
        }
    }
}

/// The payload of a PWRE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pwre {
    /// Resolved C-state as the packet has it (0 to 15): 0 is C1, 15 is C0.
    pub state: u8,
    /// Resolved sub C-state as the packet has it (0 to 15).
    pub sub_state: u8,
    /// Entered by hardware on its own.
    pub hardware: bool,
}

/// The payload of a PWRX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pwrx {
    /// Last core C-state as the packet has it (0 to 15): 0 is C1.
    pub last: u8,
    /// Deepest core C-state (0 to 15).
    pub deepest: u8,
    /// Wake reason (0 to 15): bit 0 interrupt, bit 2 store to the monitored address, bit 3 hardware.
    pub wake: u8,
}

/// The payload of a TRIG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Trigger {
    /// The trigger bit vector.
    pub triggers: u8,
    /// A FUP with the address follows.
    pub ip: bool,
    /// More than one trigger fired.
    pub multiple: bool,
    /// Instructions since, if the packet counts them.
    pub instructions: Option<u16>,
}

/// The type field of a CFE, 0 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CfeKind(pub u8);

impl CfeKind {
    /// Interrupt, exception, INT n.
    pub const INTR: Self = Self(0x1);
    /// IRET.
    pub const IRET: Self = Self(0x2);
    /// System management interrupt.
    pub const SMI: Self = Self(0x3);
    /// RSM.
    pub const RSM: Self = Self(0x4);
    /// Start-up IPI.
    pub const SIPI: Self = Self(0x5);
    /// INIT signal.
    pub const INIT: Self = Self(0x6);
    /// VM entry.
    pub const VMENTRY: Self = Self(0x7);
    /// VM exit.
    pub const VMEXIT: Self = Self(0x8);
    /// VM exit because of an interrupt.
    pub const VMEXIT_INTR: Self = Self(0x9);
    /// Shutdown.
    pub const SHUTDOWN: Self = Self(0xa);
    /// User interrupt.
    pub const UINTR: Self = Self(0xc);
    /// UIRET.
    pub const UIRET: Self = Self(0xd);
}

/// The type field of an EVD, 0 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EvdKind(pub u8);

impl EvdKind {
    /// CR2: the address of a page fault.
    pub const CR2: Self = Self(0x0);
    /// VM exit qualification.
    pub const VMXQ: Self = Self(0x1);
    /// VM exit reason.
    pub const VMXR: Self = Self(0x2);
}
