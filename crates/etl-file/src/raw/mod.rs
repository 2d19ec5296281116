//! On-disk structures and values under their vendor names. Everything is little-endian and may lie at any address.

mod classes;
mod guids;
mod hooks;

pub use guids::ProviderGuid;
pub use hooks::HookId;

use std::fmt;
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the fixed part of TRACE_LOGFILE_HEADER, 32-bit form (evntrace.h).
pub(crate) const LOG_HEADER_32: usize = 0x110;
/// The same, 64-bit form.
pub(crate) const LOG_HEADER_64: usize = 0x118;

/// The largest buffer a session can have: 16 MiB since Windows 8 (ntwmi.h in phnt, ETW_MAX_BUFFER_SIZE).
pub(crate) const MAX_BUFFER: u32 = 16 << 20;

/// WMI_BUFFER_HEADER since Windows 7, the same for 32 and 64 bits (ntwmi.h in phnt; Geoff Chappell, "WMI_BUFFER_HEADER").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct WmiBufferHeader {
    /// Distance to the next buffer, in bytes.
    pub buffer_size: U32,
    /// Valid bytes, this header included, when the buffer was saved. May be stale in the first buffer.
    pub saved_offset: U32,
    /// Where the next event would have gone; may exceed everything else here.
    pub current_offset: U32,
    pub reference_count: U32,
    /// When the buffer was flushed: session clock, but FILETIME in merged files (measured).
    pub time_stamp: I64,
    pub sequence_number: I64,
    /// Clock type and frequency in debug-information buffers, else a stale kernel pointer.
    pub clock_or_pointer: U64,
    /// Processor: see [`BufferHeader::processor`](crate::BufferHeader).
    pub processor_index: U16,
    pub logger_id: U16,
    /// ETW_BUFFER_STATE; in the first buffer of a compressed file the compression format.
    pub state: U32,
    /// FilledBytes: valid bytes, this header included; of a compressed buffer, once it is decompressed.
    pub filled_bytes: U32,
    pub buffer_flag: U16,
    pub buffer_type: U16,
    /// ETW_REF_CLOCK of real-time buffers, else stale kernel pointers.
    pub reference_clock: [U64; 2],
}

const _: () = assert!(size_of::<WmiBufferHeader>() == BUFFER_HEADER);
/// Bytes of a buffer header; the first event follows.
pub(crate) const BUFFER_HEADER: usize = 0x48;

/// SYSTEM_TRACE_HEADER (ntwmi.h in phnt). The COMPACT form ends before the processor times.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct SystemTraceHeader {
    pub version: U16,
    pub header_type: u8,
    pub marker: u8,
    pub size: U16,
    pub hook: U16,
    pub thread_id: U32,
    pub process_id: U32,
    pub time_stamp: I64,
}

const _: () = assert!(size_of::<SystemTraceHeader>() == 24);

/// PERFINFO_TRACE_HEADER (ntwmi.h in phnt).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct PerfinfoTraceHeader {
    /// Version in the low byte; above it the number of counters (0x0700) and the PEBS bit (0x8000).
    pub version: U16,
    pub header_type: u8,
    pub marker: u8,
    pub size: U16,
    pub hook: U16,
    pub time_stamp: I64,
}

const _: () = assert!(size_of::<PerfinfoTraceHeader>() == 16);

/// EVENT_TRACE_HEADER (evntrace.h).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct EventTraceHeader {
    pub size: U16,
    pub header_type: u8,
    pub marker: u8,
    pub class_type: u8,
    pub class_level: u8,
    pub class_version: U16,
    pub thread_id: U32,
    pub process_id: U32,
    pub time_stamp: I64,
    pub guid: [u8; 16],
    pub processor_time: U64,
}

const _: () = assert!(size_of::<EventTraceHeader>() == 48);

