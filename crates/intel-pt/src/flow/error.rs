//! What can go wrong in a walk.

use std::fmt;

use crate::Reason;

/// Why a run of a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Stop {
    /// The end of the trace.
    End,
    /// [`Options::limit`](super::Options::limit) is reached.
    Limit,
    /// The visitor asked for it. The next run goes on where this one ended.
    Visitor,
    /// The walk is at one of the addresses of [`Blocks::break_at`](super::Blocks::break_at), before the instruction there.
    /// The next run goes on where [`Walker::jump`](super::Walker::jump) or [`Walker::call`](super::Walker::call) say.
    /// Neither takes a packet, so code may lead back to the same address forever: callers must bound their retries, and
    /// then call [`Walker::lose`](super::Walker::lose).
    Break {
        /// The address.
        ip: u64,
    },
    /// Packets and code do not fit. The next run resynchronises.
    Error(Error),
}

/// A place where packets and code do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Error {
    pub(super) offset: usize,
    pub(super) ip: Option<u64>,
    pub(super) kind: ErrorKind,
    pub(super) after_gap: bool,
}

impl Error {
    /// Offset of the packet that was next, from the start of the bytes given.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Address that the walk had reached, when it was following code.
    pub fn ip(&self) -> Option<u64> {
        self.ip
    }

    /// What is wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// True when the walk had resynchronised in mid-stream since the last PSB: its call stack was incomplete, so the
    /// error may be a consequence of the one before.
    pub fn after_gap(&self) -> bool {
        self.after_gap
    }
}

/// What is wrong. [`ErrorKind::libipt_name`] gives libipt's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not a packet.
    Packet(Reason),
    /// The image does not know the memory at the address.
    NoMemory,
    /// The bytes at the address are not an instruction.
    BadInstruction,
    /// The instruction at the address needs another packet than the one that is next.
    Mismatch {
        /// What it needs.
        needs: Need,
        /// What is next.
        found: Found,
    },
    /// A TNT bit "not taken" for a return.
    BadReturn,
    /// A compressed return, but no call before it is known.
    ReturnStackEmpty,
    /// Something happened at an address that the code does not reach before its next branch.
    NotReached {
        /// The address.
        event: u64,
    },
    /// A packet that must give an address gives none.
    NoAddress,
    /// The code runs in a loop that no packet leaves.
    EndlessLoop,
    /// The code runs on for too long without a packet.
    Budget {
        /// Instructions followed, the limit.
        instructions: u32,
    },
    /// The code between packets was too long for so few bytes of them, over the whole walk:
    /// [`Walker::FIRST_STEPS`](super::Walker::FIRST_STEPS) says how much is allowed. The rest of this stretch is given up.
    TooFewPackets {
        /// Blocks passed without a packet since the walk began.
        steps: u64,
    },
    /// A TIP.PGE while tracing is on.
    AlreadyEnabled,
    /// A branch packet while tracing is off.
    NotEnabled,
}

/// What an instruction needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Need {
    /// A conditional branch: a TNT bit.
    Tnt,
    /// An indirect branch: a TIP.
    Tip,
    /// A return: a TNT bit or a TIP.
    TntOrTip,
}

/// Which packet is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Found {
    /// TNT, or bits left of one.
    Tnt,
    /// TIP.
    Tip,
    /// FUP.
    Fup,
    /// TIP.PGE.
    TipPge,
    /// PSB.
    Psb,
    /// OVF.
    Ovf,
    /// Another packet.
    Other,
    /// The end of the trace.
    End,
}

impl ErrorKind {
    /// The name of libipt's error for the same thing, without its `pte_`.
    pub fn libipt_name(self) -> &'static str {
        match self {
            Self::Packet(Reason::UnknownOpcode { .. }) => "bad_opc",
            Self::Packet(Reason::BadField { .. }) => "bad_packet",
            Self::Packet(Reason::Truncated { .. }) => "eos",
            Self::Packet(Reason::BeforeSync) => "nosync",
            Self::NoMemory => "nomap",
            Self::BadInstruction => "bad_insn",
            Self::Mismatch { .. } | Self::NotReached { .. } | Self::AlreadyEnabled => "bad_query",
            Self::EndlessLoop | Self::Budget { .. } | Self::TooFewPackets { .. } => "bad_query",
            Self::BadReturn => "bad_retcomp",
            Self::ReturnStackEmpty => "retstack_empty",
            Self::NoAddress => "noip",
            Self::NotEnabled => "no_enable",
        }
    }

    /// The usual cause, as advice.
    pub fn likely_cause(self) -> &'static str {
        match self {
            Self::Packet(Reason::Truncated { .. }) => "the trace was cut, or a ring was not put in order",
            Self::Packet(_) => "damaged trace data, or a ring that was not put in order at its write offset",
            Self::NoMemory => "the module at this address is not in the image",
            Self::BadInstruction => "wrong version of the module, or code that was changed at run time",
            Self::Mismatch { .. } => {
                "wrong version of the module; or, near an import site, code with the other form of import call"
            }
            Self::BadReturn | Self::ReturnStackEmpty => "lost synchronisation, or wrong version of a module",
            Self::NotReached { .. } => "wrong version of the module, or lost synchronisation",
            Self::EndlessLoop | Self::Budget { .. } | Self::TooFewPackets { .. } => {
                "wrong code, or lost synchronisation"
            }
            Self::NoAddress | Self::AlreadyEnabled | Self::NotEnabled => "damaged trace data",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {:#x}", self.offset)?;
        if let Some(ip) = self.ip {
            write!(f, ", address {ip:#x}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for Error {}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(reason) => reason.fmt(f),
            Self::NoMemory => f.write_str("no memory is known at this address"),
            Self::BadInstruction => f.write_str("the bytes here are not an instruction"),
            Self::Mismatch { needs, found } => write!(f, "{needs}, found {found}"),
            Self::BadReturn => f.write_str("a compressed return needs a TNT bit 1, found 0"),
            Self::ReturnStackEmpty => f.write_str("a compressed return, but no call before it is known"),
            Self::NotReached { event } => write!(f, "an event at {event:#x} is not reached from here"),
            Self::NoAddress => f.write_str("a packet that must give an address gives none"),
            Self::EndlessLoop => f.write_str("the code runs in a loop that no packet leaves"),
            Self::Budget { instructions } => write!(f, "no packet for more than {instructions} instructions"),
            Self::TooFewPackets { steps } => {
                write!(f, "given up: {steps} blocks of code without a packet are too many for so few bytes of packets")
            }
            Self::AlreadyEnabled => f.write_str("TIP.PGE while tracing is on"),
            Self::NotEnabled => f.write_str("a branch packet while tracing is off"),
        }
    }
}
