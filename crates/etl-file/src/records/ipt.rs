//! Intel PT data: hook 0x1F20, or class {ff1fd2fd-…} with opcode 32.
//!
//! No document describes this event and no public file holds one. The layout is read out of the kernel's own writer,
//! EtwpWriteProcessorTrace, in three builds (Windows 10 1903 and 22H2, Windows 11 24H2), which agree.
//!
//! ```text
//!    0  u64  timestamp of the event that triggered this one
//!    8  u32  process of the traced thread
//!   12  u32  the traced thread
//!   16  u64  IPT options
//!   24  u32  TraceSize
//!   28  u32  probably where the ring buffer's writer stood
//!   32  u8[TraceSize]
//! ```

use super::Record;
use crate::clock::Tick;
use crate::error::Result;
use crate::event::Event;

/// Bytes before the trace data.
const FIXED: usize = 32;

/// Intel PT data of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ipt<'d> {
    /// Timestamp of the event that triggered this one.
    pub trigger_time: Tick,
    /// Process of the traced thread.
    pub process: u32,
    /// The traced thread.
    pub thread: u32,
    /// What the session was configured with.
    pub options: IptOptions,
    /// Bytes of trace data that the event declares.
    pub declared: u32,
    /// Probably where the ring buffer's writer stood.
    pub ring_offset: u32,
    /// The trace data; shorter than declared when the event was cut.
    pub data: &'d [u8],
}

/// The IPT options word (ionescu007/winipt, libipt.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IptOptions(pub u64);

impl IptOptions {
    /// 0 no timing packets, 1 MTC with TSC, 2 MTC and CYC.
    pub fn timing(self) -> u8 {
        (self.0 >> 4 & 15) as u8
    }

    /// Frequency of MTC packets, as in IA32_RTIT_CTL.
    pub fn mtc_frequency(self) -> u8 {
        (self.0 >> 8 & 15) as u8
    }

    /// Threshold of CYC packets, as in IA32_RTIT_CTL.
    pub fn cyc_threshold(self) -> u8 {
        (self.0 >> 12 & 15) as u8
    }

    /// Bytes of the buffer: 4 KiB to 128 MiB.
    pub fn buffer_size(self) -> u64 {
        4096 << (self.0 >> 16 & 15)
    }

    /// 0 user mode, 1 kernel mode, 2 both; 3 to 5 the system-wide forms.
    pub fn mode(self) -> u8 {
        (self.0 >> 24 & 15) as u8
    }
}

pub(super) fn parse<'d>(event: &Event<'d>) -> Result<Record<'d>> {
    event.read("Intel PT event", |bytes, _| {
        bytes.slice(0, FIXED)?;
        let declared = bytes.u32(24)?;
        let rest = bytes.rest(FIXED);
        Some(Record::Ipt(Ipt {
            trigger_time: Tick(bytes.i64(0)?),
            process: bytes.u32(8)?,
            thread: bytes.u32(12)?,
            options: IptOptions(bytes.u64(16)?),
            declared,
            ring_offset: bytes.u32(28)?,
            data: &rest[..rest.len().min(declared as usize)],
        }))
    })
}