/// EVENT_HEADER (evntcons.h) as a session writes it.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct RawEventHeader {
    pub size: U16,
    pub header_type: u8,
    pub marker: u8,
    pub flags: U16,
    pub event_property: U16,
    pub thread_id: U32,
    pub process_id: U32,
    pub time_stamp: I64,
    pub provider_id: [u8; 16],
    pub id: U16,
    pub version: u8,
    pub channel: u8,
    pub level: u8,
    pub opcode: u8,
    pub task: U16,
    pub keyword: U64,
    pub processor_time: U64,
    pub activity_id: [u8; 16],
}

const _: () = assert!(size_of::<RawEventHeader>() == 80);

/// The kind of an event's header: byte 2 of its marker (ntwmi.h in phnt, TRACE_HEADER_TYPE_*). WPP messages and the
/// obsolete header with a 32-bit timestamp have no such byte and get values of their own above 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HeaderKind(pub u16);

impl HeaderKind {
    /// SYSTEM_TRACE_HEADER, 32-bit payload.
    pub const SYSTEM32: Self = Self(1);
    /// SYSTEM_TRACE_HEADER, 64-bit payload.
    pub const SYSTEM64: Self = Self(2);
    /// SYSTEM_TRACE_HEADER without processor times, 32-bit payload.
    pub const COMPACT32: Self = Self(3);
    /// SYSTEM_TRACE_HEADER without processor times, 64-bit payload.
    pub const COMPACT64: Self = Self(4);
    /// EVENT_TRACE_HEADER, 32-bit payload.
    pub const FULL_HEADER32: Self = Self(10);
    /// EVENT_INSTANCE_GUID_HEADER, 32-bit payload.
    pub const INSTANCE32: Self = Self(11);
    /// Unused by Windows.
    pub const TIMED: Self = Self(12);
    /// An error while logging; its layout is not published.
    pub const ERROR: Self = Self(13);
    /// Unused by Windows.
    pub const WNODE_HEADER: Self = Self(14);
    /// Unused in files: messages are marked otherwise.
    pub const MESSAGE: Self = Self(15);
    /// PERFINFO_TRACE_HEADER, 32-bit payload.
    pub const PERFINFO32: Self = Self(16);
    /// PERFINFO_TRACE_HEADER, 64-bit payload.
    pub const PERFINFO64: Self = Self(17);
    /// EVENT_HEADER, 32-bit payload.
    pub const EVENT_HEADER32: Self = Self(18);
    /// EVENT_HEADER, 64-bit payload.
    pub const EVENT_HEADER64: Self = Self(19);
    /// EVENT_TRACE_HEADER, 64-bit payload.
    pub const FULL_HEADER64: Self = Self(20);
    /// EVENT_INSTANCE_GUID_HEADER, 64-bit payload.
    pub const INSTANCE64: Self = Self(21);
    /// A WPP message: MESSAGE_TRACE_HEADER, told by marker bit 0x10000000.
    pub const WPP: Self = Self(0x100);
    /// Marker 0xB0000000: a size, a number and a 32-bit timestamp; obsolete.
    pub const ULONG32_TIME: Self = Self(0x101);

    /// The vendor's name, if there is one.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::SYSTEM32 => "SYSTEM32",
            Self::SYSTEM64 => "SYSTEM64",
            Self::COMPACT32 => "COMPACT32",
            Self::COMPACT64 => "COMPACT64",
            Self::FULL_HEADER32 => "FULL_HEADER32",
            Self::INSTANCE32 => "INSTANCE32",
            Self::TIMED => "TIMED",
            Self::ERROR => "ERROR",
            Self::WNODE_HEADER => "WNODE_HEADER",
            Self::MESSAGE => "MESSAGE",
            Self::PERFINFO32 => "PERFINFO32",
            Self::PERFINFO64 => "PERFINFO64",
            Self::EVENT_HEADER32 => "EVENT_HEADER32",
            Self::EVENT_HEADER64 => "EVENT_HEADER64",
            Self::FULL_HEADER64 => "FULL_HEADER64",
            Self::INSTANCE64 => "INSTANCE64",
            Self::WPP => "WPP",
            Self::ULONG32_TIME => "ULONG32_TIME",
            _ => return None,
        })
    }

    /// Bytes per pointer in the payload, where the kind says so.
    pub fn pointer_size(self) -> Option<u8> {
        match self {
            Self::SYSTEM32
            | Self::COMPACT32
            | Self::FULL_HEADER32
            | Self::INSTANCE32
            | Self::PERFINFO32
            | Self::EVENT_HEADER32 => Some(4),
            Self::SYSTEM64
            | Self::COMPACT64
            | Self::FULL_HEADER64
            | Self::INSTANCE64
            | Self::PERFINFO64
            | Self::EVENT_HEADER64 => Some(8),
            _ => None,
        }
    }
}

impl fmt::Debug for HeaderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "header type {}", self.0),
        }
    }
}

/// Type of an item that extends an EVENT_HEADER (evntcons.h, EVENT_HEADER_EXT_TYPE_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedType(pub u16);

impl ExtendedType {
    /// A related activity: GUID.
    pub const RELATED_ACTIVITYID: Self = Self(1);
    /// The user's SID.
    pub const SID: Self = Self(2);
    /// Terminal session id.
    pub const TS_ID: Self = Self(3);
    /// Instance and parent instance.
    pub const INSTANCE_INFO: Self = Self(4);
    /// Match id and 32-bit return addresses.
    pub const STACK_TRACE32: Self = Self(5);
    /// Match id and 64-bit return addresses.
    pub const STACK_TRACE64: Self = Self(6);
    /// PEBS index.
    pub const PEBS_INDEX: Self = Self(7);
    /// Performance counters.
    pub const PMC_COUNTERS: Self = Self(8);
    /// Package of a packaged process.
    pub const PSM_KEY: Self = Self(9);
    /// Key of the event.
    pub const EVENT_KEY: Self = Self(10);
    /// TraceLogging: the event's own schema.
    pub const EVENT_SCHEMA_TL: Self = Self(11);
    /// Provider traits: its name, among others.
    pub const PROV_TRAITS: Self = Self(12);
    /// Key that tells a process from a later one of the same id.
    pub const PROCESS_START_KEY: Self = Self(13);
    /// Control GUID of the provider.
    pub const CONTROL_GUID: Self = Self(14);
    /// Difference to the performance counter.
    pub const QPC_DELTA: Self = Self(15);
    /// Container: GUID.
    pub const CONTAINER_ID: Self = Self(16);
    /// Key of a stack logged once, 32-bit.
    pub const STACK_KEY32: Self = Self(17);
    /// Key of a stack logged once, 64-bit.
    pub const STACK_KEY64: Self = Self(18);
}

/// BufferFlag bits (ntwmi.h in phnt, ETW_BUFFER_FLAG_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct BufferFlags(pub u16);

impl BufferFlags {
    /// The last buffer of a flush.
    pub const FLUSH_MARKER: Self = Self(0x01);
    /// Events were lost before this buffer.
    pub const EVENTS_LOST: Self = Self(0x02);
    /// A buffer was lost before this one.
    pub const BUFFER_LOST: Self = Self(0x04);
    /// The processor field has 16 bits.
    pub const PROCESSOR_INDEX: Self = Self(0x20);
    /// What follows the header is compressed.
    pub const COMPRESSED: Self = Self(0x40);
    /// Every bit that has a meaning.
    pub(crate) const KNOWN: u16 = 0x7f;

    /// True when every bit of `bits` is set.
    pub fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
}

/// BufferType (ntwmi.h in phnt, ETW_BUFFER_TYPE_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct BufferType(pub u16);

impl BufferType {
    /// Events.
    pub const GENERIC: Self = Self(0);
    /// Events of a rundown.
    pub const RUNDOWN: Self = Self(1);
    /// Compact context switches.
    pub const CONTEXT_SWAP: Self = Self(2);
    /// The first buffer of a file.
    pub const HEADER: Self = Self(4);
    /// Debug information of binaries.
    pub const DEBUG_INFO: Self = Self(7);
    /// The first value without a meaning.
    pub(crate) const MAX: u16 = 8;
}
